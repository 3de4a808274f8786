//! What can be seen of the gateway in Prometheus.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

const BUCKETS: [f64; 11] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignalLabels {
    source: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    source: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    reason: &'static str,
}

/// The gateway's metrics; a clone counts into the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    signals: Family<SignalLabels, Counter>,
    durations: Family<RequestLabels, Histogram, fn() -> Histogram>,
    refused: Family<RefusedLabels, Counter>,
    in_flight: Gauge,
}

impl Metrics {
    /// Registers the metrics under their full names (`kubernaut_gateway_…`): the registry must have no prefix.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            signals: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            refused: Family::default(),
            in_flight: Gauge::default(),
        };
        registry.register(
            "kubernaut_gateway_signals",
            "Signals received, by what became of them",
            metrics.signals.clone(),
        );
        registry.register(
            "kubernaut_gateway_request_duration_seconds",
            "Time from a request's arrival to its answer",
            metrics.durations.clone(),
        );
        registry.register(
            "kubernaut_gateway_refused",
            "Signals and requests refused, by reason",
            metrics.refused.clone(),
        );
        registry.register("kubernaut_gateway_in_flight", "Requests being worked on", metrics.in_flight.clone());
        metrics
    }

    /// Makes one series of each metric, so that the reference can list names and labels. Not for a running server.
    pub fn sample(&self) {
        self.signal("alertmanager", "created");
        self.refused("Malformed");
        self.answered("alertmanager", 201, Duration::ZERO);
    }

    pub(crate) fn signal(&self, source: &'static str, result: &'static str) {
        self.signals.get_or_create(&SignalLabels { source, result }).inc();
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&RefusedLabels { reason }).inc();
    }

    pub(crate) fn answered(&self, source: &'static str, code: u16, took: Duration) {
        self.durations.get_or_create(&RequestLabels { source, code }).observe(took.as_secs_f64());
    }

    /// Counts one request as in flight until the guard is dropped, also when its sender hangs up.
    pub(crate) fn enter(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }
}

/// One request that is being worked on.
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
