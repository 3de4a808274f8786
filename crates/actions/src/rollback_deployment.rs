//! rollback_deployment: puts the pod template of an earlier revision back, as `kubectl rollout undo` does.

use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::core::Selector;
use kubernaut_api::execution::ActionResult;
use kubernaut_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::catalogue::{RollbackDeployment, Values};
use serde_json::{Value, json};

use crate::call::{Call, Failure};
use crate::workload::{Decision, change};

const REVISION: &str = "deployment.kubernetes.io/revision";
const TEMPLATE_HASH: &str = "pod-template-hash";

pub async fn run(call: &Call<'_>, wanted: RollbackDeployment) -> Result<ActionResult, Failure> {
    let wanted = &wanted;
    change(call, |live| async move {
        let replica_sets = call.list("ReplicaSet", &selector(&live)?).await?;
        decide(&call.input.target, &live, &replica_sets, wanted)
    })
    .await
}

fn decide(
    target: &TargetRef,
    live: &DynamicObject,
    replica_sets: &[DynamicObject],
    wanted: &RollbackDeployment,
) -> Result<Decision, Failure> {
    if live.data.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Err(Failure::refused("DeploymentPaused", format!("{target} is paused: nothing would be rolled out")));
    }
    // Until the newest template has a ReplicaSet, the revisions are not the ones that the plan was made on.
    let observed = live.data.pointer("/status/observedGeneration").and_then(Value::as_i64);
    if observed < live.metadata.generation {
        return Err(Failure::refused(
            "RolloutNotObserved",
            format!("the newest change of {target} has no revision yet"),
        ));
    }
    let uid = live.uid();
    let owned = || replica_sets.iter().filter(|set| crate::owner(set).map(|owner| &owner.uid) == uid.as_ref());
    let to = wanted.to_revision;
    let Some(goal) = owned().find(|set| revision(set) == Some(to)) else {
        let mut kept: Vec<i64> = owned().filter_map(revision).collect();
        kept.sort_unstable();
        return Err(Failure::refused("RevisionNotFound", format!("{target} has no revision {to}, only {kept:?}")));
    };
    let wanted_template = template(goal);
    let from = revision(live);
    if wanted_template == template(live) {
        return Ok(Decision::Keep(format!("{target} already has the template of revision {to}")));
    }
    if wanted.from_revision.is_some() && wanted.from_revision != from {
        return Err(Failure::refused("RevisionMoved", format!("{target} has been rolled out since the plan was made")));
    }
    let current = owned().find(|set| revision(set) == from).map(ResourceExt::name_any);
    let mut before = Values::new();
    before.extend(from.map(|from| ("revision".to_owned(), from.into())));
    before.extend(current.map(|name| ("replicaSet".to_owned(), name.into())));
    Ok(Decision::Change {
        operations: vec![json!({"op": "replace", "path": "/spec/template", "value": wanted_template})],
        before,
        message: match from {
            Some(from) => format!("rolled {target} back from revision {from} to the template of revision {to}"),
            None => format!("rolled {target} back to the template of revision {to}"),
        },
    })
}

fn selector(live: &DynamicObject) -> Result<Selector, Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::refused("Invalid", format!("spec.selector: {error}"));
    let selector = live.data.pointer("/spec/selector").cloned().unwrap_or_default();
    let selector: LabelSelector = serde_json::from_value(selector).map_err(|error| refused(&error))?;
    selector.try_into().map_err(|error: kube::core::ParseExpressionError| refused(&error))
}

fn revision(object: &DynamicObject) -> Option<i64> {
    object.annotations().get(REVISION)?.parse().ok()
}

/// The pod template without the label that the Deployment controller adds. As raw JSON, so that fields
/// which this program does not know survive.
fn template(object: &DynamicObject) -> Value {
    let mut template = object.data.pointer("/spec/template").cloned().unwrap_or_default();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(TEMPLATE_HASH);
    }
    template
}
