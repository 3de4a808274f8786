//! Reads from the cluster what there is to know about a target, once: evidence (R3.1, R3.2).
//!
//! Every read has a limit of time and of size. What may not be read, is not there or takes too long is
//! named in `degraded` and left out; it never fails the rest. What to read about a kind of target stands in
//! `target`, `leads`, `batch` and `custom`, the reads themselves in `read`; everything else in this folder is
//! pure: objects in, evidence out. Deliberately absent: caches, watches and Secrets.

mod autoscaler;
mod batch;
mod bounds;
mod changes;
mod configs;
mod custom;
mod dependencies;
mod events;
mod hosts;
mod leads;
mod logs;
mod nodes;
mod owners;
mod pods;
mod read;
mod references;
mod revisions;
mod set_revisions;
mod surroundings;
mod target;
#[cfg(test)]
mod tests;
mod upstream;
mod workload;

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kubernaut_api::evidence::{ContainerLog, Evidence};
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::redact::bounded;
use kubernaut_domain::settings::Scope;

use read::{Gap, Reader};
use target::Found;
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
    /// Which workloads besides the target may be changed.
    pub scope: Scope,
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
            scope: Scope::Labelled,
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Collected {
    /// Bounded and redacted.
    pub evidence: Evidence,
    /// What is missing and why, such as `pods/log of demo/x: Forbidden (needs get on pods/log)`; at most 32 of at
    /// most 512 characters.
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
    let mut evidence = Evidence::default();
    let target_found = match target::find(&reader, target, resource, &mut gaps).await {
        Ok(found) => {
            evidence = Box::pin(whole(&reader, found, &mut gaps)).await;
            evidence.upstream = upstream::follow(&reader, &evidence, &mut gaps).await;
            true
        }
        Err(gap) => {
            let found = !gap.not_found;
            gaps.push(gap);
            found
        }
    };
    evidence.collected_at = Some(MicroTime(now));
    evidence.owner_chain = owner_chain(target, resource, &evidence);
    bounds::bound(&mut evidence, limits.bytes);
    Collected { evidence, degraded: told(gaps), target_found }
}

/// Each gap once.
fn told(gaps: Vec<Gap>) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for gap in gaps {
        let text = bounded(&gap.text, 512);
        if !told.contains(&text) && told.len() < 32 {
            told.push(text);
        }
    }
    told
}

/// Everything about what was found: what stands around it, its logs, what it depends on. Not yet bounded.
async fn whole(reader: &Reader<'_>, mut found: Found, gaps: &mut Vec<Gap>) -> Evidence {
    let around = surroundings::surround(reader, &mut found.evidence, &found.pods, gaps).await;
    found.uids.extend(around);
    found.evidence.logs = logs_of(reader, &found.pods, gaps).await;
    if !is_quiet(&found) {
        let (configs, named) = configs::configs(reader, &found.evidence, gaps).await;
        found.evidence.configs = configs;
        found.evidence.dependencies =
            dependencies::dependencies(reader, &found.evidence, &found.pods, named, gaps).await;
    }
    found.finish()
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

/// True when there is no sign that anything about the workload is wrong: then less is read. A pod of a new revision may
/// fail while those of the old one serve.
fn is_quiet(found: &Found) -> bool {
    let well = |workload: &kubernaut_api::evidence::Workload| workload.ready_replicas >= workload.replicas;
    found.evidence.logs.is_empty()
        && found.evidence.workload.as_ref().is_none_or(well)
        && pods::evidence(&found.pods).iter().all(pods::is_well)
}

/// From what the signal names, over what owns it, to the target.
fn owner_chain(target: &TargetRef, resource: Option<&TargetRef>, evidence: &Evidence) -> Vec<TargetRef> {
    let same = |one: &TargetRef| (one.kind.as_str(), one.name.as_str()) == (target.kind.as_str(), target.name.as_str());
    // The workload of a target that is none itself is no owner of what the signal names.
    let workload = evidence.workload.as_ref().map(|workload| &workload.object).filter(|object| same(object));
    let target = workload.unwrap_or(target);
    let Some(resource) = resource.filter(|resource| !same(resource)) else { return vec![target.clone()] };
    let owner = evidence.pods.iter().find(|pod| resource.kind == "Pod" && pod.name == resource.name);
    let by = match target.kind.as_str() {
        "Deployment" => Some(("apps/v1", "ReplicaSet")),
        "CronJob" => Some(("batch/v1", "Job")),
        _ => None,
    };
    let between = owner.and_then(|pod| pod.owner.as_ref()).zip(by).map(|(name, (api_version, kind))| TargetRef {
        api_version: api_version.into(),
        kind: kind.into(),
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
