//! KubernetesExecution: rehearses, makes one Job, takes its result, lets go of it.

mod apply;
pub(crate) mod ledger;
mod observe;
pub mod orphans;
mod proof;
mod reach;
mod runner;

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::runtime::reflector::ObjectRef;
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
        let controller = when_another_ends(ctx, controller);
        let controller = when_request_is_over(ctx, controller);
        when_over(ctx, controller, workflow::is_over)
            .owns(calls::api::<Job>(ctx), jobs)
            .reconcile_on(ctx.targets.changes::<KubernetesExecution, _>(&ctx.namespace))
    }

    async fn reconcile(ctx: &Ctx, execution: &KubernetesExecution) -> Result<Next, Error> {
        let mut seen = observe::observe(ctx, execution).await?;
        if !seen.may_start() {
            return apply::apply(ctx, execution, decide(&seen)).await;
        }
        // Nobody else starts until what is decided here is written.
        let turn = ctx.ledger.lock().await;
        ledger::complete(ctx, execution, &mut seen).await?;
        let next = apply::apply(ctx, execution, decide(&seen)).await;
        drop(turn);
        next
    }
}

/// Looks at the executions that wait for their turn, and may start, when another one has ended.
fn when_another_ends(
    ctx: &Arc<Ctx>,
    controller: Controller<Guarded<KubernetesExecution>>,
) -> Controller<Guarded<KubernetesExecution>> {
    let api = Api::<Guarded<KubernetesExecution>>::namespaced(ctx.client.clone(), &ctx.namespace);
    let (waiting, ctx) = (ledger::Waiting::default(), ctx.clone());
    controller.watches(api, watcher::Config::default(), move |changed| {
        let woken = match &changed.0 {
            Ok(changed) => waiting.woken_by(changed, &ctx.settings, &calls::now()),
            Err(_) => vec![],
        };
        woken.into_iter().map(|name| ObjectRef::new(&name).within(&ctx.namespace)).collect::<Vec<_>>()
    })
}
