//! update_hpa: absolute bounds of a HorizontalPodAutoscaler.

use kubernaut_api::analysis::Risk;
use kubernaut_api::meta::TargetRef;
use serde::{Deserialize, Serialize};

use super::{ActionSpec, Parameter, ParameterType, PolicyRule, Problem, Undo, Values, called, said};

/// Parameters of update_hpa: what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateHpa {
    /// `spec.minReplicas`, 1 to 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i32>,
    /// `spec.maxReplicas`, 1 to 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_replicas: Option<i32>,
}

const REPLICAS: ParameterType = ParameterType::Integer { min: 1, max: 1000 };

pub(super) static SPEC: ActionSpec = ActionSpec {
    name: "update_hpa",
    summary: "Sets the least and the greatest number of replicas of a HorizontalPodAutoscaler.",
    risk: Risk::Medium,
    target_kinds: &["HorizontalPodAutoscaler"],
    parameters: &[
        Parameter {
            name: "minReplicas",
            holds: REPLICAS,
            required: false,
            description: "Least number of replicas to have: absolute, never an increment.",
        },
        Parameter {
            name: "maxReplicas",
            holds: REPLICAS,
            required: false,
            description: "Greatest number of replicas to have: absolute, never an increment.",
        },
    ],
    precondition: "The least number does not end up above the greatest.",
    effect: "Sets spec.minReplicas and spec.maxReplicas; the autoscaler decides on the replicas by itself.",
    verification: "The bounds stand, and the workload that it scales is healthy.",
    inverse: Some("update_hpa to the numbers before"),
    rules: &[PolicyRule {
        api_groups: &["autoscaling"],
        resources: &["horizontalpodautoscalers"],
        verbs: &["get", "patch"],
    }],
    sentence: |target, parameters| {
        let ends = [("minReplicas", "at least"), ("maxReplicas", "at most")];
        let ends: Vec<_> = ends
            .iter()
            .filter_map(|(name, words)| said(parameters, name).map(|number| format!("{words} {number}")))
            .collect();
        format!("Let {} scale to {} replicas", called(target), ends.join(" and "))
    },
    check,
    undo,
};

fn check(_: &TargetRef, values: &Values) -> Vec<Problem> {
    let number = |name: &str| values.get(name).and_then(serde_json::Value::as_i64);
    let problem = match (number("minReplicas"), number("maxReplicas")) {
        (None, None) => Problem::new("parameters", "must set at least one of minReplicas, maxReplicas"),
        (Some(min), Some(max)) if min > max => Problem::new("parameters.minReplicas", "must not exceed maxReplicas"),
        _ => return Vec::new(),
    };
    vec![problem]
}

/// The record has the shape of the parameters, and only what was set.
fn undo(before: &Values) -> Option<Undo> {
    let parameters: Values = before
        .iter()
        .filter(|(name, _)| matches!(name.as_str(), "minReplicas" | "maxReplicas"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    (!parameters.is_empty()).then_some(Undo { action: SPEC.name, parameters })
}
