//! What was found in the cluster about a target: bounded, redacted, and the only thing a diagnosis may cite.

mod objects;
mod surroundings;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::TargetRef;
pub use surroundings::{Autoscaler, Budget, Claim, Dependency, Metric, Node, Quota, QuotaAmount, Reference};

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
    /// The target, if it is a workload and was found.
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
    /// How many other nodes are ready and take pods; looked up only when one of `nodes` is in trouble.
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

/// One pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodEvidence {
    /// Name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub uid: String,
    /// Name of the owner that made it, such as a ReplicaSet: ties the pod to a revision's `holder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub owner: Option<String>,
    /// Phase, such as Running.
    #[schemars(length(max = 32))]
    pub phase: String,
    /// Ready by its condition.
    pub ready: bool,
    /// True while it is being deleted.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub terminating: bool,
    /// Node it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<MicroTime>,
    /// Why the scheduler found no node for it; absent when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub unschedulable: Option<String>,
    /// Why it ended as a whole, such as Evicted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub reason: String,
    /// Name of the ControllerRevision that it was made from, where that is what ties it to a revision's `holder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub revision: Option<String>,
    /// States of its containers, init containers first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub containers: Vec<ContainerState>,
}

/// State of one container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerState {
    /// Name of the container.
    #[schemars(length(max = 63))]
    pub name: String,
    /// True for an init container.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub init: bool,
    /// Image as asked for.
    #[schemars(length(max = 512))]
    pub image: String,
    /// Ready.
    pub ready: bool,
    /// How often it was started again.
    #[serde(default)]
    pub restarts: i32,
    /// Waiting, Running or Terminated.
    #[schemars(length(max = 16))]
    pub state: String,
    /// Reason of the state, such as CrashLoopBackOff or ImagePullBackOff.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub reason: String,
    /// Message of the state.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
    /// How it ended last (the current state if Terminated, else the previous run).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_termination: Option<Termination>,
}

/// The end of one run of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Termination {
    /// Exit code.
    pub exit_code: i32,
    /// Reason, such as OOMKilled or Error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub reason: String,
    /// Termination message, redacted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
    /// When the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<MicroTime>,
}

/// Last lines of one container's log, redacted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerLog {
    /// Name of the pod.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// Name of the container.
    #[schemars(length(max = 63))]
    pub container: String,
    /// True for the run before the current one.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub previous: bool,
    /// Lines, oldest first.
    #[schemars(length(max = 50), inner(length(max = 512)))]
    pub lines: Vec<String>,
}

/// One Kubernetes Event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventRecord {
    /// What it is about, as `Kind/name`.
    #[schemars(length(max = 320))]
    pub object: String,
    /// Normal or Warning.
    #[serde(rename = "type")]
    #[schemars(length(max = 16))]
    pub type_: String,
    /// Reason, such as BackOff.
    #[schemars(length(max = 128))]
    pub reason: String,
    /// Message, redacted.
    #[schemars(length(max = 512))]
    pub message: String,
    /// How often.
    #[serde(default)]
    pub count: i32,
    /// When last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<MicroTime>,
}
