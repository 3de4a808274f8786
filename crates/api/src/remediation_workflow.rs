//! RemediationWorkflow: an entry of the user's own catalogue, steps to run on a target with some parameters.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::meta::TargetRef;
use crate::workflow::OnFailure;

/// Steps with holes. Run one by a WorkflowExecution whose `spec.workflowRef` names it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kubernaut.io",
    version = "v1alpha1",
    kind = "RemediationWorkflow",
    plural = "remediationworkflows",
    shortname = "rwf",
    category = "kubernaut",
    namespaced,
    status = "RemediationWorkflowStatus",
    derive = "PartialEq",
    cel,
    doc = "Steps that remedy something, with parameters: run by a WorkflowExecution that names it, or proposed to a person when it matches.",
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name may have at most 63 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Actions", type_ = "string", json_path = ".spec.steps[*].action"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct RemediationWorkflowSpec {
    /// When to use it, for the person who is asked.
    #[schemars(length(min = 1, max = 1024))]
    pub when_to_use: String,
    /// For which trouble it is proposed; absent: it only runs when it is named.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<Match>,
    /// What it takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub parameters: Vec<ParameterDefinition>,
    /// The steps. Names are unique, `dependsOn` has no cycle.
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub steps: Vec<StepTemplate>,
}

/// For which trouble a workflow is proposed, when no action of the catalogue fits. It has to fit one of `alerts` or one
/// of `causes`, and one of `targetKinds`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.alerts) && size(self.alerts) > 0) || (has(self.causes) && size(self.causes) > 0)").message("alerts or causes must name at least one"))]
pub struct Match {
    /// Names of alerts, such as `KubePodCrashLooping`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    pub alerts: Vec<String>,
    /// Causes that an analysis found, such as `MissingConfiguration`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 64)))]
    pub causes: Vec<String>,
    /// Kinds of the target, such as `Deployment`.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63)))]
    pub target_kinds: Vec<String>,
}

/// One parameter of a workflow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParameterDefinition {
    /// Name, referred to as `$(params.NAME)`.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[A-Za-z][A-Za-z0-9_]*$"))]
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub type_: ValueType,
    /// What it means.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub description: String,
    /// Whether it must be given.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub required: bool,
    /// What it is where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::any_value")]
    pub default: Option<Value>,
    /// Least value of an integer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// Greatest value of an integer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// Regular expression that the whole of a string has to match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub pattern: Option<String>,
    /// The strings that it may be.
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub one_of: Vec<String>,
}

/// What a parameter holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ValueType {
    /// Text of at most 1,024 characters.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// Name of an object.
    Name,
    /// Name of a container.
    Label,
    /// A quantity above zero, such as `256Mi` or `500m`.
    Quantity,
    /// Key of a label or taint.
    LabelKey,
    /// Value of a label or taint.
    LabelValue,
}

/// One step with holes: a string of `target` or `parameters` that is exactly `$(params.NAME)` or
/// `$(target.name)` (`namespace`, `kind`, `apiVersion`, `uid`) becomes that value, with its type. A text that contains
/// `$(` otherwise is refused; `$$(` stands for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepTemplate {
    /// Name, unique in the workflow.
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Action of the catalogue, such as `rollback_deployment`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z][a-z0-9_]*$"))]
    pub action: String,
    /// What it changes; the target of the workflow where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetRef>,
    /// Parameters of the action.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schema::free_object")]
    pub parameters: BTreeMap<String, Value>,
    /// Steps that must be done before.
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
    /// How often the step is tried again when it failed before it ran.
    #[serde(default, skip_serializing_if = "crate::workflow::is_zero")]
    #[schemars(range(max = 5), extend("format" = "int32"))]
    pub retries: u8,
    /// CEL expression over the steps that it depends on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub condition: Option<String>,
}

/// Observed state of a RemediationWorkflow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemediationWorkflowStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: it can be run; otherwise the message names the field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
