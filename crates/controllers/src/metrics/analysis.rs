//! Metrics of AIAnalyses (R4.8).

use std::time::Duration;

use kubernaut_api::{AIAnalysis, AnalysisPhase, Staged};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, linear_buckets};
use prometheus_client::registry::Registry;

use super::{Action, ActionLabels, Histograms, Measured, between, end, seconds};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabels {
    result: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PhaseLabels {
    result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CauseLabels {
    cause: String,
    provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ProviderLabels {
    provider: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RiskLabels {
    risk: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DecisionLabels {
    decision: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    ended: Family<ResultLabels, Counter>,
    durations: Histograms<PhaseLabels>,
    confidence: Histogram,
    causes: Family<CauseLabels, Counter>,
    answers: Family<ProviderLabels, Counter>,
    answer_durations: Histograms<ProviderLabels>,
    plans: Family<RiskLabels, Counter>,
    steps: Family<ActionLabels, Counter>,
    voided: Counter,
    asked: Counter,
    decisions: Family<DecisionLabels, Counter>,
    waits: Histograms<DecisionLabels>,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            ended: Family::default(),
            durations: seconds(),
            confidence: Histogram::new(linear_buckets(0.05, 0.05, 20)),
            causes: Family::default(),
            answers: Family::default(),
            answer_durations: seconds(),
            plans: Family::default(),
            steps: Family::default(),
            voided: Counter::default(),
            asked: Counter::default(),
            decisions: Family::default(),
            waits: seconds(),
        };
        let registry = registry.sub_registry_with_prefix("kubernaut_analysis");
        registry.register("ended", "Analyses that ended, by phase and reason", metrics.ended.clone());
        registry.register(
            "duration_seconds",
            "Time from the beginning of an analysis to its end, a person's time included, by phase",
            metrics.durations.clone(),
        );
        registry.register("confidence", "Confidence of the causes found", metrics.confidence.clone());
        registry.register("causes", "Causes found, by provider", metrics.causes.clone());
        registry.register("provider_answers", "Questions to providers, by result", metrics.answers.clone());
        registry.register(
            "provider_duration_seconds",
            "Time that a provider took to answer, by result",
            metrics.answer_durations.clone(),
        );
        registry.register("plans", "Plans made, by risk", metrics.plans.clone());
        registry.register("planned_steps", "Steps of the plans made, by action", metrics.steps.clone());
        registry.register(
            "claims_voided",
            "Answers that did not hold against evidence and catalogue",
            metrics.voided.clone(),
        );
        registry.register("approvals_requested", "Times that a person was asked", metrics.asked.clone());
        registry.register("approvals_decided", "Questions that ended, by decision", metrics.decisions.clone());
        registry.register(
            "approval_wait_seconds",
            "Time from asking a person to the end of the question, by decision",
            metrics.waits.clone(),
        );
        metrics
    }

    /// Counts one question to a provider.
    pub(crate) fn asked(&self, provider: &'static str, answered: bool, took: Duration) {
        let labels = ProviderLabels { provider, result: if answered { "answered" } else { "failed" } };
        self.answers.get_or_create(&labels).inc();
        self.answer_durations.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

impl Measured for AIAnalysis {
    fn measure(&self, recorded: usize, metrics: &super::Metrics) {
        let metrics = &metrics.analysis;
        let (generating, approval) = (AnalysisPhase::Generating.to_string(), AnalysisPhase::Approval.to_string());
        let status = self.status.as_ref();
        let new = || self.transitions().iter().skip(recorded);
        if new().any(|transition| transition.to == generating) {
            let provider = status.and_then(|status| status.provider.clone()).unwrap_or_default();
            if let Some(cause) = status.and_then(|status| status.root_cause.as_ref()) {
                metrics.causes.get_or_create(&CauseLabels { cause: cause.cause.clone(), provider }).inc();
            }
            if let Some(confidence) = status.and_then(|status| status.confidence) {
                metrics.confidence.observe(confidence);
            }
            if let Some(plan) = status.and_then(|status| status.plan.as_ref()) {
                let risk = plan.risk.map_or_else(String::new, |risk| format!("{risk:?}"));
                metrics.plans.get_or_create(&RiskLabels { risk }).inc();
                for step in &plan.steps {
                    metrics.steps.get_or_create(&ActionLabels { action: Action::of(&step.action) }).inc();
                }
            }
        }
        if new().any(|transition| transition.to == approval) {
            metrics.asked.inc();
        }
        let Some((last, took)) = end(self, recorded) else { return };
        let labels = ResultLabels { result: last.to.clone(), reason: last.reason.clone() };
        metrics.ended.get_or_create(&labels).inc();
        metrics.durations.get_or_create(&PhaseLabels { result: last.to.clone() }).observe(took);
        if last.reason == "InvalidPlan" {
            metrics.voided.inc();
        }
        if let Some(asked) = self.transitions().iter().rev().find(|transition| transition.to == approval) {
            let decision = match last.reason.as_str() {
                "Approved" => "approved",
                "RejectedByPerson" => "rejected",
                "ApprovalExpired" => "expired",
                _ => "void",
            };
            let labels = DecisionLabels { decision };
            metrics.decisions.get_or_create(&labels).inc();
            metrics.waits.get_or_create(&labels).observe(between(&asked.at, &last.at));
        }
    }

    fn sample(metrics: &super::Metrics) {
        let metrics = &metrics.analysis;
        let word = || "word".to_owned();
        drop(metrics.ended.get_or_create(&ResultLabels { result: word(), reason: word() }));
        drop(metrics.durations.get_or_create(&PhaseLabels { result: word() }));
        drop(metrics.causes.get_or_create(&CauseLabels { cause: word(), provider: word() }));
        metrics.asked("builtin", true, Duration::ZERO);
        drop(metrics.plans.get_or_create(&RiskLabels { risk: word() }));
        drop(metrics.steps.get_or_create(&ActionLabels { action: Action::of("restart_pod") }));
        drop(metrics.decisions.get_or_create(&DecisionLabels { decision: "approved" }));
        drop(metrics.waits.get_or_create(&DecisionLabels { decision: "approved" }));
    }
}
