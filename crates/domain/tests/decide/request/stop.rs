//! What ends a request from outside: cancelling, the alert, the clock.

use kubernaut_api::Phase as _;

use super::*;

#[test]
fn a_cancelled_request_ends_in_every_phase_in_which_no_workflow_runs() {
    let mut seen = begun();
    seen.request.spec.cancelled = true;
    assert_eq!(advance(&mut seen).1, ["Cancelled CancelledByUser"]);
    for from in BEFORE_EXECUTION.into_iter().chain([RequestPhase::Verifying]) {
        check(from, |seen| seen.request.spec.cancelled = true, &["Cancelled CancelledByUser"], None);
    }
    let no_workflow = |seen: &mut Seen| {
        seen.request.spec.cancelled = true;
        seen.workflow = None;
    };
    check(RequestPhase::Executing, no_workflow, &["Cancelled CancelledByUser"], None);
}

#[test]
fn a_cancelled_request_waits_for_its_running_workflow_to_end() {
    for phase in [None, Some(WorkflowPhase::Executing), Some(WorkflowPhase::Monitoring)] {
        let change = |seen: &mut Seen| {
            seen.request.spec.cancelled = true;
            if let Some(phase) = phase {
                work(seen, phase);
            }
        };
        check(RequestPhase::Executing, change, &[], None);
    }
    for phase in [WorkflowPhase::Completed, WorkflowPhase::Failed, WorkflowPhase::Cancelled] {
        let change = |seen: &mut Seen| {
            seen.request.spec.cancelled = true;
            work(seen, phase);
        };
        check(RequestPhase::Executing, change, &["Cancelled CancelledByUser"], None);
    }
}

#[test]
fn a_resolved_alert_cancels_a_request_before_anything_was_done() {
    for from in BEFORE_EXECUTION {
        check(from, resolve, &["Cancelled AlertResolved"], None);
    }
}

#[test]
fn a_resolved_alert_lets_no_further_step_of_a_workflow_begin_and_what_runs_end() {
    let running = |seen: &mut Seen| {
        resolve(seen);
        work(seen, WorkflowPhase::Executing);
    };
    assert!(is_over(&check(RequestPhase::Executing, running, &[], None).request));
    let stopped = |seen: &mut Seen| {
        resolve(seen);
        work(seen, WorkflowPhase::Cancelled);
    };
    check(RequestPhase::Executing, stopped, &["Cancelled AlertResolved"], None);
    // All steps had begun: whether they helped is seen as always.
    let done = |seen: &mut Seen| {
        resolve(seen);
        work(seen, WorkflowPhase::Completed);
    };
    assert!(!is_over(&check(RequestPhase::Executing, done, &["Verifying WorkflowCompleted"], None).request));
}

#[test]
fn a_request_is_over_when_it_has_ended_or_was_cancelled_or_is_deleted() {
    let fresh = begun().request;
    assert!(!is_over(&fresh));
    let mut cancelled = fresh.clone();
    cancelled.spec.cancelled = true;
    let mut deleted = fresh;
    deleted.metadata.deletion_timestamp = Some(kubernaut_api::Time(crate::given::at(1).0));
    assert!(is_over(&cancelled) && is_over(&deleted));
    for phase in RequestPhase::ALL {
        let mut seen = begun();
        seen.request.status =
            Some(RemediationRequestStatus { phase: Some(*phase), ..RemediationRequestStatus::default() });
        assert_eq!(is_over(&seen.request), phase.is_terminal(), "{phase}");
    }
}

#[test]
fn a_resolved_alert_begins_nothing_more_and_gives_nothing_up() {
    let mut seen = begun();
    seen.request.status =
        Some(RemediationRequestStatus { phase: Some(RequestPhase::Executing), ..RemediationRequestStatus::default() });
    resolve(&mut seen);
    assert!(is_over(&seen.request) && !is_given_up(&seen.request));
    seen.request.spec.cancelled = true;
    assert!(is_given_up(&seen.request));
}

