//! The one configuration file: its shape and what each setting means.
//!
//! Every field has a default, so an empty file (or none) is a working configuration. The doc comments
//! here are the reference that users read: [`reference`] renders them.
//! Deliberately absent: reloading, and secrets (settings name files that hold them).

mod defaults;
mod duration;
mod load;
mod reference;
mod safety;
mod validate;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use duration::{Duration, InvalidDuration};
pub use load::ConfigError;
pub use reference::reference;
pub use safety::{BlastRadiusConfig, BudgetsConfig, CooldownConfig, ScriptsConfig, SuppressionConfig};
pub use validate::Violation;

/// The configuration of a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Name of the cluster; part of fingerprints and of the source of events. Changing it makes every
    /// alert a new one.
    pub cluster: String,
    /// Namespace in which all resources, Jobs and the lease live. Environment: `POD_NAMESPACE`.
    pub namespace: String,
    /// Name of this process among its replicas. Environment: `POD_NAME`. Empty: host name and process id.
    pub identity: String,
    /// Which workloads may be remediated: those that are labelled `kubernaut.io/managed: "true"`,
    /// themselves or by their namespace, or all.
    pub scope: Scope,
    /// Make every request a dry run, also those made by hand: nothing is changed, status says what would have been done.
    pub dry_run: bool,
    /// What this process runs.
    pub roles: Vec<Role>,
    /// Log output.
    pub log: LogConfig,
    /// The HTTP interface that takes signals.
    pub gateway: GatewayConfig,
    /// The HTTP interface for `/healthz`, `/readyz` and `/metrics`.
    pub admin: AdminConfig,
    /// How long each phase may take before it ends in `TimedOut` or `Failed`. A request can set its own.
    pub timeouts: Timeouts,
    /// How success is established.
    pub verification: VerificationConfig,
    /// How long finished requests are kept in the cluster; their history stays in the store.
    pub retention: Duration,
    /// Which plans run by themselves, which ask a person, which are refused.
    pub approval: ApprovalConfig,
    /// When a further remediation of the same is held back.
    pub suppression: SuppressionConfig,
    /// How much may be executed at once; what exceeds it waits.
    pub budgets: BudgetsConfig,
    /// The Jobs that act.
    pub execution: ExecutionConfig,
    /// The embedded store of history.
    pub store: StoreConfig,
    /// Delivery of events.
    pub events: EventsConfig,
    /// The reconcilers.
    pub controllers: ControllersConfig,
    /// Which of several replicas works.
    pub leader_election: LeaderElectionConfig,
    /// Calls to the Kubernetes API.
    pub kubernetes: KubernetesConfig,
}

/// Which workloads may be remediated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// Only resources, or resources in namespaces, labelled `kubernaut.io/managed: "true"`.
    Labelled,
    /// Every workload.
    All,
}

/// A part of the system that a process can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Takes signals over HTTP. Any number of replicas work at once.
    Gateway,
    /// Reconciles the custom resources. Only the leader works.
    Controllers,
    /// Stores transitions and delivers events. Only the leader works.
    Relay,
}

/// Log output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct LogConfig {
    /// One JSON object per line, or text for people. Environment: `KUBERNAUT_LOG_FORMAT`.
    pub format: LogFormat,
    /// Least severity that is written; libraries stay at `info` at most. Environment:
    /// `KUBERNAUT_LOG_LEVEL`. `RUST_LOG` (per-module directives) wins over it.
    pub level: LogLevel,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text, coloured on a terminal.
    Pretty,
}

/// Least severity that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// What helps to find a defect.
    Debug,
    /// What happened.
    Info,
    /// What went wrong and is handled.
    Warn,
    /// What went wrong and needs a person.
    Error,
}

/// The HTTP interface that takes signals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayConfig {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Who may send signals.
    pub authentication: AuthenticationConfig,
    /// Largest body in bytes. Alertmanager can send 15 MB (10,000 alerts) and drops what is refused.
    pub max_body_bytes: usize,
    /// Requests handled at once; more are refused and sent again.
    pub max_in_flight: usize,
    /// On shutdown, how long to go on accepting while endpoints notice that the pod is not ready.
    pub drain_delay: Duration,
}

