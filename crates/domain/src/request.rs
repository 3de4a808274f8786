//! The decision about a RemediationRequest: which stage is next, and how it ends.
//!
//! It orchestrates: it makes the RemediationProcessing, the AIAnalysis and the WorkflowExecution, each
//! owned by the one before. Deliberately absent: how any of them does its work.

mod children;
mod end;
mod hold;
mod verify;

use kubernaut_api::meta::Phase;
use kubernaut_api::request::{RemediationRequestStatus, RequestPhase};
use kubernaut_api::workflow::StepStatus;
use kubernaut_api::{
    AIAnalysis, AnalysisPhase, EventReason, MicroTime, Outcome, ProcessingPhase, RemediationProcessing,
    RemediationRequest, TargetRef, WorkflowExecution, WorkflowPhase,
};

pub(crate) use children::{child_of, owned_by};
pub use end::{is_given_up, is_over};
pub use hold::{Neighbours, Working};

use crate::analysis::APPROVAL_EXPIRED;
use crate::drift::DRIFTED;
use crate::execution::ROLLED_BACK;
use crate::health::Health;
use crate::settings::{Limits, Settings};
use crate::stage::{Next, Notice, Why, after, enter, passed};
use crate::{notices, plan};
use end::{end, runs, time_out};
use hold::Gate;
use verify::{settled_at, verify};

/// Everything the decision depends on.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The request.
    pub request: RemediationRequest,
    /// Its processing, if it exists.
    pub processing: Option<RemediationProcessing>,
    /// Its analysis, if it exists.
    pub analysis: Option<AIAnalysis>,
    /// Its workflow, if it exists.
    pub workflow: Option<WorkflowExecution>,
    /// Name of a child that exists and that somebody else made.
    pub collision: Option<String>,
    /// Health of the target; looked at while the request is executing or verifying.
    pub health: Option<Health>,
    /// How somebody else has changed the target since our last effect, in words.
    pub drift: Option<String>,
    /// What else there is, as far as it can hold the request back.
    pub neighbours: Neighbours,
    /// Settings.
    pub settings: Settings,
    /// The time.
    pub now: MicroTime,
}

/// Everything the decision wants done.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The status to write.
    pub status: RemediationRequestStatus,
    /// The child to make after that, unless it exists.
    pub child: Option<Child>,
    /// True when the request has been kept long enough: delete it, and with it all that it owns.
    pub delete: bool,
    /// Kubernetes Events to publish.
    pub notices: Vec<Notice>,
    /// When to look again.
    pub next: Next,
}

/// A child of the pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    /// Collects the evidence.
    Processing(Box<RemediationProcessing>),
    /// Finds the cause.
    Analysis(Box<AIAnalysis>),
    /// Executes the plan.
    Workflow(Box<WorkflowExecution>),
}

/// Decides what a request needs next.
pub fn decide(seen: &Seen) -> Plan {
    let mut status = seen.request.status.clone().unwrap_or_default();
    status.observed_generation = seen.request.metadata.generation;
    let recorded = status.transitions.len();
    let held = status.block_reason;
    let limits = seen.settings.limits.with(seen.request.spec.timeouts.as_ref());

    let child = match status.phase {
        Some(phase) if phase.is_terminal() => None,
        _ if seen.request.spec.cancelled && !runs(seen) => {
            end(
                &mut status,
                RequestPhase::Cancelled,
                None,
                seen,
                Why::new("CancelledByUser", "spec.cancelled was set"),
            );
            None
        }
        Some(phase)
            if passed(status.phase_deadline.as_ref(), &seen.now) || passed(status.deadline.as_ref(), &seen.now) =>
        {
            time_out(&mut status, phase, seen);
            None
        }
        Some(_) if seen.collision.is_some() => {
            let name = seen.collision.clone().unwrap_or_default();
            let why = Why::new("NameCollision", format!("{name} exists and belongs to somebody else"));
            end(&mut status, RequestPhase::Failed, Some(Outcome::ManualReviewRequired), seen, why);
            None
        }
        Some(phase) => proceed(&mut status, phase, seen, &limits),
        None => begin(&mut status, seen, &limits),
    };

    let ended = status.phase.is_some_and(Phase::is_terminal);
    let settles = status.healthy_since.as_ref().map(|since| settled_at(since, &status, seen));
    let kept_until = status.completed_at.as_ref().map(|end| after(end, seen.settings.retention));
    let delete = ended && passed(kept_until.as_ref(), &seen.now);
    let next = match (ended, delete) {
        (true, true) => Next::OnChange,
        (true, false) => Next::earliest([kept_until.as_ref()]),
        (false, _) => Next::earliest([
            status.deadline.as_ref(),
            status.phase_deadline.as_ref(),
            settles.as_ref(),
            status.next_attempt_at.as_ref(),
        ]),
    };
    let mut notices = notices::of_request(&status.transitions[recorded..], status.outcome);
    // Held back for another reason than before: news, although the phase is the same.
    if held.is_some() && status.block_reason.is_some() && status.block_reason != held {
        let note = format!(
            "{}: {}",
            status.reason.as_deref().unwrap_or_default(),
            status.message.as_deref().unwrap_or_default()
        );
        notices.push(Notice { warning: true, reason: EventReason::Blocked, note });
    }
    Plan { status, child, delete, notices, next }
}

