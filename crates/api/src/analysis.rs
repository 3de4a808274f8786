//! AIAnalysis: from evidence to a root cause, a plan and the word whether a person is asked.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::{TargetRef, Transition, phases, staged};
use crate::policy::PolicyRecord;
use crate::request::Signal;
use crate::workflow::Step;

/// What to analyse: a snapshot of the request; the evidence stands in the RemediationProcessing.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kubernaut.io",
    version = "v1alpha1",
    kind = "AIAnalysis",
    plural = "aianalyses",
    shortname = "aia",
    category = "kubernaut",
    namespaced,
    status = "AIAnalysisStatus",
    derive = "PartialEq",
    cel,
    doc = "Finds the root cause from the evidence and proposes a plan. Made by Kubernaut.",
    validation = Rule::new("self.spec == oldSelf.spec").message("spec is immutable").field_path(".spec"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || !(oldSelf.status.phase in ['Completed', 'Rejected', 'Failed']) || (has(self.status) && has(self.status.phase) && self.status.phase == oldSelf.status.phase)").message("status.phase is terminal").field_path(".status.phase"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.name"),
    printcolumn(name = "Cause", type_ = "string", json_path = ".status.rootCause.cause"),
    printcolumn(name = "Confidence", type_ = "number", json_path = ".status.confidence"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
)]
#[serde(rename_all = "camelCase")]
pub struct AIAnalysisSpec {
    /// Name of the RemediationRequest.
    #[schemars(length(min = 1, max = 39))]
    pub request: String,
    /// Name of the RemediationProcessing that holds the evidence.
    #[schemars(length(min = 1, max = 253))]
    pub processing: String,
    /// What was reported.
    pub signal: Signal,
    /// The top-level owner of what the signal is about.
    pub target: TargetRef,
    /// Limit of the analysis.
    #[schemars(schema_with = "crate::schema::duration")]
    pub timeout: Duration,
    /// Limit of waiting for a person.
    #[schemars(schema_with = "crate::schema::duration")]
    pub approval_timeout: Duration,
    /// Why a person is asked whatever the confidence is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub ask_person: Option<String>,
}

phases! {
    /// Phases of an AIAnalysis.
    AnalysisPhase {
        /// Seen, nothing begun.
        Pending,
        /// A provider looks for the cause.
        Analyzing,
        /// The plan is being made and checked.
        Generating,
        /// A person is asked.
        Approval,
        /// Cause and plan stand in status and may be executed.
        Completed,
        /// Nothing may be executed: too little confidence, or a person said no.
        Rejected,
        /// It could not be done; `reason` says why.
        Failed,
    } terminal { Completed, Rejected, Failed }
}

/// A claim with what it rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Citation {
    /// Object of the evidence, as `Kind/name`.
    #[schemars(length(max = 320))]
    pub object: String,
    /// What it shows.
    #[schemars(length(max = 512))]
    pub observation: String,
}

/// What is wrong at bottom.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RootCause {
    /// Kind of cause as a CamelCase word, such as `BadRollout`.
    #[schemars(length(max = 64))]
    pub cause: String,
    /// One sentence for the person on call.
    #[schemars(length(max = 1024))]
    pub summary: String,
    /// What it rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub evidence: Vec<Citation>,
}

/// One signal that the confidence was computed from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfidenceSignal {
    /// What was looked for.
    #[schemars(length(max = 128))]
    pub name: String,
    /// How much it counts, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight: f64,
    /// Whether it was found.
    pub met: bool,
}

/// How much an action can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Risk {
    /// Undone by itself or without effect on service.
    Low,
    /// Restarts or replaces pods of one workload.
    Medium,
    /// Touches more than one workload, or cannot be undone: a person is always asked.
    High,
}

/// A plan: what would be done, in which order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// SHA-256 over the steps, as 64 hex digits: what is approved is what is executed.
    #[schemars(length(max = 64))]
    pub hash: String,
    /// The steps.
    #[schemars(length(max = 50))]
    pub steps: Vec<Step>,
    /// Why this plan.
    #[schemars(length(max = 1024))]
    pub rationale: String,
    /// Highest risk of its steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
}

/// Observed state of an AIAnalysis.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AIAnalysisStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<AnalysisPhase>,
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
    /// Provider that gave the answer, such as `builtin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub provider: Option<String>,
    /// What is wrong at bottom; absent when nothing was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_cause: Option<RootCause>,
    /// What made it worse.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 512)))]
    pub contributing_factors: Vec<String>,
    /// How sure the provider is, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: Option<f64>,
    /// What the confidence was computed from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub confidence_signals: Vec<ConfidenceSignal>,
    /// What to do; absent when nothing should be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Plans that were considered and not chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub alternatives: Vec<Plan>,
    /// What the approval policy said of the plan. It can only tighten what confidence and risk allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyRecord>,
    /// How many people have to approve, when a person is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2), extend("format" = "int32"))]
    pub approvers: Option<u8>,
    /// When it was announced that the question is about to lapse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_announced_at: Option<MicroTime>,
    /// Name of the RemediationApproval, when a person is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub approval_name: Option<String>,
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

staged!(AIAnalysis, AnalysisPhase, "analysis", |object| Some(&object.spec.target), |object| object
    .spec
    .request
    .clone());
