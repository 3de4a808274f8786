//! drain_node: cordons, then evicts until nothing is left that could run elsewhere, or time is up.
//!
//! Each round looks anew at what is on the node, so a run that is cut short or done twice only goes on with what is
//! left. An eviction carries the pod's uid and is never sent as a delete: the API server keeps to the disruption
//! budgets. What may not be evicted is refused before the node is touched. A rehearsal asks for each eviction once
//! and reports what a budget holds back at that moment; it does not refuse, because budgets open up with time.
//! The permission on nodes reaches further than the effect: see [`crate::cordon_node`]; `pods/eviction` allows to
//! evict any pod that its budget lets go.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::core::Selector;
use kubernaut_api::execution::{ActionResult, Effect};
use kubernaut_api::labels::EXECUTION;
use kubernaut_domain::catalogue::DrainNode;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::call::{Call, Failure};
use crate::workload::change;
use crate::{changed, cordon_node, incomplete, owner, unchanged};

/// Pause between two rounds.
const PAUSE: Duration = Duration::from_secs(3);
/// Most pods that a message names.
const NAMED: usize = 8;

pub async fn run(call: &Call<'_>, wanted: DrainNode) -> Result<ActionResult, Failure> {
    let target = &call.input.target;
    let deadline =
        Instant::now() + Duration::from_secs(wanted.timeout_seconds.unwrap_or(DrainNode::TIMEOUT_SECONDS).into());
    call.target().await?;
    refuse_last_node(call).await?;
    let pods = call.pods_on(&target.name).await?;
    let refused: Vec<String> = pods.iter().filter_map(|pod| refusal(pod, wanted)).collect();
    if !refused.is_empty() {
        return Err(Failure::refused("PodsWouldBeLost", some(&refused)));
    }
    let cordon = change(call, |live| async move { Ok(cordon_node::decide(target, &live)) }).await?;
    let before = match cordon.effect {
        Effect::Changed => cordon.before,
        _ => [("unschedulable".to_owned(), true.into())].into(),
    };
    if call.input.dry_run {
        let (evicted, held) = rehearse(call, &pods, wanted).await?;
        let held = if held.is_empty() { String::new() } else { format!(", not now: {}", some(&held)) };
        return Ok(changed(format!("cordoned {target} and evicted {evicted} pods{held}"), before));
    }
    let mut evicted = 0;
    loop {
        let left = round(call, wanted, deadline, &mut evicted).await;
        if left.is_empty() {
            break;
        }
        if call.is_stopping() || Instant::now() + PAUSE > deadline {
            let why = if call.is_stopping() { "was terminated" } else { "time is up" };
            let message = format!("cordoned {target} and evicted {evicted} pods, then {why}; left: {}", some(&left));
            return Ok(incomplete(message, before));
        }
        sleep(PAUSE).await;
    }
    Ok(match (cordon.effect, evicted) {
        (Effect::Changed, _) | (_, 1..) => changed(format!("cordoned {target} and evicted {evicted} pods"), before),
        _ => unchanged(format!("{target} is already cordoned and drained")),
    })
}

/// What a drained node should not have, in words; empty when it is as wanted.
pub async fn left(call: &Call<'_>) -> Result<String, Failure> {
    let target = &call.input.target;
    if !cordon_node::is_unschedulable(&call.target().await?) {
        return Ok(format!("{target} is schedulable"));
    }
    let pods = call.pods_on(&target.name).await?;
    let left: Vec<String> = pods.iter().filter(|pod| !stays(pod)).map(name).collect();
    Ok(if left.is_empty() { String::new() } else { format!("still on {target}: {}", some(&left)) })
}

