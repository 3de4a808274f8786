//! Workloads as evidence: what is wanted, what is there, and the containers of the template.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kubernaut_api::evidence::{ContainerSpec, ObservedCondition, Workload};
use kubernaut_api::labels;
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::catalogue::CHANGED_FROM;
use kubernaut_domain::redact::{bounded, redact};

/// On a Deployment and its ReplicaSets: the number of the revision.
pub const REVISION: &str = "deployment.kubernetes.io/revision";

/// A Deployment as its controller sees it.
pub fn workload_facts(deployment: &Deployment) -> Workload {
    let spec = deployment.spec.as_ref();
    let status = deployment.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    Workload {
        object: reference("apps/v1", "Deployment", &deployment.metadata),
        replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1),
        total_replicas: status.replicas.unwrap_or_default(),
        updated_replicas: status.updated_replicas.unwrap_or_default(),
        ready_replicas: status.ready_replicas.unwrap_or_default(),
        available_replicas: status.available_replicas.unwrap_or_default(),
        generation: deployment.metadata.generation.unwrap_or_default(),
        observed_generation: status.observed_generation.unwrap_or_default(),
        paused: spec.and_then(|spec| spec.paused).unwrap_or_default(),
        revision: revision(&deployment.metadata),
        conditions: conditions
            .into_iter()
            .map(|c| condition(&c.type_, &c.status, c.reason, c.message))
            .take(16)
            .collect(),
        ..template_facts(&deployment.metadata, spec.and_then(|spec| spec.template.spec.as_ref()))
    }
}

/// A StatefulSet as its controller sees it.
pub fn stateful_set_facts(object: &StatefulSet) -> Workload {
    let spec = object.spec.as_ref();
    let status = object.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or_default();
    Workload {
        object: reference("apps/v1", "StatefulSet", &object.metadata),
        replicas,
        total_replicas: status.replicas,
        updated_replicas: updated,
        paused: updated < replicas && holds_back(object),
        ready_replicas: status.ready_replicas.unwrap_or_default(),
        available_replicas: status.available_replicas.unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        observed_generation: status.observed_generation.unwrap_or_default(),
        conditions: conditions
            .into_iter()
            .map(|c| condition(&c.type_, &c.status, c.reason, c.message))
            .take(16)
            .collect(),
        ..template_facts(&object.metadata, spec.and_then(|spec| spec.template.spec.as_ref()))
    }
}

/// True when its pods are not updated by themselves: on deletion only, or from an ordinal on.
fn holds_back(object: &StatefulSet) -> bool {
    let strategy = object.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    let partition = strategy.and_then(|one| one.rolling_update.as_ref()).and_then(|one| one.partition);
    partition.is_some_and(|partition| partition > 0)
        || strategy.is_some_and(|one| one.type_.as_deref() == Some("OnDelete"))
}

/// A DaemonSet as its controller sees it: a replica is a node.
pub fn daemon_set_facts(object: &DaemonSet) -> Workload {
    let status = object.status.clone().unwrap_or_default();
    let template = object.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    Workload {
        object: reference("apps/v1", "DaemonSet", &object.metadata),
        replicas: status.desired_number_scheduled,
        total_replicas: status.current_number_scheduled,
        updated_replicas: status.updated_number_scheduled.unwrap_or_default(),
        ready_replicas: status.number_ready,
        available_replicas: status.number_available.unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        observed_generation: status.observed_generation.unwrap_or_default(),
        ..template_facts(&object.metadata, template)
    }
}

/// A ReplicaSet that no Deployment owns.
pub fn replica_set_facts(object: &ReplicaSet) -> Workload {
    let (spec, status) = (object.spec.as_ref(), object.status.clone().unwrap_or_default());
    let template = spec.and_then(|spec| spec.template.as_ref()).and_then(|template| template.spec.as_ref());
    let conditions = status.conditions.unwrap_or_default();
    Workload {
        object: reference("apps/v1", "ReplicaSet", &object.metadata),
        replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1),
        total_replicas: status.replicas,
        updated_replicas: status.fully_labeled_replicas.unwrap_or_default(),
        ready_replicas: status.ready_replicas.unwrap_or_default(),
        available_replicas: status.available_replicas.unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        observed_generation: status.observed_generation.unwrap_or_default(),
        conditions: (conditions.into_iter())
            .map(|c| condition(&c.type_, &c.status, c.reason, c.message))
            .take(16)
            .collect(),
        ..template_facts(&object.metadata, template)
    }
}

