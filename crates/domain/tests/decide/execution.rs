//! The decision about a KubernetesExecution.

use kubernaut_api::execution::{ActionResult, Effect, JobRef};
use kubernaut_api::{ExecutionPhase, KubernetesExecution, PolicyDecision, PolicyRecord, ResourceExt, Staged};
use kubernaut_domain::blast::Reach;
use kubernaut_domain::execution::{JobPlan, JobSeen, Plan, Seen, decide, may_retry};
use kubernaut_domain::health::Health;
use kubernaut_domain::stage::Next;

use crate::given::{REQUEST, allowed, assert_sound, at, changed, job_ref, later, settings, step, trail};
use crate::workflow;

pub fn execution() -> KubernetesExecution {
    let mut workflow = workflow::begun(vec![step("rollback", &[])]);
    workflow::advance(&mut workflow);
    workflow.executions.remove(&format!("ke-{REQUEST}-rollback")).expect("it was started")
}

pub fn result(effect: Effect, error: Option<&str>) -> ActionResult {
    ActionResult { effect, error: error.map(Into::into), ..changed() }
}

/// What is seen of a new execution whose rehearsal went well.
pub fn begun() -> Seen {
    Seen {
        execution: execution(),
        request_over: false,
        policy: Some(allowed()),
        request_deadline: Some(at(1830)),
        rehearsal: Some(changed()),
        reach: Some(Reach::default()),
        left: None,
        script: None,
        ledger: vec![],
        unmanaged: None,
        job: JobSeen::Absent,
        trace: None,
        health: None,
        live: None,
        settles_at: None,
        settings: settings(),
        now: at(0),
    }
}

pub fn advance(seen: &mut Seen) -> (Plan, Vec<String>) {
    let plan = decide(seen);
    let after = assert_sound(&seen.execution, &plan.status, &seen.now, &plan.next);
    let trail = trail(&seen.execution, &after);
    seen.execution = after;
    (plan, trail)
}

pub fn ended(result: Option<ActionResult>) -> JobSeen {
    let message = "Failed DeadlineExceeded".into();
    JobSeen::Ended { job: job_ref(), result, message, ran: true, died_at: None, held: true }
}

/// An execution that has just entered a phase.
pub fn walk(to: ExecutionPhase) -> Seen {
    let mut seen = begun();
    if to == ExecutionPhase::Validating {
        seen.rehearsal = None;
    }
    advance(&mut seen);
    if to == ExecutionPhase::Verifying {
        seen.job = ended(Some(changed()));
        advance(&mut seen);
    }
    seen.rehearsal = None;
    assert_eq!(seen.execution.phase(), Some(to));
    seen
}

/// From a phase, with one thing changed: these transitions and this about the Job.
fn check(from: ExecutionPhase, change: impl Fn(&mut Seen), expect: &[&str], job: &JobPlan) -> Seen {
    let mut seen = walk(from);
    change(&mut seen);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, expect, "from {from}");
    assert_eq!(plan.job, *job, "from {from}");
    seen
}

fn makes_the_job(plan: &Plan) -> bool {
    matches!(&plan.job, JobPlan::Create(job) if job.name_any() == format!("ke-{REQUEST}-rollback"))
}

const VALIDATING: [&str; 2] = ["Pending Created", "Validating Rehearsing"];

#[test]
fn a_rehearsed_action_becomes_a_job_of_the_executions_name() {
    let mut seen = begun();
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, [VALIDATING[0], VALIDATING[1], "Executing RehearsalPassed"]);
    assert!(makes_the_job(&plan));
    assert_eq!(plan.status.rehearsal.as_deref(), Some("went back to revision 3"));
    assert_eq!(plan.status.job, None, "its uid is not known yet");
    // Two minutes to start, half a minute to be told of it, 300 s to run, and a minute to be seen ended.
    assert_eq!(plan.next, Next::At(at(510)));
}

#[test]
fn a_running_job_is_recorded_and_waited_for() {
    let change = |seen: &mut Seen| seen.job = JobSeen::Running(job_ref());
    let seen = check(ExecutionPhase::Executing, change, &[], &JobPlan::Leave);
    assert_eq!(seen.execution.status.and_then(|status| status.job), Some(job_ref()));
}

