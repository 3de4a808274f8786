//! Undoing the finished steps of a workflow.

use kubernaut_api::execution::{Effect, ExecutionPhase, JobRef};
use kubernaut_api::meta::Phase;
use kubernaut_api::workflow::{OnFailure, Step, UndoState, WorkflowOnFailure};
use kubernaut_api::{ResourceExt, Staged, WorkflowPhase};
use kubernaut_domain::execution::{JobPlan, JobSeen};
use kubernaut_domain::stage::Next;
use kubernaut_domain::workflow::{Plan, Seen, decide};
use serde_json::json;

use crate::given::{REQUEST, assert_owned, at, executed, later, step, target};
use crate::steps::{changed, ends};
use crate::workflow::{advance, begun, result};

fn undoing(name: &str, depends_on: &[&str]) -> Step {
    Step { on_failure: OnFailure::Rollback, ..step(name, depends_on) }
}

/// Two finished steps after each other and one beside them; the last one has failed.
fn failed(last: Step) -> (Seen, Plan, Vec<String>) {
    let mut seen = begun(vec![step("a", &[]), step("b", &["a"]), step("beside", &[]), last]);
    advance(&mut seen);
    changed(&mut seen, "a");
    changed(&mut seen, "beside");
    advance(&mut seen);
    changed(&mut seen, "b");
    advance(&mut seen);
    seen.now = at(60);
    ends(&mut seen, "last", ExecutionPhase::Failed, "RevisionNotFound", Some(Effect::None));
    let (plan, trail) = advance(&mut seen);
    (seen, plan, trail)
}

fn started(plan: &Plan) -> Vec<String> {
    plan.children.iter().map(|child| child.name_any().replace(REQUEST, "R")).collect()
}

/// Ends the execution that undoes a step.
fn ends_undoing(seen: &mut Seen, name: &str, phase: ExecutionPhase, reason: &str) {
    let execution = seen.executions.get_mut(&format!("kr-{REQUEST}-{name}")).expect("it was started");
    *execution = executed(execution.clone(), phase, &format!("{name} is back"));
    execution.status.get_or_insert_default().reason = Some(reason.into());
}

fn undone(seen: &mut Seen, name: &str) {
    ends_undoing(seen, name, ExecutionPhase::Completed, "Undone");
}

fn states(seen: &Seen) -> Vec<(String, Option<UndoState>)> {
    let states = seen.workflow.status.iter().flat_map(|status| &status.steps);
    states.map(|state| (state.name.clone(), state.undo.as_ref().map(|undo| undo.state))).collect()
}

#[test]
fn finished_steps_are_undone_the_later_ones_first_under_names_of_their_own() {
    let (mut seen, plan, trail) = failed(undoing("last", &["b"]));
    assert_eq!(trail, ["RollingBack Undoing"]);
    assert_eq!(started(&plan), ["kr-R-b", "kr-R-beside"]);
    assert_eq!(plan.next, Next::At(at(1860)), "undoing has as long again");
    let child = &plan.children[0];
    assert_owned(child, &seen.workflow, &["kubernaut.io/outbox"]);
    assert_eq!((child.spec.action.as_str(), &child.spec.target), ("rollback_deployment", &target()));
    assert_eq!(child.spec.parameters.get("toRevision"), Some(&json!(2)), "the recorded state before, not a guess");
    assert_eq!(child.spec.undoes, Some(format!("ke-{REQUEST}-b")));
    assert_eq!(Some(&child.spec.plan_hash), seen.workflow.spec.plan_hash.as_ref());

    undone(&mut seen, "beside");
    assert!(advance(&mut seen).0.children.is_empty(), "b stands in the way of a");
    undone(&mut seen, "b");
    assert_eq!(started(&advance(&mut seen).0), ["kr-R-a"]);
    undone(&mut seen, "a");
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Failed RolledBack"]);
    let message = plan.status.message.unwrap_or_default();
    assert!(message.starts_with("undone: a, b, beside, since step last: last is done"), "{message}");
}

#[test]
fn a_step_that_only_fails_leaves_what_is_done_unless_the_workflow_says_otherwise() {
    let (_, plan, trail) = failed(step("last", &["b"]));
    assert_eq!((trail, plan.children.len()), (vec!["Failed StepFailed".to_owned()], 0));

    let mut seen = begun(vec![step("a", &[]), step("b", &["a"])]);
    seen.workflow.spec.on_failure = WorkflowOnFailure::Rollback;
    advance(&mut seen);
    changed(&mut seen, "a");
    advance(&mut seen);
    ends(&mut seen, "b", ExecutionPhase::Failed, "Paused", Some(Effect::None));
    assert_eq!(started(&advance(&mut seen).0), ["kr-R-a"]);
}

