//! AIAnalysis: asks the provider once, and a person where the decision says so.

use std::sync::Arc;
use std::time::Instant;

use kube::ResourceExt;
use kube::runtime::Controller;
use kubernaut_analysis::Question;

use kubernaut_api::processing::Classification;
use kubernaut_api::{
    AIAnalysis, AnalysisPhase, MicroTime, PolicyRecord, RemediationApproval, RemediationProcessing, RemediationRequest,
    Staged, names,
};
use kubernaut_domain::analysis::{Seen, decide};
use kubernaut_domain::approval;
use kubernaut_domain::diagnosis::Diagnosis;
use kubernaut_domain::policy::approval_input;
use kubernaut_domain::proposal::{self, Trouble};
use kubernaut_domain::request::is_over;
use kubernaut_domain::stage::{Next, passed};

use crate::calls::{self, Owner};
use crate::run::{Guarded, Stage, commit, when_request_is_over};
use crate::{Ctx, Error, policies};

/// The controller of AIAnalyses.
pub struct Analyses;

impl Stage for Analyses {
    type Kind = AIAnalysis;

    fn watches(ctx: &Arc<Ctx>, controller: Controller<Guarded<Self::Kind>>) -> Controller<Guarded<Self::Kind>> {
        let approvals = calls::api::<RemediationApproval>(ctx);
        when_request_is_over(ctx, controller).owns(approvals, kube::runtime::watcher::Config::default())
    }

    /// The plan is read from the API server by whoever executes it.
    fn forget(analysis: &mut AIAnalysis) {
        if analysis.phase().is_some_and(kubernaut_api::Phase::is_terminal)
            && let Some(status) = &mut analysis.status
        {
            (status.plan, status.root_cause, status.alternatives) = (None, None, Vec::new());
        }
    }

    async fn reconcile(ctx: &Ctx, analysis: &AIAnalysis) -> Result<Next, Error> {
        if analysis.phase().is_some_and(kubernaut_api::Phase::is_terminal) {
            return Ok(Next::OnChange);
        }
        let plan = decide(&observe(ctx, analysis).await?);
        commit(ctx, analysis, plan.status).await?;
        if let Some(approval) = &plan.child {
            calls::create(ctx, approval.as_ref()).await?;
        }
        ctx.notify(analysis, plan.notices).await;
        Ok(plan.next)
    }
}

async fn observe(ctx: &Ctx, analysis: &AIAnalysis) -> Result<Seen, Error> {
    let request = calls::get::<RemediationRequest>(ctx, &analysis.spec.request).await?;
    let request_over = request.as_ref().is_none_or(is_over);
    let mut seen = Seen {
        analysis: analysis.clone(),
        request_over,
        evidence: None,
        answer: None,
        policy: None,
        requested_by: request.as_ref().and_then(approval::requested_by),
        approval: None,
        settings: ctx.settings.clone(),
        now: calls::now(),
    };
    if analysis.phase() == Some(AnalysisPhase::Approval) {
        let (name, owner) = (names::approval(&analysis.spec.request), analysis.name_any());
        let owner = Owner { kind: "AIAnalysis", name: &owner, uid: analysis.metadata.uid.as_deref() };
        // A foreign object of this name is no answer; the question expires.
        seen.approval = calls::find(ctx, &name, owner).await?.own();
    } else if !request_over {
        let processing = calls::get::<RemediationProcessing>(ctx, &analysis.spec.processing).await?;
        if let Some(status) = processing.and_then(|processing| processing.status) {
            if let Some(evidence) = &status.evidence {
                let classification = status.classification.unwrap_or_default();
                let answer = async {
                    let answer = ask(ctx, analysis, evidence, &classification).await?;
                    let policy = judge(ctx, analysis, request.as_ref(), &classification, &answer).await?;
                    Ok((answer, policy))
                };
                match answer.await {
                    Ok((answer, policy)) => (seen.answer, seen.policy) = (Some(answer), policy),
                    Err(error) if asks_again(analysis, &seen.now) => return Err(error),
                    Err(error) => tracing::warn!(analysis = analysis.name_any(), %error, "decided without an answer"),
                }
            }
            seen.evidence = status.evidence;
        }
    }
    seen.now = calls::now();
    Ok(seen)
}

/// A provider that fails is asked again once the decision has set the deadline, and until then.
fn asks_again(analysis: &AIAnalysis, now: &MicroTime) -> bool {
    let deadline = analysis.status.as_ref().and_then(|status| status.phase_deadline.as_ref());
    analysis.phase() == Some(AnalysisPhase::Analyzing) && !passed(deadline, now)
}

async fn ask(
    ctx: &Ctx,
    analysis: &AIAnalysis,
    evidence: &kubernaut_api::Evidence,
    classification: &Classification,
) -> Result<(String, Diagnosis), Error> {
    let question = Question {
        signal: &analysis.spec.signal,
        target: &analysis.spec.target,
        evidence,
        classification,
        now: calls::now().0,
    };
    let provider = ctx.provider.name();
    let begun = Instant::now();
    let answer = ctx.provider.analyse(&question).await;
    ctx.metrics.analysis.asked(provider, answer.is_ok(), begun.elapsed());
    match answer {
        Ok(diagnosis) => Ok((provider.to_owned(), consider(ctx, analysis, diagnosis).await?)),
        Err(error) => Err(Error::Provider { provider: provider.to_owned(), message: error.to_string() }),
    }
}

/// What the approval policy says of an answer that would do something.
async fn judge(
    ctx: &Ctx,
    analysis: &AIAnalysis,
    request: Option<&RemediationRequest>,
    classification: &Classification,
    (provider, diagnosis): &(String, Diagnosis),
) -> Result<Option<PolicyRecord>, Error> {
    let Diagnosis::Found(finding) = diagnosis else { return Ok(None) };
    if finding.steps.is_empty() {
        return Ok(None);
    }
    let namespaces = policies::namespaces(ctx, finding.steps.iter().map(|step| &step.target)).await?;
    let input = approval_input(analysis, request, classification, (provider, finding), &namespaces);
    Ok(Some(ctx.policies.approval(input).await?))
}

/// The diagnosis, with an entry of the user's own catalogue where it has no plan.
async fn consider(ctx: &Ctx, analysis: &AIAnalysis, diagnosis: Diagnosis) -> Result<Diagnosis, Error> {
    if !proposal::is_due(&diagnosis) {
        return Ok(diagnosis);
    }
    let entries = crate::workflow::catalogue::entries(ctx).await?;
    let trouble = Trouble { alert: &analysis.spec.signal.name, target: &analysis.spec.target };
    Ok(proposal::consider(diagnosis, &entries, trouble, &ctx.settings))
}