#[test]
fn an_effect_is_recorded_before_the_job_is_let_go_and_then_verified() {
    for effect in [Effect::Changed, Effect::Unchanged] {
        let change = |seen: &mut Seen| {
            seen.job = ended(Some(result(effect, None)));
            seen.now = at(10);
        };
        let seen = check(ExecutionPhase::Executing, change, &["Verifying ActionDone"], &JobPlan::Release);
        let status = seen.execution.status.expect("a status");
        assert_eq!(status.result.map(|result| result.effect), Some(effect));
        assert_eq!(
            (status.job, status.phase_deadline),
            (Some(job_ref()), Some(at(910))),
            "half of the workflow's limit"
        );
    }
}

#[test]
fn a_rehearsal_that_is_refused_fails_before_there_is_a_job() {
    let table = [
        (Effect::None, Some("Forbidden"), "Failed Forbidden"),
        (Effect::None, None, "Failed RehearsalFailed"),
        (Effect::Unknown, Some("Timeout"), "Failed Timeout"),
    ];
    for (effect, error, expect) in table {
        let change = |seen: &mut Seen| seen.rehearsal = Some(result(effect, error));
        check(ExecutionPhase::Validating, change, &[expect], &JobPlan::Leave);
    }
}

#[test]
fn a_rehearsal_that_would_change_nothing_is_run_nevertheless() {
    let mut seen = begun();
    seen.rehearsal = Some(result(Effect::Unchanged, None));
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail.last().map(String::as_str), Some("Executing RehearsalPassed"));
    assert!(makes_the_job(&plan));
}

#[test]
fn a_rehearsal_without_answer_times_out() {
    check(ExecutionPhase::Validating, |seen| seen.now = at(299), &[], &JobPlan::Leave);
    let late = |seen: &mut Seen| seen.now = at(300);
    check(ExecutionPhase::Validating, late, &["Failed ValidatingTimedOut"], &JobPlan::Leave);
}

#[test]
fn a_step_that_the_catalogue_refuses_fails_without_a_rehearsal() {
    let mut seen = begun();
    seen.execution.spec.parameters.clear();
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, [VALIDATING[0], VALIDATING[1], "Failed InvalidStep"]);
    assert_eq!((plan.job, plan.status.rehearsal), (JobPlan::Leave, None));
}

#[test]
fn nothing_starts_for_a_request_that_is_over() {
    let mut seen = begun();
    seen.request_over = true;
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Pending Created", "Cancelled RequestEnded"]);
    assert_eq!(plan.job, JobPlan::Leave);
    let over = |seen: &mut Seen| {
        seen.request_over = true;
        seen.rehearsal = Some(changed());
    };
    check(ExecutionPhase::Validating, over, &["Cancelled RequestEnded"], &JobPlan::Leave);
}

#[test]
fn a_job_that_was_not_made_yet_is_not_made_for_a_request_that_is_over() {
    let over = |seen: &mut Seen| seen.request_over = true;
    check(ExecutionPhase::Executing, over, &["Cancelled RequestEnded"], &JobPlan::Leave);
}

#[test]
fn a_job_that_runs_is_left_to_end_when_the_request_is_over() {
    let over = |seen: &mut Seen| {
        seen.request_over = true;
        seen.job = JobSeen::Running(job_ref());
    };
    let mut seen = check(ExecutionPhase::Executing, over, &[], &JobPlan::Leave);
    seen.job = ended(Some(changed()));
    assert_eq!(advance(&mut seen).1, ["Verifying ActionDone"]);
}

#[test]
fn a_job_that_cannot_be_looked_at_is_not_taken_for_absent() {
    for over in [false, true] {
        let unread = |seen: &mut Seen| {
            seen.job = JobSeen::Unread;
            seen.request_over = over;
            seen.now = at(100_000);
        };
        let seen = check(ExecutionPhase::Executing, unread, &["Failed OutcomeUnknown"], &JobPlan::Leave);
        assert!(!may_retry(&seen.execution), "it may have acted");
    }
}

#[test]
fn a_foreign_job_of_the_same_name_fails_the_execution() {
    let foreign = |seen: &mut Seen| seen.job = JobSeen::Foreign;
    check(ExecutionPhase::Executing, foreign, &["Failed NameCollision"], &JobPlan::Leave);
}

#[test]
fn a_job_that_is_absent_and_was_never_recorded_is_made_again_under_the_same_name() {
    let mut seen = walk(ExecutionPhase::Executing);
    seen.now = at(20);
    let before = seen.execution.status.clone();
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty() && makes_the_job(&plan));
    assert_eq!(Some(plan.status), before, "the deadline stays where it was");
}

#[test]
fn a_job_that_is_gone_after_it_was_recorded_is_never_made_again() {
    let mut seen = walk(ExecutionPhase::Executing);
    seen.job = JobSeen::Running(job_ref());
    advance(&mut seen);
    seen.job = JobSeen::Absent;
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Failed OutcomeUnknown"]);
    assert_eq!(plan.job, JobPlan::Leave);
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty());
    assert_eq!(plan.job, JobPlan::Leave);
}

