//! What the decision about a request depends on: only what its phase waits for is read.

use kube::ResourceExt;
use kube::api::ListParams;

use kubernaut_api::{KubernetesExecution, RemediationRequest, RequestPhase, Staged, WorkflowPhase, labels, names};
use kubernaut_domain::drift;
use kubernaut_domain::request::Seen;

use crate::calls::{self, Found, Owner};
use crate::run::is_overdue;
use crate::{Ctx, Error, health};

pub(super) async fn observe(ctx: &Ctx, request: &RemediationRequest) -> Result<Seen, Error> {
    let mut seen = Seen {
        request: request.clone(),
        processing: None,
        analysis: None,
        workflow: None,
        collision: None,
        health: None,
        drift: None,
        settings: ctx.settings.clone(),
        now: calls::now(),
    };
    if let Err(error) = look(ctx, request, &mut seen).await {
        let deadlines = request.status.as_ref().map(|status| [&status.deadline, &status.phase_deadline]);
        if !deadlines.into_iter().flatten().any(|deadline| is_overdue(deadline.as_ref(), &seen.now)) {
            return Err(error);
        }
        tracing::warn!(request = request.name_any(), %error, "its deadline has passed, decided without what cannot be read");
    }
    seen.now = calls::now();
    Ok(seen)
}

async fn look(ctx: &Ctx, request: &RemediationRequest, seen: &mut Seen) -> Result<(), Error> {
    let name = request.name_any();
    let (processing, analysis, workflow) = (names::processing(&name), names::analysis(&name), names::workflow(&name));
    let owned = Owner { kind: "RemediationRequest", name: &name, uid: request.metadata.uid.as_deref() };
    match request.phase() {
        Some(RequestPhase::Processing) => {
            seen.processing = own(calls::find(ctx, &processing, owned).await?, &processing, &mut seen.collision);
        }
        Some(RequestPhase::Analyzing | RequestPhase::AwaitingApproval) => {
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
