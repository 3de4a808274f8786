//! How far an action reaches, and whether that is too far (R6.4). Pure: what it reaches is read elsewhere.
//!
//! Whole numbers always bound. A share of the namespace or the cluster bounds too, but only where the pool is large
//! enough for a share to mean something: one of two pods is half of all, and still one pod.

use kubernaut_api::TargetRef;
use kubernaut_api::execution::BlastRadius;

use crate::settings::BlastSettings;

/// Reason of an execution that would reach further than the settings allow.
pub const EXCEEDED: &str = "BlastRadiusExceeded";
/// Most workloads that are watched afterwards.
const WATCHED: usize = 20;

/// What an action reaches, as read before it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Workloads that it restarts or whose pods it ends, as far as they were looked at.
    pub workloads: Vec<Reached>,
    /// Workloads beyond those.
    pub more_workloads: u32,
    /// Pods that end or are made anew.
    pub pods: u32,
    /// Services that select these pods.
    pub services: u32,
    /// Nodes that are changed.
    pub nodes: u32,
    /// Pods of the namespace; `None` where pods of several namespaces are touched.
    pub pods_in_namespace: Option<u32>,
    /// Nodes of the cluster; `None` unless a node is changed.
    pub nodes_in_cluster: Option<u32>,
    /// Other nodes that take no pods already: cordoned or not ready.
    pub nodes_out: u32,
}

/// One workload that is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Which one.
    pub workload: TargetRef,
    /// Its replicas now, or after the action, the greater number.
    pub replicas: u32,
    /// True when it must be healthy afterwards: the action restarts it, or it was healthy before.
    pub watched: bool,
}

/// What is recorded of it.
pub fn radius(reach: &Reach) -> BlastRadius {
    let watched = reach.workloads.iter().filter(|one| one.watched).map(|one| one.workload.clone());
    BlastRadius {
        pods: reach.pods,
        replicas: reach.workloads.iter().fold(0, |sum, one| sum.saturating_add(one.replicas)),
        workloads: workloads(reach),
        services: reach.services,
        nodes: reach.nodes,
        pods_in_namespace: reach.pods_in_namespace,
        nodes_in_cluster: reach.nodes_in_cluster,
        watched: watched.take(WATCHED).collect(),
    }
}

/// The first bound that it exceeds, in words, with the number and the setting.
pub fn exceeded(reach: &Reach, settings: &BlastSettings) -> Option<String> {
    let workloads = workloads(reach);
    let counts = [
        (reach.pods, settings.max_pods, "pods", "maxPods"),
        (workloads, settings.max_workloads, "workloads", "maxWorkloads"),
        (reach.services, settings.max_services, "Services", "maxServices"),
        (reach.nodes, settings.max_nodes, "nodes", "maxNodes"),
    ];
    if let Some((count, most, what, setting)) = counts.into_iter().find(|(count, most, ..)| count > most) {
        return Some(format!("it reaches {count} {what}, more than execution.blastRadius.{setting} allows ({most})"));
    }
    // One workload is what an alert is about; its pods are bounded by their number.
    if let Some(all) = reach.pods_in_namespace.filter(|all| workloads > 1 && *all > settings.small_namespace)
        && is_above(reach.pods, all, settings.max_pods_percent)
    {
        return Some(format!(
            "it reaches {} of the namespace's {all} pods, more than execution.blastRadius.maxPodsPercent allows ({} %)",
            reach.pods, settings.max_pods_percent
        ));
    }
    let out = reach.nodes.saturating_add(reach.nodes_out);
    if let Some(all) = reach.nodes_in_cluster.filter(|all| reach.nodes > 0 && *all > settings.small_cluster)
        && is_above(out, all, settings.max_nodes_percent)
    {
        return Some(format!(
            "{out} of {all} nodes would take no pods, more than execution.blastRadius.maxNodesPercent allows ({} %)",
            settings.max_nodes_percent
        ));
    }
    None
}

fn workloads(reach: &Reach) -> u32 {
    u32::try_from(reach.workloads.len()).unwrap_or(u32::MAX).saturating_add(reach.more_workloads)
}

fn is_above(part: u32, all: u32, percent: u32) -> bool {
    u64::from(part) * 100 > u64::from(all) * u64::from(percent)
}
