//! Carries out the plan of an execution: status, then the Job.

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use kubernaut_api::{KubernetesExecution, labels};
use kubernaut_domain::execution::{JobPlan, Plan, job_name};
use kubernaut_domain::stage::Next;

use crate::{Ctx, Error, calls, run};

pub(super) async fn apply(ctx: &Ctx, execution: &KubernetesExecution, plan: Plan) -> Result<Next, Error> {
    let ended = plan.status.phase.is_some_and(kubernaut_api::Phase::is_terminal);
    let written = run::commit(ctx, execution, plan.status).await?;
    if ended {
        ctx.targets.leave(execution);
    }
    let name = job_name(execution);
    match &plan.job {
        JobPlan::Leave => {}
        JobPlan::Create(job) => {
            if !written {
                still_as_seen(ctx, execution).await?;
            }
            calls::create(ctx, job.as_ref()).await?;
        }
        JobPlan::Release => release(ctx, &name).await?,
        JobPlan::Stop => {
            calls::delete::<Job>(ctx, &name).await?;
            release(ctx, &name).await?;
        }
    }
    ctx.notify(execution, plan.notices).await;
    Ok(plan.next)
}

/// A decision on an old copy must not make a Job a second time. A status write would have told; where
/// there was none, ask.
async fn still_as_seen(ctx: &Ctx, execution: &KubernetesExecution) -> Result<(), Error> {
    let name = execution.name_any();
    let now = calls::get::<KubernetesExecution>(ctx, &name).await?;
    if now.is_some_and(|now| now.resource_version() == execution.resource_version()) {
        Ok(())
    } else {
        Err(Error::Conflict { call: format!("make Job {name}") })
    }
}

async fn release(ctx: &Ctx, name: &str) -> Result<(), Error> {
    match calls::get::<Job>(ctx, name).await? {
        Some(job) => calls::take_finalizer_off(ctx, &job, labels::RESULT_FINALIZER).await,
        None => Ok(()),
    }
}
