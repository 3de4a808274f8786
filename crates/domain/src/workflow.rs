//! The decision about a WorkflowExecution: which steps may start, and when all is over.

use std::collections::{BTreeMap, BTreeSet};

use kubernaut_api::execution::{ExecutionPhase, KubernetesExecution, KubernetesExecutionSpec};
use kubernaut_api::meta::Phase;
use kubernaut_api::workflow::{OnFailure, Step, StepStatus, WorkflowExecutionStatus};
use kubernaut_api::{MicroTime, WorkflowExecution, WorkflowPhase, names};

use crate::execution::ROLLED_BACK;
use crate::request::child_of;
use crate::settings::Settings;
use crate::stage::{Next, Notice, Why, after, enter, passed};
use crate::{catalogue, notices, plan};

/// Everything the decision depends on.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The object.
    pub workflow: WorkflowExecution,
    /// True when the request has ended or is cancelled: nothing new starts.
    pub request_over: bool,
    /// The executions that exist, by the name of their step.
    pub executions: BTreeMap<String, KubernetesExecution>,
    /// Settings.
    pub settings: Settings,
    /// The time.
    pub now: MicroTime,
}

/// Everything the decision wants done.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The status to write.
    pub status: WorkflowExecutionStatus,
    /// The executions to make after that, unless they exist.
    pub children: Vec<KubernetesExecution>,
    /// Kubernetes Events to publish.
    pub notices: Vec<Notice>,
    /// When to look again.
    pub next: Next,
}

/// Decides about one WorkflowExecution.
pub fn decide(seen: &Seen) -> Plan {
    let mut status = seen.workflow.status.clone().unwrap_or_default();
    status.observed_generation = seen.workflow.metadata.generation;
    let recorded = status.transitions.len();
    if !status.phase.is_some_and(Phase::is_terminal) {
        proceed(&mut status, seen);
    }
    let children = if status.phase == Some(WorkflowPhase::Executing) { missing(&status, seen) } else { vec![] };
    // Past the deadline only the end of what still runs is waited for.
    let deadline = status.phase_deadline.as_ref().filter(|deadline| **deadline > seen.now);
    let notices = notices::of_workflow(&status.transitions[recorded..]);
    Plan { next: Next::earliest([deadline]), status, children, notices }
}

fn proceed(status: &mut WorkflowExecutionStatus, seen: &Seen) {
    let now = &seen.now;
    let spec = &seen.workflow.spec;
    if status.phase.is_none() {
        enter(status, WorkflowPhase::Pending, now, Why::new("Created", ""));
        status.steps =
            spec.steps.iter().map(|step| StepStatus { name: step.name.clone(), ..StepStatus::default() }).collect();
    }
    if status.phase == Some(WorkflowPhase::Pending) {
        if seen.request_over {
            enter(
                status,
                WorkflowPhase::Cancelled,
                now,
                Why::new("RequestEnded", "the request ended before a step started"),
            );
            return;
        }
        enter(status, WorkflowPhase::Planning, now, Why::new("Planning", format!("{} steps", spec.steps.len())));
        if let Err(problem) = check_graph(&spec.steps) {
            enter(status, WorkflowPhase::Failed, now, Why::new("InvalidPlan", problem));
            return;
        }
        enter(status, WorkflowPhase::Validating, now, Why::new("GraphValid", ""));
        if let Err((reason, problem)) = check_steps(&spec.steps, spec.plan_hash.as_deref().unwrap_or_default()) {
            enter(status, WorkflowPhase::Failed, now, Why::new(reason, problem));
            return;
        }
        enter(status, WorkflowPhase::Executing, now, Why::new("PlanValid", ""));
        status.phase_deadline = Some(after(now, spec.timeout.into()));
    }
    advance(status, seen);
}

