//! WorkflowExecution: the steps of one plan, as a graph, and how far they are.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::meta::{TargetRef, Transition, phases, staged};

/// A plan to execute: a snapshot, never looked up again.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kubernaut.io",
    version = "v1alpha1",
    kind = "WorkflowExecution",
    plural = "workflowexecutions",
    shortname = "we",
    category = "kubernaut",
    namespaced,
    status = "WorkflowExecutionStatus",
    derive = "PartialEq",
    cel,
    doc = "Executes the steps of one plan. Made by Kubernaut.",
    validation = Rule::new("self.spec == oldSelf.spec").message("spec is immutable").field_path(".spec"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || !(oldSelf.status.phase in ['Completed', 'Failed', 'Cancelled']) || (has(self.status) && has(self.status.phase) && self.status.phase == oldSelf.status.phase)").message("status.phase is terminal").field_path(".status.phase"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.name"),
    printcolumn(name = "Action", type_ = "string", json_path = ".spec.steps[*].action"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowExecutionSpec {
    /// Name of the RemediationRequest.
    #[schemars(length(min = 1, max = 39))]
    pub request: String,
    /// What the plan is about.
    pub target: TargetRef,
    /// SHA-256 over `steps`, as 64 hex digits: steps that do not match it are refused.
    #[schemars(length(min = 64, max = 64))]
    pub plan_hash: String,
    /// The steps. Names are unique, `dependsOn` has no cycle.
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub steps: Vec<Step>,
    /// How many steps may run at once.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 20), extend("format" = "int32"))]
    pub parallelism: u8,
    /// Send every mutation with `dryRun=All`.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub dry_run: bool,
    /// Limit of the whole workflow; past it no further step starts.
    #[schemars(schema_with = "crate::schema::duration")]
    pub timeout: Duration,
}

fn five() -> u8 {
    5
}

/// One step of a plan: one action on one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Name, unique in the plan.
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Action of the catalogue, such as `rollback_deployment`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z][a-z0-9_]*$"))]
    pub action: String,
    /// What it changes.
    pub target: TargetRef,
    /// Parameters of the action, checked against its schema.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::free_object")]
    pub parameters: BTreeMap<String, Value>,
    /// Steps that must be completed before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(max = 20)))]
    pub depends_on: Vec<String>,
    /// What a failure of this step means for the others.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Limit of the step's Job; the configuration's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_duration")]
    pub timeout: Option<Duration>,
}

/// What a failed step means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// No further step starts and the workflow fails.
    #[default]
    Fail,
    /// Steps that do not depend on it go on.
    Continue,
}

phases! {
    /// Phases of a WorkflowExecution.
    WorkflowPhase {
        /// Seen, nothing begun.
        Pending,
        /// The graph of steps is being checked.
        Planning,
        /// Steps are checked against the catalogue and the plan's hash.
        Validating,
        /// Steps run.
        Executing,
        /// All steps are done; their results are being watched.
        Monitoring,
        /// Finished steps are being undone.
        RollingBack,
        /// Every step is done.
        Completed,
        /// A step failed or the plan was refused; `reason` says which.
        Failed,
        /// Cancelled.
        Cancelled,
    } terminal { Completed, Failed, Cancelled }
}

/// State of one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// Name of the step.
    #[schemars(length(max = 20))]
    pub name: String,
    /// Name of its KubernetesExecution, once it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub execution_name: Option<String>,
    /// Phase of its KubernetesExecution as last seen; absent before it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<crate::execution::ExecutionPhase>,
    /// What it did or why it did not, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Observed state of a WorkflowExecution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowExecutionStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<WorkflowPhase>,
    /// Why, as a CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// When the workflow has to be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase_deadline: Option<MicroTime>,
    /// State of each step, in the order of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub steps: Vec<StepStatus>,
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

staged!(WorkflowExecution, WorkflowPhase, "workflow", |object| Some(&object.spec.target), |object| object
    .spec
    .request
    .clone());
