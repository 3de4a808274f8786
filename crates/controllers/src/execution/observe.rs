//! What the decision about an execution depends on: rehearsal and reach before, Job and its report during, what
//! proves that it helped after.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kubernaut_api::execution::{BlastRadius, Effect, TargetMark};
use kubernaut_api::{ExecutionPhase, KubernetesExecution, Phase, PolicyRecord, Staged, WorkflowExecution, names};
use kubernaut_domain::blast;
use kubernaut_domain::execution::{JobSeen, Seen, wanted_script};
use kubernaut_domain::policy::safety_input;
use kubernaut_domain::script::{self, Refusal, Script};
use kubernaut_domain::stage::passed;

use super::{proof, reach, runner};
use crate::run::{is_overdue, request_is_given_up, request_is_over};
use crate::{Ctx, Error, calls, policies, rehearsal, workflow};

pub(super) async fn observe(ctx: &Ctx, execution: &KubernetesExecution) -> Result<Seen, Error> {
    let phase = execution.phase();
    let request_over = match phase {
        Some(phase) if phase.is_terminal() => false,
        _ => is_over(ctx, execution).await?,
    };
    let mut seen = Seen {
        execution: execution.clone(),
        request_over,
        policy: None,
        request_deadline: None,
        rehearsal: None,
        reach: None,
        left: None,
        script: None,
        ledger: vec![],
        unmanaged: None,
        // Until it has been looked at, a Job that may be there is not one that is absent.
        job: match phase {
            Some(ExecutionPhase::Executing | ExecutionPhase::RollingBack) => JobSeen::Unread,
            _ => JobSeen::Absent,
        },
        trace: None,
        health: None,
        live: None,
        settles_at: None,
        settings: ctx.settings.clone(),
        now: calls::now(),
    };
    if let Err(error) = look(ctx, execution, &mut seen).await {
        // A rehearsal that fails is held again once the decision has set the deadline, and until then.
        let deadline = execution.status.as_ref().and_then(|status| status.phase_deadline.as_ref());
        let decides = match phase {
            None | Some(ExecutionPhase::Pending) => true,
            Some(ExecutionPhase::Validating) => passed(deadline, &seen.now),
            Some(_) => is_overdue(deadline, &seen.now),
        };
        if !decides {
            return Err(error);
        }
        tracing::warn!(execution = execution.name_any(), %error, "decided without what cannot be read");
    }
    seen.now = calls::now();
    Ok(seen)
}

/// True when what the execution serves is over: its request, or the workflow that a person made by hand. What undoes
/// a finished step is ended all the same.
pub(super) async fn is_over(ctx: &Ctx, execution: &KubernetesExecution) -> Result<bool, Error> {
    let request = &execution.spec.request;
    if execution.spec.undoes.is_some() {
        return Ok(false);
    }
    let owner = execution.owner_references().iter().find(|owner| owner.controller == Some(true));
    match owner.filter(|owner| owner.name != names::workflow(request)) {
        Some(owner) => {
            Ok(calls::get::<WorkflowExecution>(ctx, &owner.name).await?.is_none_or(|found| workflow::is_over(&found)))
        }
        None if execution.phase() == Some(ExecutionPhase::Verifying) => request_is_given_up(ctx, request).await,
        None => request_is_over(ctx, request).await,
    }
}

async fn look(ctx: &Ctx, execution: &KubernetesExecution, seen: &mut Seen) -> Result<(), Error> {
    match execution.phase() {
        None | Some(ExecutionPhase::Pending | ExecutionPhase::Validating) if !seen.request_over => {
            seen.script = script(ctx, execution).await?;
            let rehearsal = match &seen.script {
                Some(script) => script::rehearse(script),
                None => rehearsal::rehearse(ctx, execution).await?,
            };
            // Both or none: a decision that knows only one of them would be made too early.
            if matches!(rehearsal.effect, Effect::Changed | Effect::Unchanged) {
                seen.reach = Some(reach::of(ctx, execution).await?);
            }
            seen.left = left(ctx, execution).await?;
            seen.rehearsal = Some(rehearsal);
            let reach = seen.reach.as_ref().map(blast::radius);
            seen.policy = Some(Box::pin(judge(ctx, execution, reach.as_ref())).await?);
        }
        None | Some(ExecutionPhase::Pending | ExecutionPhase::Validating) => {}
        Some(ExecutionPhase::Verifying) => {
            seen.job = runner::job(ctx, execution).await?;
            proof::look(ctx, execution, seen).await?;
        }
        Some(phase) => {
            ctx.targets.leave(execution);
            seen.job = runner::job(ctx, execution).await?;
            if phase == ExecutionPhase::Executing && runner::left_no_result(execution, &seen.job) {
                seen.trace = Some(rehearsal::trace(ctx, execution).await?);
            }
            // A Job that is still to be made runs the text that is registered now, if that is the one that was meant.
            if seen.job == JobSeen::Absent && !phase.is_terminal() {
                seen.script = script(ctx, execution).await?;
            }
        }
    }
    Ok(())
}

/// The target as the execution left it that this one undoes.
async fn left(ctx: &Ctx, execution: &KubernetesExecution) -> Result<Option<TargetMark>, Error> {
    let Some(undone) = &execution.spec.undoes else { return Ok(None) };
    let undone = calls::get::<KubernetesExecution>(ctx, undone).await?;
    Ok(undone.and_then(|undone| undone.status?.result?.target))
}

/// The registered script that the next Job runs; `None` when it runs another action.
async fn script(ctx: &Ctx, execution: &KubernetesExecution) -> Result<Option<Result<Script, Refusal>>, Error> {
    let Some(wanted) = wanted_script(execution) else { return Ok(None) };
    let registered = calls::get::<ConfigMap>(ctx, &wanted.script).await?;
    Ok(Some(script::prepare(registered.as_ref(), &wanted, &ctx.settings.job.scripts)))
}

/// What the safety policy says of the action, now: also one that was allowed a minute ago is asked about again.
async fn judge(ctx: &Ctx, execution: &KubernetesExecution, reach: Option<&BlastRadius>) -> Result<PolicyRecord, Error> {
    let namespaces = policies::namespaces(ctx, [&execution.spec.target]).await?;
    Ok(ctx.policies.safety(safety_input(execution, &namespaces, reach)).await?)
}
