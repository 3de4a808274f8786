//! WorkflowExecution: makes one KubernetesExecution a step and sums up what they say.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use kube::api::ListParams;
use kube::runtime::{Controller, watcher};

use kubernaut_api::{KubernetesExecution, Staged, WorkflowExecution, labels};
use kubernaut_domain::stage::Next;
use kubernaut_domain::workflow::{Seen, decide};

use crate::run::{Guarded, Stage, commit, request_is_over, when_request_is_over};
use crate::{Ctx, Error, calls};

/// The controller of WorkflowExecutions.
pub struct Workflows;

impl Stage for Workflows {
    type Kind = WorkflowExecution;

    fn watches(ctx: &Arc<Ctx>, controller: Controller<Guarded<Self::Kind>>) -> Controller<Guarded<Self::Kind>> {
        let executions = calls::api::<KubernetesExecution>(ctx);
        when_request_is_over(ctx, controller).owns(executions, watcher::Config::default())
    }

    async fn reconcile(ctx: &Ctx, workflow: &WorkflowExecution) -> Result<Next, Error> {
        if workflow.phase().is_some_and(kubernaut_api::Phase::is_terminal) {
            return Ok(Next::OnChange);
        }
        let seen = Seen {
            workflow: workflow.clone(),
            request_over: request_is_over(ctx, &workflow.base_name()).await?,
            executions: executions(ctx, workflow).await?,
            settings: ctx.settings.clone(),
            now: calls::now(),
        };
        let plan = decide(&seen);
        commit(ctx, workflow, plan.status).await?;
        for child in &plan.children {
            calls::create(ctx, child).await?;
        }
        ctx.notify(workflow, plan.notices).await;
        Ok(plan.next)
    }
}

/// The executions of this very workflow, by step.
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
    Ok(list.items.into_iter().filter(own).map(|execution| (execution.spec.step.clone(), execution)).collect())
}
