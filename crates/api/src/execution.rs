//! KubernetesExecution: one action on one target, run as one Job.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::meta::{TargetRef, Transition, phases, staged};
use crate::policy::PolicyRecord;
use crate::request::BlockReason;

/// One action to run: a snapshot of the step.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kubernaut.io",
    version = "v1alpha1",
    kind = "KubernetesExecution",
    plural = "kubernetesexecutions",
    shortname = "ke",
    category = "kubernaut",
    namespaced,
    status = "KubernetesExecutionStatus",
    derive = "PartialEq",
    cel,
    doc = "Runs one action on one target as one Job. Made by Kubernaut.",
    validation = Rule::new("self.spec == oldSelf.spec").message("spec is immutable").field_path(".spec"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || !(oldSelf.status.phase in ['Completed', 'Failed', 'Cancelled']) || (has(self.status) && has(self.status.phase) && self.status.phase == oldSelf.status.phase)").message("status.phase is terminal").field_path(".status.phase"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Action", type_ = "string", json_path = ".spec.action"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.name"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesExecutionSpec {
    /// Name of the RemediationRequest, or of the WorkflowExecution where that has none.
    #[schemars(length(min = 1, max = 39))]
    pub request: String,
    /// Name of the step.
    #[schemars(length(min = 1, max = 20))]
    pub step: String,
    /// Action of the catalogue, such as `rollback_deployment`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z][a-z0-9_]*$"))]
    pub action: String,
    /// What it changes.
    pub target: TargetRef,
    /// Parameters of the action, checked against its schema.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::free_object")]
    pub parameters: BTreeMap<String, Value>,
    /// Hash of the plan that this step belongs to.
    #[schemars(length(min = 64, max = 64))]
    pub plan_hash: String,
    /// Send every mutation with `dryRun=All`.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub dry_run: bool,
    /// Limit of the Job.
    #[schemars(schema_with = "crate::schema::duration")]
    pub timeout: Duration,
    /// Limit of the health check after it.
    #[schemars(schema_with = "crate::schema::duration")]
    pub verification_timeout: Duration,
    /// Name of the KubernetesExecution whose effect this one undoes. Such a one ends although its request has ended,
    /// and is not undone itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub undoes: Option<String>,
}

phases! {
    /// Phases of a KubernetesExecution.
    ExecutionPhase {
        /// Seen, nothing begun.
        Pending,
        /// Parameters are checked, the effect is rehearsed with `dryRun=All`.
        Validating,
        /// The Job runs.
        Executing,
        /// The effect happened; is the target healthy?
        Verifying,
        /// The effect happened and the check passed.
        Completed,
        /// The effect is being undone.
        RollingBack,
        /// It failed; `reason` says how.
        Failed,
        /// Cancelled.
        Cancelled,
    } terminal { Completed, Failed, Cancelled }
}

/// What a run of `kubernaut act` reports through its termination message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionResult {
    /// What happened to the target.
    pub effect: Effect,
    /// In words, for a person.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Name of the error, as a CamelCase word; only when `effect` is None or Unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub error: Option<String>,
    /// State before, enough to undo the effect.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::free_object")]
    pub before: BTreeMap<String, Value>,
    /// The target as the run left it; a rehearsal: as it found it. Absent where it is not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetMark>,
}

/// What is kept of an object at one moment: enough to tell later whether somebody has changed it since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetMark {
    /// Its generation, which counts the changes of its spec; absent for kinds that have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Its resourceVersion, which changes with every write, also of its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub resource_version: Option<String>,
    /// Hash of its spec without what an autoscaler may set (`spec.replicas`), as 16 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub spec_hash: Option<String>,
    /// The KubernetesExecution that changed it last, by its annotation `kubernaut.io/changed-by`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub changed_by: Option<String>,
}

/// What an action reaches, computed before it runs and bounded by `execution.blastRadius`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlastRadius {
    /// Pods that end or are made anew.
    #[schemars(extend("format" = "int64"))]
    pub pods: u32,
    /// Replicas that the workloads have, or are to have, the greater number.
    #[schemars(extend("format" = "int64"))]
    pub replicas: u32,
    /// Workloads whose pods these are.
    #[schemars(extend("format" = "int64"))]
    pub workloads: u32,
    /// Services that select these pods.
    #[schemars(extend("format" = "int64"))]
    pub services: u32,
    /// Nodes that are changed.
    #[schemars(extend("format" = "int64"))]
    pub nodes: u32,
    /// Pods of the namespace, of which `pods` are a part; absent where they count by node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int64"))]
    pub pods_in_namespace: Option<u32>,
    /// Nodes of the cluster; absent unless a node is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int64"))]
    pub nodes_in_cluster: Option<u32>,
    /// Workloads that have to be healthy after it, at most 20: those that it restarts, and of those that it only
    /// disturbs the ones that were healthy before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub watched: Vec<TargetRef>,
}

/// What happened to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Effect {
    /// The target was changed.
    Changed,
    /// The target already was as wanted.
    Unchanged,
    /// Nothing was changed: refused before it ran.
    None,
    /// It failed while it ran: the state has to be looked at before anything is done again.
    Unknown,
}

/// The Job of an execution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobRef {
    /// Name: the execution's.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Uid: a Job of the same name and another uid is not ours.
    #[schemars(length(max = 128))]
    pub uid: String,
}

/// How an effect is undone: one more Job, made when the target did not become healthy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// Action that restores the state before.
    #[schemars(length(max = 63))]
    pub action: String,
    /// Its parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::free_object")]
    pub parameters: BTreeMap<String, Value>,
    /// Its Job, once it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobRef>,
    /// What its Job reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ActionResult>,
}

/// Observed state of a KubernetesExecution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesExecutionStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ExecutionPhase>,
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
    /// Why its Job may not be made yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_reason: Option<BlockReason>,
    /// When that is looked at again, at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<MicroTime>,
    /// The Job, once it exists. Recorded Job gone without a result: the outcome is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobRef>,
    /// What the Job reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ActionResult>,
    /// How the effect is undone; absent unless the target did not become healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// What the safety policy said, before anything was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyRecord>,
    /// What the rehearsal with `dryRun=All` said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub rehearsal: Option<String>,
    /// The target as the rehearsal found it: if it still is so, nothing has happened to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsed_on: Option<TargetMark>,
    /// What the action reaches, as computed before it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blast_radius: Option<BlastRadius>,
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

staged!(KubernetesExecution, ExecutionPhase, "action", |object| Some(&object.spec.target), |object| object
    .spec
    .request
    .clone());
