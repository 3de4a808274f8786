//! Pods of a target: how each container is and how it ended, what it last wrote, and what Events tell.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
