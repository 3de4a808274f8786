//! RemediationWorkflow: says in its `Ready` condition whether it can be run. Nothing else hangs on that condition:
//! who runs or proposes one checks it anew.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::ListParams;
use kube::runtime::controller::{Action, Config};
use kube::runtime::{Controller, watcher};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;

use kubernaut_api::RemediationWorkflow;
use kubernaut_domain::stage::{Why, set_condition};
use kubernaut_domain::workflow::template;

use crate::run::Guarded;
use crate::{Ctx, Error, calls};

/// Wait before a status that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Judges every RemediationWorkflow as it changes, until the token is cancelled.
pub(crate) async fn run(ctx: Arc<Ctx>, token: CancellationToken) {
    let api = Api::<Guarded<RemediationWorkflow>>::namespaced(ctx.client.clone(), &ctx.namespace);
    Controller::new(api, watcher::Config::default())
        .with_config(Config::default().concurrency(1))
        .graceful_shutdown_on(async move { token.cancelled().await })
        .run(reconcile, |_, _, _| Action::requeue(AGAIN), ctx)
        .for_each(|result| async {
            if let Err(kube::runtime::controller::Error::QueueError(error)) = result {
                tracing::warn!(kind = "RemediationWorkflow", %error, "watch interrupted, taken up again");
            }
        })
        .await;
}

/// Every RemediationWorkflow that is as its schema says; a malformed one must not keep the others from use.
pub(crate) async fn entries(ctx: &Ctx) -> Result<Vec<RemediationWorkflow>, Error> {
    let api = Api::<Guarded<RemediationWorkflow>>::namespaced(ctx.client.clone(), &ctx.namespace);
    let list = calls::timed(ctx.call_timeout, "list RemediationWorkflows", api.list(&ListParams::default())).await?;
    Ok(list.items.into_iter().filter_map(|entry| entry.0.ok()).collect())
}

async fn reconcile(object: Arc<Guarded<RemediationWorkflow>>, ctx: Arc<Ctx>) -> Result<Action, Error> {
    // What no schema describes is not looked at before it changes.
    let Ok(workflow) = &object.0 else { return Ok(Action::await_change()) };
    if workflow.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let mut status = workflow.status.clone().unwrap_or_default();
    let generation = workflow.metadata.generation;
    if status.observed_generation == generation && !status.conditions.is_empty() {
        return Ok(Action::await_change());
    }
    let problems = template::problems(&workflow.spec);
    let (ready, why) = if problems.is_empty() {
        ("True", Why::new("Valid", format!("{} steps", workflow.spec.steps.len())))
    } else {
        ("False", Why::new("Invalid", problems.join("; ")))
    };
    status.observed_generation = generation;
    set_condition(&mut status.conditions, "Ready", ready, &why, generation, &calls::now());
    if let Err(error) = calls::write_status(&ctx, workflow, status).await {
        tracing::warn!(name = workflow.name_any(), %error, "Ready not written, tried again");
        return Err(error);
    }
    Ok(Action::await_change())
}