/// Who may send signals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthenticationConfig {
    /// How senders prove who they are; `none` lets anyone who reaches the port start remediations.
    pub mode: AuthenticationMode,
    /// File that holds the bearer token, for mode `token`.
    pub token_file: PathBuf,
}

/// How senders prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AuthenticationMode {
    /// A bearer token, compared in constant time.
    Token,
    /// Not at all.
    None,
}

/// The HTTP interface for health and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct AdminConfig {
    /// Address and port to listen on.
    pub listen: SocketAddr,
}

/// How long each phase may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// The whole remediation, from signal to outcome.
    pub request: Duration,
    /// Gathering evidence.
    pub processing: Duration,
    /// Finding the cause.
    pub analysis: Duration,
    /// Waiting for a person; after it the plan is void.
    pub approval: Duration,
    /// Carrying out the plan.
    pub execution: Duration,
    /// Waiting for the target to be healthy again.
    pub verification: Duration,
}

/// How success is established.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct VerificationConfig {
    /// How long the target must stay healthy; ends early when the alert resolves.
    pub stabilization_window: Duration,
}

/// Which plans run by themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ApprovalConfig {
    /// A plan with a confidence above this runs without asking, unless its risk is high. 1: every plan asks.
    pub auto_above: f64,
    /// A plan with a confidence below this is refused; between the two a person is asked.
    pub reject_below: f64,
    /// How many different people have to approve where a person is asked: 1 or 2. A policy can ask for more.
    pub approvers: u8,
}

/// The Jobs that act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecutionConfig {
    /// Image of the Jobs, the operator's own. Environment: `KUBERNAUT_IMAGE`. The role `controllers`
    /// needs it.
    pub image: String,
    /// When the image is pulled.
    pub image_pull_policy: ImagePullPolicy,
    /// An action's ServiceAccount is this and the action's name, with `-` for `_`.
    pub service_account_prefix: String,
    /// How long one Job may run, where its step does not say.
    pub job_timeout: Duration,
    /// How long a Job may wait for its pod to start (for a node, an image, quota) before it is given up as not
    /// started. Its runner refuses to begin later than that.
    pub start_timeout: Duration,
    /// How far one action may reach; what would reach further fails before it runs.
    pub blast_radius: BlastRadiusConfig,
    /// Which registered scripts the action run_script may run.
    pub scripts: ScriptsConfig,
}

/// When an image is pulled; spelt as in Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// Before every start.
    Always,
    /// When the node lacks it.
    IfNotPresent,
    /// Never.
    Never,
}

/// The embedded store of history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreConfig {
    /// File of the database; its folder must be writable.
    pub path: PathBuf,
    /// Days that events and timelines are kept.
    pub retention_days: u16,
}

/// Delivery of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct EventsConfig {
    /// Let sinks be on loopback addresses: for tests, and for a sink in the operator's own pod.
    pub allow_loopback_sinks: bool,
    /// Subjects whose events one sink is sent at once; those of one subject go one after the other.
    pub concurrency: usize,
}

/// The reconcilers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ControllersConfig {
    /// Objects of one kind that are reconciled at once.
    pub concurrency: u16,
}

/// Which of several replicas works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaderElectionConfig {
    /// False only where there is certainly one process.
    pub enabled: bool,
    /// Name of the Lease; with `-controllers` or `-relay` behind it where a process runs one of the two only.
    pub lease_name: String,
    /// How long after its last sign of life a leader is replaced.
    pub lease_duration: Duration,
    /// How long a leader tries to renew before it gives up and its process ends.
    pub renew_deadline: Duration,
    /// How often the leader renews and the others look.
    pub retry_period: Duration,
}

/// Calls to the Kubernetes API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesConfig {
    /// Limit of one ordinary call, its retries included. Watches are not bound by it.
    pub request_timeout: Duration,
}

impl Config {
    /// Whether this process runs `role`.
    pub fn runs(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

impl fmt::Display for ImagePullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        })
    }
}
