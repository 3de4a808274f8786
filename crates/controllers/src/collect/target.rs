//! What is read first about a target, by its kind: the object, its pods and Events, and its revisions.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Event, Node, Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kubernaut_api::evidence::{Evidence, Workload};
use kubernaut_api::labels;
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::settings::Scope;

use super::read::{Gap, Reader, take};
use super::{
    batch, custom, events, leads, nodes, owner_uid, pods, revisions, set_revisions, surroundings, uid, workload,
};

/// What was read about a target, not yet bounded.
#[derive(Default)]
pub struct Found {
    /// As far as it is known.
    pub evidence: Evidence,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// Events of its namespace.
    pub events: Vec<Event>,
    /// Whose Events matter, besides those of the pods.
    pub uids: BTreeSet<String>,
    /// The workload's own, for whether it may be changed.
    pub metadata: ObjectMeta,
}

impl Found {
    /// The evidence with the pods and the Events that matter.
    pub fn finish(self) -> Evidence {
        let Self { mut evidence, pods, events, mut uids, .. } = self;
        uids.extend(pods.iter().map(|pod| uid(&pod.metadata)));
        let holders: BTreeSet<&str> = evidence.revisions.iter().map(|revision| revision.holder.as_str()).collect();
        evidence.events = events::records(&events, &uids, &holders);
        evidence.pods = pods::evidence(&pods);
        evidence
    }
}

/// Reads about a target; an error when it is not there, is another one by now, or may not be read.
pub async fn find(
    reader: &Reader<'_>,
    target: &TargetRef,
    resource: Option<&TargetRef>,
    gaps: &mut Vec<Gap>,
) -> Result<Found, Gap> {
    // Objects of Kubernetes are large: what waits for one is kept off the stack.
    match target.kind.as_str() {
        "Node" => Box::pin(node(reader, target, gaps)).await,
        "Service" => Box::pin(leads::service(reader, target, gaps)).await,
        "HorizontalPodAutoscaler" => Box::pin(leads::autoscaler(reader, target, gaps)).await,
        "PodDisruptionBudget" => Box::pin(leads::budget(reader, target, gaps)).await,
        "PersistentVolumeClaim" => Box::pin(leads::claim(reader, target, gaps)).await,
        "ResourceQuota" => Box::pin(leads::quota(reader, target, gaps)).await,
        _ if custom::is_custom(target) => Box::pin(custom::find(reader, target, resource, gaps)).await,
        _ => Box::pin(workload(reader, target, gaps)).await,
    }
}

/// Reads about a workload of a kind that Kubernetes has.
pub async fn workload(reader: &Reader<'_>, target: &TargetRef, gaps: &mut Vec<Gap>) -> Result<Found, Gap> {
    match target.kind.as_str() {
        "Deployment" => Ok(Box::pin(deployment(reader, reader.wanted("deployments", target).await?, gaps)).await),
        "StatefulSet" => Ok(Box::pin(stateful_set(reader, reader.wanted("statefulsets", target).await?, gaps)).await),
        "DaemonSet" => {
            let object: DaemonSet = reader.wanted("daemonsets", target).await?;
            let facts = workload::daemon_set_facts(&object);
            let selector = object.spec.map(|spec| spec.selector).unwrap_or_default();
            Ok(Box::pin(other(reader, object.metadata, facts, &selector, gaps)).await)
        }
        "ReplicaSet" => {
            let object: ReplicaSet = reader.wanted("replicasets", target).await?;
            let facts = workload::replica_set_facts(&object);
            let selector = object.spec.map(|spec| spec.selector).unwrap_or_default();
            Ok(Box::pin(other(reader, object.metadata, facts, &selector, gaps)).await)
        }
        "ReplicationController" => {
            let object: ReplicationController = reader.wanted("replicationcontrollers", target).await?;
            let facts = workload::replication_controller_facts(&object);
            let selector =
                LabelSelector { match_labels: object.spec.and_then(|spec| spec.selector), ..LabelSelector::default() };
            Ok(Box::pin(other(reader, object.metadata, facts, &selector, gaps)).await)
        }
        "Job" => Ok(Box::pin(batch::job(reader, reader.wanted("jobs", target).await?, gaps)).await),
        "CronJob" => Ok(Box::pin(batch::cron_job(reader, reader.wanted("cronjobs", target).await?, gaps)).await),
        "Pod" => {
            let pod: Pod = reader.wanted("pods", target).await?;
            let events = take(reader.events().await, gaps);
            let evidence = Evidence { workload: Some(workload::pod_facts(&pod)), ..Evidence::default() };
            let metadata = pod.metadata.clone();
            Ok(Found { evidence, pods: vec![pod], events, metadata, ..Found::default() })
        }
        _ => Err(Gap { text: format!("{target}: nothing is collected about this kind"), not_found: false }),
    }
}