/// Evicts what is there now, and says what is still left and why. Behind the deadline it only looks.
async fn round(call: &Call<'_>, wanted: DrainNode, deadline: Instant, evicted: &mut u32) -> Vec<String> {
    let pods = match call.pods_on(&call.input.target.name).await {
        Ok(pods) => pods,
        Err(failure) => return vec![format!("pods could not be listed: {failure}")],
    };
    let mut left = Vec::new();
    for pod in pods.iter().filter(|pod| !stays(pod)) {
        if pod.metadata.deletion_timestamp.is_some() {
            left.push(format!("{} is ending", name(pod)));
        } else if let Some(refusal) = refusal(pod, wanted) {
            left.push(refusal);
        } else if Instant::now() >= deadline {
            left.push(format!("{} was not asked for in time", name(pod)));
        } else {
            match evict(call, pod).await {
                Ok(()) => {
                    *evicted += 1;
                    left.push(format!("{} is ending", name(pod)));
                }
                Err(gone) if gone.is_gone() || gone.is_conflict() => {}
                // Whatever the cause, the next round asks again: the uid makes that harmless.
                Err(failure) => left.push(format!("{}: {failure}", name(pod))),
            }
        }
    }
    left
}

/// Asks for every eviction once: how many would be done, and which a budget holds back.
async fn rehearse(call: &Call<'_>, pods: &[DynamicObject], wanted: DrainNode) -> Result<(u32, Vec<String>), Failure> {
    let (mut evicted, mut held) = (0, Vec::new());
    let evictable = |pod: &&DynamicObject| {
        !stays(pod) && pod.metadata.deletion_timestamp.is_none() && refusal(pod, wanted).is_none()
    };
    for pod in pods.iter().filter(evictable) {
        match evict(call, pod).await {
            Ok(()) => evicted += 1,
            Err(gone) if gone.is_gone() || gone.is_conflict() => {}
            Err(busy @ Failure::Refused { error: "TooManyRequests", .. }) => {
                held.push(format!("{}: {busy}", name(pod)));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok((evicted, held))
}

async fn evict(call: &Call<'_>, pod: &DynamicObject) -> Result<(), Failure> {
    let namespace = pod.namespace().unwrap_or_default();
    call.evict(&namespace, &pod.name_any(), &pod.uid().unwrap_or_default()).await
}

/// Evicted pods must be able to go somewhere.
async fn refuse_last_node(call: &Call<'_>) -> Result<(), Failure> {
    let target = &call.input.target;
    let usable =
        |node: &DynamicObject| node.name_any() != target.name && !cordon_node::is_unschedulable(node) && is_ready(node);
    if call.list_where("Node", &Selector::default(), usable).await?.is_empty() {
        let message = format!("no node besides {target} is ready and schedulable");
        return Err(Failure::refused("LastNode", message));
    }
    Ok(())
}

fn is_ready(node: &DynamicObject) -> bool {
    let conditions = node.data.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// True for pods that a drain leaves alone: of DaemonSets and static ones, which would come back to this very node;
/// finished ones, which hold nothing; and runners of Kubernaut (perhaps this one), which end by themselves.
pub fn stays(pod: &DynamicObject) -> bool {
    let finished = matches!(pod.data.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed"));
    let tied = owner(pod).is_some_and(|owner| matches!(owner.kind.as_str(), "DaemonSet" | "Node"));
    finished || tied || pod.labels().contains_key(EXECUTION)
}

/// Why a pod may not be evicted with these parameters.
fn refusal(pod: &DynamicObject, wanted: DrainNode) -> Option<String> {
    if stays(pod) || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    if owner(pod).is_none() && !wanted.delete_bare_pods {
        return Some(format!("{} has no controller (deleteBarePods)", name(pod)));
    }
    let volumes = pod.data.pointer("/spec/volumes").and_then(Value::as_array);
    let has_empty_dir = volumes.into_iter().flatten().any(|volume| volume.get("emptyDir").is_some());
    let refused = has_empty_dir && !wanted.delete_empty_dir_data;
    refused.then(|| format!("{} has data in an emptyDir (deleteEmptyDirData)", name(pod)))
}

fn name(pod: &DynamicObject) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

fn some(pods: &[String]) -> String {
    let more = pods.len().saturating_sub(NAMED);
    let named = pods[..pods.len() - more].join("; ");
    if more > 0 { format!("{named}; and {more} more") } else { named }
}
