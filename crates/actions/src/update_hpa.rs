//! update_hpa: sets the bounds of an autoscaler, the least never above the greatest.

use kube::api::DynamicObject;
use kubernaut_api::execution::ActionResult;
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::catalogue::{UpdateHpa, Values};
use serde_json::{Value, json};

use crate::call::{Call, Failure};
use crate::workload::{Decision, change};

pub async fn run(call: &Call<'_>, wanted: UpdateHpa) -> Result<ActionResult, Failure> {
    change(call, |live| async move { decide(&call.input.target, &live, wanted) }).await
}

fn decide(target: &TargetRef, live: &DynamicObject, wanted: UpdateHpa) -> Result<Decision, Failure> {
    // An absent minimum means one.
    let now = |field: &str| live.data.pointer(field).and_then(Value::as_i64).unwrap_or(1);
    let (min, max) = (now("/spec/minReplicas"), now("/spec/maxReplicas"));
    let (to_min, to_max) = (wanted.min_replicas.map_or(min, i64::from), wanted.max_replicas.map_or(max, i64::from));
    if (min, max) == (to_min, to_max) {
        return Ok(Decision::Keep(format!("{target} already scales from {min} to {max} replicas")));
    }
    if to_min > to_max {
        let message = format!("minReplicas {to_min} of {target} would be above maxReplicas {to_max}");
        return Err(Failure::refused("Invalid", message));
    }
    let mut operations = Vec::new();
    let mut before = Values::new();
    for (field, from, to) in [("minReplicas", min, to_min), ("maxReplicas", max, to_max)] {
        if from != to {
            operations.push(json!({"op": "add", "path": format!("/spec/{field}"), "value": to}));
            before.insert(field.to_owned(), from.into());
        }
    }
    let message = format!("set {target} from {min}–{max} to {to_min}–{to_max} replicas");
    Ok(Decision::Change { operations, before, message })
}
