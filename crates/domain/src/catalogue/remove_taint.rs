//! remove_taint: takes taints off a node that a person or a tool left there.

use kubernaut_api::analysis::Risk;
use kubernaut_api::meta::TargetRef;
use serde::{Deserialize, Serialize};

use super::{ActionSpec, Parameter, ParameterType, PolicyRule, Problem, Values, called, said};

/// Parameters of remove_taint: every taint that matches all of them goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoveTaint {
    /// Key of the taint.
    pub key: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; absent for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// Value of the taint; absent for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Prefixes of taints that controllers of Kubernetes set by the node's state, or that guard the control plane.
const KEPT: &[&str] = &["node.kubernetes.io/", "node.cloudprovider.kubernetes.io/", "node-role.kubernetes.io/"];

pub(super) static SPEC: ActionSpec = ActionSpec {
    name: "remove_taint",
    summary: "Removes a taint from a node, so that pods which do not tolerate it can be scheduled there.",
    risk: Risk::Medium,
    target_kinds: &["Node"],
    parameters: &[
        Parameter {
            name: "key",
            holds: ParameterType::LabelKey,
            required: true,
            description: "Key of the taint; not one that Kubernetes itself keeps.",
        },
        Parameter {
            name: "effect",
            holds: ParameterType::OneOf(&["NoSchedule", "PreferNoSchedule", "NoExecute"]),
            required: false,
            description: "Effect of the taint; absent for any.",
        },
        Parameter {
            name: "value",
            holds: ParameterType::LabelValue,
            required: false,
            description: "Value of the taint; absent for any.",
        },
    ],
    precondition: "The taint is neither set by Kubernetes from the node's state nor guards the control plane.",
    effect: "Takes the matching taints out of spec.taints; the others stay as they are.",
    verification: "The node does not have the taint.",
    // An undo would have to add a taint, and NoExecute evicts pods without regard to budgets: no action does that.
    inverse: None,
    rules: &[PolicyRule { api_groups: &[""], resources: &["nodes"], verbs: &["get", "patch"] }],
    sentence: |target, parameters| {
        let value = said(parameters, "value").map_or_else(String::new, |value| format!("={value}"));
        let effect = said(parameters, "effect").map_or_else(String::new, |effect| format!(":{effect}"));
        let key = said(parameters, "key").unwrap_or_default();
        format!("Remove the taint {key}{value}{effect} from {}", called(target))
    },
    check,
    undo: |_| None,
};

fn check(_: &TargetRef, values: &Values) -> Vec<Problem> {
    let key = values.get("key").and_then(|key| key.as_str()).unwrap_or_default();
    let kept = KEPT.iter().any(|prefix| key.starts_with(prefix));
    let problem =
        || Problem::new("parameters.key", "must not be a taint that Kubernetes keeps or that guards the control plane");
    kept.then(problem).into_iter().collect()
}
