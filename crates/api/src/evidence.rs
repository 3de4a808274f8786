//! What was found in the cluster about a target: bounded, redacted, and the only thing a diagnosis may cite.

mod batch;
mod config;
mod objects;
mod pods;
mod surroundings;
mod upstream;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::TargetRef;
pub use batch::{Job, Schedule};
pub use config::{Config, Drift};
pub use pods::{ContainerLog, ContainerState, EventRecord, PodEvidence, Termination};
pub use surroundings::{Autoscaler, Budget, Claim, Dependency, Metric, Node, Quota, QuotaAmount, Reference};
pub use upstream::Upstream;

/// Evidence about one target, at one time. At most 64 KiB as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// When it was collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected_at: Option<MicroTime>,
    /// From the object that the signal names up to the target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub owner_chain: Vec<TargetRef>,
    /// The target, if it is a workload and was found; or the workload that the target is about: what a
    /// Service, a budget or a claim serves, what an autoscaler scales.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// Revisions of the workload, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub revisions: Vec<Revision>,
    /// What differs between the current revision and the one before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub changes: Vec<Change>,
    /// Pods of the target, unhealthy ones first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub pods: Vec<PodEvidence>,
    /// Last lines of the logs of failing containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub logs: Vec<ContainerLog>,
    /// Recent Kubernetes Events about the target and what it owns, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub events: Vec<EventRecord>,
    /// Autoscalers of the workload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub autoscalers: Vec<Autoscaler>,
    /// Nodes of the target's pods, those in trouble first; or the target itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub nodes: Vec<Node>,
    /// How many other nodes are ready and take pods; looked up only when one of `nodes` is in trouble or cordoned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_nodes_ready: Option<i32>,
    /// PersistentVolumeClaims of the pods that are not bound, or are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub claims: Vec<Claim>,
    /// Quotas of the namespace; looked up only when replicas are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub quotas: Vec<Quota>,
    /// PodDisruptionBudgets over the target's pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub budgets: Vec<Budget>,
    /// Services that the target's containers name, the broken ones first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub dependencies: Vec<Dependency>,
    /// The target, if it is a Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Dependency>,
    /// The target, if it is a CronJob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The target, if it is a Job; or the last ones of a CronJob, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub jobs: Vec<Job>,
    /// ConfigMaps that the template names; looked up only when the target is not well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub configs: Vec<Config>,
    /// The workloads behind broken dependencies, and behind theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub upstream: Vec<Upstream>,
    /// True when something was left out to stay within the bound.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub truncated: bool,
}

/// A workload as its own controller sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// The workload, with its uid.
    pub object: TargetRef,
    /// Replicas wanted.
    pub replicas: i32,
    /// Replicas that exist, of any template, not counting those being deleted.
    #[serde(default)]
    pub total_replicas: i32,
    /// Replicas of the newest template.
    #[serde(default)]
    pub updated_replicas: i32,
    /// Replicas that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Replicas that have been ready long enough.
    #[serde(default)]
    pub available_replicas: i32,
    /// Generation of the spec.
    #[serde(default)]
    pub generation: i64,
    /// Generation that the workload's controller has seen.
    #[serde(default)]
    pub observed_generation: i64,
    /// True when rollouts are paused.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub paused: bool,
    /// Number of the current revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Conditions that the workload's controller has set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<ObservedCondition>,
    /// Containers of the current template, init containers excluded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub containers: Vec<ContainerSpec>,
    /// ConfigMaps, Secrets and PersistentVolumeClaims that the current template names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub references: Vec<Reference>,
    /// Name of the ServiceAccount of its pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service_account: Option<String>,
    /// The KubernetesExecution that changed it last, when one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub changed_by: Option<String>,
    /// What that execution recorded of the state before, as JSON, redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub changed_from: Option<String>,
    /// True for a workload besides the target that nobody has put into Kubernaut's hands: it is not changed.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub unmanaged: bool,
}

/// One condition of a workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObservedCondition {
    /// Type, such as `Progressing`.
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    pub type_: String,
    /// True, False or Unknown.
    #[schemars(length(max = 16))]
    pub status: String,
    /// Reason, such as `ProgressDeadlineExceeded`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub reason: String,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
}

/// One container of a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSpec {
    /// Name of the container.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Image.
    #[schemars(length(max = 512))]
    pub image: String,
    /// Memory limit as a quantity, such as `128Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub memory_limit: Option<String>,
    /// Memory request as a quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub memory_request: Option<String>,
    /// CPU limit as a quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub cpu_limit: Option<String>,
    /// CPU request as a quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub cpu_request: Option<String>,
}

/// One revision of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Number, as `kubectl rollout history` shows it.
    pub number: i64,
    /// Name of the ReplicaSet or ControllerRevision that holds it.
    #[schemars(length(max = 253))]
    pub holder: String,
    /// When it was first made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<MicroTime>,
    /// Replicas of this revision now.
    #[serde(default)]
    pub replicas: i32,
    /// Of them ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// True for the one that the workload asks for now.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub current: bool,
}

/// One difference between two revisions of a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Number of the older revision.
    pub from_revision: i64,
    /// Number of the newer revision.
    pub to_revision: i64,
    /// Where in the template, such as `containers[app].command`.
    #[schemars(length(max = 256))]
    pub path: String,
    /// Before, redacted; empty when it was not there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub before: String,
    /// After, redacted; empty when it is gone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub after: String,
}
