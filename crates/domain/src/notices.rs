//! Which transitions are Kubernetes Events, and under which reason. Pure, one table a kind.
//!
//! A transition whose reason is itself the name of an [`EventReason`] of its stage is published under it; the
//! tables name the rest. Deliberately absent: news of what goes as it should, but for a request's beginning and end.

use kubernaut_api::processing::RemediationProcessingStatus;
use kubernaut_api::{EventReason, Outcome, Transition};

use crate::stage::Notice;

/// The Events of a request's new transitions.
pub fn of_request(new: &[Transition], outcome: Option<Outcome>) -> Vec<Notice> {
    let mut notices = publish("remediation", new, |to, _| find("remediation", to));
    if let Some(outcome) = outcome {
        for notice in notices.iter_mut().filter(|notice| notice.reason == EventReason::Completed) {
            notice.note = format!("{outcome:?}, {}", notice.note);
        }
    }
    notices
}

/// The Events of a processing's new transitions, and of what it found.
pub fn of_processing(status: &RemediationProcessingStatus, new: &[Transition]) -> Vec<Notice> {
    let mut notices = publish("processing", new, |to, reason| match (to, reason) {
        ("Failed", "EnrichingTimedOut") => Some(EventReason::ProcessingTimedOut),
        ("Failed", "RequestEnded") => Some(EventReason::ProcessingCancelled),
        ("Failed", _) => Some(EventReason::ProcessingFailed),
        _ => None,
    });
    if new.is_empty() {
        return notices;
    }
    if !status.degraded.is_empty() {
        notices.push(warning(EventReason::EvidenceDegraded, format!("missing: {}", status.degraded.join(", "))));
    }
    if let Some(class) = status.classification.as_ref().filter(|class| class.priority == "P0") {
        let note = format!("P0: {} of severity {} in {}", class.signal_type, class.severity, class.environment);
        notices.push(warning(EventReason::UrgentSignal, note));
    }
    notices
}

/// The Events of an analysis' new transitions.
pub fn of_analysis(new: &[Transition]) -> Vec<Notice> {
    publish("analysis", new, |to, reason| match (to, reason) {
        ("Completed", "Approved") => Some(EventReason::PlanApproved),
        ("Rejected", _) => Some(EventReason::PlanRejected),
        ("Failed", "AnalyzingTimedOut") => Some(EventReason::AnalysisTimedOut),
        ("Failed", "RequestEnded") => Some(EventReason::AnalysisCancelled),
        ("Failed", _) => Some(EventReason::AnalysisFailed),
        _ => None,
    })
}

/// The Events of a workflow's new transitions.
pub fn of_workflow(new: &[Transition]) -> Vec<Notice> {
    publish("workflow", new, |to, reason| match (to, reason) {
        // Of a workflow that a person made by hand.
        ("Validating", "ApprovalRequired") => Some(EventReason::ApprovalRequired),
        ("Executing", "Approved") => Some(EventReason::PlanApproved),
        ("Failed", "RejectedByPerson") => Some(EventReason::PlanRejected),
        ("Failed", "ApprovalExpired") => Some(EventReason::ApprovalExpired),
        ("RollingBack", _) => Some(EventReason::UndoStarted),
        ("Cancelled", _) => Some(EventReason::WorkflowCancelled),
        (
            "Failed",
            "InvalidPlan" | "PlanChanged" | "InvalidSteps" | "InvalidParameters" | "WorkflowNotFound"
            | "WorkflowInvalid" | "OutOfScope",
        ) => Some(EventReason::WorkflowRefused),
        ("Failed", "RolledBack") => Some(EventReason::WorkflowUndone),
        ("Failed", "RollbackIncomplete") => Some(EventReason::UndoIncomplete),
        ("Failed", "ExecutingTimedOut") => Some(EventReason::WorkflowTimedOut),
        ("Failed", _) => Some(EventReason::WorkflowFailed),
        _ => None,
    })
}

