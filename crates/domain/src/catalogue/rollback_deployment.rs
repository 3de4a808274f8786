//! rollback_deployment: back to the pod template of a named revision.

use kubernaut_api::analysis::Risk;
use serde::{Deserialize, Serialize};

use super::{ActionSpec, Parameter, ParameterType, PolicyRule, Undo, Values, called, nothing_more, said};

/// Parameters of rollback_deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackDeployment {
    /// Revision to go back to, as in the annotation `deployment.kubernetes.io/revision`.
    pub to_revision: i64,
    /// Revision that the plan was made on: refused when another one has been rolled out since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_revision: Option<i64>,
}

pub(super) static SPEC: ActionSpec = ActionSpec {
    name: "rollback_deployment",
    summary: "Takes a Deployment back to the pod template of an earlier revision, as `kubectl rollout undo` does.",
    risk: Risk::Medium,
    target_kinds: &["Deployment"],
    parameters: &[
        Parameter {
            name: "toRevision",
            holds: ParameterType::Integer { min: 1, max: i64::MAX },
            required: true,
            description: "Revision to go back to: the annotation deployment.kubernetes.io/revision of one of its ReplicaSets.",
        },
        Parameter {
            name: "fromRevision",
            holds: ParameterType::Integer { min: 1, max: i64::MAX },
            required: false,
            description: "Revision that the plan was made on: refused when another one has been rolled out since.",
        },
    ],
    precondition: "The Deployment is not paused, its newest revision is known, and it still owns a ReplicaSet of that revision.",
    effect: "Replaces the pod template; the Deployment's own strategy rolls the pods over.",
    verification: "The rollout completes and the pods are ready and stay so.",
    inverse: Some("rollback_deployment to the revision before"),
    rules: &[
        PolicyRule { api_groups: &["apps"], resources: &["deployments"], verbs: &["get", "patch"] },
        PolicyRule { api_groups: &["apps"], resources: &["replicasets"], verbs: &["list"] },
    ],
    sentence: |target, parameters| {
        let from = said(parameters, "fromRevision").map_or_else(String::new, |from| format!(" from revision {from}"));
        format!("Roll back {}{from} to revision {}", called(target), said(parameters, "toRevision").unwrap_or_default())
    },
    check: nothing_more,
    undo,
};

fn undo(before: &Values) -> Option<Undo> {
    let revision = before.get("revision")?.as_i64()?;
    Some(Undo { action: SPEC.name, parameters: [("toRevision".to_owned(), revision.into())].into() })
}