#[test]
fn a_workflow_that_undoes_itself_does_so_also_when_it_is_late() {
    for (on_failure, expect) in
        [(WorkflowOnFailure::Fail, "Failed ExecutingTimedOut"), (WorkflowOnFailure::Rollback, "RollingBack Undoing")]
    {
        let mut seen = begun(vec![undoing("a", &[]), undoing("b", &["a"])]);
        seen.workflow.spec.on_failure = on_failure;
        advance(&mut seen);
        seen.now = at(1800);
        changed(&mut seen, "a");
        assert_eq!(advance(&mut seen).1, [expect], "being late is not the failure of a step");
    }
}

#[test]
fn what_runs_beside_the_failure_ends_first_and_is_undone_too() {
    let mut seen = begun(vec![undoing("a", &[]), step("b", &[])]);
    advance(&mut seen);
    ends(&mut seen, "a", ExecutionPhase::Failed, "Paused", Some(Effect::None));
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty() && plan.children.is_empty());
    changed(&mut seen, "b");
    let (plan, trail) = advance(&mut seen);
    assert_eq!((trail, started(&plan)), (vec!["RollingBack Undoing".to_owned()], vec!["kr-R-b".to_owned()]));
}

#[test]
fn where_nothing_was_changed_there_is_nothing_to_undo() {
    for (effect, reason) in [(Effect::Unchanged, "TargetHealthy"), (Effect::None, "TargetHealthy")] {
        let mut seen = begun(vec![step("a", &[]), undoing("b", &["a"])]);
        advance(&mut seen);
        ends(&mut seen, "a", ExecutionPhase::Completed, reason, Some(effect));
        advance(&mut seen);
        ends(&mut seen, "b", ExecutionPhase::Failed, "Paused", Some(Effect::None));
        assert_eq!(advance(&mut seen).1, ["Failed StepFailed"], "{effect:?}");
    }
}

#[test]
fn a_failed_step_that_undid_itself_is_not_undone_again() {
    let mut seen = begun(vec![step("a", &[]), undoing("b", &["a"])]);
    advance(&mut seen);
    changed(&mut seen, "a");
    advance(&mut seen);
    ends(&mut seen, "b", ExecutionPhase::Failed, "RolledBack", Some(Effect::Changed));
    let (plan, _) = advance(&mut seen);
    assert_eq!(started(&plan), ["kr-R-a"]);
    undone(&mut seen, "a");
    assert_eq!(advance(&mut seen).1, ["Failed RolledBack"]);
}

#[test]
fn what_the_failed_step_left_is_named() {
    for (reason, effect) in [
        ("OutcomeUnknown", None),
        ("OutcomeUnknown", Some(Effect::Unknown)),
        ("RollbackFailed", Some(Effect::Changed)),
        ("VerifyingTimedOut", Some(Effect::Changed)),
    ] {
        let mut seen = begun(vec![step("a", &[]), undoing("b", &["a"])]);
        advance(&mut seen);
        changed(&mut seen, "a");
        advance(&mut seen);
        ends(&mut seen, "b", ExecutionPhase::Failed, reason, effect);
        advance(&mut seen);
        undone(&mut seen, "a");
        let (plan, trail) = advance(&mut seen);
        assert_eq!(trail, ["Failed RollbackIncomplete"], "{reason}");
        let message = plan.status.message.unwrap_or_default();
        assert!(message.starts_with("not undone: b (look at the target: b is done); undone: a"), "{message}");
    }
}

#[test]
fn what_has_no_inverse_is_named_and_the_rest_is_undone_all_the_same() {
    let pod = kubernaut_api::TargetRef { api_version: "v1".into(), kind: "Pod".into(), ..target() };
    let restart = Step { action: "restart_pod".into(), target: pod, parameters: [].into(), ..step("b", &["a"]) };
    let mut seen = begun(vec![step("a", &[]), restart, undoing("c", &["b"])]);
    advance(&mut seen);
    changed(&mut seen, "a");
    advance(&mut seen);
    changed(&mut seen, "b");
    advance(&mut seen);
    ends(&mut seen, "c", ExecutionPhase::Failed, "Paused", Some(Effect::None));
    assert_eq!(started(&advance(&mut seen).0), ["kr-R-a"]);
    undone(&mut seen, "a");
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Failed RollbackIncomplete"]);
    let message = plan.status.message.unwrap_or_default();
    assert!(message.starts_with("not undone: b (restart_pod has no inverse); undone: a"), "{message}");
}

