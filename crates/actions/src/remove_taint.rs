//! remove_taint: takes taints off a node, and records them for whoever wants them back.
//!
//! There is no inverse: it would have to add a taint, and a NoExecute taint evicts pods past every budget.
//! The permission reaches further than the effect: see [`crate::cordon_node`].

use kube::api::DynamicObject;
use kubernaut_api::execution::ActionResult;
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::catalogue::RemoveTaint;
use serde_json::{Value, json};

use crate::call::{Call, Failure};
use crate::workload::{Decision, change};

pub async fn run(call: &Call<'_>, wanted: RemoveTaint) -> Result<ActionResult, Failure> {
    let wanted = &wanted;
    change(call, |live| async move { Ok(decide(&call.input.target, &live, wanted)) }).await
}

fn decide(target: &TargetRef, live: &DynamicObject, wanted: &RemoveTaint) -> Decision {
    let taints = live.data.pointer("/spec/taints").and_then(Value::as_array).cloned().unwrap_or_default();
    let (gone, kept): (Vec<Value>, Vec<Value>) = taints.into_iter().partition(|taint| matches(taint, wanted));
    if gone.is_empty() {
        return Decision::Keep(format!("{target} has no such taint {}", wanted.key));
    }
    let names: Vec<String> = gone.iter().map(name).collect();
    Decision::Change {
        operations: vec![if kept.is_empty() {
            json!({"op": "remove", "path": "/spec/taints"})
        } else {
            json!({"op": "replace", "path": "/spec/taints", "value": kept})
        }],
        before: [("taints".to_owned(), gone.into())].into(),
        message: format!("removed from {target} the taint {}", names.join(" and ")),
    }
}

fn matches(taint: &Value, wanted: &RemoveTaint) -> bool {
    // An absent value is an empty one.
    let has = |field: &str, value: &str| taint[field].as_str().unwrap_or_default() == value;
    has("key", &wanted.key)
        && wanted.effect.as_deref().is_none_or(|effect| has("effect", effect))
        && wanted.value.as_deref().is_none_or(|value| has("value", value))
}

/// As kubectl prints it.
fn name(taint: &Value) -> String {
    let text = |field: &str| taint[field].as_str().unwrap_or_default();
    match text("value") {
        "" => format!("{}:{}", text("key"), text("effect")),
        value => format!("{}={value}:{}", text("key"), text("effect")),
    }
}