fn begin(status: &mut RemediationRequestStatus, seen: &Seen, limits: &Limits) -> Option<Child> {
    let now = &seen.now;
    enter(status, RequestPhase::Pending, now, Why::new("Received", format!("alert {}", seen.request.spec.signal.name)));
    status.deadline = Some(after(now, limits.request));
    let Some(target) = seen.request.spec.target.clone() else {
        let why = Why::new("TargetUnresolved", "the alert names no object that exists: a person has to look");
        end(status, RequestPhase::Completed, Some(Outcome::ManualReviewRequired), seen, why);
        return None;
    };
    start(status, target, seen, limits)
}

/// Begins, unless something holds the request back.
fn start(status: &mut RemediationRequestStatus, target: TargetRef, seen: &Seen, limits: &Limits) -> Option<Child> {
    match hold::before_start(status, &target, seen) {
        Gate::Open { ask_person } => {
            status.ask_person = ask_person;
            Some(collect(status, target, seen, limits))
        }
        Gate::Held(held) => {
            hold::block(status, held, seen);
            None
        }
        Gate::Over | Gate::Settled { .. } => {
            resolved(status, seen);
            None
        }
    }
}

fn resolved(status: &mut RemediationRequestStatus, seen: &Seen) {
    let why = Why::new("AlertResolved", "the alert was resolved before anything was done");
    end(status, RequestPhase::Cancelled, None, seen, why);
}

fn collect(status: &mut RemediationRequestStatus, target: TargetRef, seen: &Seen, limits: &Limits) -> Child {
    let why = Why::new("TargetResolved", format!("collecting evidence about {target}"));
    hold::release(status);
    enter(status, RequestPhase::Processing, &seen.now, why);
    // One limit for each of its two phases, and some time for the hand-over.
    status.phase_deadline = Some(after(&seen.now, limits.processing * 2));
    let child = children::processing(&seen.request, target, limits);
    status.processing_name.clone_from(&child.metadata.name);
    Child::Processing(Box::new(child))
}

fn proceed(status: &mut RemediationRequestStatus, phase: RequestPhase, seen: &Seen, limits: &Limits) -> Option<Child> {
    match phase {
        RequestPhase::Processing
        | RequestPhase::Analyzing
        | RequestPhase::AwaitingApproval
        | RequestPhase::Pending
        | RequestPhase::Blocked
            if hold::is_resolved(status) =>
        {
            resolved(status, seen);
            None
        }
        RequestPhase::Processing => after_processing(status, seen, limits),
        // Held back before it began, or before its plan is executed.
        RequestPhase::Pending | RequestPhase::Blocked if status.analysis_name.is_none() => {
            start(status, seen.request.spec.target.clone()?, seen, limits)
        }
        RequestPhase::Analyzing | RequestPhase::AwaitingApproval | RequestPhase::Pending | RequestPhase::Blocked => {
            after_analysis(status, phase, seen, limits)
        }
        RequestPhase::Executing => after_workflow(status, seen, limits),
        RequestPhase::Verifying => verify(status, seen),
        RequestPhase::Completed | RequestPhase::Failed | RequestPhase::TimedOut | RequestPhase::Cancelled => None,
    }
}

