//! Running the steps: what has ended is taken down, what may start starts, and when nothing is left the workflow ends.
//!
//! A step is done when its execution is Completed, or when its condition did not hold. It may start when all that it
//! depends on is done; one with a condition also when a step that the condition names failed and may fail.

use kubernaut_api::execution::{Effect, ExecutionPhase, KubernetesExecution};
use kubernaut_api::meta::Phase;
use kubernaut_api::workflow::{OnFailure, Step, StepStatus, WorkflowExecutionStatus, WorkflowOnFailure};
use kubernaut_api::{WorkflowPhase, names};

use super::condition::Condition;
use super::{Seen, execution, over, steps, undo};
use crate::drift::DRIFTED;
use crate::execution::{ROLLED_BACK, effect_of, may_retry};
use crate::stage::{Why, after, enter, passed, sentence};

/// Wait before the second attempt; each further wait is twice as long.
const FIRST_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

/// Takes over what the executions say, starts what may start, ends when nothing is left.
pub(super) fn advance(status: &mut WorkflowExecutionStatus, seen: &Seen) {
    let steps = steps(status, seen).to_vec();
    for (state, step) in status.steps.iter_mut().zip(&steps) {
        take(state, step, seen);
    }
    let late = passed(status.phase_deadline.as_ref(), &seen.now);
    if !late && !seen.over() && !stops(status, &steps) {
        start(status, &steps, seen);
    }
    if late || seen.over() || stops(status, &steps) {
        for state in status.steps.iter_mut().filter(|state| waits(state)) {
            // Its last attempt did nothing, and there is none after it.
            state.phase = Some(if seen.over() { ExecutionPhase::Cancelled } else { ExecutionPhase::Failed });
            state.not_before = None;
            state.effect = Some(Effect::None);
        }
    }
    // A step that does not end by itself is stopped by the deadline of its own phases.
    let open = |state: &StepStatus| waits(state) || state.phase.is_some_and(|phase| !phase.is_terminal());
    if !status.steps.iter().any(open) {
        finish(status, &steps, late, seen);
    }
}

/// True while a step waits for its next attempt.
fn waits(state: &StepStatus) -> bool {
    state.phase.is_none() && state.not_before.is_some()
}

/// True when a step counts as done for those that depend on it.
fn is_done(state: &StepStatus) -> bool {
    state.skipped || state.phase == Some(ExecutionPhase::Completed)
}

fn has_failed(state: &StepStatus) -> bool {
    matches!(state.phase, Some(ExecutionPhase::Failed | ExecutionPhase::Cancelled))
}

/// True when a step failed that must not.
fn stops(status: &WorkflowExecutionStatus, steps: &[Step]) -> bool {
    status.steps.iter().zip(steps).any(|(state, step)| has_failed(state) && step.on_failure != OnFailure::Continue)
}

/// Takes over what the execution of a step says.
fn take(state: &mut StepStatus, step: &Step, seen: &Seen) {
    let Some(name) = state.execution_name.clone() else { return };
    if state.phase.is_none_or(Phase::is_terminal) {
        return;
    }
    let Some(execution) = seen.executions.get(&name) else {
        if seen.taken.contains(&name) {
            let message = format!("KubernetesExecution {name} exists and belongs to somebody else");
            end(state, ExecutionPhase::Failed, Effect::None, "NameCollision", message);
        } else if state.phase == Some(ExecutionPhase::Executing) {
            // Made again, it would run its Job again.
            let message = "OutcomeUnknown: its KubernetesExecution is gone, look at the target".to_owned();
            end(state, ExecutionPhase::Failed, Effect::Unknown, "OutcomeUnknown", message);
        }
        return;
    };
    let result = execution.status.clone().unwrap_or_default();
    let Some(phase) = result.phase.filter(|phase| phase.is_terminal()) else {
        state.phase = Some(coarse(result.phase));
        return;
    };
    let message = result.message.clone().unwrap_or_default();
    if state.retried < step.retries && may_retry(execution) {
        let wait = FIRST_WAIT * 2u32.saturating_pow(u32::from(state.retried));
        state.phase = None;
        state.not_before = Some(after(&seen.now, wait));
        state.reason = result.reason;
        state.message = sentence(format!("failed before it ran, tried again in {} s: {message}", wait.as_secs()));
        return;
    }
    end(state, phase, effect_of(&result), result.reason.as_deref().unwrap_or_default(), message);
}

