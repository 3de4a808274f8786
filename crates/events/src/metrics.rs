//! Metrics of the event path, with the names that R7.12 asks for.
//!
//! Deliberately absent: labels of unbounded content. A sink's name is bounded by its CRD, a type's
//! by the catalogue.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The metrics; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    published: Family<Published, Counter>,
    publish_errors: Counter,
    outbox: Gauge,
    abandoned: Counter,
    delivered: Family<Delivered, Counter>,
    duration: Family<Duration, Histogram>,
    retries: Family<Retried, Counter>,
    dead: Family<Target, Counter>,
    dead_current: Family<Target, Gauge>,
    pending: Family<Target, Gauge>,
    breaker: Family<Target, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Published {
    event_type: String,
    source_service: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Delivered {
    event_type: String,
    target_service: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Duration {
    callback_type: &'static str,
    target_service: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Retried {
    target_service: String,
    attempt: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Target {
    target_service: String,
}

impl Target {
    fn of(sink: &str) -> Self {
        Self { target_service: sink.to_owned() }
    }
}

impl Metrics {
    /// Creates the metrics and registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            published: Family::default(),
            publish_errors: Counter::default(),
            outbox: Gauge::default(),
            abandoned: Counter::default(),
            delivered: Family::default(),
            duration: Family::new_with_constructor(|| {
                Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
            }),
            retries: Family::default(),
            dead: Family::default(),
            dead_current: Family::default(),
            pending: Family::default(),
            breaker: Family::default(),
        };
        metrics.register(registry);
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("kubernaut_completion_events_published", "Completion events stored", self.published.clone());
        registry.register(
            "kubernaut_completion_events_publish_errors",
            "Attempts to store events that failed",
            self.publish_errors.clone(),
        );
        registry.register(
            "kubernaut_completion_events_outbox",
            "Objects whose transitions are not stored yet",
            self.outbox.clone(),
        );
        registry.register(
            "kubernaut_completion_events_abandoned",
            "Deleted objects let go before their transitions were stored",
            self.abandoned.clone(),
        );
        registry.register("kubernaut_callbacks_delivered", "Attempts to deliver an event", self.delivered.clone());
        registry.register(
            "kubernaut_callbacks_duration_seconds",
            "Duration of one attempt to deliver an event",
            self.duration.clone(),
        );
        registry.register("kubernaut_callbacks_retries", "Repeated attempts", self.retries.clone());
        registry.register("kubernaut_callbacks_dead_letters", "Events given up", self.dead.clone());
        registry.register(
            "kubernaut_callbacks_dead_letters_current",
            "Events given up and still kept",
            self.dead_current.clone(),
        );
        registry.register("kubernaut_callbacks_pending", "Events that wait for delivery", self.pending.clone());
        registry.register(
            "kubernaut_callbacks_breaker_state",
            "Breaker of a sink: 0 closed, 1 half-open, 2 open",
            self.breaker.clone(),
        );
    }

    /// Makes one series of each metric, so that the reference can list names and labels. Not for a running server.
    pub fn sample(&self) {
        self.published("workflow.complete");
        let target = Target::of("sink");
        let delivered =
            Delivered { event_type: String::new(), target_service: target.target_service.clone(), status: "done" };
        drop(self.delivered.get_or_create(&delivered));
        let duration = Duration { callback_type: "http", target_service: target.target_service.clone() };
        drop(self.duration.get_or_create(&duration));
        drop(self.retries.get_or_create(&Retried { target_service: target.target_service.clone(), attempt: 1 }));
        drop(self.dead.get_or_create(&target));
        for gauge in [&self.dead_current, &self.pending, &self.breaker] {
            drop(gauge.get_or_create(&target));
        }
    }

    pub(crate) fn published(&self, type_: &str) {
        self.published.get_or_create(&Published { event_type: type_.to_owned(), source_service: "kubernaut" }).inc();
    }

    pub(crate) fn publish_failed(&self) {
        self.publish_errors.inc();
    }

    pub(crate) fn outbox(&self, objects: usize) {
        self.outbox.set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    pub(crate) fn abandoned(&self) {
        self.abandoned.inc();
    }

    pub(crate) fn attempted(&self, transport: &'static str, sink: &str, type_: &str, status: &'static str, took: f64) {
        self.delivered
            .get_or_create(&Delivered { event_type: type_.to_owned(), target_service: sink.to_owned(), status })
            .inc();
        self.duration
            .get_or_create(&Duration { callback_type: transport, target_service: sink.to_owned() })
            .observe(took);
    }

    pub(crate) fn retried(&self, sink: &str, attempt: u32) {
        self.retries.get_or_create(&Retried { target_service: sink.to_owned(), attempt }).inc();
    }

    pub(crate) fn died(&self, sink: &str) {
        self.dead.get_or_create(&Target::of(sink)).inc();
    }

    pub(crate) fn depth(&self, sink: &str, pending: u64, dead: u64) {
        let gauge = |value| i64::try_from(value).unwrap_or(i64::MAX);
        self.pending.get_or_create(&Target::of(sink)).set(gauge(pending));
        self.dead_current.get_or_create(&Target::of(sink)).set(gauge(dead));
    }

    pub(crate) fn breaker(&self, sink: &str, state: i64) {
        self.breaker.get_or_create(&Target::of(sink)).set(state);
    }

    pub(crate) fn forget(&self, sink: &str) {
        let target = Target::of(sink);
        self.pending.remove(&target);
        self.dead_current.remove(&target);
        self.breaker.remove(&target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_requirements() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        metrics.published("workflow.complete");
        metrics.attempted("http", "audit", "workflow.complete", "delivered", 0.2);
        metrics.retried("audit", 2);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        for line in [
            r#"kubernaut_completion_events_published_total{event_type="workflow.complete",source_service="kubernaut"} 1"#,
            r#"kubernaut_callbacks_delivered_total{event_type="workflow.complete",target_service="audit",status="delivered"} 1"#,
            r#"kubernaut_callbacks_duration_seconds_count{callback_type="http",target_service="audit"} 1"#,
            r#"kubernaut_callbacks_retries_total{target_service="audit",attempt="2"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
