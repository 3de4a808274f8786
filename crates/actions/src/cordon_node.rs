//! cordon_node: sets `spec.unschedulable`, as `kubectl cordon` does.
//!
//! What this permission also allows: Kubernetes has no right to one field of an object, so who may `patch` nodes
//! may set any label, annotation or taint of any node. With it one could evict every pod of a node by a NoExecute
//! taint, past all budgets, or steer other people's pods to a node of one's choice. `nodes/status` is not
//! included. That is why the account is this action's own and its Job runs where nobody else may make Jobs.

use kube::api::DynamicObject;
use kubernaut_api::execution::ActionResult;
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::catalogue::NoParameters;
use serde_json::{Value, json};

use crate::call::{Call, Failure};
use crate::workload::{Decision, change};

pub async fn run(call: &Call<'_>, _: NoParameters) -> Result<ActionResult, Failure> {
    change(call, |live| async move { Ok(decide(&call.input.target, &live)) }).await
}

/// Also the first thing that a drain does.
pub fn decide(target: &TargetRef, live: &DynamicObject) -> Decision {
    if is_unschedulable(live) {
        return Decision::Keep(format!("{target} is already unschedulable"));
    }
    Decision::Change {
        operations: vec![json!({"op": "add", "path": "/spec/unschedulable", "value": true})],
        before: [("unschedulable".to_owned(), false.into())].into(),
        message: format!("cordoned {target}"),
    }
}

/// An absent field means schedulable.
pub fn is_unschedulable(node: &DynamicObject) -> bool {
    node.data.pointer("/spec/unschedulable") == Some(&Value::Bool(true))
}
