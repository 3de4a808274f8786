//! What an administrator can set and decisions depend on. Defaults are those of R1.7 and R4.4.

use std::time::Duration;

use kubernaut_api::MicroTime;
use kubernaut_api::request::Timeouts;

use crate::stage::after;

/// Settings of the decisions.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Limits of a request that sets none itself.
    pub limits: Limits,
    /// How long a target has to stay healthy when nobody says that the alert is resolved.
    pub stabilization: Duration,
    /// Above this confidence a plan may run by itself.
    pub approve_above: f64,
    /// Below this confidence a plan is rejected.
    pub reject_below: f64,
    /// How many people have to approve a plan that asks, 1 or 2.
    pub approvers: u8,
    /// How long a finished request is kept (R1.10).
    pub retention: Duration,
    /// What may be remediated (R2.9).
    pub scope: Scope,
    /// Nothing is changed, whatever a request says (R1.9).
    pub dry_run: bool,
    /// When a further request for the same is held back (R2.4).
    pub suppression: Suppression,
    /// How much may be executed at once (R5.6).
    pub budgets: Budgets,
    /// How Jobs are made.
    pub job: JobSettings,
    /// How far an action may reach.
    pub blast: BlastSettings,
}

impl Settings {
    /// When what is held back is looked at again although a watch tells when its reason is gone.
    pub fn patience(&self, now: &MicroTime) -> MicroTime {
        after(now, self.suppression.look_again.saturating_mul(10))
    }
}

/// What may be remediated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Only what is labelled `kubernaut.io/managed: "true"`, itself or by its namespace.
    #[default]
    Labelled,
    /// Everything.
    All,
}

/// When a further request for the same is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// For how long the end of a request holds back the next one, by how it ended.
    pub cooldown: Cooldowns,
    /// So many failures in a row hold back the next request.
    pub failures: u32,
    /// For how long after the last of them.
    pub failure_hold: Duration,
    /// So many rounds of something done that did not last bring a pause, and then a person is asked.
    pub ineffective: u32,
    /// What comes again within this time after a round shows that the round did not last.
    pub ineffective_window: Duration,
    /// How long the pause is, counted from the end of the last round.
    pub ineffective_hold: Duration,
    /// How often it is looked at whether what holds a request back is gone, where nothing tells of it.
    pub look_again: Duration,
}

/// For how long the end of a request holds back the next one for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooldowns {
    /// After `Completed`, `Remediated`.
    pub remediated: Duration,
    /// After `Completed`, `NoActionRequired`.
    pub no_action_required: Duration,
    /// After `Completed`, `ManualReviewRequired`.
    pub manual_review_required: Duration,
    /// After `Completed`, `Inconclusive`.
    pub inconclusive: Duration,
    /// After `Completed`, `RolledBack`.
    pub rolled_back: Duration,
    /// After `Completed`, `DryRun`.
    pub dry_run: Duration,
    /// After `Failed`.
    pub failed: Duration,
    /// After `TimedOut`.
    pub timed_out: Duration,
    /// After `Cancelled`.
    pub cancelled: Duration,
}

impl Cooldowns {
    /// The same after every end.
    pub fn of(duration: Duration) -> Self {
        Self {
            remediated: duration,
            no_action_required: duration,
            manual_review_required: duration,
            inconclusive: duration,
            rolled_back: duration,
            dry_run: duration,
            failed: duration,
            timed_out: duration,
            cancelled: duration,
        }
    }
}

impl Default for Suppression {
    fn default() -> Self {
        Self {
            cooldown: Cooldowns::of(Duration::from_mins(5)),
            failures: 3,
            failure_hold: Duration::from_hours(1),
            ineffective: 3,
            ineffective_window: Duration::from_hours(1),
            ineffective_hold: Duration::from_mins(10),
            look_again: Duration::from_mins(1),
        }
    }
}

