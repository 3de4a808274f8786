//! Rolling back: each finished step that changed something is undone, the later ones first (R5.4).
//!
//! What undoes a step is fixed when the rollback begins, from the state before that its execution recorded: an action
//! of the catalogue with parameters, run by one more KubernetesExecution of a name of its own. What cannot be undone
//! is named, and the rest is undone all the same. A rollback that has begun is ended, whatever becomes of the request.

use std::collections::BTreeSet;

use kubernaut_api::execution::{Effect, ExecutionPhase, KubernetesExecution, KubernetesExecutionSpec};
use kubernaut_api::meta::Phase;
use kubernaut_api::workflow::{Step, StepStatus, Undo, UndoState, WorkflowExecutionStatus};
use kubernaut_api::{WorkflowPhase, names};

use super::graph::Graph;
use super::{Seen, execution, steps};
use crate::catalogue;
use crate::execution::ROLLED_BACK;
use crate::stage::{Why, after, enter, passed, sentence};

/// Reason of a workflow of whose effects something is left.
pub const ROLLBACK_INCOMPLETE: &str = "RollbackIncomplete";

/// Begins to undo; where nothing was changed, the workflow has simply failed.
pub(super) fn begin(status: &mut WorkflowExecutionStatus, seen: &Seen, why: Why) {
    let plan = steps(status, seen).to_vec();
    for (state, step) in status.steps.iter_mut().zip(&plan) {
        state.undo = undo_of(state, step, seen);
    }
    let names: Vec<_> =
        status.steps.iter().filter(|state| state.undo.is_some()).map(|state| state.name.clone()).collect();
    if names.is_empty() {
        enter(status, WorkflowPhase::Failed, &seen.now, why);
        return;
    }
    let message = format!("{}; undoing {}", why.message(), names.join(", "));
    enter(status, WorkflowPhase::RollingBack, &seen.now, Why::new("Undoing", message));
    status.phase_deadline = Some(after(&seen.now, seen.workflow.spec.timeout.into()));
    advance(status, seen);
}

/// What has to be undone of a step, and how; `None` where it has changed nothing that still stands.
fn undo_of(state: &StepStatus, step: &Step, seen: &Seen) -> Option<Undo> {
    let left =
        |message: String| Some(Undo { state: UndoState::NotUndone, message: sentence(message), ..Undo::default() });
    match (state.phase?, state.effect) {
        (ExecutionPhase::Completed, Some(Effect::Changed)) => {
            let Some(action) = catalogue::find(&step.action) else {
                return left(format!("{} is no action of the catalogue any more", step.action));
            };
            if action.inverse.is_none() {
                return left(format!("{} has no inverse", step.action));
            }
            let execution = seen.executions.get(state.execution_name.as_deref()?);
            let before = execution.and_then(|execution| execution.status.as_ref()?.result.as_ref());
            match before.and_then(|result| action.undo(&result.before)) {
                Some(undo) => {
                    Some(Undo { action: Some(undo.action.to_owned()), parameters: undo.parameters, ..Undo::default() })
                }
                None => left("there is no record of the state before that would do to go back to it".into()),
            }
        }
        (ExecutionPhase::Completed, Some(Effect::Unchanged | Effect::None)) => None,
        // It has undone itself.
        _ if state.reason.as_deref() == Some(ROLLED_BACK) => None,
        (_, Some(Effect::Unchanged | Effect::None)) => None,
        _ => left(format!("look at the target: {}", state.message)),
    }
}

/// Takes over what has been undone, starts what is next, ends when nothing is left.
pub(super) fn advance(status: &mut WorkflowExecutionStatus, seen: &Seen) {
    for state in &mut status.steps {
        if let Some(undo) = &mut state.undo {
            take(undo, seen);
        }
    }
    let late = passed(status.phase_deadline.as_ref(), &seen.now);
    if late {
        for undo in status.steps.iter_mut().filter_map(|state| state.undo.as_mut()) {
            if undo.state == UndoState::Waiting {
                undo.state = UndoState::NotUndone;
                undo.message = "the deadline passed before it was its turn".into();
            }
        }
    } else {
        start(status, seen);
    }
    if !status.steps.iter().any(|state| state.undo.as_ref().is_some_and(is_open)) {
        finish(status, seen);
    }
}

fn is_open(undo: &Undo) -> bool {
    matches!(undo.state, UndoState::Waiting | UndoState::Started | UndoState::Running)
}

