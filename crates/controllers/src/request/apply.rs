//! Carries out the plan of a request: status, then the child, then the news.

use kube::ResourceExt;
use kubernaut_api::meta::Phase as _;
use kubernaut_api::{RemediationRequest, Staged};
use kubernaut_domain::request::{Child, Plan};
use kubernaut_domain::stage::Next;

use crate::ctx::OutcomeLabels;
use crate::{Ctx, Error, calls, run};

pub(super) async fn apply(ctx: &Ctx, request: &RemediationRequest, plan: Plan) -> Result<Next, Error> {
    let ended = plan.status.phase.filter(|phase| phase.is_terminal() && request.phase() != Some(*phase));
    let outcome = plan.status.outcome.map(|outcome| format!("{outcome:?}"));
    run::commit(ctx, request, plan.status).await?;
    match &plan.child {
        Some(Child::Processing(child)) => calls::create(ctx, child.as_ref()).await?,
        Some(Child::Analysis(child)) => calls::create(ctx, child.as_ref()).await?,
        Some(Child::Workflow(child)) => calls::create(ctx, child.as_ref()).await?,
        None => {}
    }
    if let Some(phase) = ended {
        ctx.targets.leave(request);
        let labels = OutcomeLabels { outcome: outcome.unwrap_or_else(|| phase.to_string()) };
        ctx.metrics.remediations.get_or_create(&labels).inc();
        if let Some(created) = &request.metadata.creation_timestamp {
            let took = calls::now().0.duration_since(created.0).as_secs_f64();
            ctx.metrics.durations.get_or_create(&labels).observe(took);
        }
    }
    ctx.notify(request, plan.notices).await;
    if plan.delete {
        calls::delete::<RemediationRequest>(ctx, &request.name_any()).await?;
    }
    Ok(plan.next)
}
