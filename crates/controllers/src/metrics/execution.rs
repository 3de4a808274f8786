//! Metrics of KubernetesExecutions (R6.7).

use kubernaut_api::execution::Effect;
use kubernaut_api::{ExecutionPhase, KubernetesExecution, Staged, Transition};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Action, ActionLabels, Histograms, Measured, amounts, between, end, seconds};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabels {
    action: Action,
    result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    action: Action,
    reason: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    ended: Family<ResultLabels, Counter>,
    durations: Histograms<ResultLabels>,
    failed: Family<ReasonLabels, Counter>,
    rehearsed: Family<ResultLabels, Counter>,
    rehearsal_durations: Histograms<ActionLabels>,
    job_durations: Histograms<ActionLabels>,
    verification_durations: Histograms<ActionLabels>,
    effects: Family<ResultLabels, Counter>,
    unknown: Family<ActionLabels, Counter>,
    not_started: Family<ActionLabels, Counter>,
    undone: Family<ResultLabels, Counter>,
    undo_durations: Histograms<ActionLabels>,
    reach: Histograms<ReachLabels>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReachLabels {
    action: Action,
    object: &'static str,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            ended: Family::default(),
            durations: seconds(),
            failed: Family::default(),
            rehearsed: Family::default(),
            rehearsal_durations: seconds(),
            job_durations: seconds(),
            verification_durations: seconds(),
            effects: Family::default(),
            unknown: Family::default(),
            not_started: Family::default(),
            undone: Family::default(),
            undo_durations: seconds(),
            reach: Family::new_with_constructor(amounts),
        };
        let registry = registry.sub_registry_with_prefix("kubernaut_action");
        registry.register("ended", "Actions that ended, by phase", metrics.ended.clone());
        registry.register(
            "duration_seconds",
            "Time from the beginning of an action to its end, by phase",
            metrics.durations.clone(),
        );
        registry.register("failures", "Actions that failed, by reason", metrics.failed.clone());
        registry.register("rehearsals", "Rehearsals with dryRun=All, by result", metrics.rehearsed.clone());
        registry.register(
            "rehearsal_duration_seconds",
            "Time from the first look at an action to the making of its Job, waiting for a free place included",
            metrics.rehearsal_durations.clone(),
        );
        registry.register(
            "job_duration_seconds",
            "Time from the making of the Job to its result",
            metrics.job_durations.clone(),
        );
        registry.register(
            "verification_duration_seconds",
            "Time from the effect to the proof of health, or to giving it up",
            metrics.verification_durations.clone(),
        );
        registry.register("effects", "What Jobs reported about the target", metrics.effects.clone());
        registry.register("outcome_unknown", "Actions of which nobody knows the effect", metrics.unknown.clone());
        registry.register("jobs_not_started", "Jobs that never ran", metrics.not_started.clone());
        registry.register("undone", "Actions that did not help, by how undoing them ended", metrics.undone.clone());
        registry.register("undo_duration_seconds", "Time that undoing took", metrics.undo_durations.clone());
        registry.register(
            "blast_radius",
            "How many objects an action was about to reach, by what they are",
            metrics.reach.clone(),
        );
        metrics
    }
}

impl Measured for KubernetesExecution {
    fn measure(&self, recorded: usize, metrics: &super::Metrics) {
        let metrics = &metrics.execution;
        let action = Action::of(&self.spec.action);
        let all = self.transitions();
        for (before, transition) in all.iter().zip(all.iter().skip(1)).skip(recorded.saturating_sub(1)) {
            left(self, before, transition, metrics);
        }
        let Some((last, took)) = end(self, recorded) else { return };
        let labels = ResultLabels { action, result: last.to.clone() };
        metrics.ended.get_or_create(&labels).inc();
        metrics.durations.get_or_create(&labels).observe(took);
        if self.phase() == Some(ExecutionPhase::Failed) {
            metrics.failed.get_or_create(&ReasonLabels { action, reason: last.reason.clone() }).inc();
            match last.reason.as_str() {
                "OutcomeUnknown" => {
                    metrics.unknown.get_or_create(&ActionLabels { action }).inc();
                }
                "JobNotStarted" => {
                    metrics.not_started.get_or_create(&ActionLabels { action }).inc();
                }
                _ => {}
            }
        }
    }

    fn sample(metrics: &super::Metrics) {
        let metrics = &metrics.execution;
        let action = Action::of("restart_pod");
        let result = ResultLabels { action, result: "word".into() };
        let action = ActionLabels { action };
        for family in [&metrics.ended, &metrics.rehearsed, &metrics.effects, &metrics.undone] {
            drop(family.get_or_create(&result));
        }
        drop(metrics.durations.get_or_create(&result));
        let reason = ReasonLabels { action: action.action, reason: "word".into() };
        drop(metrics.failed.get_or_create(&reason));
        for family in [
            &metrics.rehearsal_durations,
            &metrics.job_durations,
            &metrics.verification_durations,
            &metrics.undo_durations,
        ] {
            drop(family.get_or_create(&action));
        }
        drop(metrics.unknown.get_or_create(&action));
        drop(metrics.not_started.get_or_create(&action));
        drop(metrics.reach.get_or_create(&ReachLabels { action: action.action, object: "pods" }));
    }
}

/// Counts what the phase that was left has come to.
fn left(execution: &KubernetesExecution, before: &Transition, transition: &Transition, metrics: &Metrics) {
    let action = Action::of(&execution.spec.action);
    let took = between(&before.at, &transition.at);
    match before.to.as_str() {
        "Validating" => {
            let result = if transition.to == "Failed" { "refused" } else { "passed" };
            metrics.rehearsed.get_or_create(&ResultLabels { action, result: result.into() }).inc();
            metrics.rehearsal_durations.get_or_create(&ActionLabels { action }).observe(took);
            if let Some(radius) = execution.status.as_ref().and_then(|status| status.blast_radius.as_ref()) {
                let amounts = [
                    ("pods", radius.pods),
                    ("workloads", radius.workloads),
                    ("services", radius.services),
                    ("nodes", radius.nodes),
                ];
                for (object, amount) in amounts {
                    metrics.reach.get_or_create(&ReachLabels { action, object }).observe(f64::from(amount));
                }
            }
        }
        "Executing" => {
            metrics.job_durations.get_or_create(&ActionLabels { action }).observe(took);
            let reported = execution.status.as_ref().and_then(|status| status.result.as_ref());
            let result = format!("{:?}", reported.map_or(Effect::Unknown, |result| result.effect));
            metrics.effects.get_or_create(&ResultLabels { action, result }).inc();
        }
        "Verifying" => {
            metrics.verification_durations.get_or_create(&ActionLabels { action }).observe(took);
        }
        "RollingBack" => {
            metrics.undo_durations.get_or_create(&ActionLabels { action }).observe(took);
            metrics.undone.get_or_create(&ResultLabels { action, result: transition.reason.clone() }).inc();
        }
        _ => {}
    }
}
