//! KubernetesExecution: rehearses, makes one Job, takes its result, lets go of it.

mod apply;
mod observe;
pub mod orphans;
mod proof;
mod reach;
mod runner;

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use kube::runtime::{Controller, watcher};
use kubernaut_api::{KubernetesExecution, labels};
use kubernaut_domain::execution::decide;
use kubernaut_domain::stage::Next;

use crate::run::{Guarded, Stage, when_over, when_request_is_over};
use crate::{Ctx, Error, calls, workflow};

/// The controller of KubernetesExecutions.
pub struct Executions;

impl Stage for Executions {
    type Kind = KubernetesExecution;

    fn watches(ctx: &Arc<Ctx>, controller: Controller<Guarded<Self::Kind>>) -> Controller<Guarded<Self::Kind>> {
        let jobs = watcher::Config::default().labels(labels::EXECUTION);
        let controller = when_request_is_over(ctx, controller);
        when_over(ctx, controller, workflow::is_over)
            .owns(calls::api::<Job>(ctx), jobs)
            .reconcile_on(ctx.targets.changes::<KubernetesExecution, _>(&ctx.namespace))
    }

    async fn reconcile(ctx: &Ctx, execution: &KubernetesExecution) -> Result<Next, Error> {
        let seen = observe::observe(ctx, execution).await?;
        apply::apply(ctx, execution, decide(&seen)).await
    }
}
