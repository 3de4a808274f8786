//! Pods as evidence: the unhealthy first, with how each container is and how it ended last.

use k8s_openapi::api::core::v1::{
    ContainerState as KubeState, ContainerStateTerminated, ContainerStatus, Pod, PodCondition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kubernaut_api::evidence::{ContainerState, PodEvidence, Termination};
use kubernaut_domain::redact::{bounded, redact};

/// On pods of a StatefulSet or DaemonSet: the name of the ControllerRevision they were made from, or its hash.
const REVISION: &str = "controller-revision-hash";

/// Pods, the unhealthy first and of those the newest first; at most 20.
pub fn evidence(pods: &[Pod]) -> Vec<PodEvidence> {
    let mut pods: Vec<PodEvidence> = pods.iter().map(pod).collect();
    pods.sort_by(|a, b| {
        let created = |pod: &PodEvidence| pod.created_at.as_ref().map(|at| at.0);
        (is_well(a), created(b), &a.name).cmp(&(is_well(b), created(a), &b.name))
    });
    pods.truncate(20);
    pods
}

/// True when the pod says that it is ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// True when a claim of this name is made for a generic ephemeral volume of the pod.
pub fn is_ephemeral_of(pod: &Pod, claim: &str) -> bool {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.any(|volume| volume.ephemeral.is_some() && claim == format!("{name}-{}", volume.name))
}

/// True when a container is not as it should be, or was not in its last run.
pub fn is_failing(container: &ContainerState) -> bool {
    let ended_badly = container.last_termination.as_ref().is_some_and(|end| end.exit_code != 0);
    !container.ready || (ended_badly && container.restarts > 0)
}

/// True when there is nothing about the pod that has to be told.
pub fn is_well(pod: &PodEvidence) -> bool {
    pod.terminating
        || pod.phase == "Succeeded"
        || (pod.ready && !pod.containers.iter().any(|container| !container.init && is_failing(container)))
}

fn pod(pod: &Pod) -> PodEvidence {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let owner = owners.iter().find(|owner| owner.controller == Some(true));
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
    let main = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let begun = init.iter().map(|status| container(pod, status, true));
    PodEvidence {
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: super::uid(&pod.metadata),
        owner: owner.map(|owner| owner.name.clone()),
        phase: status.and_then(|status| status.phase.clone()).unwrap_or_default(),
        ready: is_ready(pod),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        unschedulable: unschedulable(pod),
        reason: bounded(status.and_then(|status| status.reason.as_deref()).unwrap_or_default(), 128),
        revision: pod.metadata.labels.as_ref().and_then(|labels| labels.get(REVISION).cloned()),
        created_at: pod.metadata.creation_timestamp.as_ref().map(|time| MicroTime(time.0)),
        containers: begun.chain(main.iter().map(|status| container(pod, status, false))).take(20).collect(),
    }
}

/// What the scheduler says in the pod's own status: others cannot write it there, as they can Events.
fn unschedulable(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let refused = |one: &&PodCondition| one.type_ == "PodScheduled" && one.status == "False";
    let condition = conditions.iter().find(refused)?;
    // A pod that waits for a gate is not for the scheduler yet.
    let reason = condition.reason.as_deref().filter(|reason| *reason == "Unschedulable")?;
    Some(bounded(&redact(condition.message.as_deref().unwrap_or(reason)), 512))
}

fn container(pod: &Pod, status: &ContainerStatus, init: bool) -> ContainerState {
    let current = status.state.clone().unwrap_or_default();
    let ended = current.terminated.as_ref().or(status.last_state.as_ref().and_then(|state| state.terminated.as_ref()));
    let last_termination = ended.map(termination);
    let (state, reason, message) = told(current);
    ContainerState {
        name: status.name.clone(),
        init,
        image: bounded(&redact(asked_for(pod, &status.name).unwrap_or(&status.image)), 512),
        ready: status.ready,
        restarts: status.restart_count,
        state: state.into(),
        reason: bounded(&reason.unwrap_or_default(), 128),
        message: bounded(&redact(&message.unwrap_or_default()), 512),
        last_termination,
    }
}

/// The image as the pod names it: what the runtime reports may be a digest or another tag of the same.
fn asked_for<'a>(pod: &'a Pod, container: &str) -> Option<&'a str> {
    let spec = pod.spec.as_ref()?;
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let named = init.iter().chain(&spec.containers).find(|one| one.name == container);
    named.and_then(|one| one.image.as_deref())
}

