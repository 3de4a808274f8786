//! drain_node: a node without pods that could run elsewhere.

use kubernaut_api::analysis::Risk;
use serde::{Deserialize, Serialize};

use super::{ActionSpec, Parameter, ParameterType, PolicyRule, called, cordon_node, uid_required};

/// Parameters of drain_node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DrainNode {
    /// Evict pods with emptyDir volumes too: what is in them is lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete_empty_dir_data: bool,
    /// Evict pods without a controller too: nothing makes them anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete_bare_pods: bool,
    /// How long to try, in seconds, 10 to 3,600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
}

impl DrainNode {
    /// How long to try when nothing is said: within the five minutes that a Job has by default.
    pub const TIMEOUT_SECONDS: u32 = 240;
}

pub(super) static SPEC: ActionSpec = ActionSpec {
    name: "drain_node",
    summary: "Cordons a node and evicts its pods, as `kubectl drain --ignore-daemonsets` does.",
    risk: Risk::High,
    target_kinds: &["Node"],
    parameters: &[
        Parameter {
            name: "deleteEmptyDirData",
            holds: ParameterType::Boolean,
            required: false,
            description: "Evict pods with emptyDir volumes too: what is in them is lost. Refused otherwise.",
        },
        Parameter {
            name: "deleteBarePods",
            holds: ParameterType::Boolean,
            required: false,
            description: "Evict pods without a controller too: nothing makes them anew. Refused otherwise.",
        },
        Parameter {
            name: "timeoutSeconds",
            holds: ParameterType::Integer { min: 10, max: 3600 },
            required: false,
            description: "How long to try before what is left is reported; 240 when absent. Keep it below the step's timeout.",
        },
    ],
    precondition: "Another node is ready and schedulable, and no pod has data or a life that an eviction would end, \
                   unless the parameters allow it.",
    effect: "Sets spec.unschedulable, then evicts pod by pod by the Eviction API, which keeps to \
             PodDisruptionBudgets; those of DaemonSets, static and finished ones stay.",
    verification: "The node is unschedulable, no other pods are left on it, and workloads that were healthy before are so \
                   again elsewhere.",
    inverse: Some("uncordon_node, unless the node was unschedulable before; evicted pods do not move back"),
    rules: &[
        PolicyRule { api_groups: &[""], resources: &["nodes"], verbs: &["get", "list", "patch"] },
        PolicyRule { api_groups: &[""], resources: &["pods"], verbs: &["list"] },
        PolicyRule { api_groups: &[""], resources: &["pods/eviction"], verbs: &["create"] },
    ],
    sentence: |target, parameters| {
        let lost =
            [("deleteEmptyDirData", "those with emptyDir data"), ("deleteBarePods", "those that nothing makes anew")];
        let lost: Vec<_> = lost
            .iter()
            .filter(|(name, _)| parameters.get(*name) == Some(&true.into()))
            .map(|(_, pods)| format!(", also {pods}"))
            .collect();
        format!("Evict all pods from {} and keep new ones away (drain){}", called(target), lost.concat())
    },
    check: uid_required,
    undo: cordon_node::undo,
};
