//! scale_deployment: an absolute number of replicas.

use kubernaut_api::analysis::Risk;
use serde::{Deserialize, Serialize};

use super::{ActionSpec, Parameter, ParameterType, PolicyRule, Undo, Values, called, nothing_more, said};

/// Parameters of scale_deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScaleDeployment {
    /// Number of replicas to have, 0 to 1,000.
    pub replicas: i32,
}

pub(super) static SPEC: ActionSpec = ActionSpec {
    name: "scale_deployment",
    summary: "Sets the number of replicas of a Deployment.",
    risk: Risk::Medium,
    target_kinds: &["Deployment"],
    parameters: &[Parameter {
        name: "replicas",
        holds: ParameterType::Integer { min: 0, max: 1000 },
        required: true,
        description: "Number of replicas to have: absolute, never an increment.",
    }],
    precondition: "No HorizontalPodAutoscaler scales the Deployment: it would undo the change.",
    effect: "Sets spec.replicas.",
    verification: "That many replicas are wanted still and ready.",
    inverse: Some("scale_deployment to the number before"),
    rules: &[
        PolicyRule { api_groups: &["apps"], resources: &["deployments"], verbs: &["get", "patch"] },
        PolicyRule { api_groups: &["autoscaling"], resources: &["horizontalpodautoscalers"], verbs: &["list"] },
    ],
    sentence: |target, parameters| {
        format!("Scale {} to {} replicas", called(target), said(parameters, "replicas").unwrap_or_default())
    },
    check: nothing_more,
    undo,
};

fn undo(before: &Values) -> Option<Undo> {
    let replicas = before.get("replicas")?.as_i64()?;
    (0..=1000)
        .contains(&replicas)
        .then(|| Undo { action: SPEC.name, parameters: [("replicas".to_owned(), replicas.into())].into() })
}