fn after_processing(status: &mut RemediationRequestStatus, seen: &Seen, limits: &Limits) -> Option<Child> {
    let target = seen.request.spec.target.clone()?;
    let Some(processing) = &seen.processing else {
        return Some(Child::Processing(Box::new(children::processing(&seen.request, target, limits))));
    };
    let result = processing.status.clone().unwrap_or_default();
    match result.phase {
        Some(ProcessingPhase::Completed) => {
            let message = result.classification.map_or_else(String::new, |class| {
                format!("{} {} of severity {}", class.priority, class.signal_type, class.severity)
            });
            enter(status, RequestPhase::Analyzing, &seen.now, Why::new("EvidenceCollected", message));
            status.phase_deadline = Some(after(&seen.now, limits.analysis));
            let child = children::analysis(&seen.request, processing, target, limits);
            status.analysis_name.clone_from(&child.metadata.name);
            Some(Child::Analysis(Box::new(child)))
        }
        Some(ProcessingPhase::Failed) => {
            let why = Why::new(
                result.reason.unwrap_or_else(|| "ProcessingFailed".into()),
                result.message.unwrap_or_else(|| "the evidence could not be collected".into()),
            );
            end(status, RequestPhase::Failed, None, seen, why);
            None
        }
        _ => None,
    }
}

fn after_analysis(
    status: &mut RemediationRequestStatus,
    phase: RequestPhase,
    seen: &Seen,
    limits: &Limits,
) -> Option<Child> {
    let Some(analysis) = &seen.analysis else {
        let (target, processing) = (seen.request.spec.target.clone()?, seen.processing.as_ref()?);
        return Some(Child::Analysis(Box::new(children::analysis(&seen.request, processing, target, limits))));
    };
    let result = analysis.status.clone().unwrap_or_default();
    let why = |default: &str| {
        Why::new(result.reason.clone().unwrap_or_else(|| default.into()), result.message.clone().unwrap_or_default())
    };
    match (result.phase, &result.plan) {
        (Some(AnalysisPhase::Completed), Some(plan)) => match hold::before_execution(status, &plan.steps, seen) {
            Gate::Open { .. } => return execute(status, phase, analysis, seen, limits),
            Gate::Held(held) => {
                status.touches = hold::touches(seen, &plan.steps);
                hold::block(status, held, seen);
            }
            Gate::Settled { by } => {
                let message = format!("{by} has mended what this plan would have: waiting until the target is well");
                hold::release(status);
                enter(status, RequestPhase::Verifying, &seen.now, Why::new("MendedByOther", message));
                status.phase_deadline = Some(after(&seen.now, limits.verification));
                verify(status, seen);
            }
            Gate::Over => resolved(status, seen),
        },
        (Some(AnalysisPhase::Completed), None) => {
            end(status, RequestPhase::Completed, Some(Outcome::NoActionRequired), seen, why("NothingWrong"));
        }
        (Some(AnalysisPhase::Rejected), _) if result.reason.as_deref() == Some(APPROVAL_EXPIRED) => {
            end(status, RequestPhase::TimedOut, Some(Outcome::ManualReviewRequired), seen, why(APPROVAL_EXPIRED));
        }
        (Some(AnalysisPhase::Rejected), _) => {
            end(status, RequestPhase::Completed, Some(Outcome::ManualReviewRequired), seen, why("PlanRejected"));
        }
        (Some(AnalysisPhase::Failed), _) => {
            end(status, RequestPhase::Failed, Some(Outcome::ManualReviewRequired), seen, why("AnalysisFailed"));
        }
        (Some(AnalysisPhase::Approval), _) if phase == RequestPhase::Analyzing => {
            enter(status, RequestPhase::AwaitingApproval, &seen.now, why("ApprovalRequired"));
            // The analysis gives the question up first; this is for the case that it cannot.
            status.phase_deadline = result.phase_deadline.as_ref().map(|expiry| after(expiry, GRACE));
        }
        _ => {}
    }
    None
}

