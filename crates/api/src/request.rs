//! RemediationRequest: one episode of trouble with one target, from the alert to the outcome.
//!
//! Two writers, by field: the controller owns the status but for `deduplication` and `signals`,
//! which the gateway owns.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::{TargetRef, Transition, phases, staged};

/// A request to remediate one target.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kubernaut.io",
    version = "v1alpha1",
    kind = "RemediationRequest",
    plural = "remediationrequests",
    shortname = "rr",
    category = "kubernaut",
    namespaced,
    status = "RemediationRequestStatus",
    derive = "PartialEq",
    cel,
    doc = "One episode of trouble with one target, from the alert to the outcome. Usually made by the gateway.",
    validation = Rule::new("size(self.metadata.name) <= 39").message("metadata.name may have at most 39 characters: the names of Jobs derive from it"),
    validation = Rule::new("has(self.spec.target) == has(oldSelf.spec.target) && (!has(self.spec.target) || self.spec.target == oldSelf.spec.target)").message("spec.target is immutable: make a new RemediationRequest instead").field_path(".spec.target"),
    validation = Rule::new("has(self.spec.resource) == has(oldSelf.spec.resource) && (!has(self.spec.resource) || self.spec.resource == oldSelf.spec.resource)").message("spec.resource is immutable: make a new RemediationRequest instead").field_path(".spec.resource"),
    validation = Rule::new("has(self.spec.timeouts) == has(oldSelf.spec.timeouts) && (!has(self.spec.timeouts) || self.spec.timeouts == oldSelf.spec.timeouts)").message("spec.timeouts is immutable: make a new RemediationRequest instead").field_path(".spec.timeouts"),
    validation = Rule::new("(has(self.spec.dryRun) && self.spec.dryRun) == (has(oldSelf.spec.dryRun) && oldSelf.spec.dryRun)").message("spec.dryRun is immutable: make a new RemediationRequest instead").field_path(".spec.dryRun"),
    validation = Rule::new("!(has(oldSelf.spec.cancelled) && oldSelf.spec.cancelled) || (has(self.spec.cancelled) && self.spec.cancelled)").message("spec.cancelled cannot be taken back: make a new RemediationRequest instead").field_path(".spec.cancelled"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || !(oldSelf.status.phase in ['Completed', 'Failed', 'TimedOut', 'Cancelled']) || (has(self.status) && has(self.status.phase) && self.status.phase == oldSelf.status.phase)").message("status.phase is terminal: make a new RemediationRequest instead").field_path(".status.phase"),
    validation = Rule::new("!has(self.status) || !has(self.status.phase) || self.status.phase != 'Blocked' || (has(self.status.blockReason) && has(self.status.nextAttemptAt))").message("status.blockReason and status.nextAttemptAt must say why a Blocked request is held back and when it is tried again").field_path(".status.phase"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.name"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.target.kind", priority = 1),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".spec.target.namespace", priority = 1),
    printcolumn(name = "Alert", type_ = "string", json_path = ".spec.signal.name"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.outcome"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
)]
#[serde(rename_all = "camelCase")]
pub struct RemediationRequestSpec {
    /// What was reported.
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.signal is immutable: make a new RemediationRequest instead"))]
    pub signal: Signal,
    /// The top-level owner of what the signal is about; absent when none was found, which ends in ManualReviewRequired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetRef>,
    /// The object that the signal itself names, such as a pod of the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<TargetRef>,
    /// Counts the requests of one fingerprint, from 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1), extend("format" = "int64"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.episode is immutable"))]
    pub episode: u32,
    /// Set to true to cancel: nothing new starts, a running Job is left to end, the end is Cancelled.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cancelled: bool,
    /// Run the whole pipeline, send every mutation with `dryRun=All` and say what would have been done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Limits of this request; the configuration's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
}

fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}

/// An alert or another report of trouble. Its text is data: never executed, never widening what is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Signal {
    /// Where it came from, such as `alertmanager`.
    #[schemars(length(min = 1, max = 63))]
    pub source: String,
    /// Name of the alert.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// SHA-256 over cluster, namespace, kind and name of the target, as 64 hex digits.
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    pub fingerprint: String,
    /// Severity as reported, such as `critical`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub severity: Option<String>,
    /// Labels of the alert, bounded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::bounded_map")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the alert, bounded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::bounded_map")]
    pub annotations: BTreeMap<String, String>,
    /// When the trouble began, as reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<MicroTime>,
    /// When the gateway received the first report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_at: Option<MicroTime>,
}

