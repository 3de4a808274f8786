//! Reads a target and says how it is.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, ResourceExt};
use kubernaut_api::TargetRef;
use kubernaut_api::evidence::Workload;
use kubernaut_api::execution::TargetMark;
use kubernaut_domain::health::{self, Health};
use kubernaut_domain::{catalogue, drift};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Ctx, Error, calls, collect};

/// Label of an EndpointSlice that names its Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Kinds whose health can be read.
const KINDS: &[&str] = &[
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "Node",
    "Pod",
    "Job",
    "CronJob",
    "PersistentVolumeClaim",
    "HorizontalPodAutoscaler",
    "Service",
];

/// A target as it is now.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub health: Health,
    /// What is kept of it; `None` for kinds that are not read, and for what is gone.
    pub mark: Option<TargetMark>,
}

/// Health of a target now. An object made anew under the same name is another one: the target is gone.
pub(crate) async fn of(ctx: &Ctx, target: &TargetRef) -> Result<Look, Error> {
    if !KINDS.contains(&target.kind.as_str()) {
        return Ok(Look { health: Health::NotApplicable, mark: None });
    }
    let Some(object) = object(ctx, target).await? else { return Ok(Look { health: Health::Gone, mark: None }) };
    let json = serde_json::to_value(&object).unwrap_or_default();
    let mark = Some(drift::mark(&json));
    if let Some(workload) = facts(&target.kind, &json) {
        return Ok(Look { health: health::of_workload(&workload), mark });
    }
    let health = match target.kind.as_str() {
        "Node" => told::<Node>(json, health::of_node),
        "Pod" => told::<Pod>(json, health::of_pod),
        "Job" => told::<Job>(json, health::of_job),
        "CronJob" => told::<CronJob>(json, health::of_cron_job),
        "PersistentVolumeClaim" => told::<PersistentVolumeClaim>(json, health::of_claim),
        "HorizontalPodAutoscaler" => told::<HorizontalPodAutoscaler>(json, health::of_autoscaler),
        _ => health::of_service(&slices(ctx, target).await?),
    };
    Ok(Look { health, mark })
}

/// An object that is the target still; `None` when it is gone, or another one has its name.
pub(crate) async fn object(ctx: &Ctx, target: &TargetRef) -> Result<Option<DynamicObject>, Error> {
    let (group, version) = target.api_version.split_once('/').unwrap_or(("", &target.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &target.kind));
    let api: Api<DynamicObject> = match &target.namespace {
        Some(namespace) if catalogue::is_namespaced(&target.kind) => {
            Api::namespaced_with(ctx.client.clone(), namespace, &resource)
        }
        _ => Api::all_with(ctx.client.clone(), &resource),
    };
    let found = calls::timed(ctx.call_timeout, &format!("get {target}"), api.get_opt(&target.name)).await?;
    Ok(found.filter(|found| target.uid.is_none() || target.uid == found.uid()))
}

/// Replicas of a workload, wanted and there; `None` for what is none.
pub(crate) fn facts(kind: &str, object: &Value) -> Option<Workload> {
    match kind {
        "Deployment" => Some(collect::workload_facts(&typed::<Deployment>(object)?)),
        "StatefulSet" => Some(collect::stateful_set_facts(&typed::<StatefulSet>(object)?)),
        "DaemonSet" => Some(collect::daemon_set_facts(&typed::<DaemonSet>(object)?)),
        _ => None,
    }
}

fn typed<K: DeserializeOwned>(object: &Value) -> Option<K> {
    serde_json::from_value(object.clone()).ok()
}

fn told<K: DeserializeOwned>(object: Value, of: fn(&K) -> Health) -> Health {
    match serde_json::from_value(object) {
        Ok(object) => of(&object),
        Err(error) => Health::Unhealthy(format!("its status is not what its schema says: {error}")),
    }
}

async fn slices(ctx: &Ctx, service: &TargetRef) -> Result<Vec<EndpointSlice>, Error> {
    let namespace = service.namespace.as_deref().unwrap_or_default();
    let api = Api::<EndpointSlice>::namespaced(ctx.client.clone(), namespace);
    let own = ListParams::default().labels(&format!("{SERVICE_NAME}={}", service.name));
    Ok(calls::timed(ctx.call_timeout, &format!("list endpoints of {service}"), api.list(&own)).await?.items)
}