/// Takes over what the executions say, starts what may start, ends when nothing is left.
fn advance(status: &mut WorkflowExecutionStatus, seen: &Seen) {
    let steps = &seen.workflow.spec.steps;
    for step in &mut status.steps {
        if let Some(execution) = seen.executions.get(&step.name) {
            let result = execution.status.clone().unwrap_or_default();
            step.phase = Some(coarse(result.phase));
            if result.phase.is_some_and(Phase::is_terminal) {
                step.message = result.message.unwrap_or_default();
            }
        } else if step.phase == Some(ExecutionPhase::Executing) {
            // Made again, it would run its Job again.
            step.phase = Some(ExecutionPhase::Failed);
            step.message = "OutcomeUnknown: its KubernetesExecution is gone, look at the target".into();
        }
    }
    let late = passed(status.phase_deadline.as_ref(), &seen.now);
    let failed = failure(status, seen);
    let stop =
        late || seen.request_over || failed.as_ref().is_some_and(|(_, on_failure)| *on_failure != OnFailure::Continue);
    if !stop {
        for name in ready(status, seen.workflow.spec.parallelism, steps) {
            if let Some(step) = status.steps.iter_mut().find(|step| step.name == name) {
                step.execution_name = Some(names::execution(&seen.workflow.base_name(), &name));
                step.phase = Some(ExecutionPhase::Pending);
            }
        }
    }
    let running = status.steps.iter().any(|step| step.phase.is_some_and(|phase| !phase.is_terminal()));
    // A step that does not end by itself is stopped by the deadline of its own phases.
    if running {
        return;
    }
    finish(status, failed.map(|(why, _)| why), late, seen);
}

fn finish(status: &mut WorkflowExecutionStatus, failed: Option<Why>, late: bool, seen: &Seen) {
    let now = &seen.now;
    let done = status.steps.iter().filter(|step| step.phase == Some(ExecutionPhase::Completed)).count();
    let count = format!("{done} of {} steps completed", status.steps.len());
    if done == status.steps.len() {
        let did: Vec<_> =
            status.steps.iter().map(|step| step.message.clone()).filter(|text| !text.is_empty()).collect();
        enter(status, WorkflowPhase::Monitoring, now, Why::new("StepsCompleted", count));
        enter(status, WorkflowPhase::Completed, now, Why::new("StepsCompleted", did.join("; ")));
    } else if seen.request_over && !status.steps.iter().any(|step| step.phase == Some(ExecutionPhase::Failed)) {
        // Steps that were cancelled with the request did not fail.
        enter(status, WorkflowPhase::Cancelled, now, Why::new("RequestEnded", format!("the request ended; {count}")));
    } else if let Some(why) = failed {
        enter(status, WorkflowPhase::Failed, now, why);
    } else if late {
        enter(
            status,
            WorkflowPhase::Failed,
            now,
            Why::new("ExecutingTimedOut", format!("the deadline passed; {count}")),
        );
    }
}

/// The phase of an execution as far as a workflow cares: not begun, begun, or how it ended. The steps in
/// between stand in the execution itself and are not worth a write here.
fn coarse(phase: Option<ExecutionPhase>) -> ExecutionPhase {
    match phase {
        None | Some(ExecutionPhase::Pending | ExecutionPhase::Validating) => ExecutionPhase::Pending,
        Some(ExecutionPhase::Executing | ExecutionPhase::Verifying | ExecutionPhase::RollingBack) => {
            ExecutionPhase::Executing
        }
        Some(ended) => ended,
    }
}

/// The first failed step that counts: one that stops everything before one that does not.
fn failure(status: &WorkflowExecutionStatus, seen: &Seen) -> Option<(Why, OnFailure)> {
    let mut failed: Vec<_> = status
        .steps
        .iter()
        .zip(&seen.workflow.spec.steps)
        .filter(|(state, _)| matches!(state.phase, Some(ExecutionPhase::Failed | ExecutionPhase::Cancelled)))
        .collect();
    failed.sort_by_key(|(_, step)| step.on_failure == OnFailure::Continue);
    let (state, step) = failed.first()?;
    let reason = seen.executions.get(&state.name).and_then(|execution| execution.status.as_ref()?.reason.as_deref());
    let alone = !status.steps.iter().any(|other| other.phase == Some(ExecutionPhase::Completed));
    // Only where nothing else was done is everything as it was before.
    let reason = if reason == Some(ROLLED_BACK) && alone { ROLLED_BACK } else { "StepFailed" };
    Some((Why::new(reason, format!("step {}: {}", state.name, state.message)), step.on_failure))
}

