//! The decision about an AIAnalysis: is the diagnosis a plan, and may the plan run by itself?
//!
//! A provider's answer is untrusted: the plan is checked against the catalogue and against the
//! evidence here, whoever proposed it (R4.2, R4.3).

mod approval;

use kubernaut_api::analysis::{AIAnalysisStatus, Plan as ActionPlan, Risk, RootCause};
use kubernaut_api::meta::Phase;
use kubernaut_api::workflow::Step;
use kubernaut_api::{
    AIAnalysis, AnalysisPhase, Evidence, MicroTime, PolicyDecision, PolicyRecord, RemediationApproval, TargetRef,
};

use crate::diagnosis::{Diagnosis, Finding};
use crate::settings::Settings;
use crate::stage::{Next, Notice, Why, after, enter, passed};
use crate::{catalogue, notices, plan, policy};

/// Reason of an analysis whose question nobody answered in time.
pub const APPROVAL_EXPIRED: &str = "ApprovalExpired";

/// Everything the decision depends on.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The object.
    pub analysis: AIAnalysis,
    /// True when the request has ended or is cancelled: nothing new starts.
    pub request_over: bool,
    /// The evidence, as the RemediationProcessing recorded it.
    pub evidence: Option<Evidence>,
    /// The provider's name and answer; `None` when it is not asked any more.
    pub answer: Option<(String, Diagnosis)>,
    /// What the approval policy says of that answer; `None` when it was not asked, which asks a person.
    pub policy: Option<PolicyRecord>,
    /// Who made the request by hand, where that is known.
    pub requested_by: Option<String>,
    /// The approval, if one was asked for.
    pub approval: Option<RemediationApproval>,
    /// Settings.
    pub settings: Settings,
    /// The time.
    pub now: MicroTime,
}

/// Everything the decision wants done.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The status to write.
    pub status: AIAnalysisStatus,
    /// The question to ask after that, unless it was asked.
    pub child: Option<Box<RemediationApproval>>,
    /// Kubernetes Events to publish.
    pub notices: Vec<Notice>,
    /// When to look again.
    pub next: Next,
}

/// Decides about one AIAnalysis.
pub fn decide(seen: &Seen) -> Plan {
    let mut status = seen.analysis.status.clone().unwrap_or_default();
    status.observed_generation = seen.analysis.metadata.generation;
    let recorded = status.transitions.len();
    if !status.phase.is_some_and(Phase::is_terminal) {
        proceed(&mut status, seen);
    }
    let asks = status.phase == Some(AnalysisPhase::Approval);
    let child = if asks && seen.approval.is_none() { approval::question(&status, seen).map(Box::new) } else { None };
    let mut notices = notices::of_analysis(&status.transitions[recorded..]);
    notices.extend(approval::announce(&mut status, seen));
    let next = Next::earliest([status.phase_deadline.as_ref(), approval::announce_at(&status).as_ref()]);
    Plan { status, child, notices, next }
}

fn proceed(status: &mut AIAnalysisStatus, seen: &Seen) {
    let now = &seen.now;
    if status.phase.is_none() {
        enter(status, AnalysisPhase::Pending, now, Why::new("Created", ""));
    }
    if seen.request_over {
        enter(status, AnalysisPhase::Failed, now, Why::new("RequestEnded", "the request ended first"));
        return;
    }
    match status.phase {
        Some(AnalysisPhase::Pending | AnalysisPhase::Analyzing) => analyse(status, seen),
        Some(AnalysisPhase::Approval) => approval::answer(status, seen),
        _ => {}
    }
}

fn analyse(status: &mut AIAnalysisStatus, seen: &Seen) {
    let now = &seen.now;
    if status.phase == Some(AnalysisPhase::Pending) {
        let why = Why::new("Analyzing", format!("looking for the cause at {}", seen.analysis.spec.target));
        enter(status, AnalysisPhase::Analyzing, now, why);
        status.phase_deadline = Some(after(now, seen.analysis.spec.timeout.into()));
    }
    let Some(evidence) = &seen.evidence else {
        enter(
            status,
            AnalysisPhase::Failed,
            now,
            Why::new("EvidenceMissing", "the RemediationProcessing holds no evidence"),
        );
        return;
    };
    let Some((provider, diagnosis)) = &seen.answer else {
        if passed(status.phase_deadline.as_ref(), now) {
            enter(status, AnalysisPhase::Failed, now, Why::new("AnalyzingTimedOut", "no provider answered in time"));
        }
        return;
    };
    status.provider = Some(provider.clone());
    match diagnosis {
        Diagnosis::NothingWrong { evidence } => {
            let seen: Vec<_> = evidence.iter().map(|cited| cited.observation.as_str()).collect();
            enter(status, AnalysisPhase::Completed, now, Why::new("NothingWrong", seen.join("; ")));
        }
        Diagnosis::Unknown { summary } => {
            enter(status, AnalysisPhase::Rejected, now, Why::new("NoCauseFound", summary.clone()));
        }
        Diagnosis::Found(finding) => propose(status, finding, evidence, seen),
    }
}