fn told(state: KubeState) -> (&'static str, Option<String>, Option<String>) {
    match (state.running, state.waiting, state.terminated) {
        (Some(_), _, _) => ("Running", None, None),
        (_, _, Some(ended)) => ("Terminated", ended.reason, ended.message),
        (_, Some(waiting), _) => ("Waiting", waiting.reason, waiting.message),
        // As the API documents: no state given means waiting.
        (None, None, None) => ("Waiting", None, None),
    }
}

fn termination(ended: &ContainerStateTerminated) -> Termination {
    Termination {
        exit_code: ended.exit_code,
        reason: bounded(ended.reason.as_deref().unwrap_or_default(), 128),
        message: bounded(&redact(ended.message.as_deref().unwrap_or_default()), 512),
        finished_at: ended.finished_at.as_ref().map(|time| MicroTime(time.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(yaml: &str) -> Vec<Pod> {
        serde_yaml_ng::from_str::<kube::core::ObjectList<Pod>>(yaml).unwrap().items
    }

    #[test]
    fn the_crashing_pod_comes_first_with_how_it_ended() {
        let pods = evidence(&fixture(include_str!("fixtures/pods.yaml")));
        assert_eq!(pods.len(), 2);
        assert_eq!(
            (pods[0].owner.as_deref(), pods[0].ready, pods[0].terminating),
            (Some("web-5b7667fbd"), false, false)
        );
        let app = &pods[0].containers[0];
        assert_eq!(
            (app.name.as_str(), app.state.as_str(), app.image.as_str()),
            ("app", "Terminated", "localhost/busybox:1")
        );
        let end = app.last_termination.as_ref().unwrap();
        assert_eq!((end.exit_code, end.reason.as_str(), end.finished_at.is_some()), (1, "Error", true));
        assert!(app.restarts >= 4);
        assert_eq!((pods[1].ready, pods[1].containers[0].restarts), (true, 0));
        assert!(pods[1].containers[0].last_termination.is_none());
    }

    #[test]
    fn waiting_and_killed_containers_are_told_apart() {
        let pods = evidence(&fixture(include_str!("fixtures/failing-pods.yaml")));
        let image = pods.iter().find(|pod| pod.name.starts_with("img")).unwrap();
        let app = &image.containers[0];
        assert_eq!((app.state.as_str(), app.reason.as_str()), ("Waiting", "ImagePullBackOff"));
        assert!(app.message.contains("localhost/nope:2") && app.last_termination.is_none());
        let memory = pods.iter().find(|pod| pod.name.starts_with("oom")).unwrap();
        let end = memory.containers[0].last_termination.as_ref().unwrap();
        assert_eq!((end.reason.as_str(), end.exit_code), ("OOMKilled", 137));
    }

    #[test]
    fn init_containers_come_first_and_messages_are_redacted() {
        let pods = fixture(
            "{apiVersion: v1, kind: List, metadata: {}, items: [{metadata: {name: p, deletionTimestamp: '2026-11-21T05:12:11Z'}, \
             spec: {containers: [{name: app, image: 'app:1'}]}, status: {phase: Pending, \
             containerStatuses: [{name: app, image: 'sha256:1', imageID: '', ready: false, restartCount: 0, state: {}}], \
             initContainerStatuses: [{name: init, image: i, imageID: '', ready: false, restartCount: 1, \
             state: {terminated: {exitCode: 3, reason: Error, message: 'password=c4n4ry'}}}]}}]}",
        );
        let pods = evidence(&pods);
        let names: Vec<_> =
            pods[0].containers.iter().map(|one| (one.name.as_str(), one.init, one.state.as_str())).collect();
        assert_eq!(names, [("init", true, "Terminated"), ("app", false, "Waiting")]);
        assert_eq!(pods[0].containers[1].image, "app:1");
        assert!(pods[0].terminating && !format!("{pods:?}").contains("c4n4ry"));
    }

    #[test]
    fn of_many_pods_the_unhealthy_are_kept() {
        let mut pods = Vec::new();
        let both = fixture(include_str!("fixtures/pods.yaml"));
        for n in 0..40 {
            let mut pod = both[usize::from(n > 1)].clone();
            pod.metadata.name = Some(format!("p{n}"));
            pods.insert(0, pod);
        }
        let kept = evidence(&pods);
        assert_eq!((kept.len(), kept[0].name.as_str(), kept[1].name.as_str()), (20, "p0", "p1"));
    }
}