fn end(state: &mut StepStatus, phase: ExecutionPhase, effect: Effect, reason: &str, message: String) {
    let why = Why::new(reason, message);
    state.phase = Some(phase);
    state.effect = Some(effect);
    state.reason = Some(why.reason().to_owned()).filter(|reason| !reason.is_empty());
    why.message().clone_into(&mut state.message);
    state.not_before = None;
}

/// The phase of an execution as far as a workflow cares: not begun, begun, or how it ended. The steps in
/// between stand in the execution itself and are not worth a write here.
pub(super) fn coarse(phase: Option<ExecutionPhase>) -> ExecutionPhase {
    match phase {
        None | Some(ExecutionPhase::Pending | ExecutionPhase::Validating) => ExecutionPhase::Pending,
        Some(ExecutionPhase::Executing | ExecutionPhase::Verifying | ExecutionPhase::RollingBack) => {
            ExecutionPhase::Executing
        }
        Some(ended) => ended,
    }
}

/// Starts what may start, within the limit; skips what need not. A step that is skipped can free another one.
fn start(status: &mut WorkflowExecutionStatus, steps: &[Step], seen: &Seen) {
    let limit = usize::from(seen.workflow.spec.parallelism);
    let mut changed = true;
    while std::mem::take(&mut changed) {
        for (number, step) in steps.iter().enumerate() {
            let Some(state) = status.steps.get(number) else { return };
            let begun = state.phase.is_some() || state.skipped;
            if begun || !passed_or_unset(state, seen) || !is_ready(status, step) {
                continue;
            }
            let first = state.not_before.is_none();
            let verdict = if first { judge(status, step) } else { Ok(true) };
            let running =
                status.steps.iter().filter(|state| state.phase.is_some_and(|phase| !phase.is_terminal())).count();
            let Some(state) = status.steps.get_mut(number) else { return };
            match verdict {
                Ok(true) if running >= limit => {}
                Ok(true) => {
                    state.retried += u8::from(!first);
                    state.execution_name = Some(name(seen, step, state.retried));
                    state.phase = Some(ExecutionPhase::Pending);
                    state.not_before = None;
                }
                Ok(false) => {
                    state.skipped = true;
                    state.message = "skipped: its condition does not hold".into();
                    changed = true;
                }
                Err(problem) => {
                    let message = format!("the condition could not be judged: {problem}");
                    end(state, ExecutionPhase::Failed, Effect::None, "ConditionFailed", message);
                    if step.on_failure != OnFailure::Continue {
                        return;
                    }
                    changed = true;
                }
            }
        }
    }
}

fn passed_or_unset(state: &StepStatus, seen: &Seen) -> bool {
    state.not_before.is_none() || passed(state.not_before.as_ref(), &seen.now)
}

fn name(seen: &Seen, step: &Step, retried: u8) -> String {
    let base = seen.workflow.base_name();
    match retried {
        0 => names::execution(&base, &step.name),
        retried => names::retry(&base, &step.name, retried),
    }
}

/// True when all that a step depends on is done, or failed as its condition wants to know.
fn is_ready(status: &WorkflowExecutionStatus, step: &Step) -> bool {
    let named = step.condition.as_deref().and_then(|text| Condition::parse(text).ok()).map(|condition| condition.steps);
    step.depends_on.iter().all(|before| {
        let state = status.steps.iter().find(|state| state.name == *before);
        let asks = named.as_ref().is_some_and(|named| named.contains(before));
        state.is_some_and(|state| is_done(state) || (asks && has_failed(state)))
    })
}