/// As [`workload`], of one that is not the target itself: whether Kubernaut may change it is told too.
pub async fn beside(reader: &Reader<'_>, object: &TargetRef, gaps: &mut Vec<Gap>) -> Result<Found, Gap> {
    let mut found = Box::pin(workload(reader, object, gaps)).await?;
    if !is_managed(reader, &found.metadata, gaps).await
        && let Some(workload) = &mut found.evidence.workload
    {
        workload.unmanaged = true;
    }
    Ok(found)
}

/// Whether Kubernaut may change a workload that the signal is not about (R2.9): by its own label, else by that
/// of its namespace. What another object controls is that one's to change.
async fn is_managed(reader: &Reader<'_>, metadata: &ObjectMeta, gaps: &mut Vec<Gap>) -> bool {
    if owner_uid(metadata).is_some() {
        return false;
    }
    let own = metadata.labels.as_ref().and_then(|labels| labels.get(labels::MANAGED));
    match (own, reader.limits.scope) {
        (Some(value), _) => value == "true",
        (None, Scope::All) => true,
        (None, Scope::Labelled) => match reader.namespace_labels().await {
            Ok(found) => found.get(labels::MANAGED).is_some_and(|value| value == "true"),
            Err(gap) => {
                gaps.push(gap);
                false
            }
        },
    }
}

async fn node(reader: &Reader<'_>, target: &TargetRef, gaps: &mut Vec<Gap>) -> Result<Found, Gap> {
    let node: Node = reader.node(&target.name).await?;
    Reader::is_same(target, &node.metadata)?;
    let mut evidence = Evidence { nodes: vec![nodes::node(&node)], ..Evidence::default() };
    surroundings::other_nodes(reader, &mut evidence, gaps).await;
    Ok(Found { evidence, ..Found::default() })
}

async fn other(
    reader: &Reader<'_>,
    metadata: ObjectMeta,
    facts: Workload,
    selector: &LabelSelector,
    gaps: &mut Vec<Gap>,
) -> Found {
    let (pods, events) = futures::join!(reader.list::<Pod>("pods", selector), reader.events());
    let mut pods = take(pods, gaps);
    pods.retain(|pod| owner_uid(&pod.metadata).is_some() && owner_uid(&pod.metadata) == metadata.uid.as_deref());
    let evidence = Evidence { workload: Some(facts), ..Evidence::default() };
    Found { evidence, pods, events: take(events, gaps), uids: [uid(&metadata)].into(), metadata }
}

async fn deployment(reader: &Reader<'_>, deployment: Deployment, gaps: &mut Vec<Gap>) -> Found {
    let selector = deployment.spec.as_ref().map(|spec| spec.selector.clone()).unwrap_or_default();
    let own = uid(&deployment.metadata);
    let (holders, pods, events) = futures::join!(
        reader.list::<ReplicaSet>("replicasets", &selector),
        reader.list::<Pod>("pods", &selector),
        reader.events(),
    );
    let holders_known = holders.is_ok();
    let mut holders = take(holders, gaps);
    holders.retain(|holder| owner_uid(&holder.metadata) == Some(own.as_str()));
    let uids: BTreeSet<String> = holders.iter().map(|holder| uid(&holder.metadata)).chain([own]).collect();

    let mut pods = take(pods, gaps);
    // Without the ReplicaSets the selector alone has to tell whose the pods are.
    pods.retain(|pod| owner_uid(&pod.metadata).is_some_and(|owner| !holders_known || uids.contains(owner)));
    let (revisions, changes) = revisions::revisions(&deployment, &holders);
    let workload = Some(workload::workload_facts(&deployment));
    let evidence = Evidence { workload, revisions, changes, ..Evidence::default() };
    Found { evidence, pods, events: take(events, gaps), uids, metadata: deployment.metadata }
}

async fn stateful_set(reader: &Reader<'_>, set: StatefulSet, gaps: &mut Vec<Gap>) -> Found {
    let selector = set.spec.as_ref().map(|spec| spec.selector.clone()).unwrap_or_default();
    let own = uid(&set.metadata);
    let (holders, pods, events) = futures::join!(
        reader.list::<ControllerRevision>("controllerrevisions", &selector),
        reader.list::<Pod>("pods", &selector),
        reader.events(),
    );
    let mut holders = take(holders, gaps);
    holders.retain(|holder| owner_uid(&holder.metadata) == Some(own.as_str()));
    let mut pods = take(pods, gaps);
    pods.retain(|pod| owner_uid(&pod.metadata) == Some(own.as_str()));
    let (revisions, changes) = set_revisions::revisions(&set, &holders, &pods::evidence(&pods));
    let workload = Some(workload::stateful_set_facts(&set));
    let evidence = Evidence { workload, revisions, changes, ..Evidence::default() };
    Found { evidence, pods, events: take(events, gaps), uids: [own].into(), metadata: set.metadata }
}
