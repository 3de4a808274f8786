//! May a failed execution be tried again? Only what failed before it ran, and only for a cause that may pass (R6.6).

use kubernaut_api::KubernetesExecution;
use kubernaut_api::execution::{Effect, ExecutionPhase};

use super::JOB_DIED;

/// Errors of an action that changed nothing, for a cause that may pass by itself, such as a busy API server.
pub fn is_passing(error: &str) -> bool {
    const PASSING: &[&str] = &[
        "ApiError",
        "ApiUnreachable",
        "Conflict",
        "RolloutNotObserved",
        "StartedTooLate",
        "Terminated",
        "Timeout",
        "TooManyRequests",
    ];
    PASSING.contains(&error)
}

/// True when an execution has failed, has certainly changed nothing, and another try may go better.
///
/// False for what failed while it ran, what was refused for good (another try would only be refused again), and what
/// was undone. A new try needs a new execution: the name of the old one is used up.
pub fn may_retry(execution: &KubernetesExecution) -> bool {
    let Some(status) = execution.status.as_ref().filter(|status| status.phase == Some(ExecutionPhase::Failed)) else {
        return false;
    };
    let reason = status.reason.as_deref().unwrap_or_default();
    match &status.result {
        Some(result) => result.effect == Effect::None && is_passing(reason),
        // The runner refuses to begin after the time for its start, so a Job that comes late does nothing.
        None if reason == "ExecutingTimedOut" => status.job.is_none(),
        None => {
            matches!(reason, "JobNotStarted" | JOB_DIED | "ValidatingTimedOut")
                || (status.job.is_none() && is_passing(reason))
        }
    }
}
