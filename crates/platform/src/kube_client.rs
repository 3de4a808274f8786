//! The Kubernetes client: where it connects and how long a call may take.
//!
//! A TLS provider must be installed before the first call; the binary does that first thing in `main`.
//! Deliberately absent: which resources are read or written.

use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::InferConfigError;
use kube::core::Status;
use kube::{Client, Config};
use tower::timeout::TimeoutLayer;

use crate::config::KubernetesConfig;

/// A connection that is refused or lost should be noticed within a call's limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Silence after which a connection counts as dead, as the last resort for a call without a limit of
/// its own. Above 295 s, which a watch may last without an event.
const READ_TIMEOUT: Duration = Duration::from_secs(320);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither a kubeconfig nor a ServiceAccount was found.
    #[error("no Kubernetes cluster is configured: run in a pod, or set KUBECONFIG: {0}")]
    Config(#[from] InferConfigError),
    /// The configuration names credentials or certificates that cannot be used.
    #[error("the Kubernetes configuration cannot be used: {0}")]
    Client(#[source] kube::Error),
}

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server refused, or could not be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// No answer in time. A write may have happened all the same.
    #[error("the Kubernetes API did not answer within {}", crate::config::Duration::from(*.0))]
    TimedOut(Duration),
}

impl CallError {
    /// The API server's answer, if it gave one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status),
            _ => None,
        }
    }
}

/// A client for the cluster of `KUBECONFIG` or of the pod this runs in.
///
/// Every call, its retries included, must begin to be answered within `request_timeout`. A watch does
/// begin at once and then goes on for as long as it likes; the whole of an ordinary call is bounded by
/// [`with_timeout`].
pub async fn client(settings: &KubernetesConfig) -> Result<Client, ClientError> {
    let mut config = Config::infer().await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // Else the time that a pooled connection sat idle would count as silence.
    config.reset_reader_on_write = true;
    let limit = TimeoutLayer::new(settings.request_timeout.std());
    Ok(ClientBuilder::try_from(config).map_err(ClientError::Client)?.with_layer(&limit).build())
}

/// Bounds one call to the API, its retries included.
pub async fn with_timeout<T>(limit: Duration, call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(CallError::TimedOut(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_does_not_answer_ends_at_its_limit() {
        let call = std::future::pending::<kube::Result<()>>();
        let error = with_timeout(Duration::from_secs(30), call).await.unwrap_err();
        assert_eq!(error.to_string(), "the Kubernetes API did not answer within 30s");
        assert!(error.status().is_none());
    }

    #[tokio::test]
    async fn an_answer_passes_through_with_its_status() {
        assert_eq!(with_timeout(Duration::from_secs(1), async { Ok(7) }).await.unwrap(), 7);
        let refused = Status::failure("gone", "NotFound").with_code(404).boxed();
        let call = async { Err::<(), _>(kube::Error::Api(refused)) };
        let error = with_timeout(Duration::from_secs(1), call).await.unwrap_err();
        assert!(error.status().unwrap().is_not_found());
    }
}