/// Turns a finding into a plan, if it holds against the evidence and the catalogue.
fn propose(status: &mut AIAnalysisStatus, finding: &Finding, evidence: &Evidence, seen: &Seen) {
    let now = &seen.now;
    enter(status, AnalysisPhase::Generating, now, Why::new(finding.cause.clone(), finding.summary.clone()));
    let confidence = finding.confidence();
    status.root_cause = Some(RootCause {
        cause: finding.cause.clone(),
        summary: finding.summary.clone(),
        evidence: finding.evidence.clone(),
    });
    status.contributing_factors.clone_from(&finding.contributing_factors);
    status.confidence = Some(confidence);
    status.confidence_signals.clone_from(&finding.signals);

    let problems = problems(finding, evidence, &seen.analysis.spec.target);
    if !problems.is_empty() {
        enter(status, AnalysisPhase::Rejected, now, Why::new("InvalidPlan", problems.join("; ")));
        return;
    }
    if finding.steps.is_empty() {
        let message = format!("{}; no action of the catalogue mends it: {}", finding.summary, finding.rationale);
        enter(status, AnalysisPhase::Rejected, now, Why::new("NoActionFits", message));
        return;
    }
    let risk = plan::risk(&finding.steps).unwrap_or(Risk::High);
    status.plan = Some(ActionPlan {
        hash: plan::hash(&finding.steps),
        steps: finding.steps.clone(),
        rationale: finding.rationale.clone(),
        risk: Some(risk),
    });
    status.policy.clone_from(&seen.policy);
    judge(status, finding, (confidence, risk), seen);
}

/// Confidence, risk and what became of earlier requests say what is allowed; the policy can only tighten that (R4.4).
fn judge(status: &mut AIAnalysisStatus, finding: &Finding, (confidence, risk): (f64, Risk), seen: &Seen) {
    let (now, settings) = (&seen.now, &seen.settings);
    let allowed = if confidence < settings.reject_below {
        PolicyDecision::Deny
    } else if confidence > settings.approve_above && risk < Risk::High && seen.analysis.spec.ask_person.is_none() {
        PolicyDecision::Allow
    } else {
        PolicyDecision::Ask
    };
    let policy = seen.policy.as_ref().map_or_else(|| "the approval policy could not be asked".into(), policy::words);
    match (allowed, policy::tightened(allowed, seen.policy.as_ref())) {
        (PolicyDecision::Deny, _) => {
            let message =
                format!("confidence {confidence:.2} is below {:.2}: {}", settings.reject_below, finding.summary);
            enter(status, AnalysisPhase::Rejected, now, Why::new("LowConfidence", message));
        }
        (_, PolicyDecision::Deny) => {
            enter(status, AnalysisPhase::Rejected, now, Why::new("PolicyRejected", policy));
        }
        (_, PolicyDecision::Allow) => {
            let message = format!("confidence {confidence:.2}, risk {risk:?}: the plan may run by itself");
            enter(status, AnalysisPhase::Completed, now, Why::new(finding.cause.clone(), message));
        }
        (_, PolicyDecision::Ask) => {
            let mut why = vec![format!("confidence {confidence:.2}, risk {risk:?}")];
            why.extend(seen.analysis.spec.ask_person.clone());
            if seen.policy.as_ref().is_none_or(|policy| policy.decision == PolicyDecision::Ask) {
                why.push(policy);
            }
            approval::ask(status, seen, &why.join("; "));
        }
    }
}

/// Everything that voids a finding: a citation of what is not in the evidence, a step that the
/// catalogue refuses, a step on something else than the target or what belongs to it.
fn problems(finding: &Finding, evidence: &Evidence, target: &TargetRef) -> Vec<String> {
    let mut problems = vec![];
    let mut citable = evidence.objects();
    citable.insert(format!("{}/{}", target.kind, target.name));
    for cited in &finding.evidence {
        if !citable.contains(&cited.object) {
            problems.push(format!("{} is cited but is not in the evidence", cited.object));
        }
    }
    for step in &finding.steps {
        if let Err(refused) = catalogue::check(step) {
            problems.extend(refused.iter().map(|problem| format!("step {}: {problem}", step.name)));
        }
        if !belongs(evidence, target, step) {
            problems.push(format!("step {}: {} does not belong to {target}", step.name, step.target));
        }
    }
    problems
}

fn belongs(evidence: &Evidence, target: &TargetRef, step: &Step) -> bool {
    let same = |a: &TargetRef, b: &TargetRef| a.kind == b.kind && a.namespace == b.namespace && a.name == b.name;
    same(&step.target, target) || evidence.may_change(target, &step.target)
}