/// Whether the condition of a step holds.
fn judge(status: &WorkflowExecutionStatus, step: &Step) -> Result<bool, String> {
    let Some(text) = &step.condition else { return Ok(true) };
    Condition::parse(text)?.holds(&status.steps)
}

fn finish(status: &mut WorkflowExecutionStatus, steps: &[Step], late: bool, seen: &Seen) {
    let now = &seen.now;
    let done = status.steps.iter().filter(|state| is_done(state)).count();
    let count = format!("{done} of {} steps completed", status.steps.len());
    if done == status.steps.len() {
        let did: Vec<_> =
            status.steps.iter().map(|state| state.message.clone()).filter(|text| !text.is_empty()).collect();
        enter(status, WorkflowPhase::Monitoring, now, Why::new("StepsCompleted", count));
        enter(status, WorkflowPhase::Completed, now, Why::new("StepsCompleted", did.join("; ")));
        return;
    }
    let failed = status.steps.iter().any(|state| state.phase == Some(ExecutionPhase::Failed));
    if seen.over() && !failed {
        // Steps that were cancelled with the request did not fail.
        enter(status, WorkflowPhase::Cancelled, now, over(seen, &count));
        return;
    }
    let Some((why, on_failure)) = failure(status, steps, late, &count) else { return };
    let on_failure = widened(on_failure, seen.workflow.spec.on_failure);
    // A request that is over begins nothing new, not even this: what stands stays, and is named.
    if on_failure == OnFailure::Rollback && !seen.over() && !seen.is_dry() {
        undo::begin(status, seen, why);
    } else {
        enter(status, WorkflowPhase::Failed, now, why);
    }
}

/// Why the workflow failed, and what that means: the first failed step that counts, one that stops everything before
/// one that does not; or that it is late.
fn failure(status: &WorkflowExecutionStatus, steps: &[Step], late: bool, count: &str) -> Option<(Why, OnFailure)> {
    let order = |on_failure: OnFailure| match on_failure {
        OnFailure::Rollback => 0,
        OnFailure::Fail => 1,
        OnFailure::Continue => 2,
    };
    let failed = status.steps.iter().zip(steps).filter(|(state, _)| has_failed(state));
    if let Some((state, step)) = failed.min_by_key(|(_, step)| order(step.on_failure)) {
        let others = status.steps.iter().filter(|other| other.name != state.name);
        // Only where nothing else was done is everything as it was before.
        let alone = others.into_iter().all(|other| !matches!(other.effect, Some(Effect::Changed | Effect::Unknown)));
        let reason = match state.reason.as_deref() {
            Some(ROLLED_BACK) if alone => ROLLED_BACK,
            // Whether it helped cannot be told: that is for the request to say.
            Some(DRIFTED) if alone => DRIFTED,
            _ => "StepFailed",
        };
        return Some((Why::new(reason, format!("step {}: {}", state.name, state.message)), step.on_failure));
    }
    late.then(|| (Why::new("ExecutingTimedOut", format!("the deadline passed; {count}")), OnFailure::Fail))
}

/// Executions that status names and that do not exist yet.
pub(super) fn missing(status: &WorkflowExecutionStatus, seen: &Seen) -> Vec<KubernetesExecution> {
    let started = |state: &&StepStatus| state.phase.is_some_and(|phase| !phase.is_terminal());
    status
        .steps
        .iter()
        .filter(started)
        .filter_map(|state| {
            let name = state.execution_name.clone().filter(|name| !seen.executions.contains_key(name))?;
            let step = steps(status, seen).iter().find(|step| step.name == state.name)?;
            Some(execution(status, seen, step, name))
        })
        .collect()
}

/// What a failure means under the workflow's own rule.
fn widened(on_failure: OnFailure, own: WorkflowOnFailure) -> OnFailure {
    match (on_failure, own) {
        (OnFailure::Fail, WorkflowOnFailure::Rollback) => OnFailure::Rollback,
        (on_failure, _) => on_failure,
    }
}
