//! RemediationRequest: reads the child that the current phase waits for, makes the next one.

mod apply;
mod observe;
mod others;

use std::sync::Arc;

use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Api, ResourceExt};
use kubernaut_api::{
    AIAnalysis, BlockReason, Phase, RemediationProcessing, RemediationRequest, RequestPhase, Staged, WorkflowExecution,
    labels,
};
use kubernaut_domain::request::decide;
use kubernaut_domain::stage::Next;

pub(crate) use others::Others;

use crate::run::{Guarded, Stage, by_request};
use crate::{Ctx, Error, calls};

/// The controller of RemediationRequests.
pub struct Requests;

impl Stage for Requests {
    type Kind = RemediationRequest;

    fn watches(ctx: &Arc<Ctx>, controller: Controller<Guarded<Self::Kind>>) -> Controller<Guarded<Self::Kind>> {
        ctx.requests.watched_by(controller.store());
        let controller = when_another_ends(ctx, controller);
        let controller = by_request::<_, RemediationProcessing>(ctx, controller);
        let controller = by_request::<_, AIAnalysis>(ctx, controller);
        by_request::<_, WorkflowExecution>(ctx, controller)
            .reconcile_on(ctx.targets.changes::<RemediationRequest, _>(&ctx.namespace))
    }

    async fn reconcile(ctx: &Ctx, request: &RemediationRequest) -> Result<Next, Error> {
        // The gateway's requests have it from the first; one that a person made is held from its first transition on.
        if request.phase().is_none() && calls::put_finalizer_on(ctx, request, labels::OUTBOX_FINALIZER).await? {
            return Ok(Next::OnChange);
        }
        let (seen, turn) = observe::observe(ctx, request).await?;
        apply::apply(ctx, request, decide(&seen), turn).await
    }
}

/// Looks at the requests that wait for others when another one has executed, or has ended.
fn when_another_ends(
    ctx: &Ctx,
    controller: Controller<Guarded<RemediationRequest>>,
) -> Controller<Guarded<RemediationRequest>> {
    let store: Store<Guarded<RemediationRequest>> = controller.store();
    let api = Api::<Guarded<RemediationRequest>>::namespaced(ctx.client.clone(), &ctx.namespace);
    controller.watches(api, watcher::Config::default(), move |changed| {
        let requests = if changed.0.as_ref().is_ok_and(makes_room) { store.state() } else { vec![] };
        let waits = |request: &Arc<Guarded<RemediationRequest>>| request.0.as_ref().is_ok_and(waits_for_others);
        requests
            .into_iter()
            .filter(|request| waits(request) && request.name_any() != changed.name_any())
            .map(|request| ObjectRef::from_obj(&*request))
            .collect::<Vec<_>>()
    })
}

fn makes_room(request: &RemediationRequest) -> bool {
    let phase = request.phase();
    request.metadata.deletion_timestamp.is_some()
        || phase == Some(RequestPhase::Verifying)
        || phase.is_some_and(Phase::is_terminal)
}

fn waits_for_others(request: &RemediationRequest) -> bool {
    let reason = request.status.as_ref().and_then(|status| status.block_reason);
    matches!(reason, Some(BlockReason::ResourceBusy | BlockReason::Budget))
}
