//! Objects of any kind, by their manifests: the kinds that a remediation could touch.

use anyhow::{Context, Result};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde::Deserialize;
use serde_json::Value;

use crate::Cluster;

/// API version, kind and plural of every kind in a namespace that is looked at.
pub const KINDS: &[(&str, &str, &str)] = &[
    ("apps/v1", "Deployment", "deployments"),
    ("apps/v1", "ReplicaSet", "replicasets"),
    ("apps/v1", "StatefulSet", "statefulsets"),
    ("apps/v1", "DaemonSet", "daemonsets"),
    ("batch/v1", "Job", "jobs"),
    ("batch/v1", "CronJob", "cronjobs"),
    ("v1", "Pod", "pods"),
    ("v1", "ConfigMap", "configmaps"),
    ("v1", "Secret", "secrets"),
    ("v1", "Service", "services"),
    ("v1", "ServiceAccount", "serviceaccounts"),
    ("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    ("v1", "ResourceQuota", "resourcequotas"),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    ("rbac.authorization.k8s.io/v1", "Role", "roles"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
];

/// Nodes, which are in no namespace.
pub const NODE: (&str, &str, &str) = ("v1", "Node", "nodes");

/// How the API serves a kind.
pub fn resource((api_version, kind, plural): (&str, &str, &str)) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// Objects of one kind in a namespace.
pub fn api(cluster: &Cluster, namespace: &str, kind: &str) -> Result<Api<DynamicObject>> {
    let known = KINDS.iter().find(|(_, known, _)| *known == kind).with_context(|| format!("{kind} is not known"))?;
    Ok(Api::namespaced_with(cluster.client.clone(), namespace, &resource(*known)))
}

/// Busybox, of which the applications of tests are made.
pub fn image() -> String {
    std::env::var("BUSYBOX_IMAGE").unwrap_or_else(|_| "localhost/busybox:1".into())
}

/// The documents of a YAML text, with the image of the tests for `IMAGE`.
pub fn documents(yaml: &str) -> Result<Vec<Value>> {
    let text = yaml.replace("IMAGE", &image());
    serde_yaml_ng::Deserializer::from_str(&text).map(|document| Ok(Value::deserialize(document)?)).collect()
}

/// Makes an object in a namespace; as it is then.
pub async fn create(cluster: &Cluster, namespace: &str, manifest: &Value) -> Result<DynamicObject> {
    let kind = manifest["kind"].as_str().context("a manifest has a kind")?;
    let object: DynamicObject = serde_json::from_value(manifest.clone())?;
    let created = api(cluster, namespace, kind)?.create(&PostParams::default(), &object).await;
    created.with_context(|| format!("{kind} {} in {namespace}", manifest["metadata"]["name"]))
}

/// Lays a change over an object: lists of containers and the like are merged by name.
pub async fn patch(cluster: &Cluster, namespace: &str, kind: &str, name: &str, change: &Value) -> Result<()> {
    let patched = api(cluster, namespace, kind)?.patch(name, &PatchParams::default(), &Patch::Strategic(change)).await;
    patched.with_context(|| format!("{kind} {name} in {namespace}"))?;
    Ok(())
}
