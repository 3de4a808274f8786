//! Targets of a custom kind, known by the owner reference that led to them.
//!
//! What a custom resource says of itself is taken where it says it as most do: `spec.replicas`, `status.replicas`,
//! `status.conditions` and alike. When it may not be read, or is not served, that is a gap, and the pods are
//! those of the object that the signal names: what is known by the reference stays.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Api;
use kube::api::DynamicObject;
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope};
use kubernaut_api::evidence::{Evidence, Workload};
use kubernaut_api::meta::TargetRef;
use serde_json::Value;

use super::read::{Gap, Reader, take};
use super::target::Found;
use super::workload::{condition, template_facts};
use super::{owner_uid, uid};

/// Labels that tell the pods of one owner apart; the others they share.
const OF_ONE_POD: &[&str] = &[
    "pod-template-hash",
    "controller-revision-hash",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/job-completion-index",
];

/// True for a kind that Kubernetes itself does not have.
pub fn is_custom(target: &TargetRef) -> bool {
    let group = target.api_version.split_once('/').map_or("", |(group, _)| group);
    group.contains('.') && !group.ends_with(".k8s.io")
}

/// Reads about it; an error when it is gone.
pub async fn find(
    reader: &Reader<'_>,
    target: &TargetRef,
    resource: Option<&TargetRef>,
    gaps: &mut Vec<Gap>,
) -> Result<Found, Gap> {
    let object = match read(reader, target).await {
        Ok(object) => Some(object),
        Err(gap) if gap.not_found => return Err(gap),
        Err(gap) => {
            gaps.push(gap);
            None
        }
    };
    if let Some(object) = &object {
        Reader::is_same(target, &object.metadata)?;
    }
    let named = match resource.filter(|resource| resource.kind == "Pod") {
        Some(resource) => reader.get::<Pod>("pods", &resource.name).await.map_err(|gap| gaps.push(gap)).ok(),
        None => None,
    };
    let (pods, events) = futures::join!(pods_of(reader, named.as_ref(), object.as_ref()), reader.events());
    let pods = take(pods, gaps);
    let spec = named.as_ref().or(pods.first()).and_then(|pod| pod.spec.as_ref());
    let uids = object.iter().map(|object| uid(&object.metadata)).collect();
    let evidence = Evidence { workload: Some(facts(target, object.as_ref(), spec)), ..Evidence::default() };
    let metadata = object.map(|object| object.metadata).unwrap_or_default();
    Ok(Found { evidence, pods, events: take(events, gaps), uids, metadata })
}

async fn read(reader: &Reader<'_>, target: &TargetRef) -> Result<DynamicObject, Gap> {
    let (group, version) = target.api_version.split_once('/').unwrap_or(("", &target.api_version));
    let kind = GroupVersionKind::gvk(group, version, &target.kind);
    let what = format!("{} of {}", target.kind, target.api_version);
    let served = reader.timed("get", &what, discovery::pinned_kind(reader.client, &kind)).await;
    // A kind that is not served is no proof that the object is gone: only its definition is.
    let (resource, capabilities) = served.map_err(|gap| Gap { not_found: false, ..gap })?;
    let api: Api<DynamicObject> = match (&target.namespace, capabilities.scope) {
        (Some(namespace), Scope::Namespaced) => Api::namespaced_with(reader.client.clone(), namespace, &resource),
        _ => Api::all_with(reader.client.clone(), &resource),
    };
    let what = format!("{}.{group} {}", resource.plural, target.name);
    reader.timed("get", &what, api.get(&target.name)).await
}

/// The pods that the resource itself selects; else those beside the one that the signal names.
async fn pods_of(reader: &Reader<'_>, named: Option<&Pod>, object: Option<&DynamicObject>) -> super::read::Listed<Pod> {
    let selected = object.and_then(|object| object.data.pointer("/spec/selector")).and_then(|selector| {
        let selector: LabelSelector = serde_json::from_value(selector.clone()).ok()?;
        (selector.match_labels.is_some() || selector.match_expressions.is_some()).then_some(selector)
    });
    if let Some(selector) = selected {
        return reader.list::<Pod>("pods", &selector).await;
    }
    let Some(named) = named else { return Ok((Vec::new(), None)) };
    let mut labels = named.metadata.labels.clone().unwrap_or_default();
    labels.retain(|label, _| !OF_ONE_POD.contains(&label.as_str()));
    if labels.is_empty() {
        return Ok((vec![named.clone()], None));
    }
    let selector = LabelSelector { match_labels: Some(labels), ..LabelSelector::default() };
    let (mut pods, gap) = reader.list::<Pod>("pods", &selector).await?;
    pods.retain(|pod| owner_uid(&pod.metadata) == owner_uid(&named.metadata));
    Ok((pods, gap))
}

