//! How a request ends, and when nothing new begins for it any more.

use kubernaut_api::meta::Phase;
use kubernaut_api::request::{RemediationRequestStatus, RequestPhase};
use kubernaut_api::{Outcome, RemediationRequest};

use super::{Seen, hold};
use crate::health::Health;
use crate::stage::{Why, enter, passed};

/// True when nothing new starts for a request: it has ended, it is cancelled or being deleted, or its alert was
/// resolved while its plan was executed. What runs is let end.
pub fn is_over(request: &RemediationRequest) -> bool {
    let phase = request.status.as_ref().and_then(|status| status.phase);
    is_given_up(request)
        || (phase == Some(RequestPhase::Executing) && request.status.as_ref().is_some_and(hold::is_resolved))
}

/// True when nobody waits any more for what a request has begun: it has ended, it is cancelled or being deleted. An
/// alert that is resolved is no such word: whether what was done has helped is still to be seen, and else undone.
pub fn is_given_up(request: &RemediationRequest) -> bool {
    let phase = request.status.as_ref().and_then(|status| status.phase);
    request.spec.cancelled || request.metadata.deletion_timestamp.is_some() || phase.is_some_and(Phase::is_terminal)
}

/// Ends a request whose deadline has passed; the reason names the phase.
pub(super) fn time_out(status: &mut RemediationRequestStatus, phase: RequestPhase, seen: &Seen) {
    let outcome = match phase {
        RequestPhase::Verifying => Outcome::Inconclusive,
        _ => Outcome::ManualReviewRequired,
    };
    let whole = passed(status.deadline.as_ref(), &seen.now);
    let what = if whole { "the request" } else { "the phase" };
    let health = match &seen.health {
        Some(Health::Unhealthy(why)) => format!("; the target is not healthy: {why}"),
        _ => String::new(),
    };
    let held = match status.block_reason {
        Some(reason) => format!("; held back by {reason}: {}", status.message.as_deref().unwrap_or_default()),
        None => String::new(),
    };
    let message = format!("the deadline of {what} passed in phase {phase}{health}{held}");
    let why = Why::new(format!("{phase}TimedOut"), message);
    end(status, RequestPhase::TimedOut, Some(outcome), seen, why);
}

/// Enters a terminal phase.
pub(super) fn end(
    status: &mut RemediationRequestStatus,
    phase: RequestPhase,
    outcome: Option<Outcome>,
    seen: &Seen,
    why: Why,
) {
    enter(status, phase, &seen.now, why);
    status.outcome = outcome;
    status.completed_at = Some(seen.now.clone());
    hold::release(status);
}

/// True while a workflow is under way that has to end by itself first.
pub(super) fn runs(seen: &Seen) -> bool {
    let executing = seen.request.status.as_ref().is_some_and(|status| status.phase == Some(RequestPhase::Executing));
    let phase = seen.workflow.as_ref().and_then(|workflow| workflow.status.as_ref()).and_then(|status| status.phase);
    executing && seen.workflow.is_some() && !phase.is_some_and(Phase::is_terminal)
}