/// How much may be executed at once. Absolute numbers: a share of a small pool is nothing or all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budgets {
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
    /// Namespaces in which nothing is ever changed; the operator's own is always one.
    pub protected_namespaces: Vec<String>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            per_target: 1,
            per_namespace: 3,
            per_cluster: 10,
            nodes: 1,
            actions_per_hour: 30,
            protected_namespaces: ["kube-system", "kube-public", "kube-node-lease"].map(str::to_owned).into(),
        }
    }
}

/// Limits of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The whole request.
    pub request: Duration,
    /// Each phase of processing.
    pub processing: Duration,
    /// Analysis.
    pub analysis: Duration,
    /// Waiting for a person.
    pub approval: Duration,
    /// Execution of the workflow.
    pub execution: Duration,
    /// Proving that it worked.
    pub verification: Duration,
}

impl Limits {
    /// These limits, with those that a request sets itself in their place.
    #[must_use]
    pub fn with(self, own: Option<&Timeouts>) -> Self {
        let Some(own) = own else { return self };
        let pick = |own: Option<kubernaut_api::Duration>, default: Duration| own.map_or(default, Into::into);
        Self {
            request: pick(own.request, self.request),
            processing: pick(own.processing, self.processing),
            analysis: pick(own.analysis, self.analysis),
            approval: pick(own.approval, self.approval),
            execution: pick(own.execution, self.execution),
            verification: pick(own.verification, self.verification),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let minutes = Duration::from_mins;
        Self {
            request: minutes(60),
            processing: minutes(5),
            analysis: minutes(10),
            approval: minutes(15),
            execution: minutes(30),
            verification: minutes(30),
        }
    }
}

/// How Jobs are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSettings {
    /// Image of the runner: the operator's own.
    pub image: String,
    /// Pull policy of the image.
    pub image_pull_policy: String,
    /// Prefix of the ServiceAccounts of the actions.
    pub service_account_prefix: String,
    /// Limit of a Job whose step sets none.
    pub timeout: Duration,
    /// How long a Job may wait for its pod to start: for a node, its image, quota.
    pub start_timeout: Duration,
    /// Which registered scripts may run.
    pub scripts: ScriptSettings,
}

/// Which registered scripts may run (R6.3). Compared whole, never as a prefix; empty lists allow none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptSettings {
    /// Images that a script may run in.
    pub images: Vec<String>,
    /// ServiceAccounts that a script may run as.
    pub service_accounts: Vec<String>,
}

/// How far one action may reach (R6.4): whole numbers, and shares of a pool that is large enough for shares to mean
/// something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlastSettings {
    /// Most pods that end or are made anew.
    pub max_pods: u32,
    /// Most workloads.
    pub max_workloads: u32,
    /// Most Services whose pods are touched.
    pub max_services: u32,
    /// Most nodes.
    pub max_nodes: u32,
    /// Most pods in percent of the namespace's, where more than one workload is touched.
    pub max_pods_percent: u32,
    /// Most nodes in percent of the cluster's, those included that take no pods already.
    pub max_nodes_percent: u32,
    /// Up to so many pods in the namespace, no percentage counts.
    pub small_namespace: u32,
    /// Up to so many nodes in the cluster, no percentage counts.
    pub small_cluster: u32,
}

impl Default for BlastSettings {
    fn default() -> Self {
        Self {
            max_pods: 100,
            max_workloads: 10,
            max_services: 20,
            max_nodes: 1,
            max_pods_percent: 50,
            max_nodes_percent: 34,
            small_namespace: 20,
            small_cluster: 3,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            stabilization: Duration::from_mins(2),
            approve_above: 0.9,
            reject_below: 0.7,
            approvers: 1,
            retention: Duration::from_hours(24),
            scope: Scope::default(),
            dry_run: false,
            suppression: Suppression::default(),
            budgets: Budgets::default(),
            job: JobSettings {
                image: String::new(),
                image_pull_policy: "IfNotPresent".into(),
                service_account_prefix: "kubernaut-action-".into(),
                timeout: Duration::from_mins(5),
                start_timeout: Duration::from_mins(2),
                scripts: ScriptSettings::default(),
            },
            blast: BlastSettings::default(),
        }
    }
}
