//! The kinds that alerts name and owners have: those built in by table, any other by discovery.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{self, Scope};

use crate::call::{CallError, Calls};

/// A kind that Kubernetes itself serves.
#[derive(Debug, PartialEq, Eq)]
pub struct Builtin {
    /// API version, such as `apps/v1`.
    pub api_version: &'static str,
    /// Kind, such as `Deployment`.
    pub kind: &'static str,
    /// Plural in API paths.
    pub plural: &'static str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether its objects run pods: then the alert's name is no part of the fingerprint and the owner chain is climbed.
    pub workload: bool,
}

const fn workload(api_version: &'static str, kind: &'static str, plural: &'static str) -> Builtin {
    Builtin { api_version, kind, plural, namespaced: true, workload: true }
}

const fn namespaced(api_version: &'static str, kind: &'static str, plural: &'static str) -> Builtin {
    Builtin { api_version, kind, plural, namespaced: true, workload: false }
}

const fn cluster_scoped(api_version: &'static str, kind: &'static str, plural: &'static str) -> Builtin {
    Builtin { api_version, kind, plural, namespaced: false, workload: false }
}

pub const POD: Builtin = workload("v1", "Pod", "pods");
pub const REPLICA_SET: Builtin = workload("apps/v1", "ReplicaSet", "replicasets");
pub const DEPLOYMENT: Builtin = workload("apps/v1", "Deployment", "deployments");
pub const STATEFUL_SET: Builtin = workload("apps/v1", "StatefulSet", "statefulsets");
pub const DAEMON_SET: Builtin = workload("apps/v1", "DaemonSet", "daemonsets");
pub const JOB: Builtin = workload("batch/v1", "Job", "jobs");
pub const CRON_JOB: Builtin = workload("batch/v1", "CronJob", "cronjobs");
pub const REPLICATION_CONTROLLER: Builtin = workload("v1", "ReplicationController", "replicationcontrollers");
pub const AUTOSCALER: Builtin = namespaced("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers");
pub const BUDGET: Builtin = namespaced("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets");
pub const CLAIM: Builtin = namespaced("v1", "PersistentVolumeClaim", "persistentvolumeclaims");
pub const QUOTA: Builtin = namespaced("v1", "ResourceQuota", "resourcequotas");
pub const SERVICE: Builtin = namespaced("v1", "Service", "services");
pub const NODE: Builtin = cluster_scoped("v1", "Node", "nodes");
pub const NAMESPACE: Builtin = cluster_scoped("v1", "Namespace", "namespaces");

/// Kinds that may own pods, directly or not.
const OWNERS: &[&Builtin] =
    &[&POD, &REPLICA_SET, &DEPLOYMENT, &STATEFUL_SET, &DAEMON_SET, &JOB, &CRON_JOB, &REPLICATION_CONTROLLER];

impl Builtin {
    /// How the API serves the kind.
    pub fn served(&self) -> Served {
        let (group, version) = split(self.api_version);
        let gvk = GroupVersionKind::gvk(group, version, self.kind);
        Served { api: ApiResource::from_gvk_with_plural(&gvk, self.plural), namespaced: self.namespaced }
    }
}

/// The built-in owner kind of this name; its version does not matter, the group does.
pub fn owner_kind(api_version: &str, kind: &str) -> Option<&'static Builtin> {
    let group = split(api_version).0;
    OWNERS.iter().copied().find(|owner| owner.kind == kind && split(owner.api_version).0 == group)
}

/// How the API serves a kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// Path and names.
    pub api: ApiResource,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

/// Custom kinds that were asked for: at most as many as the API server serves.
#[derive(Default)]
pub struct Discovered {
    known: Mutex<HashMap<GroupVersionKind, Served>>,
}

impl Discovered {
    /// How a custom kind is served; `None` when it is not, or may not be asked for.
    pub async fn find(
        &self,
        client: &Client,
        calls: &Calls,
        api_version: &str,
        kind: &str,
    ) -> Result<Option<Served>, CallError> {
        let (group, version) = split(api_version);
        let gvk = GroupVersionKind::gvk(group, version, kind);
        if let Some(served) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&gvk) {
            return Ok(Some(served.clone()));
        }
        let found = async {
            match discovery::pinned_kind(client, &gvk).await {
                Err(kube::Error::Discovery(_)) => Ok(None),
                other => other.map(Some),
            }
        };
        let served = match calls.run("discover an owner's kind", found).await {
            Ok(found) => {
                found.map(|(api, capabilities)| Served { api, namespaced: capabilities.scope == Scope::Namespaced })
            }
            Err(error) if error.is_not_served() || error.is_forbidden() => None,
            Err(error) => return Err(error),
        };
        if let Some(served) = &served {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(gvk, served.clone());
        }
        Ok(served)
    }
}

fn split(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_known_by_group_and_kind_not_by_version() {
        assert_eq!(owner_kind("apps/v1beta2", "Deployment"), Some(&DEPLOYMENT));
        assert_eq!(owner_kind("example.com/v1", "Deployment"), None);
        assert_eq!(owner_kind("v1", "Node"), None);
    }
}
