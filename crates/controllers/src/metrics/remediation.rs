//! Metrics of RemediationRequests.

use kubernaut_api::{MicroTime, RemediationRequest, RequestPhase, Staged};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Histograms, Measured, between, end, seconds};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabels {
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    reason: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    ended: Family<OutcomeLabels, Counter>,
    durations: Histograms<OutcomeLabels>,
    blocked: Family<ReasonLabels, Counter>,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self { ended: Family::default(), durations: seconds(), blocked: Family::default() };
        registry.register(
            "kubernaut_remediations",
            "Remediation requests that ended, by outcome (the phase where there is none)",
            metrics.ended.clone(),
        );
        registry.register(
            "kubernaut_remediation_duration_seconds",
            "Time from the creation of a request to its end, by outcome",
            metrics.durations.clone(),
        );
        registry.register(
            "kubernaut_remediations_blocked",
            "Times that a request was held back, by reason",
            metrics.blocked.clone(),
        );
        metrics
    }
}

impl Measured for RemediationRequest {
    fn measure(&self, recorded: usize, metrics: &super::Metrics) {
        let metrics = &metrics.remediation;
        let blocked = RequestPhase::Blocked.to_string();
        for transition in self.transitions().iter().skip(recorded).filter(|transition| transition.to == blocked) {
            metrics.blocked.get_or_create(&ReasonLabels { reason: transition.reason.clone() }).inc();
        }
        let Some((last, mut took)) = end(self, recorded) else { return };
        let outcome = self.status.as_ref().and_then(|status| status.outcome);
        let labels =
            OutcomeLabels { outcome: outcome.map_or_else(|| last.to.clone(), |outcome| format!("{outcome:?}")) };
        if let Some(created) = &self.metadata.creation_timestamp {
            took = between(&MicroTime(created.0), &last.at);
        }
        metrics.ended.get_or_create(&labels).inc();
        metrics.durations.get_or_create(&labels).observe(took);
    }

    fn sample(metrics: &super::Metrics) {
        let outcome = OutcomeLabels { outcome: "Remediated".into() };
        drop(metrics.remediation.ended.get_or_create(&outcome));
        drop(metrics.remediation.durations.get_or_create(&outcome));
        drop(metrics.remediation.blocked.get_or_create(&ReasonLabels { reason: "Cooldown".into() }));
    }
}
