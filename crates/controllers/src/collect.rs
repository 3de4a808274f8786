//! Reads from the cluster what there is to know about a target, once: evidence (R3.1, R3.2).
//!
//! Every read has a limit of time and of size. What may not be read, is not there or takes too long is
//! named in `degraded` and left out; it never fails the rest. The reads are in `read`, everything else in
//! this folder is pure: objects in, evidence out. Deliberately absent: caches, watches and Secrets.

mod autoscaler;
mod bounds;
mod changes;
mod dependencies;
mod events;
mod hosts;
mod logs;
mod nodes;
mod pods;
mod read;
mod references;
mod revisions;
mod set_revisions;
mod surroundings;
#[cfg(test)]
mod tests;
mod workload;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, MicroTime, ObjectMeta};
use kubernaut_api::evidence::{ContainerLog, Evidence, Workload};
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::redact::bounded;

use read::{Gap, Reader};
pub use workload::workload_facts;
pub(crate) use workload::{daemon_set_facts, stateful_set_facts};

/// How much is read, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Limit of each call.
    pub call_timeout: Duration,
    /// Size of the evidence as JSON.
    pub bytes: usize,
    /// Last lines of each log.
    pub log_lines: i64,
    /// Bytes read of each log.
    pub log_bytes: i64,
    /// Pods and ReplicaSets of the target that are read.
    pub objects: u32,
    /// Events of the namespace that are read, in pages of at most 500.
    pub events: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(5),
            bytes: 64 * 1024,
            log_lines: 20,
            log_bytes: 16 * 1024,
            objects: 250,
            events: 2000,
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Collected {
    /// Bounded and redacted.
    pub evidence: Evidence,
    /// What is missing and why, such as `pods/log of demo/x: Forbidden`; at most 32 of at most 512 characters.
    pub degraded: Vec<String>,
    /// False when the target does not exist, or was made anew under its name since the signal. True when
    /// it could not be told.
    pub target_found: bool,
}

/// Collects the evidence about a target; `resource` is the object that the signal itself names.
pub async fn collect(
    client: &kube::Client,
    target: &TargetRef,
    resource: Option<&TargetRef>,
    now: Timestamp,
    limits: &Limits,
) -> Collected {
    let reader = Reader { client, namespace: target.namespace.as_deref().unwrap_or_default(), limits };
    let mut gaps = Vec::new();
    let mut evidence = Evidence { collected_at: Some(MicroTime(now)), ..Evidence::default() };
    let target_found = match root(&reader, target).await {
        Ok(root) => {
            let mut found = gather(&reader, root, &mut gaps).await;
            let around = surroundings::surround(&reader, &mut found.evidence, &found.pods, &mut gaps).await;
            found.uids.extend(around);
            let logs = logs_of(&reader, &found.pods, &mut gaps).await;
            found.evidence.logs = logs;
            found.evidence.dependencies =
                dependencies::dependencies(&reader, &found.evidence, &found.pods, &mut gaps).await;
            fill(&mut evidence, found);
            true
        }
        Err(gap) => {
            let found = !gap.not_found;
            gaps.push(gap);
            found
        }
    };
    evidence.owner_chain = owner_chain(target, resource, &evidence);
    bounds::bound(&mut evidence, limits.bytes);
    let mut degraded: Vec<String> = gaps.into_iter().map(|gap| bounded(&gap.text, 512)).collect();
    degraded.dedup();
    degraded.truncate(32);
    Collected { evidence, degraded, target_found }
}

/// The target itself, as far as its kind tells how to read on.
enum Root {
    Deployment(Box<Deployment>),
    StatefulSet(Box<StatefulSet>),
    Other { workload: Box<Workload>, uid: String, selector: LabelSelector },
    Pod(Box<Pod>),
    Node(Box<Node>),
}