fn facts(target: &TargetRef, object: Option<&DynamicObject>, spec: Option<&PodSpec>) -> Workload {
    let at = |pointer: &str| object.and_then(|object| object.data.pointer(pointer));
    let count = |pointer: &str| at(pointer).and_then(Value::as_i64).and_then(|count| i32::try_from(count).ok());
    let replicas = count("/spec/replicas").unwrap_or_default();
    let own: Option<PodSpec> = at("/spec/template/spec").and_then(|spec| serde_json::from_value(spec.clone()).ok());
    let metadata = object.map(|object| object.metadata.clone()).unwrap_or_default();
    let text = |condition: &Value, field: &str| condition.get(field).and_then(Value::as_str).map(str::to_owned);
    let conditions = at("/status/conditions").and_then(Value::as_array).into_iter().flatten().filter_map(|one| {
        Some(condition(&text(one, "type")?, &text(one, "status")?, text(one, "reason"), text(one, "message")))
    });
    Workload {
        object: TargetRef { uid: metadata.uid.clone().or_else(|| target.uid.clone()), ..target.clone() },
        replicas,
        total_replicas: count("/status/replicas").unwrap_or_default(),
        updated_replicas: count("/status/updatedReplicas").unwrap_or_default(),
        ready_replicas: count("/status/readyReplicas").unwrap_or_default(),
        available_replicas: count("/status/availableReplicas").unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        observed_generation: at("/status/observedGeneration").and_then(Value::as_i64).unwrap_or_default(),
        conditions: conditions.take(16).collect(),
        ..template_facts(&metadata, own.as_ref().or(spec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(api_version: &str, kind: &str) -> TargetRef {
        TargetRef { api_version: api_version.into(), kind: kind.into(), name: "a".into(), ..TargetRef::default() }
    }

    #[test]
    fn only_what_kubernetes_does_not_have_is_custom() {
        assert!(
            is_custom(&target("example.com/v1", "Widget")) && is_custom(&target("argoproj.io/v1alpha1", "Rollout"))
        );
        for api_version in ["v1", "apps/v1", "storage.k8s.io/v1", "batch/v1", ""] {
            assert!(!is_custom(&target(api_version, "Thing")), "{api_version}");
        }
    }

    #[test]
    fn a_custom_resource_is_told_as_far_as_it_says_what_most_say() {
        let object: DynamicObject = serde_yaml_ng::from_str(
            "{apiVersion: example.com/v1, kind: Widget, metadata: {name: a, uid: w1, generation: 3}, \
              spec: {replicas: 2, template: {spec: {serviceAccountName: web, containers: [{name: app, image: 'app:2'}]}}}, \
              status: {readyReplicas: 1, observedGeneration: 3, conditions: [{type: Ready, status: 'False', message: 'token=c4n4ry'}, {odd: 1}]}}",
        )
        .unwrap();
        let told = facts(&target("example.com/v1", "Widget"), Some(&object), None);
        assert_eq!((told.replicas, told.ready_replicas, told.object.uid.as_deref()), (2, 1, Some("w1")));
        assert_eq!((told.containers[0].image.as_str(), told.service_account.as_deref()), ("app:2", Some("web")));
        assert_eq!((told.conditions.len(), told.conditions[0].message.as_str()), (1, "token=[redacted]"));
    }

    #[test]
    fn one_that_may_not_be_read_is_still_the_target() {
        let told = facts(&TargetRef { uid: Some("w1".into()), ..target("example.com/v1", "Widget") }, None, None);
        assert_eq!((told.object.kind.as_str(), told.object.uid.as_deref(), told.replicas), ("Widget", Some("w1"), 0));
    }
}
