//! Metrics of RemediationProcessings (R3.4).

use kubernaut_api::{ProcessingPhase, RemediationProcessing, Staged};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::{Histograms, Measured, amounts, end, seconds};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabels {
    result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ClassLabels {
    severity: String,
    priority: String,
    environment: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SignalLabels {
    signal_type: String,
    resource_type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ObjectLabels {
    object: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    ended: Family<ResultLabels, Counter>,
    durations: Histograms<ResultLabels>,
    classes: Family<ClassLabels, Counter>,
    signals: Family<SignalLabels, Counter>,
    bytes: Histogram,
    objects: Histograms<ObjectLabels>,
    degraded: Counter,
    missing: Counter,
    gone: Counter,
    late: Counter,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            ended: Family::default(),
            durations: seconds(),
            classes: Family::default(),
            signals: Family::default(),
            bytes: Histogram::new(exponential_buckets(512.0, 2.0, 9)),
            objects: Family::new_with_constructor(amounts),
            degraded: Counter::default(),
            missing: Counter::default(),
            gone: Counter::default(),
            late: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("kubernaut_processing");
        registry.register("ended", "Processings that ended, by phase", metrics.ended.clone());
        registry.register(
            "duration_seconds",
            "Time from the beginning of a processing to its end, by phase",
            metrics.durations.clone(),
        );
        registry.register(
            "classifications",
            "Signals classified, by severity, priority and environment",
            metrics.classes.clone(),
        );
        registry.register("signals", "Signals classified, by type and kind of the target", metrics.signals.clone());
        registry.register("evidence_bytes", "Size of the evidence as JSON", metrics.bytes.clone());
        registry.register("evidence_objects", "Entries of the evidence, by what they are", metrics.objects.clone());
        registry.register("degraded", "Processings whose evidence is not complete", metrics.degraded.clone());
        registry.register("missing", "Parts of the evidence that could not be read", metrics.missing.clone());
        registry.register("targets_not_found", "Processings whose target was gone", metrics.gone.clone());
        registry.register("timeouts", "Processings that did not end in time", metrics.late.clone());
        metrics
    }
}

impl Measured for RemediationProcessing {
    fn measure(&self, recorded: usize, metrics: &super::Metrics) {
        let metrics = &metrics.processing;
        let Some((last, took)) = end(self, recorded) else { return };
        let labels = ResultLabels { result: last.to.clone() };
        metrics.ended.get_or_create(&labels).inc();
        metrics.durations.get_or_create(&labels).observe(took);
        match last.reason.as_str() {
            "TargetNotFound" => {
                metrics.gone.inc();
            }
            reason if reason.ends_with("TimedOut") => {
                metrics.late.inc();
            }
            _ => {}
        }
        let Some(status) = self.status.as_ref() else { return };
        if !status.degraded.is_empty() {
            metrics.degraded.inc();
            metrics.missing.inc_by(u64::try_from(status.degraded.len()).unwrap_or(u64::MAX));
        }
        if let Some(class) = &status.classification {
            let labels = ClassLabels {
                severity: class.severity.clone(),
                priority: class.priority.clone(),
                environment: class.environment.clone(),
            };
            metrics.classes.get_or_create(&labels).inc();
            let labels =
                SignalLabels { signal_type: class.signal_type.clone(), resource_type: class.resource_type.clone() };
            metrics.signals.get_or_create(&labels).inc();
        }
        let Some(evidence) = status.evidence.as_ref().filter(|_| self.phase() == Some(ProcessingPhase::Completed))
        else {
            return;
        };
        #[allow(clippy::cast_precision_loss)] // some thousands at most
        let count = |count: usize| count as f64;
        metrics.bytes.observe(count(serde_json::to_vec(evidence).map_or(0, |json| json.len())));
        for (object, amount) in [
            ("pods", evidence.pods.len()),
            ("logs", evidence.logs.len()),
            ("events", evidence.events.len()),
            ("revisions", evidence.revisions.len()),
            ("dependencies", evidence.dependencies.len()),
            ("nodes", evidence.nodes.len()),
        ] {
            metrics.objects.get_or_create(&ObjectLabels { object }).observe(count(amount));
        }
    }

    fn sample(metrics: &super::Metrics) {
        let metrics = &metrics.processing;
        let word = || "word".to_owned();
        drop(metrics.ended.get_or_create(&ResultLabels { result: word() }));
        drop(metrics.durations.get_or_create(&ResultLabels { result: word() }));
        let class = ClassLabels { severity: word(), priority: word(), environment: word() };
        drop(metrics.classes.get_or_create(&class));
        drop(metrics.signals.get_or_create(&SignalLabels { signal_type: word(), resource_type: word() }));
        drop(metrics.objects.get_or_create(&ObjectLabels { object: "pods" }));
    }
}
