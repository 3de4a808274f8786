//! The decision about a WorkflowExecution.

use std::collections::{BTreeMap, BTreeSet};

use kubernaut_api::execution::{ActionResult, Effect};
use kubernaut_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kubernaut_api::meta::Phase;
use kubernaut_api::workflow::{OnFailure, Step, WorkflowOnFailure};
use kubernaut_api::{ExecutionPhase, ResourceExt, Staged, WorkflowExecution, WorkflowExecutionSpec, WorkflowPhase};
use kubernaut_domain::plan;
use kubernaut_domain::stage::Next;
use kubernaut_domain::workflow::{Plan, Seen, decide};
use serde_json::json;

use crate::given::{REQUEST, assert_owned, assert_sound, at, changed, executed, made, settings, step, target, trail};

/// What is seen of a new workflow with these steps.
pub fn begun(steps: Vec<Step>) -> Seen {
    let spec = WorkflowExecutionSpec {
        request: Some(REQUEST.into()),
        target: target(),
        plan_hash: Some(plan::hash(&steps)),
        steps,
        workflow_ref: None,
        on_failure: WorkflowOnFailure::Fail,
        parallelism: 5,
        cancelled: false,
        dry_run: false,
        timeout: std::time::Duration::from_mins(30).into(),
    };
    let mut workflow = WorkflowExecution::new(&format!("we-{REQUEST}"), spec);
    workflow.metadata.namespace = Some("kubernaut-system".into());
    workflow.metadata.owner_references = Some(vec![OwnerReference {
        kind: "AIAnalysis".into(),
        name: format!("aia-{REQUEST}"),
        controller: Some(true),
        ..OwnerReference::default()
    }]);
    Seen {
        workflow: made(workflow),
        request_over: false,
        template: None,
        out_of_scope: vec![],
        approval: None,
        executions: BTreeMap::new(),
        taken: BTreeSet::new(),
        settings: settings(),
        now: at(0),
    }
}

pub fn advance(seen: &mut Seen) -> (Plan, Vec<String>) {
    let plan = decide(seen);
    let after = assert_sound(&seen.workflow, &plan.status, &seen.now, &plan.next);
    let trail = trail(&seen.workflow, &after);
    seen.workflow = after;
    for child in &plan.children {
        let child = made(child.clone());
        let before = seen.executions.insert(child.name_any(), child);
        assert_eq!(before, None, "an execution is made once");
    }
    (plan, trail)
}

/// What an execution reports that did this; its record does for going back.
pub fn result(effect: Effect) -> ActionResult {
    let before = BTreeMap::from([("revision".to_owned(), json!(2)), ("replicaSet".to_owned(), json!("web-58bf"))]);
    ActionResult { effect, message: format!("{effect:?}"), before, ..changed() }
}

/// Names of the steps that a plan starts.
fn started(plan: &Plan) -> Vec<&str> {
    plan.children.iter().map(|child| child.spec.step.as_str()).collect()
}

pub fn end(seen: &mut Seen, step: &str, phase: ExecutionPhase) {
    let states = seen.workflow.status.iter().flat_map(|status| &status.steps);
    let name = states.clone().find(|state| state.name == step).and_then(|state| state.execution_name.clone());
    let execution = seen.executions.get_mut(&name.expect("it was started")).expect("it exists");
    *execution = executed(execution.clone(), phase, &format!("{step} is done"));
}

const PLANNED: [&str; 4] = ["Pending Created", "Planning Planning", "Validating GraphValid", "Executing PlanValid"];

/// Steps that are refused before anything runs.
fn check_refused(seen: Seen, expect: &str, why: &str) {
    let mut seen = seen;
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail.last().map(String::as_str), Some(expect));
    let message = plan.status.message.clone().unwrap_or_default();
    assert!(message.contains(why), "{message:?} names {why:?}");
    assert!(plan.children.is_empty());
}

#[test]
fn a_sound_plan_starts_its_step_in_the_write_that_accepts_it() {
    let mut seen = begun(vec![step("rollback", &[])]);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, PLANNED);
    let [child] = plan.children.as_slice() else { panic!("one execution, not {:?}", plan.children) };
    assert_eq!(child.metadata.name, Some(format!("ke-{REQUEST}-rollback")));
    assert_owned(child, &seen.workflow, &["kubernaut.io/outbox"]);
    assert_eq!(Some(&child.spec.plan_hash), seen.workflow.spec.plan_hash.as_ref());
    assert_eq!((&child.spec.action, &child.spec.target), (&"rollback_deployment".to_owned(), &target()));
    assert_eq!(child.spec.parameters, step("rollback", &[]).parameters);
    let state = &plan.status.steps[0];
    assert_eq!((&state.execution_name, state.phase), (&child.metadata.name, Some(ExecutionPhase::Pending)));
    assert_eq!(plan.next, Next::At(at(1800)));
}

