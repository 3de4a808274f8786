//! RemediationApproval: a person's yes or no to one plan, given with kubectl alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::analysis::Risk;
use crate::meta::TargetRef;

/// What is asked. Answer with:
/// `kubectl patch rap NAME --subresource=status --type=merge -p '{"status":{"decision":"Approved","decidedBy":"you"}}'`,
/// and as the second person, where two are asked:
/// `… -p '{"status":{"second":{"decision":"Approved","decidedBy":"you"}}}'`.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kubernaut.io",
    version = "v1alpha1",
    kind = "RemediationApproval",
    plural = "remediationapprovals",
    shortname = "rap",
    category = "kubernaut",
    namespaced,
    status = "RemediationApprovalStatus",
    derive = "PartialEq",
    cel,
    doc = "Asks a person whether one plan may be executed. Made by Kubernaut, answered through its status.",
    validation = Rule::new("self.spec == oldSelf.spec").message("spec is immutable").field_path(".spec"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.decision) || (has(self.status) && has(self.status.decision) && self.status.decision == oldSelf.status.decision)").message("status.decision cannot be changed once it is made").field_path(".status.decision"),
    validation = Rule::new("!has(self.status) || !has(self.status.decision) || (has(self.status.decidedBy) && size(self.status.decidedBy) > 0)").message("status.decidedBy must name who decided"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.decidedBy) || (has(self.status) && has(self.status.decidedBy) && self.status.decidedBy == oldSelf.status.decidedBy)").message("status.decidedBy cannot be changed once a decision is made").field_path(".status.decidedBy"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.second) || (has(self.status) && has(self.status.second) && self.status.second == oldSelf.status.second)").message("status.second cannot be changed once it is made").field_path(".status.second"),
    validation = Rule::new("!has(self.status) || !has(self.status.second) || (has(self.spec.approvers) && self.spec.approvers == 2 && has(self.status.decision) && self.status.decision == 'Approved')").message("status.second is for the second of two people, after the first has approved"),
    validation = Rule::new("!has(self.status) || !has(self.status.second) || (has(self.status.decidedBy) && self.status.second.decidedBy != self.status.decidedBy)").message("status.second.decidedBy must be another person than status.decidedBy"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target.name"),
    printcolumn(name = "Risk", type_ = "string", json_path = ".spec.risk"),
    printcolumn(name = "Confidence", type_ = "number", json_path = ".spec.confidence"),
    printcolumn(name = "Decision", type_ = "string", json_path = ".status.decision"),
    printcolumn(name = "By", type_ = "string", json_path = ".status.decidedBy"),
    printcolumn(name = "Second", type_ = "string", json_path = ".status.second.decidedBy", priority = 1),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expiresAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
)]
#[serde(rename_all = "camelCase")]
pub struct RemediationApprovalSpec {
    /// Name of the RemediationRequest, or of the WorkflowExecution where that has none.
    #[schemars(length(min = 1, max = 39))]
    pub request: String,
    /// Hash of the plan that is asked about; a decision speaks of this plan only.
    #[schemars(length(min = 64, max = 64))]
    pub plan_hash: String,
    /// What would be changed.
    pub target: TargetRef,
    /// Highest risk of the steps.
    pub risk: Risk,
    /// How sure the analysis is, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f64,
    /// What is wrong, in one sentence.
    #[schemars(length(max = 1024))]
    pub summary: String,
    /// What would be done, one plain sentence a step.
    #[schemars(length(max = 50), inner(length(max = 1024)))]
    pub steps: Vec<String>,
    /// Why a person is asked, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// How many different people have to approve; one rejection rejects.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 2), extend("format" = "int32"))]
    pub approvers: u8,
    /// Who made the request by hand, where that is known: this person cannot approve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub requested_by: Option<String>,
    /// When the question lapses. An answer that the API server takes later has no effect.
    pub expires_at: MicroTime,
}

fn one() -> u8 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_one(count: &u8) -> bool {
    *count == 1
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Decision {
    /// The plan may be executed.
    Approved,
    /// The plan may not be executed.
    Rejected,
}

/// The answer of the second of two people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecondDecision {
    /// Approved or Rejected.
    pub decision: Decision,
    /// Who decided.
    #[schemars(length(min = 1, max = 253))]
    pub decided_by: String,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub comment: Option<String>,
}

/// Who said what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemediationApprovalStatus {
    /// Approved or Rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub decided_by: Option<String>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub comment: Option<String>,
    /// The second person's answer, where two are asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<SecondDecision>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
