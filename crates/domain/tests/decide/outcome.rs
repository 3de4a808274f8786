//! Jobs that do not start, die, or vanish: what is known of the target decides, and nothing runs a second time.

use kubernaut_api::execution::{ActionResult, Effect, TargetMark};
use kubernaut_api::{ExecutionPhase, MicroTime};
use kubernaut_domain::execution::{JobPlan, JobSeen, Trace, may_retry};
use kubernaut_domain::health::Health;
use kubernaut_domain::stage::Next;
use serde_json::json;

use crate::execution::{advance, ended, result, walk};
use crate::given::{at, changed, job_ref, later, mark};

fn waiting(why: &str) -> JobSeen {
    JobSeen::Waiting { job: job_ref(), why: why.into(), start_before: Some(at(120)) }
}

/// Ended without a word; when it died, if that is known.
fn dead(died_at: Option<MicroTime>) -> JobSeen {
    JobSeen::Ended { job: job_ref(), result: None, message: "OOMKilled".into(), ran: true, died_at, held: true }
}

fn done() -> Trace {
    Trace::Done(ActionResult { before: [("revision".into(), json!(2))].into(), ..changed() })
}

#[test]
fn a_job_that_waits_is_recorded_and_looked_at_again_when_its_time_to_start_is_over() {
    let mut seen = walk(ExecutionPhase::Executing);
    seen.job = waiting("ImagePullBackOff: not found");
    seen.now = at(5);
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty(), "waiting is no transition, and no write of its own");
    assert_eq!((plan.job, plan.status.job), (JobPlan::Leave, Some(job_ref())));
    assert_eq!(plan.next, Next::At(at(150)));
}

#[test]
fn a_job_that_did_not_start_in_time_fails_with_the_reason_in_words_and_is_stopped() {
    for why in ["ImagePullBackOff: not found", "0/1 nodes are available", "exceeded quota: jobs"] {
        let mut seen = walk(ExecutionPhase::Executing);
        seen.job = waiting(why);
        seen.now = at(149);
        assert!(advance(&mut seen).1.is_empty());
        seen.now = at(150);
        let (plan, trail) = advance(&mut seen);
        assert_eq!(trail, ["Failed JobNotStarted"]);
        assert_eq!(plan.job, JobPlan::Stop);
        assert!(plan.status.message.is_some_and(|message| message.contains(why)));
        assert!(may_retry(&seen.execution), "nothing ran, and its runner refuses to begin later");
        seen.job = waiting(why);
        assert_eq!(advance(&mut seen).0.job, JobPlan::Stop, "stopping it failed the first time");
    }
}

#[test]
fn a_job_that_starts_at_the_last_moment_is_let_run() {
    let mut seen = walk(ExecutionPhase::Executing);
    seen.job = JobSeen::Running(job_ref());
    seen.now = at(200);
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty());
    assert_eq!((plan.job, plan.next), (JobPlan::Leave, Next::At(at(510))));
}

#[test]
fn a_job_that_sets_no_time_for_its_start_has_the_deadline_of_the_phase() {
    let mut seen = walk(ExecutionPhase::Executing);
    seen.job = JobSeen::Waiting { job: job_ref(), why: "no node".into(), start_before: None };
    seen.now = at(300);
    assert!(advance(&mut seen).1.is_empty());
}

#[test]
fn a_dead_job_whose_mark_the_target_bears_has_done_its_work() {
    for job in [dead(None), dead(Some(at(3))), JobSeen::Absent] {
        let mut seen = walk(ExecutionPhase::Executing);
        seen.job = JobSeen::Running(job_ref());
        advance(&mut seen);
        seen.job = job.clone();
        seen.trace = Some(done());
        let (plan, trail) = advance(&mut seen);
        assert_eq!(trail, ["Verifying ActionDone"], "{job:?}");
        let recorded = plan.status.result.expect("as if it had reported");
        assert_eq!(recorded.before.get("revision"), Some(&json!(2)), "it can be undone");
        assert!(recorded.message.contains("the target shows that it was done"), "{}", recorded.message);
        assert!(!may_retry(&seen.execution));
    }
}

