//! WorkflowExecution: makes one KubernetesExecution a step and sums up what they say.

pub mod catalogue;
mod scope;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::ResourceExt;
use kube::api::ListParams;
use kube::runtime::{Controller, watcher};

use kubernaut_api::{
    KubernetesExecution, RemediationApproval, RemediationWorkflow, Staged, WorkflowExecution, WorkflowPhase, labels,
    names,
};
use kubernaut_domain::stage::Next;
use kubernaut_domain::workflow::{Plan, Seen, decide, targets};

use crate::calls::{self, Found, Owner};
use crate::run::{Guarded, Stage, commit, request_is_over, when_request_is_over};
use crate::{Ctx, Error};

/// The controller of WorkflowExecutions.
pub struct Workflows;

impl Stage for Workflows {
    type Kind = WorkflowExecution;

    fn watches(ctx: &Arc<Ctx>, controller: Controller<Guarded<Self::Kind>>) -> Controller<Guarded<Self::Kind>> {
        let (executions, approvals) = (calls::api::<KubernetesExecution>(ctx), calls::api::<RemediationApproval>(ctx));
        when_request_is_over(ctx, controller)
            .owns(executions, watcher::Config::default())
            .owns(approvals, watcher::Config::default())
    }

    async fn reconcile(ctx: &Ctx, workflow: &WorkflowExecution) -> Result<Next, Error> {
        if workflow.phase().is_some_and(kubernaut_api::Phase::is_terminal) {
            return Ok(Next::OnChange);
        }
        // A request's workflow has it from the first; one that a person made is held from its first transition on.
        if workflow.phase().is_none() && calls::put_finalizer_on(ctx, workflow, labels::OUTBOX_FINALIZER).await? {
            return Ok(Next::OnChange);
        }
        let plan = decide(&observe(ctx, workflow).await?);
        apply(ctx, workflow, plan).await
    }
}

/// True when a workflow that a person made by hand begins nothing new. What serves a request is over with that.
pub(crate) fn is_over(workflow: &WorkflowExecution) -> bool {
    workflow.spec.request.is_none()
        && (workflow.spec.cancelled
            || workflow.metadata.deletion_timestamp.is_some()
            || workflow.phase().is_some_and(kubernaut_api::Phase::is_terminal))
}

async fn observe(ctx: &Ctx, workflow: &WorkflowExecution) -> Result<Seen, Error> {
    let by_hand = workflow.spec.request.is_none();
    let mut seen = Seen {
        workflow: workflow.clone(),
        request_over: !by_hand && request_is_over(ctx, &workflow.base_name()).await?,
        template: None,
        out_of_scope: vec![],
        approval: None,
        executions: BTreeMap::new(),
        taken: BTreeSet::new(),
        settings: ctx.settings.clone(),
        now: calls::now(),
    };
    match workflow.phase() {
        None | Some(WorkflowPhase::Pending) if by_hand && !workflow.spec.cancelled => {
            if let Some(reference) = &workflow.spec.workflow_ref {
                seen.template = calls::get::<RemediationWorkflow>(ctx, &reference.name).await?;
            }
            seen.out_of_scope = scope::problems(ctx, &targets(workflow, seen.template.as_ref())).await?;
        }
        Some(WorkflowPhase::Validating) => {
            let owner =
                Owner { kind: "WorkflowExecution", name: &workflow.name_any(), uid: workflow.metadata.uid.as_deref() };
            // A foreign object of this name is no answer; the question expires.
            seen.approval = calls::find(ctx, &names::approval(&workflow.base_name()), owner).await?.own();
        }
        Some(WorkflowPhase::Executing | WorkflowPhase::RollingBack) => {
            seen.executions = executions(ctx, workflow).await?;
            seen.taken = taken(ctx, workflow, &seen.executions).await?;
        }
        _ => {}
    }
    seen.now = calls::now();
    Ok(seen)
}

async fn apply(ctx: &Ctx, workflow: &WorkflowExecution, plan: Plan) -> Result<Next, Error> {
    commit(ctx, workflow, plan.status).await?;
    for child in &plan.children {
        calls::create(ctx, child).await?;
    }
    if let Some(question) = &plan.question {
        calls::create(ctx, question.as_ref()).await?;
    }
    ctx.notify(workflow, plan.notices).await;
    Ok(plan.next)
}

/// The executions of this very workflow, by name.
async fn executions(ctx: &Ctx, workflow: &WorkflowExecution) -> Result<BTreeMap<String, KubernetesExecution>, Error> {
    let selector = format!("{}={}", labels::REQUEST, workflow.base_name());
    let parameters = ListParams::default().labels(&selector);
    let call = format!("list KubernetesExecutions of {}", workflow.name_any());
    let api = calls::api::<KubernetesExecution>(ctx);
    let list = calls::timed(ctx.call_timeout, &call, api.list(&parameters)).await?;
    let uid = workflow.metadata.uid.as_deref();
    let own = |execution: &KubernetesExecution| {
        execution
            .owner_references()
            .iter()
            .any(|owner| owner.controller == Some(true) && Some(owner.uid.as_str()) == uid)
    };
    Ok(list.items.into_iter().filter(own).map(|execution| (execution.name_any(), execution)).collect())
}

/// Names of executions that status speaks of, that are not there, and under which somebody else's stand.
async fn taken(
    ctx: &Ctx,
    workflow: &WorkflowExecution,
    executions: &BTreeMap<String, KubernetesExecution>,
) -> Result<BTreeSet<String>, Error> {
    let states = workflow.status.iter().flat_map(|status| &status.steps);
    let undone = states.clone().filter_map(|state| state.undo.as_ref()?.execution_name.clone());
    let open = states.filter(|state| state.phase.is_some_and(|phase| !kubernaut_api::Phase::is_terminal(phase)));
    let names = open.filter_map(|state| state.execution_name.clone()).chain(undone);
    let own_name = workflow.name_any();
    let owner = Owner { kind: "WorkflowExecution", name: &own_name, uid: workflow.metadata.uid.as_deref() };
    let mut taken = BTreeSet::new();
    for name in names.filter(|name| !executions.contains_key(name)) {
        if matches!(calls::find::<KubernetesExecution>(ctx, &name, owner).await?, Found::Foreign) {
            taken.insert(name);
        }
    }
    Ok(taken)
}
