//! Asking a person about a plan: the question, its end, and that it is about to lapse (R4.5).

use kubernaut_api::analysis::{AIAnalysisStatus, Risk};
use kubernaut_api::{AnalysisPhase, EventReason, MicroTime, RemediationApproval, RemediationApprovalSpec, names};

use super::{APPROVAL_EXPIRED, Seen};
use crate::approval::{self, Answer};
use crate::plan;
use crate::request::child_of;
use crate::stage::{Notice, Why, after, enter, passed};

/// Asks a person about the plan in status.
pub(super) fn ask(status: &mut AIAnalysisStatus, seen: &Seen, reason: &str) {
    let name = names::approval(&seen.analysis.spec.request);
    let policy = status.policy.as_ref().and_then(|policy| policy.approvers);
    let approvers = policy.unwrap_or(1).max(seen.settings.approvers).clamp(1, 2);
    let who = if approvers == 1 { "a person" } else { "two people" };
    let message = format!("RemediationApproval {name} waits for {who}: {reason}");
    enter(status, AnalysisPhase::Approval, &seen.now, Why::new("ApprovalRequired", message));
    status.phase_deadline = Some(after(&seen.now, seen.analysis.spec.approval_timeout.into()));
    status.approval_name = Some(name);
    status.approvers = Some(approvers);
}

/// What the question reads; `None` before there is one.
pub(super) fn question(status: &AIAnalysisStatus, seen: &Seen) -> Option<RemediationApproval> {
    let (plan, expires_at) = (status.plan.as_ref()?, status.phase_deadline.clone()?);
    let request = seen.analysis.spec.request.clone();
    let mut metadata = child_of(&seen.analysis, names::approval(&request), &request);
    // It has no phases, so the relay has nothing to record before it may go.
    metadata.finalizers = None;
    let reason = status.message.clone().unwrap_or_default();
    Some(RemediationApproval {
        metadata,
        spec: RemediationApprovalSpec {
            request,
            plan_hash: plan.hash.clone(),
            target: seen.analysis.spec.target.clone(),
            risk: plan.risk.unwrap_or(Risk::High),
            confidence: status.confidence.unwrap_or_default(),
            summary: status.root_cause.as_ref().map(|cause| cause.summary.clone()).unwrap_or_default(),
            steps: plan.steps.iter().map(plan::sentence).collect(),
            reason: reason.split_once(": ").map_or(reason.clone(), |(_, why)| why.to_owned()),
            approvers: status.approvers.unwrap_or(1),
            requested_by: seen.requested_by.clone(),
            expires_at,
        },
        status: None,
    })
}

/// Ends the question when it is answered, void or too old.
pub(super) fn answer(status: &mut AIAnalysisStatus, seen: &Seen) {
    let now = &seen.now;
    let Some(plan) = status.plan.as_ref().filter(|plan| plan::hash(&plan.steps) == plan.hash) else {
        let why = Why::new("PlanChanged", "the plan is not the one that was asked about");
        return enter(status, AnalysisPhase::Rejected, now, why);
    };
    let given = approval::answer(seen.approval.as_ref(), Some(&plan.hash), seen.requested_by.as_deref(), now);
    match given {
        Answer::Approved(by) => enter(status, AnalysisPhase::Completed, now, Why::new("Approved", by)),
        Answer::Rejected(by) => enter(status, AnalysisPhase::Rejected, now, Why::new("RejectedByPerson", by)),
        Answer::Missing | Answer::Half if passed(status.phase_deadline.as_ref(), now) => {
            enter(status, AnalysisPhase::Rejected, now, Why::new(APPROVAL_EXPIRED, approval::lapsed(&given)));
        }
        Answer::Missing | Answer::Half => {}
    }
}

/// When it is to be announced that the question is about to lapse: after two thirds of its time. `None` when that
/// was done, or nothing waits.
pub(super) fn announce_at(status: &AIAnalysisStatus) -> Option<MicroTime> {
    let waits = status.phase == Some(AnalysisPhase::Approval) && status.expiry_announced_at.is_none();
    let (asked, deadline) = (&status.transitions.last()?.at, status.phase_deadline.as_ref()?);
    let whole = std::time::Duration::try_from(deadline.0.duration_since(asked.0)).unwrap_or_default();
    waits.then(|| after(asked, whole / 3 * 2))
}

/// Announces, once, that a question is about to lapse.
pub(super) fn announce(status: &mut AIAnalysisStatus, seen: &Seen) -> Option<Notice> {
    announce_at(status).filter(|due| *due <= seen.now)?;
    status.expiry_announced_at = Some(seen.now.clone());
    let deadline = status.phase_deadline.as_ref()?;
    let name = status.approval_name.clone().unwrap_or_default();
    let hash = status.plan.as_ref().map(|plan| plan.hash.as_str());
    let given = approval::answer(seen.approval.as_ref(), hash, seen.requested_by.as_deref(), &seen.now);
    let half = given == Answer::Half;
    let who = if half { "one of two people has answered" } else { "nobody has answered" };
    Some(Notice {
        warning: true,
        reason: EventReason::ApprovalExpiring,
        note: format!("{who} RemediationApproval {name}; it lapses at {}", deadline.0.strftime("%H:%M:%S UTC")),
    })
}