/// A ReplicationController.
pub fn replication_controller_facts(object: &ReplicationController) -> Workload {
    let (spec, status) = (object.spec.as_ref(), object.status.clone().unwrap_or_default());
    let template = spec.and_then(|spec| spec.template.as_ref()).and_then(|template| template.spec.as_ref());
    let conditions = status.conditions.unwrap_or_default();
    Workload {
        object: reference("v1", "ReplicationController", &object.metadata),
        replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1),
        total_replicas: status.replicas,
        updated_replicas: status.fully_labeled_replicas.unwrap_or_default(),
        ready_replicas: status.ready_replicas.unwrap_or_default(),
        available_replicas: status.available_replicas.unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        observed_generation: status.observed_generation.unwrap_or_default(),
        conditions: (conditions.into_iter())
            .map(|c| condition(&c.type_, &c.status, c.reason, c.message))
            .take(16)
            .collect(),
        ..template_facts(&object.metadata, template)
    }
}

/// A pod that nobody owns: a workload of one replica.
pub fn pod_facts(pod: &Pod) -> Workload {
    let ready = i32::from(super::pods::is_ready(pod));
    Workload {
        object: reference("v1", "Pod", &pod.metadata),
        replicas: 1,
        total_replicas: 1,
        updated_replicas: 1,
        ready_replicas: ready,
        available_replicas: ready,
        ..template_facts(&pod.metadata, pod.spec.as_ref())
    }
}

/// Number of the revision by its annotation.
pub fn revision(metadata: &ObjectMeta) -> Option<i64> {
    metadata.annotations.as_ref()?.get(REVISION)?.parse().ok()
}

/// What the template says, and what Kubernaut wrote on the workload.
pub fn template_facts(metadata: &ObjectMeta, spec: Option<&PodSpec>) -> Workload {
    let mark = |name: &str| metadata.annotations.as_ref().and_then(|annotations| annotations.get(name));
    Workload {
        containers: spec.map(containers).unwrap_or_default(),
        references: spec.map(super::references::references).unwrap_or_default(),
        service_account: spec.and_then(|spec| spec.service_account_name.clone()),
        changed_by: mark(labels::CHANGED_BY).map(|name| bounded(name, 253)),
        changed_from: mark(CHANGED_FROM).map(|record| bounded(&redact(record), 512)),
        ..Workload::default()
    }
}

pub fn reference(api_version: &str, kind: &str, metadata: &ObjectMeta) -> TargetRef {
    TargetRef {
        api_version: api_version.into(),
        kind: kind.into(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone(),
    }
}

pub fn condition(type_: &str, status: &str, reason: Option<String>, message: Option<String>) -> ObservedCondition {
    ObservedCondition {
        type_: bounded(type_, 64),
        status: bounded(status, 16),
        reason: bounded(&reason.unwrap_or_default(), 128),
        message: bounded(&redact(&message.unwrap_or_default()), 512),
    }
}

fn containers(spec: &PodSpec) -> Vec<ContainerSpec> {
    spec.containers.iter().take(20).map(container).collect()
}

fn container(container: &Container) -> ContainerSpec {
    let resources = container.resources.clone().unwrap_or_default();
    let (limits, requests) = (resources.limits.unwrap_or_default(), resources.requests.unwrap_or_default());
    ContainerSpec {
        name: container.name.clone(),
        image: bounded(&redact(container.image.as_deref().unwrap_or_default()), 512),
        memory_limit: limits.get("memory").map(|quantity| quantity.0.clone()),
        memory_request: requests.get("memory").map(|quantity| quantity.0.clone()),
        cpu_limit: limits.get("cpu").map(|quantity| quantity.0.clone()),
        cpu_request: requests.get("cpu").map(|quantity| quantity.0.clone()),
    }
}
