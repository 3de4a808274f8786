//! update_resources: requests and limits of one container, no request above its limit.

use kube::api::DynamicObject;
use kubernaut_api::execution::ActionResult;
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::catalogue::{Quantity, UpdateResources, Values};
use serde_json::{Value, json};

use crate::call::{Call, Failure};
use crate::workload::{Decision, change};

pub async fn run(call: &Call<'_>, wanted: UpdateResources) -> Result<ActionResult, Failure> {
    let wanted = &wanted;
    change(call, |live| async move { decide(&call.input.target, &live, wanted) }).await
}

fn decide(target: &TargetRef, live: &DynamicObject, wanted: &UpdateResources) -> Result<Decision, Failure> {
    if live.data.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Err(Failure::refused("DeploymentPaused", format!("{target} is paused: nothing would be rolled out")));
    }
    let name = &wanted.container;
    let containers = live.data.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    let found = containers.into_iter().flatten().enumerate().find(|(_, container)| container["name"] == name.as_str());
    let Some((index, container)) = found else {
        return Err(Failure::refused("ContainerNotFound", format!("{target} has no container {name}")));
    };
    let mut resources = container.get("resources").cloned().unwrap_or_else(|| json!({}));
    let mut before: Values = [("container".to_owned(), name.as_str().into())].into();
    let mut changes = Vec::new();
    for (parameter, part, resource, value) in wanted.settings() {
        let Some(value) = value else { continue };
        let now = text(&resources[part][resource]);
        if let Some(now) = &now {
            before.insert(parameter.to_owned(), now.as_str().into());
        }
        if amount(now.as_deref()) != amount(Some(value)) {
            changes.push(format!("{part}.{resource} {} → {value}", now.as_deref().unwrap_or("unset")));
            resources[part][resource] = value.into();
        }
    }
    if changes.is_empty() {
        return Ok(Decision::Keep(format!("container {name} of {target} already has these resources")));
    }
    for resource in ["memory", "cpu"] {
        let (request, limit) = (text(&resources["requests"][resource]), text(&resources["limits"][resource]));
        if let (Some(request), Some(limit)) = (&request, &limit)
            && amount(Some(request)) > amount(Some(limit))
        {
            let message = format!("requests.{resource} {request} would be above limits.{resource} {limit}");
            return Err(Failure::refused("Invalid", message));
        }
    }
    let path = format!("/spec/template/spec/containers/{index}/resources");
    Ok(Decision::Change {
        operations: vec![json!({"op": "add", "path": path, "value": resources})],
        before,
        message: format!("set resources of container {name} of {target}: {}", changes.join(", ")),
    })
}

/// A quantity as text; the API server writes it so, a person may have written a bare number.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn amount(text: Option<&str>) -> Option<Quantity> {
    Quantity::parse(text?).ok()
}
