//! restart_service: from the Service's selector to its pods, to the workloads that own them, and restarts those.
//!
//! Through pods and not by comparing selectors with templates: what serves now is what gets restarted. Pods that
//! nothing would make anew are left alone and named. The permission reaches further than the effect: see
//! [`crate::restart`].

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::core::Selector;
use kubernaut_api::execution::ActionResult;
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::catalogue::{NoParameters, Values};
use serde_json::Value;

use crate::call::{Call, Failure};
use crate::{changed, incomplete, owner, restart, unchanged};

/// Most pods without a workload that the message names.
const NAMED: usize = 5;

pub async fn run(call: &Call<'_>, _: NoParameters) -> Result<ActionResult, Failure> {
    let target = &call.input.target;
    let service = call.target().await?;
    let pods = call.list_where("Pod", &selector(target, &service)?, |_| true).await?;
    let (workloads, others) = owners(call, &pods).await?;
    if workloads.is_empty() {
        let message = format!("no Deployment, StatefulSet or DaemonSet owns a pod behind {target}");
        return Err(Failure::refused("NothingToRestart", message));
    }
    restart::check(&workloads)?;
    let workloads: Vec<TargetRef> = workloads.into_iter().map(|(workload, _)| workload).collect();
    let (restarted, failure) = restart::all(call, &workloads).await;
    let mut message = format!("restarted {} behind {target}", restarted.join(", "));
    if !others.is_empty() {
        message.push_str("; left alone: ");
        message.push_str(&others[..others.len().min(NAMED)].join(", "));
    }
    match failure {
        Some(failure) if restarted.is_empty() || call.input.dry_run => Err(failure),
        Some(failure) => Ok(incomplete(format!("{message}; then: {failure}"), Values::new())),
        None if restarted.is_empty() => Ok(unchanged(format!("the workloads behind {target} were already restarted"))),
        None => Ok(changed(message, Values::new())),
    }
}

fn selector(target: &TargetRef, service: &DynamicObject) -> Result<Selector, Failure> {
    let labels = service.data.pointer("/spec/selector").and_then(Value::as_object);
    let labels: BTreeMap<String, String> = labels
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    if labels.is_empty() {
        // It would select every pod of the namespace.
        return Err(Failure::refused("NoSelector", format!("{target} selects no pods")));
    }
    Ok(labels.into_iter().collect())
}

/// The workloads that own the pods, each once and in order, and the pods that have none.
async fn owners(
    call: &Call<'_>,
    pods: &[DynamicObject],
) -> Result<(Vec<(TargetRef, DynamicObject)>, Vec<String>), Failure> {
    let mut direct = BTreeMap::new();
    let mut others = Vec::new();
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        match owner(pod) {
            Some(owner) if owner.api_version.starts_with("apps/") => {
                direct.insert((owner.kind.clone(), owner.name.clone()), pod.name_any());
            }
            _ => others.push(format!("Pod {}", pod.name_any())),
        }
    }
    let mut workloads = BTreeMap::new();
    for ((kind, name), pod) in direct {
        let (kind, name) = match kind.as_str() {
            "ReplicaSet" => match owner(&call.get("ReplicaSet", &name).await?) {
                Some(owner) => (owner.kind.clone(), owner.name.clone()),
                None => (kind, name),
            },
            _ => (kind, name),
        };
        if !restart::KINDS.contains(&kind.as_str()) {
            others.push(format!("Pod {pod}"));
        } else if !workloads.contains_key(&(kind.clone(), name.clone())) {
            let live = call.get(&kind, &name).await?;
            workloads.insert((kind.clone(), name), (restart::reference(call, &kind, &live), live));
        }
    }
    Ok((workloads.into_values().collect(), others))
}
