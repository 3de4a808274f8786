//! Starts the parts of the event path and ends them together.
//!
//! Deliberately absent: configuration files, leadership (the caller runs this only on the leader),
//! the choice of a store.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::sinks::http::address::{Guard, Loopback};
use crate::store::Store;
use crate::{registry, relay};

/// How often events past their retention are removed.
const SWEEP: Duration = Duration::from_hours(6);

/// How long the drivers get to stop and the last status to be written.
const STOP: Duration = Duration::from_secs(5);

/// Everything the event path works with.
pub struct Parts {
    /// Client of the API server.
    pub client: Client,
    /// The operator's namespace: where the objects, the sinks and their Secrets are.
    pub namespace: String,
    /// Name of the cluster, part of each event's `source`.
    pub cluster: String,
    /// Where events are kept.
    pub store: Arc<dyn Store>,
    /// Metrics.
    pub metrics: Metrics,
    /// Limits.
    pub settings: Settings,
}

/// Limits of the event path.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether sinks may be on loopback addresses (tests, demonstrations).
    pub loopback: Loopback,
    /// Addresses no sink may have, such as the API server's.
    pub refused: Vec<IpAddr>,
    /// Subjects that one sink is sent at once.
    pub concurrency: usize,
    /// Failures in a row that open a sink's breaker.
    pub breaker_failures: u32,
    /// How long an open breaker holds everything back.
    pub breaker_pause: Duration,
    /// Limit of one call to the API server.
    pub kube_timeout: Duration,
    /// Limit of one call to the store.
    pub store_timeout: Duration,
    /// How long a deleted object is held while the store is away; then it is let go, its last
    /// events are lost and a metric and an error say so.
    pub outbox_deadline: Duration,
    /// Shortest time between two writes of one EventSink's status.
    pub status_interval: Duration,
    /// How long events are kept.
    pub retention: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            loopback: Loopback::Refused,
            refused: Vec::new(),
            concurrency: 8,
            breaker_failures: 5,
            breaker_pause: Duration::from_secs(30),
            kube_timeout: Duration::from_secs(15),
            store_timeout: Duration::from_secs(15),
            outbox_deadline: Duration::from_mins(10),
            status_interval: Duration::from_secs(10),
            retention: Duration::from_hours(90 * 24),
        }
    }
}

impl Settings {
    pub(crate) fn guard(&self) -> Arc<Guard> {
        Arc::new(Guard { loopback: self.loopback, refused: self.refused.clone() })
    }

    /// Events from before this time are neither stored nor kept.
    pub(crate) fn horizon(&self, now: Timestamp) -> Timestamp {
        let retention = SignedDuration::try_from(self.retention).unwrap_or(SignedDuration::MAX);
        now.saturating_sub(retention).unwrap_or(Timestamp::MIN)
    }
}

/// A part ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
#[error("the {0} of the event path ended unexpectedly")]
pub struct Error(&'static str);

/// Runs relay, registry and drivers until `token` is cancelled.
///
/// Faults of the API server, the store and the sinks are waited out; an error means a defect.
pub async fn run(parts: Parts, token: CancellationToken) -> Result<(), Error> {
    let parts = Arc::new(parts);
    let directory = Arc::new(Directory::new());
    info!(namespace = parts.namespace, "event path starts");
    let ended = tokio::select! {
        // The registry ends when it is asked to, once its drivers have; only a stuck one is not waited for.
        () = overdue(&token) => {
            warn!("the drivers of the sinks did not stop in time");
            return Ok(());
        }
        () = relay::run(&parts, &directory) => "relay",
        () = registry::run(&parts, &directory, token.child_token()) => "registry",
        () = sweep(&parts) => "sweep",
    };
    // A part that sees the cancellation first has ended as asked.
    if token.is_cancelled() { Ok(()) } else { Err(Error(ended)) }
}

async fn overdue(token: &CancellationToken) {
    token.cancelled().await;
    tokio::time::sleep(STOP).await;
}

/// Removes events past their retention.
async fn sweep(parts: &Parts) {
    loop {
        match parts.store.delete_older_than(parts.settings.horizon(Timestamp::now())).await {
            Ok(0) => {}
            Ok(events) => info!(events, "removed events past their retention"),
            Err(error) => warn!(%error, "cannot remove events past their retention"),
        }
        tokio::time::sleep(SWEEP).await;
    }
}
