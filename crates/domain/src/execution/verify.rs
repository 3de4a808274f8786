//! Did the effect help the target? The action's own check, the health of what it reached, and whether somebody else
//! has changed the target since (R6.5). It ends early on health, and never on missing data.

use kubernaut_api::execution::{ExecutionPhase, KubernetesExecutionStatus};

use super::{JobPlan, Seen, fail, release, rollback};
use crate::drift::{self, DRIFTED};
use crate::health::Health;
use crate::stage::{Why, enter, passed};

pub(super) fn verify(status: &mut KubernetesExecutionStatus, seen: &Seen) -> JobPlan {
    let did = status.result.as_ref().map(|result| result.message.clone()).unwrap_or_default();
    match &seen.health {
        Some(Health::Healthy) => {
            enter(status, ExecutionPhase::Completed, &seen.now, Why::new("TargetHealthy", did));
        }
        Some(Health::NotApplicable) => {
            enter(status, ExecutionPhase::Completed, &seen.now, Why::new("ActionDone", did));
        }
        Some(Health::Gone) => {
            fail(status, seen, Why::new("TargetGone", "the target was deleted after the action"));
        }
        Some(Health::Unhealthy(_)) | None if seen.request_over => {
            let why = Why::new("RequestEnded", format!("{did}; the request ended before the target was healthy"));
            enter(status, ExecutionPhase::Cancelled, &seen.now, why);
        }
        Some(Health::Unhealthy(_)) | None if !passed(status.phase_deadline.as_ref(), &seen.now) => {}
        // Its result is recorded; once it is let go of, its place is free for what undoes it.
        _ if release(seen) != JobPlan::Leave => {}
        unproven => {
            let why = match unproven {
                Some(Health::Unhealthy(why)) => why,
                _ => "the health of the target could not be told",
            };
            let what = format!("{did}, but {why}");
            let marked = status.result.as_ref().is_some_and(|result| result.target.is_some());
            if unproven.is_none() && seen.live.is_none() && marked {
                // Undone blindly, it could be somebody's mend, or what has helped.
                let why = Why::new("OutcomeUnknown", format!("{what}, so it is not undone: look at the target"));
                fail(status, seen, why);
                return release(seen);
            }
            let Some(drift) = drifted(status, seen) else {
                return rollback::begin(status, seen, &what);
            };
            // Whoever changed it had a reason, and the state before is not theirs.
            fail(status, seen, Why::new(DRIFTED, format!("{what}; {drift}, so it is not undone")));
        }
    }
    release(seen)
}

/// Whether an action is proven by the health of its target too. A node is cordoned because it is ill, a pod that is
/// deleted has no health, and no number of replicas cures an autoscaler without metrics: there the action's own
/// check, and the workloads that it reached, decide alone.
pub fn needs_health_of_target(action: &str, kind: &str) -> bool {
    match action {
        "restart_pod" => kind != "Pod",
        "cordon_node" | "delete_pod" | "drain_node" | "remove_taint" | "uncordon_node" | "update_hpa" => false,
        _ => true,
    }
}

fn drifted(status: &KubernetesExecutionStatus, seen: &Seen) -> Option<String> {
    drift::between(status.result.as_ref()?.target.as_ref()?, seen.live.as_ref()?)
}
