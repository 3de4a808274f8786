//! Carries out the plan of a request: status, then the child, then the news.

use kube::ResourceExt;
use kubernaut_api::meta::Phase as _;
use kubernaut_api::{RemediationRequest, RequestPhase, Staged};
use kubernaut_domain::request::{Child, Plan};
use kubernaut_domain::stage::Next;

use super::others::Turn;
use crate::{Ctx, Error, calls, run};

pub(super) async fn apply(
    ctx: &Ctx,
    request: &RemediationRequest,
    plan: Plan,
    turn: Option<Turn<'_>>,
) -> Result<Next, Error> {
    let ended = plan.status.phase.is_some_and(|phase| phase.is_terminal() && request.phase() != Some(phase));
    let begins = plan.status.phase == Some(RequestPhase::Executing) && request.phase() != Some(RequestPhase::Executing);
    let written = RemediationRequest { status: Some(plan.status.clone()), ..request.clone() };
    run::commit(ctx, request, plan.status).await?;
    if let Some(mut turn) = turn.filter(|_| begins) {
        turn.begins(&written);
    }
    match &plan.child {
        Some(Child::Processing(child)) => calls::create(ctx, child.as_ref()).await?,
        Some(Child::Analysis(child)) => calls::create(ctx, child.as_ref()).await?,
        Some(Child::Workflow(child)) => calls::create(ctx, child.as_ref()).await?,
        None => {}
    }
    if ended {
        ctx.targets.leave(request);
    }
    ctx.notify(request, plan.notices).await;
    if plan.delete {
        calls::delete::<RemediationRequest>(ctx, &request.name_any()).await?;
    }
    Ok(plan.next)
}