/// The Events of an execution's new transitions.
pub fn of_execution(new: &[Transition]) -> Vec<Notice> {
    let mut notices = publish("action", new, |to, reason| match (to, reason) {
        ("RollingBack", _) => Some(EventReason::NotHealthy),
        ("Cancelled", _) => Some(EventReason::ActionCancelled),
        ("Failed", "RolledBack") => Some(EventReason::ActionUndone),
        ("Failed", "RollbackFailed" | "VerifyingTimedOut") => Some(EventReason::UndoFailed),
        ("Failed", "ValidatingTimedOut" | "ExecutingTimedOut") => Some(EventReason::ActionTimedOut),
        ("Failed", "ResourceBusy" | "Budget" | "ProtectedNamespace" | "Unmanaged") => Some(EventReason::ActionHeld),
        ("Failed", _) => Some(EventReason::ActionFailed),
        _ => None,
    });
    // What fails before the Job is made was refused, whatever the action calls it.
    let refused = new.iter().any(|one| one.to == "Failed" && one.from.as_deref() == Some("Validating"));
    for notice in notices.iter_mut().filter(|notice| refused && notice.reason == EventReason::ActionFailed) {
        notice.reason = EventReason::RehearsalRefused;
    }
    notices
}

fn publish(stage: &str, new: &[Transition], otherwise: impl Fn(&str, &str) -> Option<EventReason>) -> Vec<Notice> {
    new.iter()
        .filter_map(|transition| {
            let reason = find(stage, &transition.reason).or_else(|| otherwise(&transition.to, &transition.reason))?;
            Some(Notice {
                warning: !matches!(reason, EventReason::Executing | EventReason::Completed | EventReason::PlanApproved),
                reason,
                note: format!("{}: {}", transition.reason, transition.message),
            })
        })
        .collect()
}

fn find(stage: &str, name: &str) -> Option<EventReason> {
    EventReason::ALL.iter().copied().find(|reason| reason.stage() == stage && reason.as_str() == name)
}

fn warning(reason: EventReason, note: String) -> Notice {
    Notice { warning: true, reason, note }
}

#[cfg(test)]
mod tests {
    use kubernaut_api::MicroTime;
    use kubernaut_api::processing::Classification;

    use super::*;

    fn step(from: &str, to: &str, reason: &str) -> Transition {
        Transition {
            seq: 1,
            from: Some(from.into()),
            to: to.into(),
            at: MicroTime(jiff::Timestamp::UNIX_EPOCH),
            reason: reason.into(),
            message: "words".into(),
        }
    }

