//! Steps of a workflow: attempts after the first, conditions, and what is refused before anything runs.

use kubernaut_api::execution::{Effect, JobRef};
use kubernaut_api::workflow::{OnFailure, Step};
use kubernaut_api::{ExecutionPhase, ResourceExt, Staged, WorkflowPhase};
use kubernaut_domain::stage::Next;
use kubernaut_domain::workflow::{Plan, Seen, decide};

use crate::given::{REQUEST, at, later, step};
use crate::workflow::{advance, begun, end, result};

/// Ends the newest execution of a step so, with what its Job reported.
pub fn ends(seen: &mut Seen, name: &str, phase: ExecutionPhase, reason: &str, effect: Option<Effect>) {
    end(seen, name, phase);
    let state = seen.workflow.status.iter().flat_map(|status| &status.steps).find(|state| state.name == name);
    let execution = state.and_then(|state| state.execution_name.clone()).expect("it was started");
    let status = seen.executions.get_mut(&execution).and_then(|execution| execution.status.as_mut()).expect("a status");
    status.reason = Some(reason.into());
    status.job = effect.map(|_| JobRef { name: execution, uid: "uid-job".into() });
    status.result = effect.map(result);
}

pub fn changed(seen: &mut Seen, name: &str) {
    ends(seen, name, ExecutionPhase::Completed, "TargetHealthy", Some(Effect::Changed));
}

fn names(plan: &Plan) -> Vec<String> {
    plan.children.iter().map(|child| child.name_any().replace(REQUEST, "R")).collect()
}

fn state<'a>(seen: &'a Seen, name: &str) -> &'a kubernaut_api::workflow::StepStatus {
    let states = seen.workflow.status.iter().flat_map(|status| &status.steps);
    states.into_iter().find(|state| state.name == name).expect("a step")
}

fn tried_again(retries: u8) -> Step {
    Step { retries, ..step("a", &[]) }
}

#[test]
fn what_failed_before_it_ran_is_tried_again_under_another_name_after_a_wait() {
    let mut seen = begun(vec![tried_again(2)]);
    assert_eq!(names(&advance(&mut seen).0), ["ke-R-a"]);
    ends(&mut seen, "a", ExecutionPhase::Failed, "JobNotStarted", None);
    seen.now = at(5);
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty() && plan.children.is_empty());
    assert_eq!(plan.next, Next::At(at(15)), "the wait stands in status");
    assert!(state(&seen, "a").message.contains("failed before it ran, tried again in 10 s"), "{:?}", state(&seen, "a"));

    seen.now = at(14);
    assert!(advance(&mut seen).0.children.is_empty(), "the own write woke it: that is no reason");
    seen.now = at(15);
    assert_eq!(names(&advance(&mut seen).0), ["k2-R-a"]);

    ends(&mut seen, "a", ExecutionPhase::Failed, "JobNotStarted", None);
    let (plan, _) = advance(&mut seen);
    assert_eq!(plan.next, Next::At(at(35)), "twice as long");
    seen.now = at(35);
    assert_eq!(names(&advance(&mut seen).0), ["k3-R-a"]);
    ends(&mut seen, "a", ExecutionPhase::Failed, "JobNotStarted", None);
    assert_eq!(advance(&mut seen).1, ["Failed StepFailed"], "that was the last one");
}

#[test]
fn an_attempt_that_works_is_enough() {
    let mut seen = begun(vec![tried_again(5)]);
    advance(&mut seen);
    ends(&mut seen, "a", ExecutionPhase::Failed, "JobNotStarted", None);
    advance(&mut seen);
    seen.now = at(10);
    advance(&mut seen);
    changed(&mut seen, "a");
    assert_eq!(advance(&mut seen).1, ["Monitoring StepsCompleted", "Completed StepsCompleted"]);
    assert_eq!(state(&seen, "a").retried, 1);
}

/// What ends so is not tried again, or is.
fn check_retried(reason: &str, effect: Option<Effect>, error: Option<&str>, expect: bool) {
    let mut seen = begun(vec![tried_again(1)]);
    advance(&mut seen);
    ends(&mut seen, "a", ExecutionPhase::Failed, reason, effect);
    for execution in seen.executions.values_mut() {
        if let Some(result) = execution.status.as_mut().and_then(|status| status.result.as_mut()) {
            result.error = error.map(Into::into);
        }
    }
    let (_, trail) = advance(&mut seen);
    assert_eq!(trail.is_empty(), expect, "{reason} {effect:?} {error:?}");
}