#[test]
fn each_phase_times_out_at_its_deadline_and_not_before() {
    let manual = Some(Outcome::ManualReviewRequired);
    let table = [
        (RequestPhase::Processing, "TimedOut ProcessingTimedOut", manual),
        (RequestPhase::Analyzing, "TimedOut AnalyzingTimedOut", manual),
        (RequestPhase::AwaitingApproval, "TimedOut AwaitingApprovalTimedOut", manual),
        (RequestPhase::Executing, "TimedOut ExecutingTimedOut", manual),
        (RequestPhase::Verifying, "TimedOut VerifyingTimedOut", Some(Outcome::Inconclusive)),
    ];
    for (from, expect, outcome) in table {
        let deadline = |seen: &Seen| seen.request.status.as_ref().and_then(|status| status.phase_deadline.clone());
        let seen = check(from, |seen| seen.now = deadline(seen).expect("a deadline"), &[expect], outcome);
        let message = seen.request.status.and_then(|status| status.message).unwrap_or_default();
        assert!(message.contains(&format!("the deadline of the phase passed in phase {from}")), "{message}");
        check(from, |seen| seen.now = crate::given::later(&deadline(seen).expect("a deadline"), -1), &[], None);
    }
}

#[test]
fn the_whole_request_times_out_in_any_phase() {
    let mut own = begun();
    own.request.spec.timeouts =
        Some(Timeouts { analysis: Some(std::time::Duration::from_hours(2).into()), ..Timeouts::default() });
    let mut seen = walk(own, RequestPhase::Analyzing);
    seen.now = at(3600 + 1);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["TimedOut AnalyzingTimedOut"]);
    assert_eq!(plan.status.message.as_deref(), Some("the deadline of the request passed in phase Analyzing"));
}

#[test]
fn the_limits_of_a_request_are_those_of_its_children() {
    let seconds = |count: u64| Some(std::time::Duration::from_secs(count).into());
    let mut own = begun();
    own.request.spec.timeouts = Some(Timeouts {
        request: seconds(1000),
        processing: seconds(10),
        analysis: seconds(20),
        approval: seconds(30),
        execution: seconds(40),
        verification: seconds(50),
    });
    let seen = walk(own, RequestPhase::Executing);
    let secs = |duration: kubernaut_api::Duration| std::time::Duration::from(duration).as_secs();
    assert_eq!(secs(seen.processing.expect("made").spec.timeout), 10);
    let analysis = seen.analysis.expect("made").spec;
    assert_eq!((secs(analysis.timeout), secs(analysis.approval_timeout)), (20, 30));
    assert_eq!(secs(seen.workflow.expect("made").spec.timeout), 40);
}

#[test]
fn an_ended_request_changes_nothing_whatever_is_seen() {
    let change = |seen: &mut Seen| seen.health = Some(Health::Gone);
    let mut seen = check(RequestPhase::Verifying, change, &["Completed TargetGone"], Some(Outcome::Inconclusive));
    seen.request.spec.cancelled = true;
    seen.collision = Some("x".into());
    seen.health = Some(Health::Healthy);
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty());
    assert_eq!((plan.child, plan.notices), (None, vec![]));
}

#[test]
fn an_ended_request_is_kept_a_day_and_then_deleted() {
    let change = |seen: &mut Seen| {
        seen.now = at(100);
        seen.health = Some(Health::Gone);
    };
    let mut seen = check(RequestPhase::Verifying, change, &["Completed TargetGone"], Some(Outcome::Inconclusive));
    let end = at(100 + DAY);
    for (now, delete, next) in [(at(100 + DAY - 1), false, Next::At(end.clone())), (end.clone(), true, Next::OnChange)]
    {
        seen.now = now;
        let (plan, trail) = advance(&mut seen);
        assert!(trail.is_empty());
        assert_eq!((plan.delete, plan.next), (delete, next));
    }
    let mut running = walk(begun(), RequestPhase::Executing);
    running.now = at(100);
    assert!(!advance(&mut running).0.delete);
}
