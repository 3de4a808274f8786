//! Nothing is wrong: every replica is ready and of the newest template, and nothing ended lately; or the last run
//! succeeded.
//!
//! It needs proof, not just the absence of trouble: as many ready pods must have been seen as there
//! should be. A paused or unfinished rollout, a recent end of a container and a warning of the last two
//! minutes about one of the pods are no trouble by themselves, but they forbid the word healthy.

use jiff::SignedDuration;
use kubernaut_api::analysis::Citation;
use kubernaut_api::evidence::{EventRecord, ObservedCondition, PodEvidence};
use kubernaut_api::meta::TargetRef;

use super::facts::{Facts, RECENT, cite};
use super::job;

/// A warning about a pod speaks of its present state for so long.
const LATELY: SignedDuration = SignedDuration::from_mins(2);
/// More pods than these are not in the evidence.
const SEEN_AT_MOST: usize = 20;

/// What shows that nothing is wrong; `None` when that is not shown.
pub fn diagnose(facts: &Facts<'_>, target: &TargetRef) -> Option<Vec<Citation>> {
    let workload = facts.workload;
    if matches!(facts.object().kind.as_str(), "Job" | "CronJob") {
        return job::succeeded(facts.evidence);
    }
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
    if !settled || !well || warned || !leads_well(facts, target) {
        return None;
    }
    let pods =
        pods.iter().take(3).map(|pod| cite("Pod", &pod.name, "is ready, and none of its containers ended lately"));
    Some(std::iter::once(facts.cite_workload()).chain(pods).collect())
}

/// Whether a target that leads to the workload is itself as it should be.
fn leads_well(facts: &Facts<'_>, target: &TargetRef) -> bool {
    let evidence = facts.evidence;
    match target.kind.as_str() {
        "Service" => evidence.service.as_ref().is_some_and(|service| service.ready_endpoints > 0),
        "HorizontalPodAutoscaler" => {
            evidence.autoscalers.iter().filter(|one| one.object.name == target.name).all(|one| {
                let fails = |one: &&ObservedCondition| {
                    matches!(one.type_.as_str(), "AbleToScale" | "ScalingActive") && one.status != "True"
                };
                one.conditions.iter().find(fails).is_none()
            })
        }
        "PodDisruptionBudget" => {
            (evidence.budgets.iter()).any(|one| one.name == target.name && one.current_healthy >= one.desired_healthy)
        }
        _ => true,
    }
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