#[test]
fn only_what_certainly_did_nothing_is_tried_again() {
    check_retried("JobNotStarted", None, None, true);
    check_retried("ValidatingTimedOut", None, None, true);
    check_retried("TooManyRequests", Some(Effect::None), Some("TooManyRequests"), true);
    check_retried("ApiUnreachable", Some(Effect::None), Some("ApiUnreachable"), true);
    // It would be refused again.
    check_retried("RevisionNotFound", Some(Effect::None), Some("RevisionNotFound"), false);
    check_retried("ServiceAccountMissing", None, None, false);
    // It may have happened.
    check_retried("OutcomeUnknown", None, None, false);
    check_retried("OutcomeUnknown", Some(Effect::Unknown), Some("Timeout"), false);
    check_retried("VerifyingTimedOut", Some(Effect::Changed), None, false);
    check_retried("RolledBack", Some(Effect::Changed), None, false);
    check_retried("RollbackFailed", Some(Effect::Changed), None, false);
}

#[test]
fn a_job_that_was_recorded_and_did_not_end_in_time_may_have_acted() {
    let mut seen = begun(vec![tried_again(1)]);
    advance(&mut seen);
    ends(&mut seen, "a", ExecutionPhase::Failed, "ExecutingTimedOut", None);
    for execution in seen.executions.values_mut() {
        let name = execution.name_any();
        execution.status.get_or_insert_default().job = Some(JobRef { name, uid: "u".into() });
    }
    assert_eq!(advance(&mut seen).1, ["Failed StepFailed"]);
    assert_eq!(state(&seen, "a").effect, Some(Effect::Unknown));
}

#[test]
fn a_step_that_waits_for_its_next_attempt_holds_no_place_and_nothing_that_depends_on_it_starts() {
    let mut seen = begun(vec![tried_again(1), step("b", &["a"]), step("c", &[])]);
    seen.workflow.spec.parallelism = 1;
    advance(&mut seen);
    ends(&mut seen, "a", ExecutionPhase::Failed, "JobNotStarted", None);
    assert_eq!(names(&advance(&mut seen).0), ["ke-R-c"]);
}

#[test]
fn a_step_that_waits_for_its_next_attempt_is_given_up_with_the_workflow() {
    for (over, late, expect) in [(true, false, "Cancelled RequestEnded"), (false, true, "Failed StepFailed")] {
        let mut seen = begun(vec![tried_again(1), step("b", &["a"])]);
        advance(&mut seen);
        ends(&mut seen, "a", ExecutionPhase::Failed, "JobNotStarted", None);
        advance(&mut seen);
        seen.request_over = over;
        seen.now = if late { at(1800) } else { at(3) };
        let (plan, trail) = advance(&mut seen);
        assert_eq!(trail, [expect]);
        assert!(plan.children.is_empty());
    }
}

#[test]
fn a_step_that_waits_is_given_up_when_another_fails() {
    let mut seen = begun(vec![tried_again(3), step("b", &[])]);
    advance(&mut seen);
    ends(&mut seen, "a", ExecutionPhase::Failed, "JobNotStarted", None);
    ends(&mut seen, "b", ExecutionPhase::Failed, "OutcomeUnknown", None);
    assert_eq!(advance(&mut seen).1, ["Failed StepFailed"]);
}

#[test]
fn an_execution_of_somebody_else_under_the_derived_name_fails_the_step() {
    let mut seen = begun(vec![step("a", &[])]);
    advance(&mut seen);
    seen.executions.clear();
    seen.taken.insert(format!("ke-{REQUEST}-a"));
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Failed StepFailed"]);
    assert_eq!(state(&seen, "a").reason.as_deref(), Some("NameCollision"));
    assert!(plan.children.is_empty());
}

/// A probe and a step that depends on it under a condition.
fn conditioned(condition: &str) -> Seen {
    let probe = Step { on_failure: OnFailure::Continue, ..step("probe", &[]) };
    let picky = Step { condition: Some(condition.into()), ..step("picky", &["probe"]) };
    let mut seen = begun(vec![probe, picky, step("last", &["picky"])]);
    advance(&mut seen);
    seen
}

#[test]
fn a_step_whose_condition_holds_runs() {
    let mut seen = conditioned("steps.probe.effect == 'Changed'");
    changed(&mut seen, "probe");
    assert_eq!(names(&advance(&mut seen).0), ["ke-R-picky"]);
}

#[test]
fn a_step_whose_condition_does_not_hold_is_skipped_and_counts_as_done() {
    let mut seen = conditioned("steps.probe.effect == 'Unchanged'");
    changed(&mut seen, "probe");
    assert_eq!(names(&advance(&mut seen).0), ["ke-R-last"], "in the write that skips");
    assert!(state(&seen, "picky").skipped);
    changed(&mut seen, "last");
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail.last().map(String::as_str), Some("Completed StepsCompleted"));
    assert!(plan.status.message.is_some_and(|message| message.contains("skipped")));
}