#[test]
fn a_job_of_another_uid_than_the_recorded_one_is_not_ours() {
    let other = JobRef { uid: "uid-other".into(), ..job_ref() };
    let seen_as = [
        JobSeen::Running(other.clone()),
        JobSeen::Ended {
            job: other,
            result: Some(changed()),
            message: String::new(),
            ran: true,
            died_at: None,
            held: true,
        },
    ];
    for job in seen_as {
        let mut seen = walk(ExecutionPhase::Executing);
        seen.job = JobSeen::Running(job_ref());
        advance(&mut seen);
        seen.job = job;
        let (plan, trail) = advance(&mut seen);
        assert_eq!(trail, ["Failed OutcomeUnknown"]);
        assert_eq!((plan.status.job, plan.status.result), (Some(job_ref()), None));
    }
}

#[test]
fn a_job_that_could_not_be_made_in_time_is_given_up() {
    let late = |seen: &mut Seen| seen.now = at(510);
    check(ExecutionPhase::Executing, late, &["Failed ExecutingTimedOut"], &JobPlan::Leave);
}

#[test]
fn a_job_that_does_not_end_in_time_is_stopped() {
    let running = |second| {
        move |seen: &mut Seen| {
            seen.now = at(second);
            seen.job = JobSeen::Running(job_ref());
        }
    };
    check(ExecutionPhase::Executing, running(509), &[], &JobPlan::Leave);
    check(ExecutionPhase::Executing, running(510), &["Failed ExecutingTimedOut"], &JobPlan::Stop);
}

#[test]
fn a_job_that_should_be_stopped_is_stopped_even_when_the_first_attempt_was_lost() {
    let mut seen = walk(ExecutionPhase::Executing);
    seen.job = JobSeen::Running(job_ref());
    seen.now = at(510);
    assert_eq!(advance(&mut seen).0.job, JobPlan::Stop);
    seen.now = at(511);
    assert_eq!(advance(&mut seen).0.job, JobPlan::Stop, "it still runs");
    seen.job = JobSeen::Absent;
    assert_eq!(advance(&mut seen).0.job, JobPlan::Leave);
}

#[test]
fn a_result_that_comes_late_counts() {
    let late = |seen: &mut Seen| {
        seen.now = at(1000);
        seen.job = ended(Some(changed()));
    };
    check(ExecutionPhase::Executing, late, &["Verifying ActionDone"], &JobPlan::Release);
}

#[test]
fn a_job_that_ended_without_a_result_is_told_apart_by_whether_it_ran() {
    for (ran, expect) in [(true, "Failed OutcomeUnknown"), (false, "Failed JobNotStarted")] {
        let change = |seen: &mut Seen| {
            let JobSeen::Ended { job, result, message, died_at, held, .. } = ended(None) else { return };
            seen.job = JobSeen::Ended { job, result, message, ran, died_at, held };
        };
        let seen = check(ExecutionPhase::Executing, change, &[expect], &JobPlan::Release);
        let message = seen.execution.status.and_then(|status| status.message).unwrap_or_default();
        assert!(message.contains("Failed DeadlineExceeded"), "{message}");
    }
}

#[test]
fn an_action_that_failed_before_it_changed_anything_is_told_from_one_that_failed_on_the_way() {
    let table = [
        (Effect::None, Some("Paused"), "Failed Paused"),
        (Effect::None, None, "Failed ActionFailed"),
        (Effect::Unknown, Some("Timeout"), "Failed OutcomeUnknown"),
    ];
    for (effect, error, expect) in table {
        let change = |seen: &mut Seen| seen.job = ended(Some(result(effect, error)));
        check(ExecutionPhase::Executing, change, &[expect], &JobPlan::Release);
    }
}

#[test]
fn a_dry_run_is_done_when_its_job_is() {
    for effect in [Effect::Changed, Effect::Unchanged] {
        let change = |seen: &mut Seen| {
            seen.execution.spec.dry_run = true;
            seen.job = ended(Some(result(effect, None)));
        };
        check(ExecutionPhase::Executing, change, &["Completed DryRun"], &JobPlan::Release);
    }
}

