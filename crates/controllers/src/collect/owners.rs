//! Which workload some pods belong to: their controller, or what controls that.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kubernaut_api::meta::TargetRef;

use super::read::{Gap, Reader};
use super::workload::reference;

/// The workload of the first of these pods; a pod that nothing controls is its own.
pub async fn of_pods(reader: &Reader<'_>, pods: &[Pod]) -> Result<Option<TargetRef>, Gap> {
    let Some(pod) = pods.iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).or(pods.first()) else {
        return Ok(None);
    };
    let Some(owner) = controller(&pod.metadata) else { return Ok(Some(reference("v1", "Pod", &pod.metadata))) };
    let above = match owner.kind.as_str() {
        "ReplicaSet" => controller(&reader.get::<ReplicaSet>("replicasets", &owner.name).await?.metadata),
        "Job" => controller(&reader.get::<Job>("jobs", &owner.name).await?.metadata),
        _ => None,
    };
    // What a custom kind controls is told as far as Kubernetes itself knows it.
    Ok(Some(above.filter(|above| matches!(above.kind.as_str(), "Deployment" | "CronJob")).unwrap_or(owner)))
}

/// The controller that made an object.
pub fn controller(metadata: &ObjectMeta) -> Option<TargetRef> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    Some(TargetRef {
        api_version: owner.api_version.clone(),
        kind: owner.kind.clone(),
        namespace: metadata.namespace.clone(),
        name: owner.name.clone(),
        uid: Some(owner.uid.clone()),
    })
}
