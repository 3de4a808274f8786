//! restart_pod: delete one pod, so that its controller makes it anew.

use kubernaut_api::analysis::Risk;
use kubernaut_api::meta::TargetRef;
use serde::{Deserialize, Serialize};

use super::{ActionSpec, Parameter, ParameterType, PolicyRule, Problem, Values, called, said};

/// Parameters of restart_pod: none when the target is the pod, both when it is the pod's owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestartPod {
    /// Name of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Uid of the pod: a pod made anew under the same name is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

pub(super) static SPEC: ActionSpec = ActionSpec {
    name: "restart_pod",
    summary: "Deletes one pod, so that its controller makes it anew.",
    risk: Risk::Medium,
    target_kinds: &["Pod", "Deployment", "StatefulSet", "DaemonSet"],
    parameters: &[
        Parameter {
            name: "pod",
            holds: ParameterType::Name,
            required: false,
            description: "Name of the pod; required unless the target is the pod itself.",
        },
        Parameter {
            name: "uid",
            holds: ParameterType::Uid,
            required: false,
            description: "Uid of the pod; required with `pod`.",
        },
    ],
    precondition: "The pod has that uid, a controller owns it, and it belongs to the target.",
    effect: "Deletes the pod with its own grace period.",
    verification: "The pod of that uid is gone and its workload has as many ready pods as it wants.",
    inverse: None,
    rules: &[
        PolicyRule { api_groups: &[""], resources: &["pods"], verbs: &["get", "delete"] },
        PolicyRule { api_groups: &["apps"], resources: &["replicasets"], verbs: &["get"] },
    ],
    sentence: |target, parameters| match said(parameters, "pod") {
        Some(pod) => format!("Restart pod {pod} of {}", called(target)),
        None => format!("Restart {}", called(target)),
    },
    check,
    undo: |_| None,
};

fn check(target: &TargetRef, values: &Values) -> Vec<Problem> {
    let mut problems = Vec::new();
    if target.kind == "Pod" {
        if target.uid.is_none() {
            problems
                .push(Problem::new("target.uid", "is required: a pod made anew under the same name is another one"));
        }
        problems.extend(values.keys().map(|name| {
            Problem::new(format!("parameters.{name}"), "must be absent when the target is the pod itself")
        }));
    } else {
        if target.uid.is_none() {
            problems.push(Problem::new("target.uid", "is required: the pod must belong to the target"));
        }
        for name in ["pod", "uid"].iter().filter(|name| !values.contains_key(**name)) {
            problems.push(Problem::new(
                format!("parameters.{name}"),
                format!("is required when the target is a {}", target.kind),
            ));
        }
    }
    problems
}