#[test]
fn a_dead_job_that_changed_nothing_is_told_once_no_write_of_its_can_be_under_way() {
    for trace in [Trace::Untouched, Trace::Unmarked(mark(4))] {
        let mut seen = walk(ExecutionPhase::Executing);
        seen.execution.status.as_mut().expect("one").rehearsed_on = Some(mark(4));
        seen.job = dead(Some(at(20)));
        seen.trace = Some(trace);
        seen.now = at(21);
        let (plan, trail) = advance(&mut seen);
        assert!(trail.is_empty());
        assert_eq!((plan.job, plan.next), (JobPlan::Leave, Next::At(at(30))), "its pod is still needed");
        seen.now = at(30);
        let (plan, trail) = advance(&mut seen);
        assert_eq!(trail, ["Failed JobDied"]);
        assert_eq!(plan.job, JobPlan::Release);
        assert!(may_retry(&seen.execution));
    }
}

#[test]
fn whoever_cannot_be_shown_to_have_done_nothing_leaves_the_outcome_unknown() {
    let somebody = TargetMark { changed_by: Some("ke-other".into()), ..mark(5) };
    let table = [
        // The process may still be at it: nobody has seen it end.
        (dead(None), Some(Trace::Untouched)),
        (JobSeen::Absent, Some(Trace::Unmarked(mark(4)))),
        // The target was changed since the rehearsal, by whomever.
        (dead(Some(at(1))), Some(Trace::Unmarked(mark(5)))),
        (dead(Some(at(1))), Some(Trace::Unmarked(somebody))),
        (dead(Some(at(1))), Some(Trace::Unmarked(TargetMark::default()))),
        (dead(Some(at(1))), Some(Trace::Unclear("no mark can tell".into()))),
        (dead(Some(at(1))), None),
    ];
    for (job, trace) in table {
        let mut seen = walk(ExecutionPhase::Executing);
        seen.execution.status.as_mut().expect("one").rehearsed_on = Some(mark(4));
        seen.job = JobSeen::Running(job_ref());
        advance(&mut seen);
        seen.job = job.clone();
        seen.trace.clone_from(&trace);
        seen.now = at(400);
        assert_eq!(advance(&mut seen).1, ["Failed OutcomeUnknown"], "{job:?} {trace:?}");
        assert!(!may_retry(&seen.execution));
        let (plan, _) = advance(&mut seen);
        assert!(!matches!(plan.job, JobPlan::Create(_)), "never run again blindly");
    }
}

#[test]
fn a_dry_run_whose_job_died_changed_nothing() {
    let mut seen = walk(ExecutionPhase::Executing);
    seen.execution.spec.dry_run = true;
    seen.job = dead(None);
    assert_eq!(advance(&mut seen).1, ["Failed JobDied"]);
}

#[test]
fn an_answer_that_came_too_late_for_the_runner_is_found_on_the_target() {
    let mut seen = walk(ExecutionPhase::Executing);
    seen.job = ended(Some(result(Effect::Unknown, Some("Timeout"))));
    seen.trace = Some(done());
    assert_eq!(advance(&mut seen).1, ["Verifying ActionDone"]);
    assert_eq!(
        seen.execution.status.and_then(|status| status.result).map(|result| result.effect),
        Some(Effect::Changed)
    );
}

#[test]
fn an_undoing_job_that_does_not_start_in_time_is_stopped_and_a_person_has_to_look() {
    let mut seen = walk(ExecutionPhase::Verifying);
    let status = seen.execution.status.as_mut().expect("one");
    status.result.as_mut().expect("a result").before = [("revision".into(), json!(2))].into();
    seen.now = later(status.phase_deadline.as_ref().expect("a deadline"), 1);
    seen.job = JobSeen::Absent;
    seen.health = Some(Health::Unhealthy("0 of 1 replicas".into()));
    assert_eq!(advance(&mut seen).1, ["RollingBack VerifyingTimedOut"]);
    let start_before = later(&seen.now, 120);
    seen.job = JobSeen::Waiting { job: job_ref(), why: "no node".into(), start_before: Some(start_before) };
    assert!(advance(&mut seen).1.is_empty());
    seen.now = later(&seen.now, 150);
    let (plan, trail) = advance(&mut seen);
    assert_eq!((trail, plan.job), (vec!["Failed RollbackFailed".to_owned()], JobPlan::Stop));
}

