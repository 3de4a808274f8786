//! What the decision about a request depends on: only what its phase waits for is read.

use kube::ResourceExt;
use kube::api::ListParams;

use kubernaut_api::{
    AnalysisPhase, KubernetesExecution, RemediationRequest, RequestPhase, Staged, WorkflowPhase, labels, names,
};
use kubernaut_domain::drift;
use kubernaut_domain::request::{Neighbours, Seen, Working};

use super::others::Turn;
use crate::calls::{self, Found, Owner};
use crate::execution::ledger;
use crate::run::is_overdue;
use crate::{Ctx, Error, health, scope};

/// What is seen, and the turn to begin to execute where that may be what follows.
pub(super) async fn observe<'a>(ctx: &'a Ctx, request: &RemediationRequest) -> Result<(Seen, Option<Turn<'a>>), Error> {
    let mut seen = Seen {
        request: request.clone(),
        processing: None,
        analysis: None,
        workflow: None,
        collision: None,
        health: None,
        drift: None,
        neighbours: Neighbours::default(),
        settings: ctx.settings.clone(),
        now: calls::now(),
    };
    let mut turn = None;
    let looked = async {
        look(ctx, request, &mut seen).await?;
        turn = look_around(ctx, request, &mut seen).await?;
        Ok(())
    };
    if let Err(error) = looked.await {
        let deadlines = request.status.as_ref().map(|status| [&status.deadline, &status.phase_deadline]);
        if !deadlines.into_iter().flatten().any(|deadline| is_overdue(deadline.as_ref(), &seen.now)) {
            return Err(error);
        }
        tracing::warn!(request = request.name_any(), %error, "its deadline has passed, decided without what cannot be read");
    }
    seen.now = calls::now();
    Ok((seen, turn))
}

/// What can hold the request back: before it begins, and before its plan is executed.
async fn look_around<'a>(
    ctx: &'a Ctx,
    request: &RemediationRequest,
    seen: &mut Seen,
) -> Result<Option<Turn<'a>>, Error> {
    let status = request.status.clone().unwrap_or_default();
    let own = request.spec.target.as_ref();
    let planned = seen.analysis.as_ref().and_then(|analysis| analysis.status.as_ref());
    let plan = planned.filter(|status| status.phase == Some(AnalysisPhase::Completed)).and_then(|it| it.plan.as_ref());
    if let Some(plan) = plan {
        let targets: Vec<_> = plan.steps.iter().map(|step| &step.target).collect();
        seen.neighbours.unmanaged = scope::unmanaged(ctx, &targets, own).await?;
        let mut turn = ctx.requests.turn().await;
        seen.neighbours.working = turn.working();
        if let Some(name) = &status.blocked_by {
            // The watch that brought us here may be ahead of the one that shows the others.
            let awaited = calls::get::<RemediationRequest>(ctx, name).await?;
            seen.neighbours.working.retain(|other| other.name != *name);
            seen.neighbours.working.extend(awaited.iter().filter(|other| Working::counts(other)).map(Working::of));
            seen.neighbours.awaited = awaited.as_ref().map(Working::of);
        }
        seen.neighbours.executions = ledger::read(ctx).await?;
        return Ok(Some(turn));
    }
    let begins = match request.phase() {
        None | Some(RequestPhase::Pending) => true,
        Some(RequestPhase::Blocked) => status.analysis_name.is_none(),
        _ => false,
    };
    if let Some(target) = own.filter(|_| begins && !request.spec.cancelled) {
        seen.neighbours.past = ctx.requests.past(request);
        seen.neighbours.unmanaged = scope::unmanaged(ctx, &[target], None).await?;
    }
    Ok(None)
}

async fn look(ctx: &Ctx, request: &RemediationRequest, seen: &mut Seen) -> Result<(), Error> {
    let name = request.name_any();
    let (processing, analysis, workflow) = (names::processing(&name), names::analysis(&name), names::workflow(&name));
    let owned = Owner { kind: "RemediationRequest", name: &name, uid: request.metadata.uid.as_deref() };
    match request.phase() {
        Some(RequestPhase::Processing) => {
            seen.processing = own(calls::find(ctx, &processing, owned).await?, &processing, &mut seen.collision);
        }
        Some(RequestPhase::Blocked) if request.status.as_ref().is_some_and(|status| status.analysis_name.is_none()) => {
        }
        Some(RequestPhase::Analyzing | RequestPhase::AwaitingApproval | RequestPhase::Blocked) => {
            let by = Owner { kind: "RemediationProcessing", name: &processing, uid: None };
            seen.analysis = own(calls::find(ctx, &analysis, by).await?, &analysis, &mut seen.collision);
            if seen.analysis.is_none() {
                seen.processing = own(calls::find(ctx, &processing, owned).await?, &processing, &mut seen.collision);
            }
        }
        Some(RequestPhase::Executing) => {
            let by = Owner { kind: "AIAnalysis", name: &analysis, uid: None };
            seen.workflow = own(calls::find(ctx, &workflow, by).await?, &workflow, &mut seen.collision);
            if seen.workflow.is_none() {
                let by = Owner { kind: "RemediationProcessing", name: &processing, uid: None };
                seen.analysis = own(calls::find(ctx, &analysis, by).await?, &analysis, &mut seen.collision);
            }
        }
        _ => {}
    }
    let executed = seen.workflow.as_ref().and_then(Staged::phase) == Some(WorkflowPhase::Completed);
    if let Some(target) = &request.spec.target
        && (executed || request.phase() == Some(RequestPhase::Verifying))
    {
        // Watch first, then look: a change in between is not missed.
        ctx.targets.await_change(request, target);
        let look = health::of(ctx, target).await?;
        seen.drift = match &look.mark {
            Some(mark) => drift::of_request(&executions(ctx, &name).await?, target, mark),
            None => None,
        };
        seen.health = Some(look.health);
    }
    if request.phase().is_some_and(kubernaut_api::Phase::is_terminal) {
        ctx.targets.leave(request);
    }
    Ok(())
}

/// What was executed for a request.
async fn executions(ctx: &Ctx, request: &str) -> Result<Vec<KubernetesExecution>, Error> {
    let parameters = ListParams::default().labels(&format!("{}={request}", labels::REQUEST));
    let call = format!("list KubernetesExecutions of {request}");
    Ok(calls::timed(ctx.call_timeout, &call, calls::api::<KubernetesExecution>(ctx).list(&parameters)).await?.items)
}

fn own<K>(found: Found<K>, name: &str, collision: &mut Option<String>) -> Option<K> {
    if matches!(found, Found::Foreign) {
        *collision = Some(name.to_owned());
    }
    found.own()
}