#[test]
fn a_workflow_is_completed_when_every_step_is() {
    let mut seen = begun(vec![step("a", &[]), step("b", &["a"])]);
    advance(&mut seen);
    end(&mut seen, "a", ExecutionPhase::Completed);
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty());
    assert_eq!(started(&plan), ["b"]);
    end(&mut seen, "b", ExecutionPhase::Completed);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Monitoring StepsCompleted", "Completed StepsCompleted"]);
    assert_eq!(plan.status.message.as_deref(), Some("a is done; b is done"));
}

#[test]
fn limits_and_dry_run_reach_the_executions() {
    let own = Step { timeout: Some(std::time::Duration::from_secs(7).into()), ..step("a", &[]) };
    let mut seen = begun(vec![own, step("b", &[])]);
    seen.workflow.spec.dry_run = true;
    let (plan, _) = advance(&mut seen);
    let limits: Vec<_> =
        plan.children.iter().map(|child| std::time::Duration::from(child.spec.timeout).as_secs()).collect();
    assert_eq!(limits, [7, 300]);
    assert!(plan.children.iter().all(|child| child.spec.dry_run));
}

#[test]
fn a_bad_graph_is_refused() {
    let table = [
        (vec![step("a", &["a"])], "goes in a circle among a"),
        (vec![step("a", &["b"]), step("b", &["a"]), step("c", &[])], "goes in a circle among a, b"),
        (vec![step("a", &[]), step("b", &["x"])], "spec.steps[b].dependsOn: there is no step x"),
        (vec![step("a", &[]), step("a", &[])], "the name a stands twice"),
    ];
    for (steps, why) in table {
        check_refused(begun(steps), "Failed InvalidPlan", why);
    }
}

#[test]
fn steps_that_do_not_match_the_approved_hash_are_refused() {
    let mut seen = begun(vec![step("a", &[])]);
    seen.workflow.spec.steps[0].parameters = [("toRevision".to_owned(), json!(1))].into();
    check_refused(seen, "Failed PlanChanged", "the steps hash to");
}

#[test]
fn steps_that_the_catalogue_refuses_are_refused() {
    let unknown = Step { action: "drop_database".into(), ..step("a", &[]) };
    check_refused(begun(vec![unknown]), "Failed InvalidSteps", "step a: action");
}

#[test]
fn no_more_steps_run_at_once_than_allowed() {
    let mut seen = begun(["a", "b", "c", "d"].map(|name| step(name, &[])).into());
    seen.workflow.spec.parallelism = 2;
    assert_eq!(started(&advance(&mut seen).0), ["a", "b"]);
    assert!(started(&advance(&mut seen).0).is_empty());
    end(&mut seen, "b", ExecutionPhase::Completed);
    assert_eq!(started(&advance(&mut seen).0), ["c"]);
}

#[test]
fn a_step_waits_for_all_that_it_depends_on() {
    let mut seen = begun(vec![step("d", &["b", "c"]), step("b", &["a"]), step("c", &["a"]), step("a", &[])]);
    assert_eq!(started(&advance(&mut seen).0), ["a"]);
    end(&mut seen, "a", ExecutionPhase::Completed);
    assert_eq!(started(&advance(&mut seen).0), ["b", "c"]);
    end(&mut seen, "b", ExecutionPhase::Completed);
    assert!(started(&advance(&mut seen).0).is_empty());
    end(&mut seen, "c", ExecutionPhase::Completed);
    assert_eq!(started(&advance(&mut seen).0), ["d"]);
}

#[test]
fn a_failed_step_stops_what_has_not_started_and_lets_end_what_runs() {
    let mut seen = begun(vec![step("a", &[]), step("b", &[]), step("c", &["b"])]);
    advance(&mut seen);
    end(&mut seen, "a", ExecutionPhase::Failed);
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty() && plan.children.is_empty());
    end(&mut seen, "b", ExecutionPhase::Completed);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Failed StepFailed"]);
    assert!(plan.children.is_empty());
    assert_eq!(plan.status.message.as_deref(), Some("step a: a is done"));
    assert_eq!(plan.status.steps[2].phase, None, "c was never started");
}

