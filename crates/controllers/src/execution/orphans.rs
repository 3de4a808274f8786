//! Jobs whose execution is gone: nobody records their result any more, so nothing may hold them.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::runtime::{WatchStreamExt, watcher};
use kubernaut_api::{KubernetesExecution, labels};
use tokio_util::sync::CancellationToken;

use crate::{Ctx, Error, calls};

/// Lets go of Jobs that are being deleted and whose execution does not exist, until the token is cancelled.
pub async fn run(ctx: Arc<Ctx>, token: CancellationToken) {
    let config = watcher::Config::default().labels(labels::EXECUTION);
    let jobs = watcher(calls::api::<Job>(&ctx), config).default_backoff().applied_objects();
    let mut jobs = std::pin::pin!(jobs.take_until(token.cancelled()));
    while let Some(job) = jobs.next().await {
        let Ok(job) = job else { continue };
        if job.metadata.deletion_timestamp.is_none() {
            continue;
        }
        if let Err(error) = let_go(&ctx, &job).await {
            // The Job's next change, or the next list, brings it here again.
            tracing::warn!(job = job.name_any(), %error, "orphaned Job not released yet");
        }
    }
}

async fn let_go(ctx: &Ctx, job: &Job) -> Result<(), Error> {
    let owner = job.owner_references().iter().find(|owner| owner.controller == Some(true));
    if let Some(owner) = owner {
        let execution = calls::get::<KubernetesExecution>(ctx, &owner.name).await?;
        // One that is being deleted may wait for its Job, and records nothing any more.
        let records = |execution: KubernetesExecution| {
            execution.metadata.uid.as_ref() == Some(&owner.uid) && execution.metadata.deletion_timestamp.is_none()
        };
        if execution.is_some_and(records) {
            return Ok(());
        }
    }
    calls::take_finalizer_off(ctx, job, labels::RESULT_FINALIZER).await
}
