//! WorkflowExecution: the steps of one plan, as a graph, and how far they are.
//!
//! The plan comes from an analysis (`spec.request`), or from a person: steps, or the name of a RemediationWorkflow.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::execution::{Effect, ExecutionPhase};
use crate::meta::{TargetRef, Transition, phases, staged};
use crate::schema::unchanged;

/// Steps of one workflow at most.
pub const MAX_STEPS: usize = 50;

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
    doc = "Executes the steps of one plan. Made by Kubernaut for a request, or by a person by hand.",
    validation = Rule::new("has(self.spec.request) || size(self.metadata.name) <= 39").message("metadata.name may have at most 39 characters: the names of Jobs derive from it"),
    validation = Rule::new("(has(self.spec.steps) && size(self.spec.steps) > 0) != has(self.spec.workflowRef)").message("either spec.steps or spec.workflowRef must be given").field_path(".spec.steps"),
    validation = Rule::new("!has(self.spec.request) || (has(self.spec.planHash) && !has(self.spec.workflowRef))").message("spec.planHash is required, and spec.workflowRef is not possible, where spec.request is given").field_path(".spec.planHash"),
    validation = Rule::new(unchanged(&["target", "parallelism", "onFailure", "timeout"], &["request", "planHash", "steps", "workflowRef", "dryRun"])).message("spec is immutable, but for spec.cancelled").field_path(".spec"),
    validation = Rule::new("!(has(oldSelf.spec.cancelled) && oldSelf.spec.cancelled) || (has(self.spec.cancelled) && self.spec.cancelled)").message("spec.cancelled cannot be taken back: make a new WorkflowExecution instead").field_path(".spec.cancelled"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || !(oldSelf.status.phase in ['Completed', 'Failed', 'Cancelled']) || (has(self.status) && has(self.status.phase) && self.status.phase == oldSelf.status.phase)").message("status.phase is terminal").field_path(".status.phase"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.name"),
    printcolumn(name = "Action", type_ = "string", json_path = ".spec.steps[*].action"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowExecutionSpec {
    /// Name of the RemediationRequest; absent where a person made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 39))]
    pub request: Option<String>,
    /// What the plan is about.
    pub target: TargetRef,
    /// SHA-256 over `steps`, as 64 hex digits: steps that do not match it are refused. Computed where a person
    /// leaves it out, see `status.planHash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 64))]
    pub plan_hash: Option<String>,
    /// The steps. Names are unique, `dependsOn` has no cycle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub steps: Vec<Step>,
    /// A RemediationWorkflow to run in the place of `steps`, on `target`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_ref: Option<WorkflowRef>,
    /// What the failure of the whole means: `rollback` undoes finished steps also when a step with `onFailure: fail`
    /// fails or the workflow does not end in time.
    #[serde(default)]
    pub on_failure: WorkflowOnFailure,
    /// How many steps may run at once.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 20), extend("format" = "int32"))]
    pub parallelism: u8,
    /// Set to true to cancel: nothing new starts, a running Job is left to end, the end is Cancelled. For one that
    /// serves a request, cancel the request.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub cancelled: bool,
    /// Send every mutation with `dryRun=All`.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub dry_run: bool,
    /// Limit of the whole workflow; past it no further step starts. Undoing has as long again.
    #[serde(default = "half_an_hour")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub timeout: Duration,
}

fn five() -> u8 {
    5
}

fn half_an_hour() -> Duration {
    std::time::Duration::from_mins(30).into()
}

/// What the failure of a whole workflow means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WorkflowOnFailure {
    /// What is done stays, unless the failed step says otherwise.
    #[default]
    Fail,
    /// Finished steps are undone.
    Rollback,
}

/// Which RemediationWorkflow to run, and with what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowRef {
    /// Name of a RemediationWorkflow of the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its parameters, checked against their definitions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::free_object")]
    pub parameters: BTreeMap<String, Value>,
}

/// One step of a plan: one action on one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
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
    /// How often the step is tried again when it failed before it ran. What failed while it ran is never repeated.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(max = 5), extend("format" = "int32"))]
    pub retries: u8,
    /// CEL expression over the steps that it depends on, such as `steps.probe.effect == 'Unchanged'`: unless it is
    /// true the step is skipped, which counts as done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub condition: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
pub(crate) fn is_zero(value: &u8) -> bool {
    *value == 0
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
    /// As `fail`, and finished steps are undone in reverse order.
    Rollback,
}

phases! {
    /// Phases of a WorkflowExecution.
    WorkflowPhase {
        /// Seen, nothing begun.
        Pending,
        /// The graph of steps is being checked.
        Planning,
        /// Steps are checked against the catalogue and the plan's hash; a person is asked where that is due.
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
    /// Name of its newest KubernetesExecution, once it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub execution_name: Option<String>,
    /// Phase of its KubernetesExecution as last seen; absent before it was started, and while it waits for another
    /// attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ExecutionPhase>,
    /// True when its condition did not hold: it counts as done.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub skipped: bool,
    /// What happened to its target, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// Why it ended, as a CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// What it did or why it did not, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Attempts after the first, see `retries` of the step.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(max = 5), extend("format" = "int32"))]
    pub retried: u8,
    /// Before this time no further attempt is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<MicroTime>,
    /// How it is undone; absent unless the workflow is rolled back and the step has changed something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
}

/// How one finished step is undone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Undo {
    /// How far it is.
    pub state: UndoState,
    /// Action that restores the state before; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub action: Option<String>,
    /// Its parameters, from the recorded state before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::free_object")]
    pub parameters: BTreeMap<String, Value>,
    /// Name of its KubernetesExecution, once it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub execution_name: Option<String>,
    /// What was undone, or why it was not, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// How far undoing a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UndoState {
    /// Waits for the steps that came after it.
    #[default]
    Waiting,
    /// Started.
    Started,
    /// Its KubernetesExecution has begun to act.
    Running,
    /// The target is as it was before the step.
    Undone,
    /// It could not be undone, or nobody knows; the message says why.
    NotUndone,
}

/// The plan that a RemediationWorkflow gave: what becomes of that later does not matter any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expanded {
    /// Name of the RemediationWorkflow.
    #[schemars(length(max = 253))]
    pub workflow: String,
    /// Its generation then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// SHA-256 over its spec, as 64 hex digits.
    #[schemars(length(max = 64))]
    pub hash: String,
    /// The steps, with parameters and target filled in.
    #[schemars(length(max = 50))]
    pub steps: Vec<Step>,
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
    /// When the workflow, undoing its steps, or the answer of the person who was asked is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase_deadline: Option<MicroTime>,
    /// SHA-256 over the steps that are executed, as 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub plan_hash: Option<String>,
    /// The steps that the RemediationWorkflow gave, where `spec.workflowRef` names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expanded: Option<Expanded>,
    /// Name of the RemediationApproval, when a person is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub approval_name: Option<String>,
    /// State of each step, in the order of the plan.
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

impl WorkflowExecution {
    /// What the names of all that belongs to it derive from: its request, or itself where a person made it.
    pub fn base_name(&self) -> String {
        self.spec.request.clone().or_else(|| self.metadata.name.clone()).unwrap_or_default()
    }

    /// The steps that are executed: those of the spec, or those that its RemediationWorkflow gave.
    pub fn steps(&self) -> &[Step] {
        let expanded = self.status.as_ref().and_then(|status| status.expanded.as_ref());
        expanded.map_or(&self.spec.steps, |expanded| &expanded.steps)
    }
}

staged!(WorkflowExecution, WorkflowPhase, "workflow", |object| Some(&object.spec.target), WorkflowExecution::base_name);
