//! Calls of the API server: each with a time limit, each failure classified, and a batch that gives
//! up early when the API server does not answer.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::timeout;

/// After so many unanswered calls the rest of a batch is not tried: its sender will come again.
const PATIENCE: u32 = 3;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer in time; whether it was carried out is unknown.
    #[error("the API server did not answer in {limit:?} ({what})")]
    TimedOut {
        /// What was asked.
        what: &'static str,
        /// The time that it had.
        limit: Duration,
    },
    /// Not tried: the API server left earlier calls unanswered.
    #[error("the API server does not answer")]
    GivenUp,
    /// The call failed or was refused.
    #[error("could not {what}: {error}")]
    Failed {
        /// What was asked.
        what: &'static str,
        /// Why it failed.
        #[source]
        error: Box<kube::Error>,
    },
}

impl CallError {
    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Failed { error, .. } => match &**error {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            Self::TimedOut { .. } | Self::GivenUp => None,
        }
    }

    /// Nothing is served there. Unlike [`Self::is_not_found`] this includes the plain text that the API
    /// server sends for an unknown group, and that a proxy might send for anything.
    pub fn is_not_served(&self) -> bool {
        self.status().is_some_and(|status| status.code == 404)
    }

    /// The API server says that the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_not_found)
    }

    /// The gateway may not do it.
    pub fn is_forbidden(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_forbidden)
    }

    /// An object of this name exists.
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_already_exists)
    }

    /// The object has changed since it was read.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(|status| status.is_conflict() && !status.is_already_exists())
    }

    /// What was sent is not acceptable, and will not be when it is sent again.
    pub fn is_rejected(&self) -> bool {
        self.status().is_some_and(|status| status.is_invalid() || matches!(status.code, 400 | 413))
    }

    /// What may be told to the sender: no addresses, no internals.
    pub fn public(&self) -> String {
        match self {
            Self::Failed { what, error } => match &**error {
                kube::Error::Api(status) => {
                    format!("could not {what}: the API server answered {} {}", status.code, status.reason)
                }
                _ => format!("could not {what}: the API server cannot be reached or understood"),
            },
            other => other.to_string(),
        }
    }
}

/// The calls made for one batch.
#[derive(Debug)]
pub struct Calls {
    limit: Duration,
    unanswered: AtomicU32,
}

impl Calls {
    /// Calls that may take `limit` each.
    pub fn new(limit: Duration) -> Self {
        Self { limit, unanswered: AtomicU32::new(0) }
    }

    /// Runs one call. `what` completes "could not …".
    pub async fn run<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, CallError> {
        if self.unanswered.load(Ordering::Relaxed) >= PATIENCE {
            return Err(CallError::GivenUp);
        }
        let error = match timeout(self.limit, call).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => CallError::Failed { what, error: Box::new(error) },
            Err(_) => CallError::TimedOut { what, limit: self.limit },
        };
        if error.status().is_none() {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
        Err(error)
    }
}
