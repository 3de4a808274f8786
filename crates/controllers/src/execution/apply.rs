//! Carries out the plan of an execution: status, then the Job.

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kubernaut_api::meta::Phase as _;
use kubernaut_api::{KubernetesExecution, labels};
use kubernaut_domain::execution::{JobPlan, Plan};
use kubernaut_domain::stage::Next;

use crate::{Ctx, Error, calls, run};

pub(super) async fn apply(ctx: &Ctx, execution: &KubernetesExecution, plan: Plan) -> Result<Next, Error> {
    let ended = plan.status.phase.is_some_and(|phase| phase.is_terminal());
    let transitions = plan.status.transitions.clone();
    run::commit(ctx, execution, plan.status, transitions).await?;
    if ended {
        ctx.targets.leave(execution);
    }
    let name = execution.name_any();
    match &plan.job {
        JobPlan::Leave => {}
        JobPlan::Create(job) => calls::create(ctx, job.as_ref()).await?,
        JobPlan::Release => release(ctx, &name).await?,
        JobPlan::Stop => {
            calls::delete::<Job>(ctx, &name).await?;
            release(ctx, &name).await?;
        }
    }
    Ok(plan.next)
}

async fn release(ctx: &Ctx, name: &str) -> Result<(), Error> {
    match calls::get::<Job>(ctx, name).await? {
        Some(job) => calls::take_finalizer_off(ctx, &job, labels::RESULT_FINALIZER).await,
        None => Ok(()),
    }
}