/// Takes over what the execution that undoes a step says.
fn take(undo: &mut Undo, seen: &Seen) {
    let Some(name) = undo.execution_name.clone().filter(|_| is_open(undo)) else { return };
    let Some(execution) = seen.executions.get(&name) else {
        if seen.taken.contains(&name) {
            undo.state = UndoState::NotUndone;
            undo.message = format!("KubernetesExecution {name} exists and belongs to somebody else");
        } else if undo.state == UndoState::Running {
            // Made again, it would run its Job again.
            undo.state = UndoState::NotUndone;
            undo.message = "OutcomeUnknown: its KubernetesExecution is gone, look at the target".into();
        }
        return;
    };
    let result = execution.status.clone().unwrap_or_default();
    let message = result.message.unwrap_or_default();
    undo.state = match super::steps::coarse(result.phase) {
        ExecutionPhase::Pending => UndoState::Started,
        // The configuration was set to a dry run meanwhile.
        ExecutionPhase::Completed if execution.spec.dry_run => UndoState::NotUndone,
        ExecutionPhase::Completed => UndoState::Undone,
        phase if phase.is_terminal() => UndoState::NotUndone,
        _ => UndoState::Running,
    };
    if !is_open(undo) {
        let reason = result.reason.filter(|_| undo.state == UndoState::NotUndone);
        let words = reason.map_or_else(|| message.clone(), |reason| format!("{reason}: {message}"));
        undo.message = sentence(words);
    }
}

/// Starts what nothing later stands in the way of, within the limit.
fn start(status: &mut WorkflowExecutionStatus, seen: &Seen) {
    let plan = steps(status, seen).to_vec();
    let Ok(graph) = Graph::of(&plan) else { return };
    let base = seen.workflow.base_name();
    let open: BTreeSet<String> = status
        .steps
        .iter()
        .filter(|state| state.undo.as_ref().is_some_and(is_open))
        .map(|state| state.name.clone())
        .collect();
    let begun = |undo: &Undo| matches!(undo.state, UndoState::Started | UndoState::Running);
    let mut running = status.steps.iter().filter(|state| state.undo.as_ref().is_some_and(begun)).count();
    for state in &mut status.steps {
        let Some(undo) = state.undo.as_mut().filter(|undo| undo.state == UndoState::Waiting) else { continue };
        let free = !graph.after(&state.name).iter().any(|later| open.contains(*later));
        if free && running < usize::from(seen.workflow.spec.parallelism) {
            undo.state = UndoState::Started;
            undo.execution_name = Some(names::undoing(&base, &state.name));
            running += 1;
        }
    }
}

fn finish(status: &mut WorkflowExecutionStatus, seen: &Seen) {
    // What the transition into this phase said, up to what it announced.
    let cause = status.message.clone().unwrap_or_default();
    let cause = cause.rsplit_once("; undoing ").map_or(cause.as_str(), |(cause, _)| cause);
    let (mut undone, mut left) = (vec![], vec![]);
    for (state, undo) in status.steps.iter().filter_map(|state| Some((state, state.undo.as_ref()?))) {
        match undo.state {
            UndoState::Undone => undone.push(state.name.clone()),
            _ => left.push(format!("{} ({})", state.name, undo.message)),
        }
    }
    let did = if undone.is_empty() { "nothing".to_owned() } else { undone.join(", ") };
    let why = if left.is_empty() {
        Why::new(ROLLED_BACK, format!("undone: {did}, since {cause}"))
    } else {
        Why::new(ROLLBACK_INCOMPLETE, format!("not undone: {}; undone: {did}; since {cause}", left.join("; ")))
    };
    enter(status, WorkflowPhase::Failed, &seen.now, why);
}

/// Executions that status names and that do not exist yet.
pub(super) fn missing(status: &WorkflowExecutionStatus, seen: &Seen) -> Vec<KubernetesExecution> {
    status
        .steps
        .iter()
        .filter_map(|state| {
            let undo = state.undo.as_ref().filter(|undo| is_open(undo))?;
            let name = undo.execution_name.clone().filter(|name| !seen.executions.contains_key(name))?;
            let step = steps(status, seen).iter().find(|step| step.name == state.name)?;
            let like = execution(status, seen, step, name);
            Some(KubernetesExecution {
                spec: KubernetesExecutionSpec {
                    action: undo.action.clone()?,
                    parameters: undo.parameters.clone(),
                    undoes: state.execution_name.clone(),
                    ..like.spec
                },
                ..like
            })
        })
        .collect()
}