/// Steps that may start now: not started, everything before them completed, within the limit.
fn ready(status: &WorkflowExecutionStatus, parallelism: u8, steps: &[Step]) -> Vec<String> {
    let phase = |name: &str| status.steps.iter().find(|step| step.name == name).and_then(|step| step.phase);
    let running = status.steps.iter().filter(|step| step.phase.is_some_and(|phase| !phase.is_terminal())).count();
    steps
        .iter()
        .filter(|step| phase(&step.name).is_none())
        .filter(|step| step.depends_on.iter().all(|name| phase(name) == Some(ExecutionPhase::Completed)))
        .map(|step| step.name.clone())
        .take(usize::from(parallelism).saturating_sub(running))
        .collect()
}

/// Executions that status names and that do not exist yet.
fn missing(status: &WorkflowExecutionStatus, seen: &Seen) -> Vec<KubernetesExecution> {
    let spec = &seen.workflow.spec;
    let started = |step: &Step| {
        status.steps.iter().any(|state| {
            state.name == step.name
                && state.execution_name.is_some()
                && state.phase.is_some_and(|phase| !phase.is_terminal())
        })
    };
    let base = seen.workflow.base_name();
    let limit: std::time::Duration = spec.timeout.into();
    spec.steps
        .iter()
        .filter(|step| started(step) && !seen.executions.contains_key(&step.name))
        .map(|step| KubernetesExecution {
            metadata: child_of(&seen.workflow, names::execution(&base, &step.name), &base),
            spec: KubernetesExecutionSpec {
                request: base.clone(),
                step: step.name.clone(),
                action: step.action.clone(),
                target: step.target.clone(),
                parameters: step.parameters.clone(),
                plan_hash: spec.plan_hash.clone().unwrap_or_default(),
                dry_run: spec.dry_run,
                timeout: step.timeout.unwrap_or_else(|| seen.settings.job.timeout.into()),
                // The other half is for undoing what did not help.
                verification_timeout: seen.settings.limits.verification.min(limit / 2).into(),
                undoes: None,
            },
            status: None,
        })
        .collect()
}

/// Refuses double names, dependencies that do not exist and cycles, before anything runs (R5.1).
fn check_graph(steps: &[Step]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for step in steps {
        if !names.insert(step.name.as_str()) {
            return Err(format!("spec.steps: the name {} stands twice", step.name));
        }
    }
    for step in steps {
        if let Some(missing) = step.depends_on.iter().find(|name| !names.contains(name.as_str())) {
            return Err(format!("spec.steps[{}].dependsOn: there is no step {missing}", step.name));
        }
    }
    // Kahn: take away what depends on nothing that is left, until nothing changes.
    let mut left: Vec<&Step> = steps.iter().collect();
    loop {
        let before = left.len();
        let names: BTreeSet<_> = left.iter().map(|step| step.name.as_str()).collect();
        left.retain(|step| step.depends_on.iter().any(|name| names.contains(name.as_str())));
        match left.len() {
            0 => return Ok(()),
            now if now == before => {
                let names: Vec<_> = left.iter().map(|step| step.name.as_str()).collect();
                return Err(format!("spec.steps: dependsOn goes in a circle among {}", names.join(", ")));
            }
            _ => {}
        }
    }
}

fn check_steps(steps: &[Step], plan_hash: &str) -> Result<(), (&'static str, String)> {
    let hash = plan::hash(steps);
    if hash != plan_hash {
        return Err(("PlanChanged", format!("spec.planHash is {plan_hash}, the steps hash to {hash}")));
    }
    let problems: Vec<_> = steps
        .iter()
        .filter_map(|step| catalogue::check(step).err().map(|found| (step, found)))
        .flat_map(|(step, found)| {
            found.into_iter().map(|problem| format!("step {}: {problem}", step.name)).collect::<Vec<_>>()
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(("InvalidSteps", problems.join("; "))) }
}