/// Limits of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// The whole request, default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_duration")]
    pub request: Option<Duration>,
    /// Each phase of processing, default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_duration")]
    pub processing: Option<Duration>,
    /// Analysis, default 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_duration")]
    pub analysis: Option<Duration>,
    /// Waiting for a person, default 15m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_duration")]
    pub approval: Option<Duration>,
    /// Execution of the workflow, default 30m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_duration")]
    pub execution: Option<Duration>,
    /// Proving that it worked, default 30m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::optional_duration")]
    pub verification: Option<Duration>,
}

phases! {
    /// Phases of a RemediationRequest.
    RequestPhase {
        /// Seen, nothing begun.
        Pending,
        /// Evidence is being collected.
        Processing,
        /// The evidence is being analysed.
        Analyzing,
        /// A person is asked.
        AwaitingApproval,
        /// The workflow runs.
        Executing,
        /// The workflow is done; did it help?
        Verifying,
        /// Held back, with a reason and `nextAttemptAt`.
        Blocked,
        /// Done; `outcome` says how it went.
        Completed,
        /// It could not be done; `reason` says why.
        Failed,
        /// A deadline passed; `reason` names the phase.
        TimedOut,
        /// Cancelled by a person or because the alert was resolved before anything ran.
        Cancelled,
    } terminal { Completed, Failed, TimedOut, Cancelled }
}

/// How a remediation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// The fix was applied and the target is healthy.
    Remediated,
    /// Nothing is wrong, nothing was touched.
    NoActionRequired,
    /// A person has to look.
    ManualReviewRequired,
    /// The fix was applied; whether it helped could not be told.
    Inconclusive,
    /// The fix did not help and was undone.
    RolledBack,
    /// Nothing was changed: status says what would have been done.
    DryRun,
}

/// Why something is held back; it goes on when the reason is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum BlockReason {
    /// Another remediation works on what this one would change.
    ResourceBusy,
    /// A request for the same ended a moment ago.
    Cooldown,
    /// Several requests for the same failed, one after the other.
    RepeatedFailure,
    /// What was done did not last, several times: a pause, then a person is asked.
    Ineffective,
    /// As much is being executed, or was within the hour, as the safety budgets allow.
    Budget,
    /// It would change something in a namespace that is never touched.
    ProtectedNamespace,
    /// It would change something that nobody has put under Kubernaut's care.
    Unmanaged,
}

impl BlockReason {
    /// Every reason.
    pub const ALL: &'static [BlockReason] = &[
        Self::ResourceBusy,
        Self::Cooldown,
        Self::RepeatedFailure,
        Self::Ineffective,
        Self::Budget,
        Self::ProtectedNamespace,
        Self::Unmanaged,
    ];
}

impl std::fmt::Display for BlockReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// Observed state of a RemediationRequest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemediationRequestStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the request stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RequestPhase>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why the request is in this phase, as a CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// When the whole request has to be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<MicroTime>,
    /// When the current phase has to be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase_deadline: Option<MicroTime>,
    /// Why it is held back, while it is Blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_reason: Option<BlockReason>,
    /// Name of the request that it waits for, while another one works on what this one would change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub blocked_by: Option<String>,
    /// When a blocked request is tried again, at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<MicroTime>,
    /// Why a person is asked whatever the confidence is; absent where the confidence decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub ask_person: Option<String>,
    /// What it works on: the targets of its plan and its own. Others that would change one of them wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 51))]
    pub touches: Vec<TargetRef>,
    /// When the request ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<MicroTime>,
    /// Since when the target has been healthy without a break, while verifying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<MicroTime>,
    /// Name of the RemediationProcessing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub processing_name: Option<String>,
    /// Name of the AIAnalysis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub analysis_name: Option<String>,
    /// Name of the WorkflowExecution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub workflow_name: Option<String>,
    /// What would have been done (dry run only), one line per step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(max = 1024)))]
    pub would_have_done: Vec<String>,
    /// Names of further alerts about the same target. Written by the gateway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub signals: Vec<String>,
    /// Repeats of the signal. Written by the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication: Option<Deduplication>,
    /// Every change of phase, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["seq".into()]))]
    pub transitions: Vec<Transition>,
    /// `Ready` sums up: True when the request ended well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What the gateway has seen of the signal since the request was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deduplication {
    /// How often the signal was received, the first included.
    #[schemars(range(min = 1), extend("format" = "int64"))]
    pub occurrences: u64,
    /// When it was received first.
    pub first_seen: MicroTime,
    /// When it was received last.
    pub last_seen: MicroTime,
    /// When Alertmanager said that it is resolved; absent while it fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<MicroTime>,
}

staged!(RemediationRequest, RequestPhase, "remediation", |object| object.spec.target.as_ref(), |object| object
    .name_any());