#[test]
fn a_step_that_may_fail_stops_only_what_depends_on_it() {
    let may_fail = Step { on_failure: OnFailure::Continue, ..step("a", &[]) };
    let mut seen = begun(vec![may_fail, step("b", &["a"]), step("c", &[]), step("d", &["c"])]);
    advance(&mut seen);
    end(&mut seen, "a", ExecutionPhase::Failed);
    end(&mut seen, "c", ExecutionPhase::Completed);
    assert_eq!(started(&advance(&mut seen).0), ["d"]);
    end(&mut seen, "d", ExecutionPhase::Completed);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Failed StepFailed"]);
    assert_eq!(plan.status.steps[1].phase, None, "b was never started");
}

#[test]
fn past_the_deadline_nothing_starts_and_what_runs_ends() {
    let mut seen = begun(vec![step("a", &[]), step("b", &["a"])]);
    advance(&mut seen);
    seen.now = at(1800);
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty(), "a still runs");
    assert_eq!(plan.next, Next::OnChange, "the end of a is what is waited for");
    end(&mut seen, "a", ExecutionPhase::Completed);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Failed ExecutingTimedOut"]);
    assert!(plan.children.is_empty());
    assert_eq!(plan.status.message.as_deref(), Some("the deadline passed; 1 of 2 steps completed"));
}

#[test]
fn a_workflow_that_did_everything_is_completed_however_late_it_is_seen() {
    let mut seen = begun(vec![step("a", &[])]);
    advance(&mut seen);
    end(&mut seen, "a", ExecutionPhase::Completed);
    seen.now = at(5000);
    seen.request_over = true;
    assert_eq!(advance(&mut seen).1, ["Monitoring StepsCompleted", "Completed StepsCompleted"]);
}

#[test]
fn nothing_starts_for_a_request_that_is_over() {
    let mut seen = begun(vec![step("a", &[])]);
    seen.request_over = true;
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Pending Created", "Cancelled RequestEnded"]);
    assert!(plan.children.is_empty());
}

#[test]
fn a_workflow_whose_request_is_over_is_cancelled_when_what_runs_has_ended() {
    for phase in [ExecutionPhase::Completed, ExecutionPhase::Cancelled] {
        let mut seen = begun(vec![step("a", &[]), step("b", &["a"])]);
        advance(&mut seen);
        seen.request_over = true;
        let (plan, trail) = advance(&mut seen);
        assert!(trail.is_empty() && plan.children.is_empty());
        end(&mut seen, "a", phase);
        assert_eq!(advance(&mut seen).1, ["Cancelled RequestEnded"], "a is {phase}");
    }
}

#[test]
fn a_failure_is_not_hidden_by_the_end_of_the_request() {
    let mut seen = begun(vec![step("a", &[]), step("b", &["a"])]);
    advance(&mut seen);
    seen.request_over = true;
    end(&mut seen, "a", ExecutionPhase::Failed);
    assert_eq!(advance(&mut seen).1, ["Failed StepFailed"]);
}

#[test]
fn a_missing_execution_is_made_again_under_the_same_name() {
    let mut seen = begun(vec![step("a", &[])]);
    let (first, _) = advance(&mut seen);
    seen.executions.clear();
    seen.now = at(1);
    let (again, trail) = advance(&mut seen);
    assert!(trail.is_empty());
    assert_eq!((again.status, again.children), (first.status, first.children));
}

#[test]
fn a_step_shows_whether_its_execution_has_begun() {
    let mut seen = begun(vec![step("a", &[])]);
    advance(&mut seen);
    for phase in ExecutionPhase::ALL.iter().copied().filter(|phase| !phase.is_terminal()) {
        end(&mut seen, "a", phase);
        let (plan, trail) = advance(&mut seen);
        assert!(trail.is_empty());
        let begun = !matches!(phase, ExecutionPhase::Pending | ExecutionPhase::Validating);
        let shown = if begun { ExecutionPhase::Executing } else { ExecutionPhase::Pending };
        assert_eq!(plan.status.steps[0].phase, Some(shown), "{phase}");
    }
    assert_eq!(seen.workflow.phase(), Some(WorkflowPhase::Executing));
}

#[test]
fn an_execution_that_is_gone_after_it_began_is_never_made_again() {
    let mut seen = begun(vec![step("a", &[])]);
    advance(&mut seen);
    end(&mut seen, "a", ExecutionPhase::Executing);
    advance(&mut seen);
    seen.executions.clear();
    let (plan, trail) = advance(&mut seen);
    assert!(plan.children.is_empty());
    assert_eq!(trail, ["Failed StepFailed"]);
    assert!(plan.status.steps[0].message.starts_with("OutcomeUnknown"), "{:?}", plan.status.steps);
}
