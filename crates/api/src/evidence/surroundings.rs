//! What stands around a target: nodes, autoscalers, budgets, quotas, claims and what it depends on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ObservedCondition;
use crate::meta::TargetRef;

/// An object that a template names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// ConfigMap, Secret or PersistentVolumeClaim.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Where in the template, such as `volumes[config]` or `containers[app].envFrom`.
    #[schemars(length(max = 256))]
    pub path: String,
}

/// A HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaler {
    /// The autoscaler, with its uid.
    pub object: TargetRef,
    /// Least number of replicas.
    pub min_replicas: i32,
    /// Greatest number of replicas.
    pub max_replicas: i32,
    /// Replicas that there are.
    #[serde(default)]
    pub current_replicas: i32,
    /// Replicas that it asks for.
    #[serde(default)]
    pub desired_replicas: i32,
    /// True when Kubernaut has changed it before.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub changed_before: bool,
    /// Its conditions, such as `ScalingLimited`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub conditions: Vec<ObservedCondition>,
    /// What it scales by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub metrics: Vec<Metric>,
}

/// One metric of an autoscaler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metric {
    /// Such as `cpu`.
    #[schemars(length(max = 253))]
    pub name: String,
    /// What is measured, such as `180%` or `250m`; absent when it cannot be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub current: Option<String>,
    /// What is aimed at, in the same unit.
    #[schemars(length(max = 32))]
    pub target: String,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// The node, with its uid.
    pub object: TargetRef,
    /// Ready by its condition.
    pub ready: bool,
    /// Since when it is ready, or is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<MicroTime>,
    /// True when somebody has put the node into Kubernaut's hands by its label.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub managed: bool,
    /// True when it is cordoned.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub unschedulable: bool,
    /// Conditions that are as they should not be, such as `MemoryPressure` True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 6))]
    pub conditions: Vec<ObservedCondition>,
    /// Taints, as `key=value:effect`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 256)))]
    pub taints: Vec<String>,
    /// When its taints were written last, as the API server recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taints_changed_at: Option<MicroTime>,
    /// Field manager that wrote them last, such as `kubectl-taint`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub taints_changed_by: String,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Pending, Bound or Lost; Missing when there is none of this name.
    #[schemars(length(max = 16))]
    pub phase: String,
    /// Its class; absent when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class: Option<String>,
    /// How much is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub requested: Option<String>,
    /// How many pods use it; looked up only when it is the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumers: Option<i32>,
}

/// A ResourceQuota.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its amounts.
    #[schemars(length(max = 16))]
    pub amounts: Vec<QuotaAmount>,
}

/// One amount of a quota.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuotaAmount {
    /// Of what, such as `requests.memory`.
    #[schemars(length(max = 253))]
    pub resource: String,
    /// What is used.
    #[schemars(length(max = 32))]
    pub used: String,
    /// What may be used.
    #[schemars(length(max = 32))]
    pub hard: String,
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// What it asks for, such as `minAvailable 2`.
    #[schemars(length(max = 64))]
    pub rule: String,
    /// Pods that may be evicted now.
    #[serde(default)]
    pub disruptions_allowed: i32,
    /// Pods that are healthy.
    #[serde(default)]
    pub current_healthy: i32,
    /// Pods that must be healthy.
    #[serde(default)]
    pub desired_healthy: i32,
    /// Pods that there should be.
    #[serde(default)]
    pub expected_pods: i32,
}

/// A Service, and what is behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// The Service.
    pub object: TargetRef,
    /// Host as it is named, such as `db.shop.svc`; empty when the Service is the target itself.
    #[schemars(length(max = 253))]
    pub host: String,
    /// Where it is named, such as `env DB_URL of container app`; empty when the Service is the target itself.
    #[schemars(length(max = 256))]
    pub named_in: String,
    /// False when there is no such Service.
    pub exists: bool,
    /// Endpoints that are ready.
    #[serde(default)]
    pub ready_endpoints: i32,
    /// Endpoints that are not ready.
    #[serde(default)]
    pub unready_endpoints: i32,
    /// True when it selects pods; one without a selector is kept by somebody else.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub selects: bool,
    /// The workload behind it, where one was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<TargetRef>,
    /// Replicas that the workload wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Of them ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// What ails one of its pods, such as `Pod/db-0: CrashLoopBackOff`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub ailment: String,
}
