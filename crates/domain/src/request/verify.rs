//! Did it help? What proves that a target is well again.

use kubernaut_api::request::{RemediationRequestStatus, RequestPhase};
use kubernaut_api::{MicroTime, Outcome};

use super::{Child, Seen, end};
use crate::drift::DRIFTED;
use crate::health::Health;
use crate::stage::{Why, after, passed};

/// Did it help? Ends early on `resolved` plus health; without news of the alert, after a time of
/// unbroken health in which the alert was not heard again.
pub(super) fn verify(status: &mut RemediationRequestStatus, seen: &Seen) -> Option<Child> {
    let resolved = status.deduplication.as_ref().and_then(|dedup| dedup.resolved_at.as_ref()).is_some();
    if let Some(drift) = seen.drift.as_ref().filter(|_| seen.health != Some(Health::Gone)) {
        // Whatever comes now, be it health or the end of the alert, may be theirs and not ours.
        end(status, RequestPhase::Completed, Some(Outcome::Inconclusive), seen, Why::new(DRIFTED, drift.clone()));
        return None;
    }
    match &seen.health {
        Some(Health::Gone) => {
            let why = Why::new("TargetGone", "the target was deleted while its health was being verified");
            end(status, RequestPhase::Completed, Some(Outcome::Inconclusive), seen, why);
        }
        // No data is not a pass: of such a target only the alert can say that it is well.
        Some(Health::NotApplicable) if resolved => {
            let why = Why::new("AlertResolved", "the alert is resolved; the health of such a target is not read");
            end(status, RequestPhase::Completed, Some(Outcome::Remediated), seen, why);
        }
        Some(Health::Healthy) => {
            let since = status.healthy_since.get_or_insert_with(|| seen.now.clone()).clone();
            if resolved {
                let why = Why::new("AlertResolved", "the target is healthy and the alert is resolved");
                end(status, RequestPhase::Completed, Some(Outcome::Remediated), seen, why);
            } else if passed(Some(&settled_at(&since, status, seen)), &seen.now) {
                let why = Why::new("TargetHealthy", "the target stayed healthy and the alert was not heard again");
                end(status, RequestPhase::Completed, Some(Outcome::Remediated), seen, why);
            }
        }
        Some(Health::Unhealthy(_) | Health::NotApplicable) => status.healthy_since = None,
        None => {}
    }
    None
}

/// When unbroken health is proof enough: counted anew whenever the alert was heard again.
pub(super) fn settled_at(since: &MicroTime, status: &RemediationRequestStatus, seen: &Seen) -> MicroTime {
    let heard = status.deduplication.as_ref().map(|dedup| &dedup.last_seen);
    let from = heard.map_or(since, |heard| heard.max(since));
    after(from, seen.settings.stabilization)
}
