//! Asking a person about a workflow that was made by hand: high-risk actions always ask (R4.4). The plans of requests
//! were asked about by their analysis.

use kubernaut_api::analysis::Risk;
use kubernaut_api::workflow::{Step, WorkflowExecutionStatus};
use kubernaut_api::{RemediationApproval, RemediationApprovalSpec, WorkflowPhase, names};

use super::{Seen, begin, over, steps};
use crate::analysis::APPROVAL_EXPIRED;
use crate::approval::{self, Answer};
use crate::plan;
use crate::request::child_of;
use crate::stage::{Why, after, enter, passed};

/// True when a person has to say yes first. A dry run changes nothing, so nobody is asked.
pub(super) fn is_due(steps: &[Step], seen: &Seen) -> bool {
    seen.by_hand() && !seen.is_dry() && plan::risk(steps).is_none_or(|risk| risk >= Risk::High)
}

/// Waits for the answer from now on.
pub(super) fn ask(status: &mut WorkflowExecutionStatus, steps: &[Step], seen: &Seen) {
    let name = names::approval(&seen.workflow.base_name());
    let who = if approvers(seen) == 1 { "a person" } else { "two people" };
    let why = format!("RemediationApproval {name} waits for {who}: {}", reason(steps));
    enter(status, WorkflowPhase::Validating, &seen.now, Why::new("ApprovalRequired", why));
    status.approval_name = Some(name);
    status.phase_deadline = Some(after(&seen.now, seen.settings.limits.approval));
}

fn approvers(seen: &Seen) -> u8 {
    seen.settings.approvers.clamp(1, 2)
}

fn reason(steps: &[Step]) -> String {
    format!("risk {:?}", plan::risk(steps).unwrap_or(Risk::High))
}

/// What was answered, if anything.
pub(super) fn answer(status: &mut WorkflowExecutionStatus, seen: &Seen) {
    let now = &seen.now;
    if seen.over() {
        enter(status, WorkflowPhase::Cancelled, now, over(seen, "before a step started"));
        return;
    }
    let author = approval::requested_by(&seen.workflow);
    let given = approval::answer(seen.approval.as_ref(), status.plan_hash.as_deref(), author.as_deref(), now);
    match given {
        Answer::Approved(by) => begin(status, seen, Why::new("Approved", by)),
        Answer::Rejected(by) => enter(status, WorkflowPhase::Failed, now, Why::new("RejectedByPerson", by)),
        Answer::Missing | Answer::Half if passed(status.phase_deadline.as_ref(), now) => {
            enter(status, WorkflowPhase::Failed, now, Why::new(APPROVAL_EXPIRED, approval::lapsed(&given)));
        }
        Answer::Missing | Answer::Half => {}
    }
}

/// The question, owned by the workflow.
pub(super) fn question(status: &WorkflowExecutionStatus, seen: &Seen) -> Option<RemediationApproval> {
    let (name, expires_at) = (status.approval_name.clone()?, status.phase_deadline.clone()?);
    let base = seen.workflow.base_name();
    let mut metadata = child_of(&seen.workflow, name, &base);
    // It has no phases, so the relay has nothing to record before it may go.
    metadata.finalizers = None;
    let steps = steps(status, seen);
    let of = status.expanded.as_ref().map_or_else(
        || "A person wants these steps to be run.".to_owned(),
        |expanded| format!("A person wants RemediationWorkflow {} to be run.", expanded.workflow),
    );
    Some(RemediationApproval {
        metadata,
        spec: RemediationApprovalSpec {
            request: base,
            plan_hash: status.plan_hash.clone()?,
            target: seen.workflow.spec.target.clone(),
            risk: plan::risk(steps).unwrap_or(Risk::High),
            // Nobody had to guess a cause.
            confidence: 1.0,
            summary: of,
            steps: steps.iter().map(plan::sentence).collect(),
            reason: reason(steps),
            approvers: approvers(seen),
            requested_by: approval::requested_by(&seen.workflow),
            expires_at,
        },
        status: None,
    })
}