async fn root(reader: &Reader<'_>, target: &TargetRef) -> Result<Root, Gap> {
    let (root, metadata): (Root, ObjectMeta) = match target.kind.as_str() {
        "Deployment" => {
            let object: Deployment = reader.get("deployments", &target.name).await?;
            let metadata = object.metadata.clone();
            (Root::Deployment(Box::new(object)), metadata)
        }
        "StatefulSet" => {
            let object: StatefulSet = reader.get("statefulsets", &target.name).await?;
            let metadata = object.metadata.clone();
            (Root::StatefulSet(Box::new(object)), metadata)
        }
        "DaemonSet" => {
            let object: DaemonSet = reader.get("daemonsets", &target.name).await?;
            let workload = workload::daemon_set_facts(&object);
            let selector = object.spec.map(|spec| spec.selector).unwrap_or_default();
            (Root::Other { workload: Box::new(workload), uid: uid(&object.metadata), selector }, object.metadata)
        }
        "Pod" => {
            let object: Pod = reader.get("pods", &target.name).await?;
            let metadata = object.metadata.clone();
            (Root::Pod(Box::new(object)), metadata)
        }
        "Node" => {
            let object = reader.node(&target.name).await?;
            let metadata = object.metadata.clone();
            (Root::Node(Box::new(object)), metadata)
        }
        _ => return Err(Gap { text: format!("{target}: nothing is collected about this kind"), not_found: false }),
    };
    if target.uid.is_some() && target.uid != metadata.uid {
        return Err(Gap { text: format!("{target}: was made anew since the signal"), not_found: true });
    }
    Ok(root)
}

/// What was read about a target, not yet bounded.
struct Found {
    evidence: Evidence,
    pods: Vec<Pod>,
    events: Vec<Event>,
    uids: BTreeSet<String>,
}

async fn gather(reader: &Reader<'_>, root: Root, gaps: &mut Vec<Gap>) -> Found {
    match root {
        Root::Deployment(deployment) => gather_deployment(reader, &deployment, gaps).await,
        Root::StatefulSet(set) => gather_stateful_set(reader, &set, gaps).await,
        Root::Other { workload, uid, selector } => {
            let (pods, events) = futures::join!(reader.list::<Pod>("pods", &selector), reader.events());
            let mut pods = read::take(pods, gaps);
            pods.retain(|pod| owner_uid(&pod.metadata) == Some(uid.as_str()));
            let evidence = Evidence { workload: Some(*workload), ..Evidence::default() };
            Found { evidence, pods, events: read::take(events, gaps), uids: [uid].into() }
        }
        Root::Pod(pod) => {
            let events = read::take(reader.events().await, gaps);
            let evidence = Evidence { workload: Some(workload::pod_facts(&pod)), ..Evidence::default() };
            Found { evidence, uids: [uid(&pod.metadata)].into(), pods: vec![*pod], events }
        }
        Root::Node(node) => {
            let mut evidence = Evidence { nodes: vec![nodes::node(&node)], ..Evidence::default() };
            surroundings::other_nodes(reader, &mut evidence, gaps).await;
            Found { evidence, uids: BTreeSet::new(), pods: Vec::new(), events: Vec::new() }
        }
    }
}

async fn gather_deployment(reader: &Reader<'_>, deployment: &Deployment, gaps: &mut Vec<Gap>) -> Found {
    let selector = deployment.spec.as_ref().map(|spec| spec.selector.clone()).unwrap_or_default();
    let own = uid(&deployment.metadata);
    let (holders, pods, events) = futures::join!(
        reader.list::<ReplicaSet>("replicasets", &selector),
        reader.list::<Pod>("pods", &selector),
        reader.events(),
    );
    let holders_known = holders.is_ok();
    let mut holders = read::take(holders, gaps);
    holders.retain(|holder| owner_uid(&holder.metadata) == Some(own.as_str()));
    let uids: BTreeSet<String> = holders.iter().map(|holder| uid(&holder.metadata)).chain([own]).collect();

    let mut pods = read::take(pods, gaps);
    // Without the ReplicaSets the selector alone has to tell whose the pods are.
    pods.retain(|pod| owner_uid(&pod.metadata).is_some_and(|owner| !holders_known || uids.contains(owner)));
    let (revisions, changes) = revisions::revisions(deployment, &holders);
    let evidence = Evidence { workload: Some(workload_facts(deployment)), revisions, changes, ..Evidence::default() };
    Found { evidence, pods, events: read::take(events, gaps), uids }
}