#[test]
fn a_workflow_of_which_everything_is_skipped_is_completed_without_any_execution() {
    let never = Step { condition: Some("false".into()), ..step("a", &[]) };
    let also = Step { condition: Some("steps.a.phase != 'Skipped'".into()), ..step("b", &["a"]) };
    let mut seen = begun(vec![also, never]);
    let (plan, trail) = advance(&mut seen);
    assert!(plan.children.is_empty());
    assert_eq!(trail.last().map(String::as_str), Some("Completed StepsCompleted"));
}

#[test]
fn a_condition_that_names_a_step_that_may_fail_decides_after_its_failure() {
    let mut seen = conditioned("steps.probe.phase == 'Failed'");
    ends(&mut seen, "probe", ExecutionPhase::Failed, "OutcomeUnknown", None);
    assert_eq!(names(&advance(&mut seen).0), ["ke-R-picky"]);
}

#[test]
fn a_condition_that_does_not_name_the_failed_step_does_not_free_what_depends_on_it() {
    let mut seen = conditioned("true");
    ends(&mut seen, "probe", ExecutionPhase::Failed, "OutcomeUnknown", None);
    let (plan, trail) = advance(&mut seen);
    assert!(plan.children.is_empty());
    assert_eq!(trail, ["Failed StepFailed"]);
}

#[test]
fn a_condition_that_gives_no_truth_value_fails_the_step() {
    let mut seen = conditioned("steps.probe.colour == 'red'");
    changed(&mut seen, "probe");
    let (plan, trail) = advance(&mut seen);
    assert!(plan.children.is_empty());
    assert_eq!(trail, ["Failed StepFailed"]);
    assert_eq!(state(&seen, "picky").reason.as_deref(), Some("ConditionFailed"));
    assert_eq!(state(&seen, "picky").effect, Some(Effect::None));
}

#[test]
fn a_workflow_that_is_looked_at_again_decides_the_same() {
    let mut seen = conditioned("steps.probe.effect == 'Unchanged'");
    changed(&mut seen, "probe");
    advance(&mut seen);
    let first = decide(&seen);
    seen.now = later(&seen.now, 60);
    assert_eq!(decide(&seen), first);
    assert_eq!(seen.workflow.phase(), Some(WorkflowPhase::Executing));
}

/// Steps that are refused before anything runs.
fn check_refused(steps: Vec<Step>, why: &str) {
    let mut seen = begun(steps);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail.last().map(String::as_str), Some("Failed InvalidPlan"));
    let message = plan.status.message.clone().unwrap_or_default();
    assert!(message.contains(why), "{message:?} names {why:?}");
    assert!(plan.children.is_empty());
}

#[test]
fn conditions_that_cannot_be_judged_are_refused_before_anything_runs() {
    let with = |condition: &str| vec![step("a", &[]), Step { condition: Some(condition.into()), ..step("b", &["a"]) }];
    check_refused(with("steps.a.effect =="), "spec.steps[b].condition: is no CEL expression");
    check_refused(with("steps.x.effect == ''"), "spec.steps[b].condition: x is no step");
    check_refused(with("steps.b.effect == ''"), "spec.steps[b].condition: b is no step before it");
    check_refused(with("request.name == ''"), "spec.steps[b].condition: knows steps only, not request");
    let beside = vec![
        step("a", &[]),
        step("beside", &[]),
        Step { condition: Some("steps.beside.phase == ''".into()), ..step("b", &["a"]) },
    ];
    check_refused(beside, "spec.steps[b].condition: beside is no step before it");
}

#[test]
fn more_steps_or_attempts_than_allowed_are_refused_before_anything_runs() {
    let many = |count: usize| (0..count).map(|number| step(&format!("s{number}"), &[])).collect::<Vec<_>>();
    check_refused(many(1000), "spec.steps: must be 1 to 50 steps, not 1000");
    check_refused(many(51), "not 51");
    check_refused(vec![], "not 0");
    check_refused(vec![tried_again(6)], "spec.steps[a].retries: must be 0 to 5");
    assert_eq!(advance(&mut begun(many(50))).0.children.len(), 5);
}

#[test]
fn a_circle_of_many_steps_is_refused_and_named() {
    let after = |number: i32| step(&format!("s{number}"), &[&format!("s{}", number - 1)]);
    let mut steps: Vec<_> = std::iter::once(step("s0", &[])).chain((1..40).map(after)).collect();
    assert_eq!(advance(&mut begun(steps.clone())).0.children.len(), 1);
    steps[10].depends_on.push("s12".into());
    check_refused(steps, "dependsOn goes in a circle among s10, s11, s12");
}

#[test]
fn a_workflow_for_a_request_that_no_analysis_made_is_refused() {
    let mut seen = begun(vec![step("a", &[])]);
    seen.workflow.metadata.owner_references = None;
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail.last().map(String::as_str), Some("Failed InvalidPlan"));
    assert!(plan.status.message.is_some_and(|message| message.starts_with("spec.request: only Kubernaut")));
    assert!(plan.children.is_empty());
}