#[test]
fn the_health_of_the_target_decides_after_the_effect() {
    let ill = || Some(Health::Unhealthy("0 of 1 replicas are available".into()));
    let table: [(Option<Health>, &[&str]); 5] = [
        (Some(Health::Healthy), &["Completed TargetHealthy"]),
        (Some(Health::NotApplicable), &["Completed ActionDone"]),
        (Some(Health::Gone), &["Failed TargetGone"]),
        (ill(), &[]),
        (None, &[]),
    ];
    for (health, expect) in table {
        let change = |seen: &mut Seen| {
            seen.health.clone_from(&health);
            seen.job = JobSeen::Absent;
        };
        check(ExecutionPhase::Verifying, change, expect, &JobPlan::Leave);
    }
    let deadline = |seen: &Seen| seen.execution.status.as_ref().and_then(|status| status.phase_deadline.clone());
    for health in [ill(), None] {
        for (early, expect) in [(1, &[][..]), (0, &["Failed VerifyingTimedOut"][..])] {
            let change = |seen: &mut Seen| {
                seen.now = later(&deadline(seen).expect("a deadline"), -early);
                seen.health.clone_from(&health);
                seen.job = JobSeen::Absent;
            };
            check(ExecutionPhase::Verifying, change, expect, &JobPlan::Leave);
        }
    }
}

#[test]
fn a_target_that_is_healthy_at_the_last_moment_is_healthy() {
    let change = |seen: &mut Seen| {
        seen.now = at(100_000);
        seen.health = Some(Health::Healthy);
    };
    check(ExecutionPhase::Verifying, change, &["Completed TargetHealthy"], &JobPlan::Release);
}

#[test]
fn an_effect_is_verified_even_when_the_request_is_over() {
    let change = |seen: &mut Seen| {
        seen.request_over = true;
        seen.health = Some(Health::Healthy);
    };
    check(ExecutionPhase::Verifying, change, &["Completed TargetHealthy"], &JobPlan::Release);
}

#[test]
fn nobody_waits_for_the_health_of_the_target_when_the_request_is_over() {
    for health in [None, Some(Health::Unhealthy("1 of 2 replicas are available".into()))] {
        let change = |seen: &mut Seen| {
            seen.request_over = true;
            seen.health.clone_from(&health);
        };
        check(ExecutionPhase::Verifying, change, &["Cancelled RequestEnded"], &JobPlan::Release);
    }
}

#[test]
fn a_job_that_is_still_held_is_let_go_in_every_later_phase() {
    check(ExecutionPhase::Verifying, |_| {}, &[], &JobPlan::Release);
    for health in [Health::Healthy, Health::Gone] {
        let mut seen = walk(ExecutionPhase::Verifying);
        seen.health = Some(health);
        advance(&mut seen);
        assert_eq!(advance(&mut seen).0.job, JobPlan::Release);
        if let JobSeen::Ended { held, .. } = &mut seen.job {
            *held = false;
        }
        assert_eq!(advance(&mut seen).0.job, JobPlan::Leave);
        seen.job = JobSeen::Foreign;
        assert_eq!(advance(&mut seen).0.job, JobPlan::Leave);
    }
}

/// A new execution about which the policy says this: these transitions after the first two, and no Job.
fn check_forbidden(policy: Option<PolicyRecord>, second: i64, expect: &[&str]) -> Seen {
    let mut seen = Seen { policy, ..begun() };
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail[..2], VALIDATING);
    assert_eq!(plan.job, JobPlan::Leave, "nothing is done that no policy has allowed");
    seen.now = at(second);
    let (plan, later) = advance(&mut seen);
    assert_eq!(plan.job, JobPlan::Leave);
    assert_eq!([&trail[2..], &later[..]].concat(), expect);
    seen
}

#[test]
fn what_the_safety_policy_forbids_is_not_done_and_the_record_says_why() {
    for decision in [PolicyDecision::Deny, PolicyDecision::Ask] {
        let denied = PolicyRecord { decision, messages: vec!["closed".into()], ..allowed() };
        let seen = check_forbidden(Some(denied.clone()), 0, &["Failed PolicyDenied"]);
        let status = seen.execution.status.expect("a status");
        assert_eq!((status.message.as_deref(), status.policy), (Some("closed"), Some(denied)));
    }
}

#[test]
fn an_action_about_which_no_policy_was_asked_is_not_done() {
    check_forbidden(None, 10, &[]);
    check_forbidden(None, 300, &["Failed ValidatingTimedOut"]);
}

#[test]
fn what_the_safety_policy_allows_is_recorded_with_its_hash() {
    let mut seen = begun();
    let (plan, _) = advance(&mut seen);
    assert!(makes_the_job(&plan));
    assert_eq!(plan.status.policy, Some(allowed()));
}