#[test]
fn without_a_record_of_the_state_before_nothing_is_guessed() {
    let without = |change: fn(&mut Seen)| {
        let mut seen = begun(vec![step("a", &[]), undoing("b", &["a"])]);
        advance(&mut seen);
        changed(&mut seen, "a");
        advance(&mut seen);
        ends(&mut seen, "b", ExecutionPhase::Failed, "Paused", Some(Effect::None));
        change(&mut seen);
        let (plan, trail) = advance(&mut seen);
        assert_eq!(trail, ["RollingBack Undoing", "Failed RollbackIncomplete"]);
        assert!(plan.children.is_empty());
        assert!(plan.status.message.is_some_and(|message| message.contains("a (there is no record")));
    };
    without(|seen| drop(seen.executions.remove(&format!("ke-{REQUEST}-a"))));
    without(|seen| {
        let execution = seen.executions.get_mut(&format!("ke-{REQUEST}-a")).expect("it is there");
        let result = execution.status.as_mut().and_then(|status| status.result.as_mut()).expect("it reported");
        result.before.clear();
    });
}

#[test]
fn an_undoing_that_fails_is_named_and_what_was_before_it_is_undone_all_the_same() {
    let (mut seen, ..) = failed(undoing("last", &["b"]));
    undone(&mut seen, "beside");
    ends_undoing(&mut seen, "b", ExecutionPhase::Failed, "RevisionNotFound");
    assert_eq!(started(&advance(&mut seen).0), ["kr-R-a"]);
    undone(&mut seen, "a");
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Failed RollbackIncomplete"]);
    let message = plan.status.message.unwrap_or_default();
    assert!(message.starts_with("not undone: b (RevisionNotFound: b is back); undone: a, beside"), "{message}");
}

#[test]
fn a_rollback_that_has_begun_is_ended_although_the_request_is_over() {
    let (mut seen, ..) = failed(undoing("last", &["b"]));
    seen.request_over = true;
    undone(&mut seen, "beside");
    undone(&mut seen, "b");
    assert_eq!(started(&advance(&mut seen).0), ["kr-R-a"]);
    undone(&mut seen, "a");
    assert_eq!(advance(&mut seen).1, ["Failed RolledBack"]);
}

#[test]
fn a_request_that_is_over_begins_no_rollback() {
    let mut seen = begun(vec![step("a", &[]), undoing("b", &["a"])]);
    advance(&mut seen);
    changed(&mut seen, "a");
    advance(&mut seen);
    ends(&mut seen, "b", ExecutionPhase::Failed, "Paused", Some(Effect::None));
    seen.request_over = true;
    assert_eq!(advance(&mut seen).1, ["Failed StepFailed"]);
}

#[test]
fn a_dry_run_has_nothing_to_undo() {
    let mut seen = begun(vec![step("a", &[]), undoing("b", &["a"])]);
    seen.workflow.spec.dry_run = true;
    advance(&mut seen);
    changed(&mut seen, "a");
    advance(&mut seen);
    ends(&mut seen, "b", ExecutionPhase::Failed, "Paused", Some(Effect::None));
    assert_eq!(advance(&mut seen).1, ["Failed StepFailed"]);
}

#[test]
fn what_was_only_rehearsed_since_the_configuration_became_a_dry_run_is_not_undone() {
    let (mut seen, ..) = failed(undoing("last", &["b"]));
    seen.settings.dry_run = true;
    undone(&mut seen, "b");
    undone(&mut seen, "beside");
    let (plan, _) = advance(&mut seen);
    assert!(plan.children.iter().all(|child| child.spec.dry_run));
    undone(&mut seen, "a");
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Failed RollbackIncomplete"]);
    assert!(plan.status.message.is_some_and(|message| message.starts_with("not undone: a (")));
}

#[test]
fn no_more_is_undone_at_once_than_may_run_at_once() {
    let mut steps: Vec<_> = ["a", "b", "c", "d"].map(|name| step(name, &[])).into();
    steps.push(undoing("last", &["a", "b", "c", "d"]));
    let mut seen = begun(steps);
    seen.workflow.spec.parallelism = 2;
    for pair in [["a", "b"], ["c", "d"]] {
        advance(&mut seen);
        for name in pair {
            changed(&mut seen, name);
        }
    }
    advance(&mut seen);
    ends(&mut seen, "last", ExecutionPhase::Failed, "Paused", Some(Effect::None));
    assert_eq!(started(&advance(&mut seen).0), ["kr-R-a", "kr-R-b"]);
    undone(&mut seen, "a");
    assert_eq!(started(&advance(&mut seen).0), ["kr-R-c"]);
}

