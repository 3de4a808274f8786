//! delete_pod: deletes one pod by its uid, whether or not something makes it anew.
//!
//! By force only where that is the last resort: the pod is overdue in Terminating, and no finalizer would hold it
//! all the same. A deleted pod cannot be marked; its uid is what makes a second run harmless.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::DynamicObject;
use kubernaut_api::execution::ActionResult;
use kubernaut_api::k8s_openapi::jiff::Timestamp;
use kubernaut_domain::catalogue::{DeletePod, Values};
use tokio::time::sleep;

use crate::call::{Call, Failure};
use crate::restart_pod::is_deleted;
use crate::{changed, owner, unchanged};

/// How long after the end of its grace period a pod is overdue: its node may be slow.
const OVERDUE: Duration = Duration::from_mins(1);

pub async fn run(call: &Call<'_>, wanted: DeletePod) -> Result<ActionResult, Failure> {
    let target = &call.input.target;
    let (name, meant) = (target.name.as_str(), target.uid.as_deref().unwrap_or_default());
    let pod = match call.get("Pod", name).await {
        Ok(pod) if pod.uid().as_deref() == Some(meant) => pod,
        Ok(_) => return Ok(unchanged(format!("{target} is gone; another pod has its name"))),
        Err(gone) if gone.is_gone() => return Ok(unchanged(format!("{target} is gone"))),
        Err(failure) => return Err(failure),
    };
    if owner(&pod).is_some_and(|owner| owner.kind == "Node") {
        let message = format!("{target} shows a static pod of its node: deleting it ends nothing");
        return Err(Failure::refused("StaticPod", message));
    }
    match (pod.metadata.deletion_timestamp.is_some(), wanted.force) {
        (true, false) => return Ok(unchanged(format!("{target} is already being deleted"))),
        (_, true) => may_be_forced(&pod, Timestamp::now())?,
        (false, false) => {}
    }
    let before = before(&pod);
    let how = if wanted.force { " by force" } else { "" };
    let message = format!("deleted {target}{how}");
    match call.delete("Pod", name, meant, wanted.force.then_some(0)).await {
        Ok(()) => Ok(changed(message, before)),
        Err(gone) if gone.is_gone() => Ok(unchanged(format!("{target} went away by itself"))),
        Err(conflict) if conflict.is_conflict() => Err(Failure::refused("TargetReplaced", conflict.to_string())),
        // By force it was in deletion before: only its absence is proof.
        Err(unknown @ Failure::Unknown { .. }) => {
            for pause in [250, 1000, 3000] {
                sleep(Duration::from_millis(pause)).await;
                let shown = if wanted.force { is_gone(call, meant).await } else { is_deleted(call, name, meant).await };
                if shown {
                    return Ok(changed(
                        format!("{message} (the answer was lost: {unknown}; the pod shows it)"),
                        before,
                    ));
                }
            }
            Err(unknown)
        }
        Err(refused) => Err(refused),
    }
}

fn may_be_forced(pod: &DynamicObject, now: Timestamp) -> Result<(), Failure> {
    // The API server writes when the grace period ends, not when it began.
    let overdue = pod.metadata.deletion_timestamp.as_ref().is_some_and(|due| due.0 + OVERDUE < now);
    if !overdue {
        let message = "is not stuck: only a pod overdue in Terminating for a minute is deleted by force";
        return Err(Failure::refused("NotStuck", format!("pod {} {message}", pod.name_any())));
    }
    if !pod.finalizers().is_empty() {
        let message = format!("pod {} is held by finalizers: {}", pod.name_any(), pod.finalizers().join(", "));
        return Err(Failure::refused("HeldByFinalizer", message));
    }
    Ok(())
}

/// Nothing to undo by: only what a person needs to know about what is gone.
fn before(pod: &DynamicObject) -> Values {
    let mut before: Values =
        [("pod".to_owned(), pod.name_any().into()), ("uid".to_owned(), pod.uid().unwrap_or_default().into())].into();
    before.extend(owner(pod).map(|owner| ("owner".to_owned(), format!("{}/{}", owner.kind, owner.name).into())));
    before
}

async fn is_gone(call: &Call<'_>, uid: &str) -> bool {
    match call.get("Pod", &call.input.target.name).await {
        Ok(pod) => pod.uid().as_deref() != Some(uid),
        Err(failure) => failure.is_gone(),
    }
}
