//! scale_deployment: sets `spec.replicas`, unless an autoscaler would set it back.

use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::core::Selector;
use kubernaut_api::execution::ActionResult;
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::catalogue::ScaleDeployment;
use serde_json::json;

use crate::call::{Call, Failure};
use crate::workload::{Decision, change};

pub async fn run(call: &Call<'_>, wanted: ScaleDeployment) -> Result<ActionResult, Failure> {
    let wanted = &wanted;
    change(call, |live| async move {
        let autoscalers = call.list("HorizontalPodAutoscaler", &Selector::default()).await?;
        decide(&call.input.target, &live, &autoscalers, wanted)
    })
    .await
}

fn decide(
    target: &TargetRef,
    live: &DynamicObject,
    autoscalers: &[DynamicObject],
    wanted: &ScaleDeployment,
) -> Result<Decision, Failure> {
    // An absent number means one.
    let now = live.data.pointer("/spec/replicas").and_then(serde_json::Value::as_i64).unwrap_or(1);
    if now == i64::from(wanted.replicas) {
        return Ok(Decision::Keep(format!("{target} already has {now} replicas")));
    }
    if let Some(autoscaler) = autoscalers.iter().find(|autoscaler| scales(autoscaler, target)) {
        let message = format!("HorizontalPodAutoscaler {} scales {target} and would undo it", autoscaler.name_any());
        return Err(Failure::refused("ManagedByAutoscaler", message));
    }
    Ok(Decision::Change {
        operations: vec![json!({"op": "add", "path": "/spec/replicas", "value": wanted.replicas})],
        before: [("replicas".to_owned(), now.into())].into(),
        message: format!("scaled {target} from {now} to {} replicas", wanted.replicas),
    })
}

fn scales(autoscaler: &DynamicObject, target: &TargetRef) -> bool {
    let reference = |field: &str| autoscaler.data.pointer(field).and_then(|value| value.as_str()).unwrap_or_default();
    let api_version = reference("/spec/scaleTargetRef/apiVersion");
    reference("/spec/scaleTargetRef/kind") == target.kind
        && reference("/spec/scaleTargetRef/name") == target.name
        && (api_version.is_empty() || api_version.starts_with("apps/"))
}
