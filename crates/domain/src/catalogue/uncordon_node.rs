//! uncordon_node: new pods on a node again. Its inverse is [`super::cordon_node`].

use kubernaut_api::analysis::Risk;

use super::{ActionSpec, PolicyRule, Undo, Values, called, cordon_node, nothing_more};

pub(super) static SPEC: ActionSpec = ActionSpec {
    name: "uncordon_node",
    summary: "Makes a cordoned node schedulable again.",
    risk: Risk::Low,
    target_kinds: &["Node"],
    parameters: &[],
    precondition: "The node exists, is the one that was meant, and no autoscaler is about to remove it.",
    effect: "Removes spec.unschedulable.",
    verification: "The node is schedulable.",
    inverse: Some("cordon_node, if the node was unschedulable before"),
    rules: &[PolicyRule { api_groups: &[""], resources: &["nodes"], verbs: &["get", "patch"] }],
    sentence: |target, _| format!("Let new pods onto {} again (uncordon)", called(target)),
    check: nothing_more,
    undo,
};

fn undo(before: &Values) -> Option<Undo> {
    let unschedulable = before.get("unschedulable")?.as_bool()?;
    unschedulable.then(|| Undo { action: cordon_node::SPEC.name, parameters: Values::new() })
}
