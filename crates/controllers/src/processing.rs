//! RemediationProcessing: reads the cluster about the target once, and writes down what it found.

use std::sync::Arc;

use kube::runtime::Controller;

use kubernaut_api::{Evidence, RemediationProcessing, Staged};
use kubernaut_domain::policy::classification_input;
use kubernaut_domain::processing::{Found, Seen, decide};
use kubernaut_domain::stage::Next;
use kubernaut_policy::Classified;

use crate::collect::{Limits, collect};
use crate::run::{Guarded, Stage, commit, request_is_over, when_request_is_over};
use crate::{Ctx, Error, calls};

/// The controller of RemediationProcessings.
pub struct Processings;

impl Stage for Processings {
    type Kind = RemediationProcessing;

    fn watches(ctx: &Arc<Ctx>, controller: Controller<Guarded<Self::Kind>>) -> Controller<Guarded<Self::Kind>> {
        when_request_is_over(ctx, controller)
    }

    /// Evidence is read from the API server by whoever needs it, and there is none before the end.
    fn forget(processing: &mut RemediationProcessing) {
        if processing.phase().is_some_and(kubernaut_api::Phase::is_terminal)
            && let Some(status) = &mut processing.status
        {
            status.evidence = None;
        }
    }

    async fn reconcile(ctx: &Ctx, processing: &RemediationProcessing) -> Result<Next, Error> {
        if processing.phase().is_some_and(kubernaut_api::Phase::is_terminal) {
            return Ok(Next::OnChange);
        }
        let spec = &processing.spec;
        let request_over = request_is_over(ctx, &spec.request).await?;
        let found = if request_over {
            None
        } else {
            let limits = Limits { call_timeout: ctx.call_timeout, scope: ctx.settings.scope, ..Limits::default() };
            let collected = collect(&ctx.client, &spec.target, spec.resource.as_ref(), calls::now().0, &limits).await;
            let mut degraded = collected.degraded;
            let classified = match classify(ctx, processing, &collected.evidence).await {
                Ok(classified) => Some(classified),
                Err(why) => {
                    let why = format!("{why}; the built-in rules classified");
                    degraded.truncate(31);
                    degraded.push(why.chars().take(512).collect());
                    None
                }
            };
            Some(Found { evidence: collected.evidence, degraded, classified, target_found: collected.target_found })
        };
        let plan = decide(&Seen { processing: processing.clone(), request_over, found, now: calls::now() });
        commit(ctx, processing, plan.status).await?;
        ctx.notify(processing, plan.notices).await;
        Ok(plan.next)
    }
}

/// What the classification policy says, or why it says nothing.
async fn classify(ctx: &Ctx, processing: &RemediationProcessing, evidence: &Evidence) -> Result<Classified, String> {
    let input = classification_input(&processing.spec.signal, &processing.spec.target, evidence);
    ctx.policies.classification(input).await.map_err(|not_read| not_read.to_string())?
}
