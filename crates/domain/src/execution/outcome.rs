//! What the end of a Job means. "Failed before it ran" and "failed while it ran" are two things (R6.6), and a Job
//! without a result is not yet a mystery: the target itself may bear witness.

use kubernaut_api::MicroTime;
use kubernaut_api::execution::{ActionResult, Effect, ExecutionPhase, KubernetesExecutionStatus, TargetMark};

use super::{JobSeen, START_GRACE, Seen, fail};
use crate::drift;
use crate::stage::{Why, after, enter, passed};

/// Reason of an execution whose Job ended without a result and had certainly changed nothing.
pub const JOB_DIED: &str = "JobDied";

/// How long after the death of a process the API server may still be at its last write.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(10);

/// What the target says about an execution whose Job left no result.
#[derive(Clone, Debug, PartialEq)]
pub enum Trace {
    /// It bears the mark of this execution: the effect happened, and this is what the Job would have reported.
    Done(ActionResult),
    /// It bears no mark, and is so now. Whether it was written to since the rehearsal, the two marks tell.
    Unmarked(TargetMark),
    /// It is there and as it was, which the action would have ended.
    Untouched,
    /// It cannot tell, and why.
    Unclear(String),
}

/// When a Job that waits for its start is given up; `None` for one that does not wait, or sets no time.
pub(super) fn given_up_at(status: &KubernetesExecutionStatus, seen: &Seen) -> Option<MicroTime> {
    let under_way = matches!(status.phase, Some(ExecutionPhase::Executing | ExecutionPhase::RollingBack));
    match &seen.job {
        JobSeen::Waiting { start_before, .. } if under_way => {
            start_before.as_ref().map(|time| after(time, START_GRACE))
        }
        _ => None,
    }
}

/// Takes the result of a Job that has ended; stays in the phase while it is too early to tell.
pub(super) fn take(
    status: &mut KubernetesExecutionStatus,
    seen: &Seen,
    result: Option<&ActionResult>,
    message: &str,
    died_at: Option<&MicroTime>,
    ran: bool,
) {
    let Some(result) = result else {
        if ran {
            return without_result(status, seen, &format!("the Job ended without a result ({message})"), died_at);
        }
        return fail(status, seen, Why::new("JobNotStarted", format!("the Job never ran: {message}")));
    };
    status.result = Some(result.clone());
    let error = || result.error.clone().unwrap_or_else(|| "ActionFailed".into());
    match result.effect {
        Effect::None => fail(status, seen, Why::new(error(), format!("nothing was changed: {}", result.message))),
        Effect::Unknown => match &seen.trace {
            // The answer to its write came too late for the runner, and not for us.
            Some(Trace::Done(done)) => done_after_all(status, seen, done, &result.message),
            _ => fail(status, seen, Why::new("OutcomeUnknown", format!("{}: {}", error(), result.message))),
        },
        Effect::Changed | Effect::Unchanged => done(status, seen, result),
    }
}

fn done(status: &mut KubernetesExecutionStatus, seen: &Seen, result: &ActionResult) {
    let message = result.message.clone();
    if seen.execution.spec.dry_run {
        return enter(status, ExecutionPhase::Completed, &seen.now, Why::new("DryRun", message));
    }
    if seen.execution.spec.undoes.is_some() {
        // Whether the target is well is not for it to prove: it was not before either.
        return enter(status, ExecutionPhase::Completed, &seen.now, Why::new("Undone", message));
    }
    enter(status, ExecutionPhase::Verifying, &seen.now, Why::new("ActionDone", message));
    status.phase_deadline = Some(after(&seen.now, seen.execution.spec.verification_timeout.into()));
}

fn done_after_all(status: &mut KubernetesExecutionStatus, seen: &Seen, result: &ActionResult, what: &str) {
    let message = format!("{what}; the target shows that it was done");
    let result = ActionResult { message, ..result.clone() };
    done(status, seen, &result);
    status.result = Some(result);
}

/// A Job that ran, or may have run, and left no result: the state is looked at, then decided (reliability, rows 31
/// and 33). Never run again blindly.
pub(super) fn without_result(
    status: &mut KubernetesExecutionStatus,
    seen: &Seen,
    what: &str,
    died_at: Option<&MicroTime>,
) {
    let nothing = |how: &str| Why::new(JOB_DIED, format!("{what}; nothing was changed: {how}"));
    if seen.execution.spec.dry_run {
        return fail(status, seen, nothing("it was a dry run"));
    }
    let unknown = |why: &str| Why::new("OutcomeUnknown", format!("{what}{why}: look at the target"));
    let proof = match &seen.trace {
        Some(Trace::Done(result)) => return done_after_all(status, seen, result, what),
        Some(Trace::Untouched) => true,
        Some(Trace::Unmarked(now)) => {
            status.rehearsed_on.as_ref().is_some_and(|before| drift::is_untouched(before, now))
        }
        Some(Trace::Unclear(why)) => return fail(status, seen, unknown(&format!("; {why}"))),
        None => false,
    };
    match died_at {
        // Dead, and the target is as it was: as soon as no write of its can be under way any more.
        Some(died) if proof && passed(Some(&after(died, SETTLE)), &seen.now) => {
            fail(status, seen, nothing("the target is as it was before"));
        }
        Some(_) if proof => {}
        // Without its death, it may still be at it.
        _ => fail(status, seen, unknown("")),
    }
}

/// When the target of a dead process may be judged; `None` where nobody waits for that.
pub(super) fn judged_at(seen: &Seen) -> Option<MicroTime> {
    match &seen.job {
        JobSeen::Ended { died_at: Some(died), .. } if seen.trace.is_some() => Some(after(died, SETTLE)),
        _ => None,
    }
}
