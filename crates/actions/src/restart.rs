//! Restarting workloads through their pod template: shared by restart_service and update_config.
//!
//! The template's annotation holds the execution's name, so a second run leaves the template as it is and nothing is
//! rolled over twice. Who may patch a workload's template may run any image under any ServiceAccount of its
//! namespace: Kubernetes cannot narrow the permission to an annotation.

use kube::ResourceExt;
use kube::api::DynamicObject;
use kubernaut_api::execution::Effect;
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::catalogue::{self, ActInput, RESTARTED_BY, Values};
use serde_json::{Value, json};

use crate::call::{Call, Failure};
use crate::workload::{Decision, change, escape};

/// Most workloads of one restart.
const MOST: usize = 10;
/// Kinds that can be restarted.
pub const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// The reference to a workload that was read from the namespace of the run's target.
pub fn reference(call: &Call<'_>, kind: &str, workload: &DynamicObject) -> TargetRef {
    TargetRef {
        api_version: catalogue::api_version(kind).into(),
        kind: kind.into(),
        namespace: call.input.target.namespace.clone(),
        name: workload.name_any(),
        uid: workload.uid(),
    }
}

/// Refuses too many workloads, and such as would not roll a new template out: before anything is changed.
pub fn check(workloads: &[(TargetRef, DynamicObject)]) -> Result<(), Failure> {
    if workloads.len() > MOST {
        let message = format!("{} workloads would be restarted, more than {MOST}", workloads.len());
        return Err(Failure::refused("TooManyWorkloads", message));
    }
    workloads.iter().try_for_each(|(target, live)| rolls_out(target, live))
}

/// Restarts one after another until one fails: those that were, and the failure.
pub async fn all(call: &Call<'_>, workloads: &[TargetRef]) -> (Vec<String>, Option<Failure>) {
    let mut restarted = Vec::new();
    for target in workloads {
        let input = ActInput { target: target.clone(), ..call.input.clone() };
        let execution = &input.execution;
        let outcome = change(&call.on(&input), |live| async move { decide(target, &live, execution) }).await;
        match outcome {
            Ok(result) if result.effect == Effect::Changed => restarted.push(target.to_string()),
            Ok(_) => {}
            Err(failure) => return (restarted, Some(failure)),
        }
    }
    (restarted, None)
}

fn decide(target: &TargetRef, live: &DynamicObject, execution: &str) -> Result<Decision, Failure> {
    rolls_out(target, live)?;
    let annotations = live.data.pointer("/spec/template/metadata/annotations");
    if annotations.is_some_and(|annotations| annotations[RESTARTED_BY] == execution) {
        return Ok(Decision::Keep(format!("{target} was already restarted")));
    }
    let mut operations = Vec::new();
    if annotations.is_none() {
        operations.push(json!({"op": "add", "path": "/spec/template/metadata/annotations", "value": {}}));
    }
    let path = format!("/spec/template/metadata/annotations/{}", escape(RESTARTED_BY));
    operations.push(json!({"op": "add", "path": path, "value": execution}));
    Ok(Decision::Change { operations, before: Values::new(), message: format!("restarted {target}") })
}

fn rolls_out(target: &TargetRef, live: &DynamicObject) -> Result<(), Failure> {
    let text = |pointer: &str| live.data.pointer(pointer).and_then(Value::as_str);
    if live.data.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Err(Failure::refused("DeploymentPaused", format!("{target} is paused: nothing would be rolled out")));
    }
    if text("/spec/updateStrategy/type") == Some("OnDelete") {
        return Err(Failure::refused(
            "UpdatesOnDelete",
            format!("{target} rolls nothing out: its strategy is OnDelete"),
        ));
    }
    Ok(())
}
