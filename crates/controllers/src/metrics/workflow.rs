//! Metrics of WorkflowExecutions (R5.7).

use kubernaut_api::{ExecutionPhase, Staged, WorkflowExecution, WorkflowPhase};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Action, Histograms, Measured, amounts, between, end, seconds, seconds_alone};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabels {
    result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StepLabels {
    action: Action,
    result: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    begun: Counter,
    ended: Family<ResultLabels, Counter>,
    durations: Histograms<ResultLabels>,
    refused: Family<ReasonLabels, Counter>,
    failed: Family<ReasonLabels, Counter>,
    planned: Histogram,
    waits: Histogram,
    steps: Family<StepLabels, Counter>,
    not_started: Counter,
    skipped: Counter,
    retries: Counter,
    late: Counter,
    cancelled: Counter,
    undone: Family<ResultLabels, Counter>,
    undo_durations: Histogram,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            begun: Counter::default(),
            ended: Family::default(),
            durations: seconds(),
            refused: Family::default(),
            failed: Family::default(),
            planned: amounts(),
            waits: seconds_alone(),
            steps: Family::default(),
            not_started: Counter::default(),
            skipped: Counter::default(),
            retries: Counter::default(),
            late: Counter::default(),
            cancelled: Counter::default(),
            undone: Family::default(),
            undo_durations: seconds_alone(),
        };
        let registry = registry.sub_registry_with_prefix("kubernaut_workflow");
        registry.register("begun", "Workflows whose steps were begun", metrics.begun.clone());
        registry.register("ended", "Workflows that ended, by phase", metrics.ended.clone());
        registry.register(
            "duration_seconds",
            "Time from the beginning of a workflow to its end, by phase",
            metrics.durations.clone(),
        );
        registry.register("refused", "Workflows refused before anything ran, by reason", metrics.refused.clone());
        registry.register("failures", "Workflows that failed, by reason", metrics.failed.clone());
        registry.register("planned_steps", "Steps of the workflows that were begun", metrics.planned.clone());
        registry.register(
            "wait_seconds",
            "Time from the first look at a workflow to the beginning of its steps",
            metrics.waits.clone(),
        );
        registry.register("steps", "Steps of the workflows that ended, by action and phase", metrics.steps.clone());
        registry.register("steps_not_started", "Steps that never began", metrics.not_started.clone());
        registry.register("steps_skipped", "Steps whose condition was false", metrics.skipped.clone());
        registry.register(
            "step_retries",
            "Further attempts of steps that failed before they ran",
            metrics.retries.clone(),
        );
        registry.register("timeouts", "Workflows that did not end in time", metrics.late.clone());
        registry.register(
            "cancelled",
            "Workflows cancelled, by themselves or with their request",
            metrics.cancelled.clone(),
        );
        registry.register(
            "undone",
            "Workflows that undid what they had done, by how that ended",
            metrics.undone.clone(),
        );
        registry.register("undo_duration_seconds", "Time that undoing took", metrics.undo_durations.clone());
        metrics
    }
}

impl Measured for WorkflowExecution {
    fn measure(&self, recorded: usize, metrics: &super::Metrics) {
        let metrics = &metrics.workflow;
        #[allow(clippy::cast_precision_loss)] // fifty at most
        let planned = self.status.as_ref().map_or(0, |status| status.steps.len()) as f64;
        let executing = WorkflowPhase::Executing.to_string();
        let begun = self.transitions().iter().enumerate().find(|(_, transition)| transition.to == executing);
        if let Some((_, transition)) = begun.filter(|(index, _)| *index >= recorded) {
            metrics.begun.inc();
            metrics.planned.observe(planned);
            metrics.waits.observe(self.transitions().first().map_or(0.0, |first| between(&first.at, &transition.at)));
        }
        let Some((last, took)) = end(self, recorded) else { return };
        let labels = ResultLabels { result: last.to.clone() };
        metrics.ended.get_or_create(&labels).inc();
        metrics.durations.get_or_create(&labels).observe(took);
        match self.phase() {
            Some(WorkflowPhase::Failed) => {
                let labels = ReasonLabels { reason: last.reason.clone() };
                metrics.failed.get_or_create(&labels).inc();
                if begun.is_none() {
                    metrics.refused.get_or_create(&labels).inc();
                }
                if last.reason.ends_with("TimedOut") {
                    metrics.late.inc();
                }
            }
            Some(WorkflowPhase::Cancelled) => {
                metrics.cancelled.inc();
            }
            _ => {}
        }
        let undoing = WorkflowPhase::RollingBack.to_string();
        if let Some(undoing) = self.transitions().iter().find(|transition| transition.to == undoing) {
            metrics.undone.get_or_create(&ResultLabels { result: last.reason.clone() }).inc();
            metrics.undo_durations.observe(between(&undoing.at, &last.at));
        }
        let Some(status) = &self.status else { return };
        // Those that a RemediationWorkflow gave stand in status.
        let steps = status.expanded.as_ref().map_or(&self.spec.steps, |expanded| &expanded.steps);
        for (state, step) in status.steps.iter().zip(steps) {
            metrics.retries.inc_by(u64::from(state.retried));
            if state.skipped {
                metrics.skipped.inc();
                continue;
            }
            let Some(phase) = state.phase else {
                metrics.not_started.inc();
                continue;
            };
            let labels = StepLabels { action: Action::of(&step.action), result: phase.to_string() };
            metrics.steps.get_or_create(&labels).inc();
        }
    }

    fn sample(metrics: &super::Metrics) {
        let metrics = &metrics.workflow;
        let word = || "word".to_owned();
        drop(metrics.ended.get_or_create(&ResultLabels { result: word() }));
        drop(metrics.durations.get_or_create(&ResultLabels { result: word() }));
        drop(metrics.refused.get_or_create(&ReasonLabels { reason: word() }));
        drop(metrics.failed.get_or_create(&ReasonLabels { reason: word() }));
        let step = StepLabels { action: Action::of("restart_pod"), result: ExecutionPhase::Completed.to_string() };
        drop(metrics.steps.get_or_create(&step));
        drop(metrics.undone.get_or_create(&ResultLabels { result: word() }));
    }
}
