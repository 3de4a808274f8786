//! Undoing an effect after which the target did not become healthy (R6.5): one more Job, which runs the
//! inverse that the catalogue derives from the recorded state before.

use kubernaut_api::execution::{ActionResult, Effect, ExecutionPhase, KubernetesExecutionStatus, Rollback};

use super::{GRACE, JobPlan, JobSeen, START_GRACE, Seen, entered, fail, outcome, release};
use crate::script::RUN_SCRIPT;
use crate::stage::{Why, after, enter, passed};
use crate::{catalogue, job};

/// Reason of an execution whose effect was undone.
pub const ROLLED_BACK: &str = "RolledBack";

/// Begins to undo; fails where there is nothing to undo or no way to.
pub(super) fn begin(status: &mut KubernetesExecutionStatus, seen: &Seen, what: &str) -> JobPlan {
    let Some(rollback) = inverse(status, seen) else {
        fail(status, seen, Why::new("VerifyingTimedOut", format!("{what}; it cannot be undone")));
        return JobPlan::Leave;
    };
    let message = format!("{what}; undoing it by {}", rollback.action);
    enter(status, ExecutionPhase::RollingBack, &seen.now, Why::new("VerifyingTimedOut", message));
    let timeout: std::time::Duration = seen.execution.spec.timeout.into();
    let start = job::start_wait(timeout, &seen.settings.job);
    status.phase_deadline = Some(after(&after(&seen.now, start + START_GRACE + timeout), GRACE));
    status.rollback = Some(rollback);
    // Which script a registration names as the inverse is looked up first: the next look makes its Job.
    if is_script(status) { JobPlan::Leave } else { create(status, seen) }
}

fn is_script(status: &KubernetesExecutionStatus) -> bool {
    status.rollback.as_ref().is_some_and(|rollback| rollback.action == RUN_SCRIPT)
}

fn inverse(status: &KubernetesExecutionStatus, seen: &Seen) -> Option<Rollback> {
    let result = status.result.as_ref().filter(|result| result.effect == Effect::Changed)?;
    let undo = catalogue::find(&seen.execution.spec.action)?.undo(&result.before)?;
    Some(Rollback { action: undo.action.to_owned(), parameters: undo.parameters, ..Rollback::default() })
}

fn create(status: &mut KubernetesExecutionStatus, seen: &Seen) -> JobPlan {
    let since = entered(status, ExecutionPhase::RollingBack).unwrap_or_else(|| seen.now.clone());
    let Some(rollback) = &status.rollback else { return JobPlan::Leave };
    let settings = &seen.settings.job;
    let job = match &seen.script {
        Some(Ok(script)) if is_script(status) => job::undoing_by_script(&seen.execution, script, settings, &since),
        Some(Err(refusal)) if is_script(status) => {
            let message = format!("the script that undoes may not run: {refusal}");
            fail(status, seen, Why::new("RollbackFailed", message));
            return JobPlan::Leave;
        }
        // Its registration has not been read yet.
        None if is_script(status) => return JobPlan::Leave,
        _ => job::undoing(&seen.execution, rollback, settings, &since),
    };
    JobPlan::Create(Box::new(job))
}

/// Follows the Job that undoes. Whatever comes of it, the execution has failed: the reason says how far
/// the target is from where it was.
pub(super) fn follow(status: &mut KubernetesExecutionStatus, seen: &Seen) -> JobPlan {
    let late = passed(status.phase_deadline.as_ref(), &seen.now);
    let Some(rollback) = &mut status.rollback else {
        fail(status, seen, Why::new("RollbackFailed", "it is not recorded how to undo the action: look at the target"));
        return JobPlan::Leave;
    };
    match &seen.job {
        JobSeen::Absent if rollback.job.is_none() && !late => create(status, seen),
        JobSeen::Running(job) if !late => {
            rollback.job = Some(job.clone());
            JobPlan::Leave
        }
        JobSeen::Waiting { job, why, .. } => {
            rollback.job = Some(job.clone());
            if !late && outcome::given_up_at(status, seen).is_none_or(|time| time > seen.now) {
                return JobPlan::Leave;
            }
            let message = format!("the Job that undoes did not start in time: {why}; look at the target");
            fail(status, seen, Why::new("RollbackFailed", message));
            JobPlan::Stop
        }
        JobSeen::Running(_) => {
            fail(
                status,
                seen,
                Why::new("RollbackFailed", "the Job that undoes did not end in time: look at the target"),
            );
            JobPlan::Stop
        }
        JobSeen::Ended { job, result, message, .. } => {
            rollback.job = Some(job.clone());
            rollback.result.clone_from(result);
            let why = judge(status, result.as_ref(), message);
            fail(status, seen, why);
            release(seen)
        }
        JobSeen::Absent | JobSeen::Foreign | JobSeen::Unread => {
            let message = "the Job that undoes could not be made, or is gone without a result: look at the target";
            fail(status, seen, Why::new("RollbackFailed", message));
            JobPlan::Leave
        }
    }
}

fn judge(status: &KubernetesExecutionStatus, result: Option<&ActionResult>, message: &str) -> Why {
    let did = status.result.as_ref().map(|result| result.message.as_str()).unwrap_or_default();
    match result {
        Some(undone) if matches!(undone.effect, Effect::Changed | Effect::Unchanged) => {
            Why::new(ROLLED_BACK, format!("{did}; that did not help and was undone: {}", undone.message))
        }
        Some(refused) => Why::new("RollbackFailed", format!("{did}; undoing it failed: {}", refused.message)),
        None => Why::new(
            "RollbackFailed",
            format!("{did}; undoing it ended without a result ({message}): look at the target"),
        ),
    }
}