#[test]
fn what_somebody_else_changed_after_the_effect_is_not_undone_over_their_change() {
    for (live, expect) in [
        (Some(mark(5)), "RollingBack VerifyingTimedOut"),
        (Some(TargetMark { spec_hash: mark(5).spec_hash, ..mark(6) }), "RollingBack VerifyingTimedOut"),
        (None, "RollingBack VerifyingTimedOut"),
        (Some(mark(6)), "Failed TargetDrifted"),
    ] {
        let mut seen = walk(ExecutionPhase::Verifying);
        let status = seen.execution.status.as_mut().expect("one");
        let result = status.result.as_mut().expect("a result");
        (result.before, result.target) = ([("revision".into(), json!(2))].into(), Some(mark(5)));
        seen.now = later(status.phase_deadline.as_ref().expect("a deadline"), 1);
        seen.job = JobSeen::Absent;
        seen.health = Some(Health::Unhealthy("0 of 1 replicas".into()));
        seen.live.clone_from(&live);
        assert_eq!(advance(&mut seen).1, [expect], "{live:?}");
    }
}

#[test]
fn a_drifted_target_that_is_healthy_ends_the_step_and_the_request_judges() {
    let mut seen = walk(ExecutionPhase::Verifying);
    seen.execution.status.as_mut().expect("one").result.as_mut().expect("a result").target = Some(mark(5));
    seen.live = Some(mark(6));
    seen.health = Some(Health::Healthy);
    assert_eq!(advance(&mut seen).1, ["Completed TargetHealthy"]);
}

#[test]
fn what_settles_without_a_change_of_the_target_is_looked_at_again() {
    let mut seen = walk(ExecutionPhase::Verifying);
    seen.health = Some(Health::Unhealthy("container app was restarted".into()));
    seen.settles_at = Some(at(20));
    seen.now = at(3);
    assert_eq!(advance(&mut seen).0.next, Next::At(at(20)));
}

#[test]
fn only_what_failed_before_it_ran_for_a_cause_that_may_pass_may_be_tried_again() {
    let table: &[(Option<Effect>, &str, bool, bool)] = &[
        // result, reason, a Job was recorded, may be tried again
        (None, "JobNotStarted", true, true),
        (None, "JobDied", true, true),
        (None, "ValidatingTimedOut", false, true),
        (None, "ApiUnreachable", false, true),
        (None, "ExecutingTimedOut", false, true),
        (None, "ExecutingTimedOut", true, false),
        (None, "OutcomeUnknown", true, false),
        (None, "NameCollision", false, false),
        (None, "InvalidStep", false, false),
        (None, "BlastRadiusExceeded", false, false),
        (None, "Forbidden", false, false),
        (Some(Effect::None), "Conflict", true, true),
        (Some(Effect::None), "TooManyRequests", true, true),
        (Some(Effect::None), "StartedTooLate", true, true),
        (Some(Effect::None), "TargetReplaced", true, false),
        (Some(Effect::Unknown), "OutcomeUnknown", true, false),
        (Some(Effect::Changed), "VerifyingTimedOut", true, false),
        (Some(Effect::Changed), "RolledBack", true, false),
        (Some(Effect::Changed), "TargetDrifted", true, false),
    ];
    for (effect, reason, job, expect) in table {
        let mut execution = walk(ExecutionPhase::Executing).execution;
        let status = execution.status.as_mut().expect("one");
        (status.phase, status.reason) = (Some(ExecutionPhase::Failed), Some((*reason).to_owned()));
        status.job = job.then(job_ref);
        status.result = effect.map(|effect| result(effect, None));
        assert_eq!(may_retry(&execution), *expect, "{effect:?} {reason}");
    }
    assert!(!may_retry(&walk(ExecutionPhase::Executing).execution), "it has not failed");
}

#[test]
fn a_step_is_not_undone_over_somebody_elses_change() {
    let own = |name: &str, generation: i64| TargetMark { changed_by: Some(name.into()), ..mark(generation) };
    let undone = "ke-rr-0123456789ab-1-first";
    for (now, expect) in [
        (own(undone, 5), "Executing RehearsalPassed"),
        // An autoscaler has raised its replicas.
        (TargetMark { spec_hash: mark(5).spec_hash, ..own(undone, 6) }, "Executing RehearsalPassed"),
        // A later step of the same request, undone before.
        (own("ke-rr-0123456789ab-1-second", 7), "Executing RehearsalPassed"),
        (own(undone, 6), "Failed TargetDrifted"),
        (own("ke-rr-other-1-x", 6), "Failed TargetDrifted"),
    ] {
        let mut seen = crate::execution::begun();
        seen.execution.spec.undoes = Some(undone.into());
        seen.left = Some(own(undone, 5));
        seen.rehearsal = Some(ActionResult { target: Some(now.clone()), ..changed() });
        assert_eq!(advance(&mut seen).1.last().map(String::as_str), Some(expect), "{now:?}");
    }
}