async fn gather_stateful_set(reader: &Reader<'_>, set: &StatefulSet, gaps: &mut Vec<Gap>) -> Found {
    let selector = set.spec.as_ref().map(|spec| spec.selector.clone()).unwrap_or_default();
    let own = uid(&set.metadata);
    let (holders, pods, events) = futures::join!(
        reader.list::<ControllerRevision>("controllerrevisions", &selector),
        reader.list::<Pod>("pods", &selector),
        reader.events(),
    );
    let mut holders = read::take(holders, gaps);
    holders.retain(|holder| owner_uid(&holder.metadata) == Some(own.as_str()));
    let mut pods = read::take(pods, gaps);
    pods.retain(|pod| owner_uid(&pod.metadata) == Some(own.as_str()));
    let (revisions, changes) = set_revisions::revisions(set, &holders, &pods::evidence(&pods));
    let workload = Some(workload::stateful_set_facts(set));
    let evidence = Evidence { workload, revisions, changes, ..Evidence::default() };
    Found { evidence, pods, events: read::take(events, gaps), uids: [own].into() }
}

/// The logs that are worth reading, all at once.
async fn logs_of(reader: &Reader<'_>, pods: &[Pod], gaps: &mut Vec<Gap>) -> Vec<ContainerLog> {
    let wanted = logs::wanted(&pods::evidence(pods));
    let read = join_all(wanted.into_iter().map(|mut log| async move {
        let text = reader.log(&log.pod, &log.container, log.previous).await?;
        log.lines = logs::lines(&text, reader.limits.log_lines);
        Ok(log)
    }));
    let mut logs = Vec::new();
    for result in read.await {
        match result {
            Ok(log) if log.lines.is_empty() => {}
            Ok(log) => logs.push(log),
            Err(gap) => gaps.push(gap),
        }
    }
    logs
}

fn fill(evidence: &mut Evidence, found: Found) {
    let collected_at = evidence.collected_at.take();
    let mut uids = found.uids;
    uids.extend(found.pods.iter().map(|pod| uid(&pod.metadata)));
    *evidence = Evidence {
        collected_at,
        pods: pods::evidence(&found.pods),
        events: events::records(&found.events, &uids),
        ..found.evidence
    };
}

/// From what the signal names, over what owns it, to the target.
fn owner_chain(target: &TargetRef, resource: Option<&TargetRef>, evidence: &Evidence) -> Vec<TargetRef> {
    let same = |one: &TargetRef| (one.kind.as_str(), one.name.as_str()) == (target.kind.as_str(), target.name.as_str());
    let target = evidence.workload.as_ref().map_or(target, |workload| &workload.object);
    let Some(resource) = resource.filter(|resource| !same(resource)) else { return vec![target.clone()] };
    let owner = evidence.pods.iter().find(|pod| resource.kind == "Pod" && pod.name == resource.name);
    let between =
        owner.and_then(|pod| pod.owner.as_ref()).filter(|_| target.kind == "Deployment").map(|name| TargetRef {
            api_version: "apps/v1".into(),
            kind: "ReplicaSet".into(),
            namespace: target.namespace.clone(),
            name: name.clone(),
            uid: None,
        });
    std::iter::once(resource.clone()).chain(between).chain([target.clone()]).collect()
}

fn uid(metadata: &ObjectMeta) -> String {
    metadata.uid.clone().unwrap_or_default()
}

/// Uid of the controller that made an object.
fn owner_uid(metadata: &ObjectMeta) -> Option<&str> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}
