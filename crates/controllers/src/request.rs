//! RemediationRequest: reads the child that the current phase waits for, makes the next one.

mod apply;
mod observe;

use std::sync::Arc;

use kube::runtime::Controller;
use kubernaut_api::{AIAnalysis, RemediationProcessing, RemediationRequest, Staged, WorkflowExecution, labels};
use kubernaut_domain::request::decide;
use kubernaut_domain::stage::Next;

use crate::run::{Guarded, Stage, by_request};
use crate::{Ctx, Error, calls};

/// The controller of RemediationRequests.
pub struct Requests;

impl Stage for Requests {
    type Kind = RemediationRequest;

    fn watches(ctx: &Arc<Ctx>, controller: Controller<Guarded<Self::Kind>>) -> Controller<Guarded<Self::Kind>> {
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
        let seen = observe::observe(ctx, request).await?;
        apply::apply(ctx, request, decide(&seen)).await
    }
}