/// Executes the plan.
fn execute(
    status: &mut RemediationRequestStatus,
    phase: RequestPhase,
    analysis: &AIAnalysis,
    seen: &Seen,
    limits: &Limits,
) -> Option<Child> {
    let child = children::workflow(seen, analysis, limits)?;
    let steps: Vec<_> = child.spec.steps.iter().map(plan::sentence).collect();
    let reason = match phase {
        RequestPhase::AwaitingApproval => "Approved",
        RequestPhase::Blocked => "Unblocked",
        _ => "PlanAccepted",
    };
    hold::release(status);
    enter(status, RequestPhase::Executing, &seen.now, Why::new(reason, steps.join("; ")));
    status.phase_deadline = Some(after(&seen.now, limits.execution + GRACE));
    status.workflow_name.clone_from(&child.metadata.name);
    status.touches = hold::touches(seen, &child.spec.steps);
    Some(Child::Workflow(Box::new(child)))
}

/// Time that a stage has to say itself that its limit has passed, before the request says it.
const GRACE: std::time::Duration = std::time::Duration::from_secs(30);

fn after_workflow(status: &mut RemediationRequestStatus, seen: &Seen, limits: &Limits) -> Option<Child> {
    let Some(workflow) = &seen.workflow else {
        return Some(Child::Workflow(Box::new(children::workflow(seen, seen.analysis.as_ref()?, limits)?)));
    };
    let result = workflow.status.clone().unwrap_or_default();
    let message = result.message.unwrap_or_default();
    if workflow.spec.dry_run && result.phase.is_some_and(Phase::is_terminal) {
        let line = |step: &StepStatus| Why::new("", format!("{}: {}", step.name, step.message)).message().to_owned();
        status.would_have_done = result.steps.iter().map(line).collect();
    }
    match result.phase {
        Some(WorkflowPhase::Completed) if workflow.spec.dry_run => {
            let why = Why::new("DryRun", "nothing was changed");
            end(status, RequestPhase::Completed, Some(Outcome::DryRun), seen, why);
        }
        Some(WorkflowPhase::Completed) => {
            enter(status, RequestPhase::Verifying, &seen.now, Why::new("WorkflowCompleted", message));
            status.phase_deadline = Some(after(&seen.now, limits.verification));
            verify(status, seen);
        }
        Some(WorkflowPhase::Failed) if result.reason.as_deref() == Some(ROLLED_BACK) => {
            end(status, RequestPhase::Completed, Some(Outcome::RolledBack), seen, Why::new(ROLLED_BACK, message));
        }
        Some(WorkflowPhase::Failed) if result.reason.as_deref() == Some(DRIFTED) => {
            end(status, RequestPhase::Completed, Some(Outcome::Inconclusive), seen, Why::new(DRIFTED, message));
        }
        Some(WorkflowPhase::Failed) => {
            let why = Why::new(result.reason.unwrap_or_else(|| "WorkflowFailed".into()), message);
            end(status, RequestPhase::Failed, Some(Outcome::ManualReviewRequired), seen, why);
        }
        // Undoing has a limit of its own.
        Some(WorkflowPhase::RollingBack) => {
            let ends = result.phase_deadline.as_ref().map(|deadline| after(deadline, GRACE));
            // What is being undone is seen to its end: nobody else begins meanwhile.
            status.deadline = status.deadline.take().max(ends.clone());
            status.phase_deadline = ends.max(status.phase_deadline.take());
        }
        Some(WorkflowPhase::Cancelled) => {
            let why = if seen.request.spec.cancelled || !hold::is_resolved(status) {
                Why::new(result.reason.unwrap_or_else(|| "CancelledByUser".into()), message)
            } else {
                Why::new("AlertResolved", format!("the alert was resolved, so that no further step began: {message}"))
            };
            end(status, RequestPhase::Cancelled, None, seen, why);
        }
        _ => {}
    }
    None
}
