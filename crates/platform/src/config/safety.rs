//! What keeps remediations within bounds: when further ones are held back, how many run at once, how far one
//! reaches, which scripts may run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Duration;

/// When a further remediation of the same is held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct SuppressionConfig {
    /// For how long the end of a remediation holds back the next one, by how it ended.
    pub cooldown: CooldownConfig,
    /// So many remediations in a row that ended as `Failed` or `TimedOut` hold back the next one.
    pub failures: u32,
    /// For how long after the last of them.
    pub failure_hold: Duration,
    /// So many remediations that did something, after which the same came again, bring a pause; the next
    /// one asks a person, whatever its confidence is.
    pub ineffective: u32,
    /// What comes again within this time counts as the same trouble.
    pub ineffective_window: Duration,
    /// How long the pause is, counted from the end of the last remediation.
    pub ineffective_hold: Duration,
    /// How often it is looked at whether what is held back may go on, where no watch tells of it.
    pub look_again: Duration,
}

/// For how long the end of a remediation holds back the next one. 0s: not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct CooldownConfig {
    /// It helped.
    pub remediated: Duration,
    /// Nothing was wrong.
    pub no_action_required: Duration,
    /// A person has to look.
    pub manual_review_required: Duration,
    /// Whether it helped could not be told.
    pub inconclusive: Duration,
    /// It did not help and was undone.
    pub rolled_back: Duration,
    /// Nothing was changed: a dry run.
    pub dry_run: Duration,
    /// It could not be done.
    pub failed: Duration,
    /// A deadline passed.
    pub timed_out: Duration,
    /// It was cancelled, or the alert was resolved before anything was done.
    pub cancelled: Duration,
}

/// How much may be executed at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct BudgetsConfig {
    /// Executions at once on one target.
    pub per_target: u32,
    /// Executions at once in one namespace.
    pub per_namespace: u32,
    /// Executions at once in the cluster.
    pub per_cluster: u32,
    /// Nodes worked on at once.
    pub nodes: u32,
    /// Executions of one action within an hour.
    pub actions_per_hour: u32,
    /// Namespaces in which nothing is ever changed, labelled or not; the operator's own is always one.
    pub protected_namespaces: Vec<String>,
}

/// How far one action may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct BlastRadiusConfig {
    /// Most pods that one action ends or has made anew.
    pub max_pods: u32,
    /// Most workloads that one action restarts.
    pub max_workloads: u32,
    /// Most Services whose pods one action touches.
    pub max_services: u32,
    /// Most nodes that one action changes.
    pub max_nodes: u32,
    /// Most pods in percent of those of the namespace; counts only where more than one workload is touched.
    pub max_pods_percent: u32,
    /// Most nodes in percent of those of the cluster, those included that take no pods already.
    pub max_nodes_percent: u32,
    /// In a namespace of at most so many pods no percentage counts.
    pub small_namespace: u32,
    /// In a cluster of at most so many nodes no percentage counts.
    pub small_cluster: u32,
}

/// Which registered scripts may run. Both lists are compared whole; empty, no script runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ScriptsConfig {
    /// Images that a script may run in, as its registration names them.
    pub images: Vec<String>,
    /// ServiceAccounts of the operator's namespace that a script may run as.
    pub service_accounts: Vec<String>,
}
