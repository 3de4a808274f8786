//! restart_pod: deletes one pod that a controller will make anew.
//!
//! A deleted pod cannot be marked; its uid is what makes a second run harmless.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::DynamicObject;
use kubernaut_api::execution::ActionResult;
use kubernaut_domain::catalogue::RestartPod;
use tokio::time::sleep;

use crate::call::{Call, Failure};
use crate::{changed, owner, unchanged};

pub async fn run(call: &Call<'_>, wanted: RestartPod) -> Result<ActionResult, Failure> {
    let target = &call.input.target;
    let name = wanted.pod.unwrap_or_else(|| target.name.clone());
    let meant = wanted.uid.or_else(|| target.uid.clone()).unwrap_or_default();
    let pod = call.get("Pod", &name).await?;
    let uid = pod.uid().unwrap_or_default();
    if uid != meant {
        return Err(Failure::refused("TargetReplaced", format!("pod {name} has uid {uid}, not {meant} as planned")));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Ok(unchanged(format!("pod {name} is already being deleted")));
    }
    belongs_to_target(call, &pod).await?;
    let before = [("pod".to_owned(), name.as_str().into()), ("uid".to_owned(), uid.as_str().into())].into();
    let message = format!("deleted pod {name} for its controller to make it anew");
    match call.delete("Pod", &name, &uid, None).await {
        Ok(()) => Ok(changed(message, before)),
        Err(gone) if gone.is_gone() => Ok(unchanged(format!("pod {name} went away by itself"))),
        Err(conflict) if conflict.is_conflict() => Err(Failure::refused("TargetReplaced", conflict.to_string())),
        Err(unknown @ Failure::Unknown { .. }) => {
            for pause in [250, 1000, 3000] {
                sleep(Duration::from_millis(pause)).await;
                if is_deleted(call, &name, &uid).await {
                    let message = format!("{message} (the answer was lost: {unknown}; the pod shows it)");
                    return Ok(changed(message, before));
                }
            }
            Err(unknown)
        }
        Err(refused) => Err(refused),
    }
}

/// Refuses a pod that nobody would make anew, or that is not the target's.
async fn belongs_to_target(call: &Call<'_>, pod: &DynamicObject) -> Result<(), Failure> {
    let target = &call.input.target;
    let name = pod.name_any();
    // A node owns its static pods: deleting the mirror restarts nothing.
    let Some(owner) = owner(pod).filter(|owner| owner.kind != "Node") else {
        return Err(Failure::refused("NotControlled", format!("pod {name} has no controller that would make it anew")));
    };
    if target.kind == "Pod" || target.uid.as_ref() == Some(&owner.uid) {
        return Ok(());
    }
    if target.kind == "Deployment" && owner.kind == "ReplicaSet" {
        let set = call.get("ReplicaSet", &owner.name).await?;
        if set.uid().as_ref() == Some(&owner.uid) && crate::owner(&set).map(|owner| &owner.uid) == target.uid.as_ref() {
            return Ok(());
        }
    }
    Err(Failure::refused("NotOwnedByTarget", format!("pod {name} does not belong to {target}")))
}

pub async fn is_deleted(call: &Call<'_>, name: &str, uid: &str) -> bool {
    match call.get("Pod", name).await {
        Ok(pod) => pod.uid().as_deref() != Some(uid) || pod.metadata.deletion_timestamp.is_some(),
        Err(failure) => failure.is_gone(),
    }
}