#[test]
fn past_its_deadline_a_rollback_begins_no_further_undoing_and_says_what_is_left() {
    let (mut seen, ..) = failed(undoing("last", &["b"]));
    seen.now = at(1860);
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty(), "b and beside are on their way");
    assert_eq!(plan.next, Next::OnChange);
    undone(&mut seen, "b");
    undone(&mut seen, "beside");
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Failed RollbackIncomplete"]);
    let message = plan.status.message.unwrap_or_default();
    assert!(message.contains("not undone: a (the deadline passed"), "{message}");
}

#[test]
fn an_undoing_execution_that_is_missing_is_made_again_only_before_it_acted() {
    let (mut seen, plan, _) = failed(undoing("last", &["b"]));
    for name in ["b", "beside"] {
        seen.executions.remove(&format!("kr-{REQUEST}-{name}"));
    }
    let again = decide(&seen);
    assert_eq!((again.children, again.status), (plan.children, plan.status), "a crash came before they were made");
    let (_, _) = advance(&mut seen);
    ends_undoing(&mut seen, "b", ExecutionPhase::Executing, "RehearsalPassed");
    advance(&mut seen);
    assert!(states(&seen).contains(&("b".into(), Some(UndoState::Running))));
    seen.executions.remove(&format!("kr-{REQUEST}-b"));
    let (plan, _) = advance(&mut seen);
    assert_eq!(started(&plan), ["kr-R-a"], "b is not made again");
    assert!(states(&seen).contains(&("b".into(), Some(UndoState::NotUndone))));
}

#[test]
fn an_execution_of_somebody_else_under_the_name_of_an_undoing_is_named() {
    let (mut seen, ..) = failed(undoing("last", &["b"]));
    seen.executions.remove(&format!("kr-{REQUEST}-b"));
    seen.taken.insert(format!("kr-{REQUEST}-b"));
    advance(&mut seen);
    assert!(states(&seen).contains(&("b".into(), Some(UndoState::NotUndone))));
}

#[test]
fn a_rollback_is_decided_alike_a_day_later() {
    let (mut seen, ..) = failed(undoing("last", &["b"]));
    seen.workflow.spec.timeout = std::time::Duration::from_hours(1000).into();
    if let Some(status) = &mut seen.workflow.status {
        status.phase_deadline = Some(later(&at(0), 3_000_000));
    }
    let first = decide(&seen);
    seen.now = later(&seen.now, 86_400);
    assert_eq!(decide(&seen), first);
    assert!(!seen.workflow.phase().is_some_and(Phase::is_terminal));
    assert_eq!(seen.workflow.phase(), Some(WorkflowPhase::RollingBack));
}

/// The execution that undoes a step, at its beginning.
fn undoing_execution() -> kubernaut_domain::execution::Seen {
    let (_, plan, _) = failed(undoing("last", &["b"]));
    let execution = crate::given::made(plan.children[0].clone());
    kubernaut_domain::execution::Seen { execution, ..crate::execution::begun() }
}

#[test]
fn what_undoes_is_not_stopped_by_the_end_of_its_request_and_proves_no_health() {
    let mut seen = undoing_execution();
    seen.request_over = true;
    let (plan, _) = crate::execution::advance(&mut seen);
    let JobPlan::Create(job) = plan.job else { panic!("a Job, not {:?}", plan.job) };
    assert_eq!(job.name_any(), format!("kr-{REQUEST}-b"), "a name of its own: its mark on the target is another one");
    seen.job = JobSeen::Absent;
    assert!(matches!(crate::execution::advance(&mut seen).0.job, JobPlan::Create(_)), "a crash came before it");
    for effect in [Effect::Changed, Effect::Unchanged] {
        let mut seen = seen.clone();
        let job = JobRef { name: format!("kr-{REQUEST}-b"), uid: "uid-job".into() };
        seen.job = JobSeen::Ended {
            job,
            result: Some(result(effect)),
            message: "Complete".into(),
            ran: true,
            died_at: None,
            held: true,
        };
        let (plan, trail) = crate::execution::advance(&mut seen);
        assert_eq!((trail, plan.job), (vec!["Completed Undone".to_owned()], JobPlan::Release));
    }
}

#[test]
fn a_target_that_somebody_else_changed_is_told_as_that_where_nothing_else_was_done() {
    let mut alone = begun(vec![step("a", &[])]);
    advance(&mut alone);
    ends(&mut alone, "a", ExecutionPhase::Failed, "TargetDrifted", Some(Effect::Changed));
    assert_eq!(advance(&mut alone).1, ["Failed TargetDrifted"]);
    let mut second = begun(vec![step("a", &[]), step("b", &["a"])]);
    advance(&mut second);
    changed(&mut second, "a");
    advance(&mut second);
    ends(&mut second, "b", ExecutionPhase::Failed, "TargetDrifted", Some(Effect::Changed));
    assert_eq!(advance(&mut second).1, ["Failed StepFailed"]);
}
