//! A workload behind a broken dependency, as evidence of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Change, Claim, Config, ContainerLog, Dependency, EventRecord, Evidence, PodEvidence, Quota, Revision, Workload,
};

/// What was found about a workload that the target depends on; the same parts as of the target, but fewer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Upstream {
    /// The workload, in whichever namespace it is.
    pub workload: Workload,
    /// Its revisions, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub revisions: Vec<Revision>,
    /// What differs between its current revision and the one before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub changes: Vec<Change>,
    /// Its pods, unhealthy ones first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub pods: Vec<PodEvidence>,
    /// Last lines of the logs of its failing containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub logs: Vec<ContainerLog>,
    /// Recent Events about it, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub events: Vec<EventRecord>,
    /// Its claims that are not bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub claims: Vec<Claim>,
    /// Quotas of its namespace; looked up only when replicas are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub quotas: Vec<Quota>,
    /// ConfigMaps that its template names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub configs: Vec<Config>,
    /// Services that its containers name, the broken ones first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub dependencies: Vec<Dependency>,
}

impl Upstream {
    /// The parts that are kept of evidence about a workload; `None` when it is about none.
    pub fn of(evidence: Evidence) -> Option<Self> {
        let Evidence {
            workload, revisions, changes, pods, logs, events, claims, quotas, configs, dependencies, ..
        } = evidence;
        Some(Self {
            workload: workload?,
            revisions,
            changes,
            pods,
            logs,
            events,
            claims,
            quotas,
            configs,
            dependencies,
        })
    }

    /// The same as evidence, with the workloads upstream of it.
    pub fn evidence(&self, upstream: Vec<Upstream>) -> Evidence {
        let Self { workload, revisions, changes, pods, logs, events, claims, quotas, configs, dependencies } =
            self.clone();
        Evidence {
            owner_chain: vec![workload.object.clone()],
            workload: Some(workload),
            revisions,
            changes,
            pods,
            logs,
            events,
            claims,
            quotas,
            configs,
            dependencies,
            upstream,
            ..Evidence::default()
        }
    }
}
