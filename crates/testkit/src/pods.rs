//! Pods of an application in the state that an alert would tell of.

use std::time::Duration;

use anyhow::{Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::{Namespace, until};

/// Waits for a pod with the label `app` that is so; what is wrong with the others stands in the error.
pub async fn pod_where(
    namespace: &Namespace,
    app: &str,
    what: &str,
    limit: Duration,
    is_so: impl Fn(&Pod) -> bool,
) -> Result<Pod> {
    let pods = Api::<Pod>::namespaced(namespace.cluster.client.clone(), &namespace.name);
    let of_app = ListParams::default().labels(&format!("app={app}"));
    until(&format!("a pod of {app} {what}"), limit, || async {
        let mut seen = vec![];
        for pod in pods.list(&of_app).await?.items {
            if pod.metadata.deletion_timestamp.is_none() && is_so(&pod) {
                return Ok(pod);
            }
            let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
            let containers: Vec<_> = containers(&pod).map(|one| one.state.clone()).collect();
            seen.push(format!("{}: {phase:?} {containers:?}", pod.name_any()));
        }
        bail!("{seen:?}")
    })
    .await
}

/// Its containers' states, those of init containers first.
pub fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref()).into_iter().flatten();
    init.chain(status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten())
}

/// Whether a container has ended at least twice and does not run.
pub fn crashes(pod: &Pod) -> bool {
    containers(pod).any(|container| {
        let ended = container.state.as_ref().is_some_and(|state| state.terminated.is_some());
        (ended || waiting(container) == Some("CrashLoopBackOff")) && container.restart_count >= 1
    })
}

/// Whether a container waits for one of these reasons.
pub fn waits(pod: &Pod, reasons: &[&str]) -> bool {
    containers(pod).any(|container| waiting(container).is_some_and(|reason| reasons.contains(&reason)))
}

/// Whether the scheduler has said that it finds no node.
pub fn unplaced(pod: &Pod) -> bool {
    condition(pod, "PodScheduled").is_some_and(|(status, reason)| status == "False" && reason == "Unschedulable")
}

/// Whether it is ready.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|(status, _)| status == "True")
}

/// Whether it was made at least so long ago.
pub fn is_older_than(pod: &Pod, age: Duration) -> bool {
    let made = pod.metadata.creation_timestamp.as_ref().map(|at| at.0);
    let age = jiff::SignedDuration::try_from(age).unwrap_or(jiff::SignedDuration::MAX);
    made.is_some_and(|at| Timestamp::now().duration_since(at) >= age)
}

/// Waits until Kubernetes warns about an object with this reason, at least so often.
pub async fn warned(namespace: &Namespace, object: &str, reason: &str, times: i32, limit: Duration) -> Result<()> {
    let events = Api::<Event>::namespaced(namespace.cluster.client.clone(), &namespace.name);
    let of_reason = ListParams::default().fields(&format!("reason={reason},type=Warning"));
    until(&format!("{reason} about {object}"), limit, || async {
        let found = events.list(&of_reason).await?.items;
        let count = |event: &Event| event.series.as_ref().and_then(|one| one.count).or(event.count).unwrap_or(1);
        let about = found.iter().filter(|event| event.involved_object.name.as_deref() == Some(object));
        let seen: i32 = about.map(count).max().unwrap_or(0);
        if seen >= times { Ok(()) } else { bail!("{seen} times so far") }
    })
    .await
}

fn waiting(container: &ContainerStatus) -> Option<&str> {
    container.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<(&'a str, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some((found.status.as_str(), found.reason.as_deref().unwrap_or_default()))
}
