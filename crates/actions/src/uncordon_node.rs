//! uncordon_node: removes `spec.unschedulable`, as `kubectl uncordon` does.
//!
//! Its permission reaches further than its effect: see [`crate::cordon_node`].

use kube::api::DynamicObject;
use kubernaut_api::execution::ActionResult;
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::catalogue::NoParameters;
use serde_json::{Value, json};

use crate::call::{Call, Failure};
use crate::cordon_node::is_unschedulable;
use crate::workload::{Decision, change};

/// On a node that will be gone soon: nothing should be placed there again.
const LEAVING: &[&str] = &["ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted"];

pub async fn run(call: &Call<'_>, _: NoParameters) -> Result<ActionResult, Failure> {
    change(call, |live| async move { decide(&call.input.target, &live) }).await
}

fn decide(target: &TargetRef, live: &DynamicObject) -> Result<Decision, Failure> {
    if !is_unschedulable(live) {
        return Ok(Decision::Keep(format!("{target} is already schedulable")));
    }
    let taints = live.data.pointer("/spec/taints").and_then(Value::as_array);
    let leaving =
        taints.into_iter().flatten().filter_map(|taint| taint["key"].as_str()).find(|key| LEAVING.contains(key));
    if let Some(taint) = leaving {
        let message = format!("{target} is about to be removed (taint {taint})");
        return Err(Failure::refused("NodeLeaving", message));
    }
    Ok(Decision::Change {
        operations: vec![json!({"op": "remove", "path": "/spec/unschedulable"})],
        before: [("unschedulable".to_owned(), true.into())].into(),
        message: format!("uncordoned {target}"),
    })
}
