//! RemediationProcessing: collects and classifies the evidence for one request.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::meta::{TargetRef, Transition, phases, staged};
use crate::request::Signal;

/// What to collect evidence about: a snapshot of the request.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kubernaut.io",
    version = "v1alpha1",
    kind = "RemediationProcessing",
    plural = "remediationprocessings",
    shortname = "rp",
    category = "kubernaut",
    namespaced,
    status = "RemediationProcessingStatus",
    derive = "PartialEq",
    cel,
    doc = "Collects and classifies the evidence for one RemediationRequest. Made by Kubernaut.",
    validation = Rule::new("self.spec == oldSelf.spec").message("spec is immutable").field_path(".spec"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || !(oldSelf.status.phase in ['Completed', 'Failed']) || (has(self.status) && has(self.status.phase) && self.status.phase == oldSelf.status.phase)").message("status.phase is terminal").field_path(".status.phase"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.name"),
    printcolumn(name = "Priority", type_ = "string", json_path = ".status.classification.priority"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
)]
#[serde(rename_all = "camelCase")]
pub struct RemediationProcessingSpec {
    /// Name of the RemediationRequest.
    #[schemars(length(min = 1, max = 39))]
    pub request: String,
    /// What was reported.
    pub signal: Signal,
    /// The top-level owner of what the signal is about.
    pub target: TargetRef,
    /// The object that the signal itself names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<TargetRef>,
    /// Limit of each phase.
    #[schemars(schema_with = "crate::schema::duration")]
    pub timeout: Duration,
}

phases! {
    /// Phases of a RemediationProcessing.
    ProcessingPhase {
        /// Seen, nothing begun.
        Pending,
        /// Evidence is being collected.
        Enriching,
        /// Severity, priority and environment are being told.
        Classifying,
        /// Evidence and classification stand in status.
        Completed,
        /// It could not be done; `reason` says why.
        Failed,
    } terminal { Completed, Failed }
}

/// What kind of trouble, and how urgent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Classification {
    /// critical, high, medium or low.
    #[schemars(length(max = 63))]
    pub severity: String,
    /// P0 to P3.
    #[schemars(length(max = 63))]
    pub priority: String,
    /// production, staging, development or unknown.
    #[schemars(length(max = 63))]
    pub environment: String,
    /// Such as CrashLoop, ImagePull, OutOfMemory or Other.
    #[schemars(length(max = 63))]
    pub signal_type: String,
    /// Kind of the target.
    #[schemars(length(max = 63))]
    pub resource_type: String,
}

/// Observed state of a RemediationProcessing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemediationProcessingStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ProcessingPhase>,
    /// Why, as a CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// When the current phase has to be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase_deadline: Option<MicroTime>,
    /// What was found in the cluster, bounded and redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// What kind of trouble it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// SHA-256 over the text of the policy that classified; absent when the built-in rules did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub classification_policy: Option<String>,
    /// What could not be read, and why; empty when the evidence is complete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 512)))]
    pub degraded: Vec<String>,
    /// Every change of phase, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["seq".into()]))]
    pub transitions: Vec<Transition>,
    /// `Ready` sums up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

staged!(RemediationProcessing, ProcessingPhase, "processing", |object| Some(&object.spec.target), |object| object
    .spec
    .request
    .clone());
