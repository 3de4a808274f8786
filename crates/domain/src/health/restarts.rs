//! Containers that end again after the effect: for a moment between two crashes a pod may well be ready.

use std::time::Duration;

use kubernaut_api::k8s_openapi::api::core::v1::Pod;
use kubernaut_api::{MicroTime, ResourceExt};

use crate::stage::after;

/// How long a container has to run after a restart to count as well again.
const SETTLED: Duration = Duration::from_secs(20);

/// A container that ended after a moment and has not run long enough since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// In words.
    pub why: String,
    /// When it counts as well, if it does not end again; `None` while it does not run.
    pub settles_at: Option<MicroTime>,
}

/// The restart after `since` that is to be waited for longest; `None` when all run long enough.
pub fn newest_restart(pods: &[Pod], since: &MicroTime, now: &MicroTime) -> Option<Restart> {
    let alive = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let restarts = alive.flat_map(|pod| {
        let containers = pod.status.iter().filter_map(|status| status.container_statuses.as_ref()).flatten();
        containers.filter_map(move |container| {
            let ended = container.last_state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?;
            if ended.0 <= since.0 {
                return None;
            }
            let running = container.state.as_ref().and_then(|state| state.running.as_ref());
            let started = running.and_then(|running| running.started_at.as_ref());
            let settles_at = started.map(|started| after(&MicroTime(started.0), SETTLED));
            if settles_at.as_ref().is_some_and(|time| time <= now) {
                return None;
            }
            let why = format!("container {} of pod {} was restarted after the action", container.name, pod.name_any());
            Some(Restart { why, settles_at })
        })
    });
    // One that does not run at all has no time yet, and counts as the longest.
    restarts.max_by(|left, right| match (&left.settles_at, &right.settles_at) {
        (None, None) => std::cmp::Ordering::Equal,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (Some(_), None) => std::cmp::Ordering::Less,
        (Some(left), Some(right)) => left.cmp(right),
    })
}

#[cfg(test)]
mod tests {
    use kubernaut_api::k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> MicroTime {
        MicroTime(Timestamp::from_second(1_700_000_000 + second).expect("a time"))
    }

    fn pod(ended: i64, started: Option<i64>) -> Pod {
        let state = match started {
            Some(second) => json!({"running": {"startedAt": at(second).0.to_string()}}),
            None => json!({"waiting": {"reason": "CrashLoopBackOff"}}),
        };
        let last = json!({"terminated": {"exitCode": 1, "finishedAt": at(ended).0.to_string()}});
        serde_json::from_value(json!({"metadata": {"name": "web-1"}, "status": {"containerStatuses": [
            {"name": "app", "image": "", "imageID": "", "ready": true, "restartCount": 1, "state": state, "lastState": last},
        ]}}))
        .expect("a pod")
    }

    #[test]
    fn a_restart_before_the_effect_does_not_count() {
        assert_eq!(newest_restart(&[pod(5, Some(6))], &at(10), &at(12)), None);
    }

    #[test]
    fn a_restart_after_the_effect_counts_until_the_container_has_run_for_a_while() {
        let restart = newest_restart(&[pod(11, Some(12))], &at(10), &at(13)).expect("it counts");
        assert_eq!(restart.settles_at, Some(at(32)));
        assert!(restart.why.contains("container app of pod web-1"), "{}", restart.why);
        assert_eq!(newest_restart(&[pod(11, Some(12))], &at(10), &at(32)), None);
    }

    #[test]
    fn a_container_that_does_not_run_counts_as_long_as_that_lasts() {
        let pods = [pod(11, None), pod(12, Some(13))];
        let restart = newest_restart(&pods, &at(10), &at(14)).expect("it counts");
        assert_eq!(restart.settles_at, None);
    }
}
