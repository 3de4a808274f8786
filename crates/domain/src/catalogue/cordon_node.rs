//! cordon_node: no new pods on a node. Its inverse is [`super::uncordon_node`].

use kubernaut_api::analysis::Risk;

use super::{ActionSpec, PolicyRule, Undo, Values, called, nothing_more, uncordon_node};

pub(super) static SPEC: ActionSpec = ActionSpec {
    name: "cordon_node",
    summary: "Marks a node as unschedulable: no new pods there, those that run stay.",
    risk: Risk::Medium,
    target_kinds: &["Node"],
    parameters: &[],
    precondition: "The node exists and is the one that was meant.",
    effect: "Sets spec.unschedulable to true.",
    verification: "The node is unschedulable.",
    inverse: Some("uncordon_node, unless the node was unschedulable before"),
    // `patch` on nodes cannot be narrowed to one field: see the effect's header.
    rules: &[PolicyRule { api_groups: &[""], resources: &["nodes"], verbs: &["get", "patch"] }],
    sentence: |target, _| format!("Keep new pods away from {} (cordon)", called(target)),
    check: nothing_more,
    undo,
};

/// Also the inverse of a drain: evicted pods live on elsewhere.
pub(super) fn undo(before: &Values) -> Option<Undo> {
    let schedulable = !before.get("unschedulable")?.as_bool()?;
    schedulable.then(|| Undo { action: uncordon_node::SPEC.name, parameters: Values::new() })
}
