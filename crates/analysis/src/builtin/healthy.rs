//! Nothing is wrong: every replica is ready and of the newest template, and nothing ended lately.
//!
//! It needs proof, not just the absence of trouble: as many ready pods must have been seen as there
//! should be. A paused or unfinished rollout, a recent end of a container and a warning of the last two
//! minutes about one of the pods are no trouble by themselves, but they forbid the word healthy.

use jiff::SignedDuration;
use kubernaut_api::analysis::Citation;
use kubernaut_api::evidence::{EventRecord, PodEvidence};

use super::facts::{Facts, RECENT, cite};

/// A warning about a pod speaks of its present state for so long.
const LATELY: SignedDuration = SignedDuration::from_mins(2);
/// More pods than these are not in the evidence.
const SEEN_AT_MOST: usize = 20;

/// What shows that nothing is wrong; `None` when that is not shown.
pub fn diagnose(facts: &Facts<'_>) -> Option<Vec<Citation>> {
    let workload = facts.workload;
    let settled = workload.observed_generation >= workload.generation
        && !workload.paused
        && workload.replicas > 0
        && [workload.updated_replicas, workload.ready_replicas, workload.available_replicas]
            .iter()
            .all(|count| *count == workload.replicas);
    let pods: Vec<&PodEvidence> = facts.evidence.pods.iter().filter(|pod| !pod.terminating).collect();
    let wanted = usize::try_from(workload.replicas).unwrap_or_default().min(SEEN_AT_MOST);
    let well = pods.len() >= wanted && pods.iter().all(|pod| is_well(facts, pod));
    let warned = facts.evidence.events.iter().any(|event| warns(facts, event, &pods));
    if !settled || !well || warned {
        return None;
    }
    let pods =
        pods.iter().take(3).map(|pod| cite("Pod", &pod.name, "is ready, and none of its containers ended lately"));
    Some(std::iter::once(facts.cite_workload()).chain(pods).collect())
}

fn is_well(facts: &Facts<'_>, pod: &PodEvidence) -> bool {
    pod.ready
        && pod.containers.iter().all(|container| {
            let end = container.last_termination.as_ref();
            let lately = |end: &kubernaut_api::evidence::Termination| {
                end.finished_at.as_ref().is_none_or(|at| facts.now.duration_since(at.0) <= RECENT)
            };
            container.init || (container.ready && !end.is_some_and(lately))
        })
}

fn warns(facts: &Facts<'_>, event: &EventRecord, pods: &[&PodEvidence]) -> bool {
    event.type_ == "Warning"
        && event.last_seen.as_ref().is_none_or(|at| facts.now.duration_since(at.0) <= LATELY)
        && pods.iter().any(|pod| event.object.strip_prefix("Pod/") == Some(pod.name.as_str()))
}