    fn reasons(notices: &[Notice]) -> Vec<&'static str> {
        notices.iter().map(|notice| notice.reason.as_str()).collect()
    }

    #[test]
    fn a_request_tells_its_beginning_and_its_end_with_the_outcome() {
        let new = [step("Pending", "Processing", "TargetResolved"), step("Verifying", "Completed", "AlertResolved")];
        let notices = of_request(&new, Some(Outcome::Remediated));
        assert_eq!(reasons(&notices), ["Completed"]);
        assert_eq!(notices[0].note, "Remediated, AlertResolved: words");
        assert!(!notices[0].warning);
        assert_eq!(reasons(&of_request(&[step("Pending", "Blocked", "Cooldown")], None)), ["Blocked"]);
    }

    #[test]
    fn what_goes_as_it_should_is_silent() {
        assert!(of_analysis(&[step("Generating", "Completed", "BadRollout")]).is_empty());
        assert!(of_workflow(&[step("Executing", "Monitoring", "StepsCompleted")]).is_empty());
        assert!(of_execution(&[step("Verifying", "Completed", "TargetHealthy")]).is_empty());
        let class = Classification { priority: "P2".into(), ..Classification::default() };
        let status = RemediationProcessingStatus { classification: Some(class), ..Default::default() };
        assert!(of_processing(&status, &[step("Classifying", "Completed", "Classified")]).is_empty());
    }

    #[test]
    fn missing_evidence_and_the_highest_priority_are_told_once() {
        let class = Classification { priority: "P0".into(), ..Classification::default() };
        let status = RemediationProcessingStatus {
            classification: Some(class),
            degraded: vec!["logs: forbidden".into()],
            ..Default::default()
        };
        let new = [step("Classifying", "Completed", "Classified")];
        assert_eq!(reasons(&of_processing(&status, &new)), ["EvidenceDegraded", "UrgentSignal"]);
        assert!(of_processing(&status, &[]).is_empty());
    }

    #[test]
    fn every_failure_has_a_reason_of_its_stage() {
        for (to, reason, expect) in [
            ("Failed", "TargetNotFound", "TargetNotFound"),
            ("Failed", "EnrichingTimedOut", "ProcessingTimedOut"),
            ("Failed", "RequestEnded", "ProcessingCancelled"),
            ("Failed", "Anything", "ProcessingFailed"),
        ] {
            let status = RemediationProcessingStatus::default();
            assert_eq!(reasons(&of_processing(&status, &[step("Enriching", to, reason)])), [expect]);
        }
        for (to, reason, expect) in [
            ("Approval", "ApprovalRequired", "ApprovalRequired"),
            ("Completed", "Approved", "PlanApproved"),
            ("Rejected", "RejectedByPerson", "PlanRejected"),
            ("Rejected", "ApprovalExpired", "ApprovalExpired"),
            ("Rejected", "LowConfidence", "LowConfidence"),
            ("Rejected", "NoCauseFound", "NoCauseFound"),
            ("Rejected", "NoActionFits", "NoActionFits"),
            ("Rejected", "InvalidPlan", "InvalidPlan"),
            ("Failed", "AnalyzingTimedOut", "AnalysisTimedOut"),
            ("Failed", "RequestEnded", "AnalysisCancelled"),
            ("Failed", "EvidenceMissing", "AnalysisFailed"),
        ] {
            assert_eq!(reasons(&of_analysis(&[step("Analyzing", to, reason)])), [expect]);
        }
        for (to, reason, expect) in [
            ("Failed", "InvalidPlan", "WorkflowRefused"),
            ("Failed", "PlanChanged", "WorkflowRefused"),
            ("Failed", "OutOfScope", "WorkflowRefused"),
            ("Failed", "InvalidParameters", "WorkflowRefused"),
            ("Failed", "WorkflowNotFound", "WorkflowRefused"),
            ("Validating", "ApprovalRequired", "ApprovalRequired"),
            ("Executing", "Approved", "PlanApproved"),
            ("Failed", "RejectedByPerson", "PlanRejected"),
            ("Failed", "ApprovalExpired", "ApprovalExpired"),
            ("Failed", "StepFailed", "StepFailed"),
            ("RollingBack", "StepFailed", "StepFailed"),
            ("RollingBack", "Undoing", "UndoStarted"),
            ("Failed", "RolledBack", "WorkflowUndone"),
            ("Failed", "RollbackIncomplete", "UndoIncomplete"),
            ("Failed", "ExecutingTimedOut", "WorkflowTimedOut"),
            ("Failed", "Anything", "WorkflowFailed"),
            ("Cancelled", "RequestEnded", "WorkflowCancelled"),
        ] {
            assert_eq!(reasons(&of_workflow(&[step("Executing", to, reason)])), [expect]);
        }
        for (from, to, reason, expect) in [
            ("Validating", "Failed", "Forbidden", "RehearsalRefused"),
            ("Validating", "Failed", "ValidatingTimedOut", "ActionTimedOut"),
            ("Validating", "Failed", "Budget", "ActionHeld"),
            ("Executing", "Failed", "JobNotStarted", "JobNotStarted"),
            ("Executing", "Failed", "OutcomeUnknown", "OutcomeUnknown"),
            ("Executing", "Failed", "ExecutingTimedOut", "ActionTimedOut"),
            ("Executing", "Failed", "Conflict", "ActionFailed"),
            ("Verifying", "RollingBack", "VerifyingTimedOut", "NotHealthy"),
            ("Verifying", "Failed", "VerifyingTimedOut", "UndoFailed"),
            ("RollingBack", "Failed", "RolledBack", "ActionUndone"),
            ("RollingBack", "Failed", "RollbackFailed", "UndoFailed"),
            ("Validating", "Cancelled", "RequestEnded", "ActionCancelled"),
        ] {
            assert_eq!(reasons(&of_execution(&[step(from, to, reason)])), [expect], "{reason}");
        }
    }
}
