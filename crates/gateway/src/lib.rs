//! The way in: reports of trouble become RemediationRequests, and are answered once these are durable.
//!
//! The path of an alert: parsed on its own (`alertmanager`), its target found from its labels
//! (`resolve`) and the owner chain (`owner`), identified (`identify`, `fingerprint`), judged
//! against what exists (`judge`, `admit`) and written (`record`, `requests`). `ingest` runs a
//! batch along that path.
//!
//! Deliberately absent: memory between requests that a decision depends on. The API server is the
//! lock (names are derived), so any number of gateways can run at once. The gateway never writes
//! anything but RemediationRequests, and of their status only `deduplication` and `signals`.

mod admit;
mod alertmanager;
mod auth;
mod bounds;
mod call;
mod fingerprint;
mod http;
mod identify;
mod ingest;
mod judge;
mod kinds;
mod metrics;
mod names;
mod owner;
mod problem;
mod record;
mod requests;
mod resolve;
mod signal;
mod verdict;

use std::time::Duration;

use kubernaut_domain::settings::Suppression;

pub use auth::Authentication;
pub use http::router;
pub use metrics::Metrics;

/// Largest body that is read unless set otherwise: 10,000 alerts are about 15 MB (R2.3).
pub const DEFAULT_MAX_BODY_BYTES: usize = 32 * 1024 * 1024;
/// Requests that are worked on at once unless set otherwise; the others are told to come back.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 16;
/// How long one call of the API server may take unless set otherwise.
pub const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// What may be remediated (R2.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Only what is labelled `kubernaut.io/managed: "true"`, itself or by its namespace.
    #[default]
    OptIn,
    /// Everything, also alerts that name no object.
    All,
}

/// How the gateway behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace in which requests are made: the operator's own.
    pub namespace: String,
    /// Name of the cluster, part of every fingerprint.
    pub cluster: String,
    /// What may be remediated.
    pub scope: Scope,
    /// Make every request a dry run (R1.9).
    pub dry_run: bool,
    /// When a further request for the same fingerprint is held back.
    pub suppression: Suppression,
    /// Largest body that is read.
    pub max_body_bytes: usize,
    /// HTTP requests that are worked on at once; memory is bounded by this times `max_body_bytes`.
    pub max_in_flight: usize,
    /// How long one call of the API server may take, its client's retries included.
    pub call_timeout: Duration,
    /// Who may report.
    pub authentication: Authentication,
}

impl Settings {
    /// The defaults, for requests in `namespace` and with the given authentication, which has none.
    pub fn new(namespace: impl Into<String>, authentication: Authentication) -> Self {
        Self {
            namespace: namespace.into(),
            cluster: String::new(),
            scope: Scope::OptIn,
            dry_run: false,
            suppression: Suppression::default(),
            max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            call_timeout: DEFAULT_CALL_TIMEOUT,
            authentication,
        }
    }
}

/// What the handlers share.
pub struct Gateway {
    pub(crate) client: kube::Client,
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) guard: auth::Guard,
    pub(crate) permits: tokio::sync::Semaphore,
    pub(crate) kinds: kinds::Discovered,
}

impl Gateway {
    /// A gateway that reads and writes by `client`. Makes no call.
    pub fn new(client: kube::Client, settings: Settings, metrics: Metrics) -> Self {
        Self {
            client,
            guard: auth::Guard::new(settings.authentication.clone()),
            permits: tokio::sync::Semaphore::new(settings.max_in_flight),
            kinds: kinds::Discovered::default(),
            settings,
            metrics,
        }
    }
}
