//! Targets that are no workload and lead to one: what a Service selects, an autoscaler scales, a budget covers
//! and a claim is used by; and a quota, which leads to whom it stopped.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Selector;
use kubernaut_api::evidence::{Dependency, Evidence};
use kubernaut_api::meta::TargetRef;

use super::read::{Gap, Reader, take};
use super::target::{Found, beside};
use super::workload::reference;
use super::{autoscaler as scaler, dependencies, owners, pods, surroundings, uid};

/// A Service, its endpoints and the workload behind it.
pub async fn service(reader: &Reader<'_>, target: &TargetRef, gaps: &mut Vec<Gap>) -> Result<Found, Gap> {
    let object: Service = reader.wanted("services", target).await?;
    let mut told =
        Dependency { object: reference("v1", "Service", &object.metadata), exists: true, ..Dependency::default() };
    let labels = object.spec.and_then(|spec| spec.selector).unwrap_or_default();
    let mut behind = Vec::new();
    let mut workload = None;
    if !labels.is_empty() {
        told.selects = true;
        let selector: Selector = labels.clone().into_iter().collect();
        let by_labels = LabelSelector { match_labels: Some(labels), ..LabelSelector::default() };
        behind = take(reader.list::<Pod>("pods", &by_labels).await, gaps);
        (told.ready_endpoints, told.unready_endpoints) = dependencies::endpoints(&behind);
        workload = match note(owners::of_pods(reader, &behind).await, gaps).flatten() {
            Some(workload) => Some(workload),
            None => dependencies::selected(reader, &selector).await.map(|(object, _)| object),
        };
    }
    let mut found = lead(reader, workload, behind, gaps).await;
    if let Some(workload) = &found.evidence.workload {
        told.replicas = Some(workload.replicas);
        told.ready_replicas = Some(workload.ready_replicas);
        told.workload = Some(workload.object.clone());
    }
    found.uids.insert(uid(&object.metadata));
    found.evidence.service = Some(told);
    Ok(found)
}

/// An autoscaler and what it scales. All autoscalers of that workload are told with it.
pub async fn autoscaler(reader: &Reader<'_>, target: &TargetRef, gaps: &mut Vec<Gap>) -> Result<Found, Gap> {
    let object: HorizontalPodAutoscaler = reader.wanted("horizontalpodautoscalers", target).await?;
    let scaled = &object.spec.scale_target_ref;
    let workload = TargetRef {
        api_version: scaled.api_version.clone().unwrap_or_default(),
        kind: scaled.kind.clone(),
        namespace: object.metadata.namespace.clone(),
        name: scaled.name.clone(),
        uid: None,
    };
    let mut found = lead(reader, Some(workload), Vec::new(), gaps).await;
    found.uids.insert(uid(&object.metadata));
    if found.evidence.workload.is_none() {
        found.evidence.autoscalers = vec![scaler::autoscaler(&object)];
    }
    Ok(found)
}

/// A budget, the pods that it covers and their workload.
pub async fn budget(reader: &Reader<'_>, target: &TargetRef, gaps: &mut Vec<Gap>) -> Result<Found, Gap> {
    let object: PodDisruptionBudget = reader.wanted("poddisruptionbudgets", target).await?;
    let selector = object.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
    let covered = take(reader.list::<Pod>("pods", &selector).await, gaps);
    let workload = note(owners::of_pods(reader, &covered).await, gaps).flatten();
    let mut found = lead(reader, workload, covered, gaps).await;
    found.uids.insert(uid(&object.metadata));
    found.evidence.budgets = vec![surroundings::budget(&object)];
    Ok(found)
}

/// A claim, the pods that use it and their workload.
pub async fn claim(reader: &Reader<'_>, target: &TargetRef, gaps: &mut Vec<Gap>) -> Result<Found, Gap> {
    let object: PersistentVolumeClaim = reader.wanted("persistentvolumeclaims", target).await?;
    let all = reader.all::<Pod>("pods").await;
    let whole = matches!(all, Ok((_, None)));
    let mut users = take(all, gaps);
    users.retain(|pod| uses(pod, &target.name));
    let count = i32::try_from(users.len()).unwrap_or(i32::MAX);
    let workload = note(owners::of_pods(reader, &users).await, gaps).flatten();
    let mut found = lead(reader, workload, users, gaps).await;
    let mut told = surroundings::claim(&object);
    // That nobody uses it is known only when every pod was seen.
    told.consumers = (whole || count > 0).then_some(count);
    found.uids.insert(uid(&object.metadata));
    found.evidence.claims = vec![told];
    Ok(found)
}

/// A quota with what is used of it, and the Events that say whom it stopped.
pub async fn quota(reader: &Reader<'_>, target: &TargetRef, gaps: &mut Vec<Gap>) -> Result<Found, Gap> {
    let object: ResourceQuota = reader.wanted("resourcequotas", target).await?;
    let events = take(reader.events().await, gaps);
    let told = format!("exceeded quota: {},", target.name);
    let stopped = events.iter().filter(|event| event.message.as_deref().is_some_and(|message| message.contains(&told)));
    let uids = stopped.filter_map(|event| event.involved_object.uid.clone()).chain([uid(&object.metadata)]).collect();
    let evidence = Evidence { quotas: vec![surroundings::quota(&object)], ..Evidence::default() };
    Ok(Found { evidence, events, uids, ..Found::default() })
}

/// What was read about the workload that a target leads to; the pods alone where it leads to none.
async fn lead(reader: &Reader<'_>, workload: Option<TargetRef>, pods: Vec<Pod>, gaps: &mut Vec<Gap>) -> Found {
    let found = match workload {
        Some(workload) => note(beside(reader, &workload, gaps).await, gaps),
        None => None,
    };
    match found {
        Some(found) => found,
        None => Found { pods, events: take(reader.events().await, gaps), ..Found::default() },
    }
}

fn note<T>(read: Result<T, Gap>, gaps: &mut Vec<Gap>) -> Option<T> {
    read.map_err(|gap| gaps.push(gap)).ok()
}

/// Whether a pod that has not ended mounts the claim.
fn uses(pod: &Pod, claim: &str) -> bool {
    let over = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut names = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref()).map(|one| &one.claim_name);
    !matches!(over, Some("Succeeded" | "Failed")) && names.any(|name| name == claim)
        || pods::is_ephemeral_of(pod, claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pod_that_has_not_ended_uses_its_claims() {
        let pod = |phase: &str, volume: &str| -> Pod {
            serde_yaml_ng::from_str(&format!(
                "{{metadata: {{name: web-0}}, spec: {{containers: [], volumes: [{{name: data, {volume}}}]}}, status: {{phase: {phase}}}}}"
            ))
            .unwrap()
        };
        let claim = "persistentVolumeClaim: {claimName: data-1}";
        assert!(uses(&pod("Pending", claim), "data-1") && uses(&pod("Running", claim), "data-1"));
        assert!(!uses(&pod("Succeeded", claim), "data-1") && !uses(&pod("Running", claim), "data-2"));
        assert!(uses(&pod("Running", "ephemeral: {}"), "web-0-data"));
        assert!(!uses(&pod("Running", "emptyDir: {}"), "web-0-data"));
    }
}
