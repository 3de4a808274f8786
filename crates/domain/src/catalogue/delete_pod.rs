//! delete_pod: the end of one pod that nothing may make anew, or that does not end by itself.

use kubernaut_api::analysis::Risk;
use serde::{Deserialize, Serialize};

use super::{ActionSpec, Parameter, ParameterType, PolicyRule, called, uid_required};

/// Parameters of delete_pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeletePod {
    /// Take a pod that is stuck in Terminating off the API server without waiting for its node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

pub(super) static SPEC: ActionSpec = ActionSpec {
    name: "delete_pod",
    summary: "Deletes one pod, be it without controller or stuck in Terminating; restart_pod is for all others.",
    // Static: it may be used on a pod that nothing makes anew, or whose containers still run on a lost node.
    risk: Risk::High,
    target_kinds: &["Pod"],
    parameters: &[Parameter {
        name: "force",
        holds: ParameterType::Boolean,
        required: false,
        description: "Delete a pod that is overdue in Terminating with grace period 0. Its containers may still run \
                      if its node is lost: a StatefulSet may then have two of it.",
    }],
    precondition: "The pod has that uid and is no static pod; with `force` it is overdue in Terminating and no \
                   finalizer holds it.",
    effect: "Deletes the pod with its own grace period, or with none by `force`.",
    verification: "No pod of that uid exists, and a workload that was healthy before is so again.",
    inverse: None,
    rules: &[PolicyRule { api_groups: &[""], resources: &["pods"], verbs: &["get", "delete"] }],
    sentence: |target, parameters| {
        let how = if parameters.get("force") == Some(&true.into()) { ", without waiting for it to end" } else { "" };
        format!("Delete {}{how}", called(target))
    },
    check: uid_required,
    undo: |_| None,
};
