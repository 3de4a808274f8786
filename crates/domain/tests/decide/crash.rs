//! All five decisions over a fake world: a clean run, then the same with a fault at every point.

use std::collections::BTreeMap;

use kubernaut_api::execution::{ActionResult, Effect};
use kubernaut_api::workflow::{OnFailure, Step};
use kubernaut_api::{Outcome, RequestPhase, Staged, TargetRef};

use crate::given::{REQUEST, changed, step, target};
use crate::world::{Faults, Story, World, simple};

/// Two steps after each other and one beside them, approved by a person, judged by a time of health.
fn thorough() -> Story {
    Story {
        steps: vec![step("first", &[]), step("second", &["first"]), step("beside", &[])],
        confidence: 80,
        resolves_after: None,
        ..simple()
    }
}

/// An action that fails before it changes anything.
fn refused() -> Story {
    let result = ActionResult { effect: Effect::None, error: Some("Paused".into()), ..changed() };
    Story { result, resolves_after: None, ..simple() }
}

/// Two finished steps that are undone since a third one refuses to act.
fn undone() -> Story {
    let last = Step { on_failure: OnFailure::Rollback, ..step("last", &["second"]) };
    Story {
        steps: vec![step("first", &[]), step("second", &["first"]), last],
        result: crate::workflow::result(Effect::Changed),
        refuses: Some("last"),
        resolves_after: None,
        ..simple()
    }
}

/// A step whose first Job never runs, and whose second one does.
fn tried_again() -> Story {
    Story { steps: vec![Step { retries: 2, ..step("rollback", &[]) }], never_runs: Some("ke-rollback"), ..simple() }
}

fn stories() -> Vec<(&'static str, Story)> {
    vec![
        ("simple", simple()),
        ("thorough", thorough()),
        ("refused", refused()),
        ("undone", undone()),
        ("tried again", tried_again()),
    ]
}

fn run(story: &Story, faults: Faults) -> World {
    World::new(story.clone(), faults).run()
}

/// Two requests whose plans change the same Deployment: the second one is about another that is broken by it.
fn one_cause() -> Story {
    let victim = TargetRef { name: "api".into(), uid: Some("uid-api".into()), ..target() };
    let mut restart = step("restart", &[]);
    restart.action = "uncordon_node".into();
    restart.parameters.clear();
    restart.target =
        TargetRef { api_version: "v1".into(), kind: "Node".into(), name: "n1".into(), ..TargetRef::default() };
    Story { steps: vec![restart], also: vec![victim], resolves_after: None, ..simple() }
}

/// Two requests about one target.
fn one_target() -> Story {
    Story { also: vec![target()], resolves_after: None, ..simple() }
}

/// Everything in which a run with faults must equal a clean one.
fn compare(clean: &World, faulty: &World, what: &str) {
    faulty.assert_forward();
    assert_eq!(faulty.seen_by_target, clean.seen_by_target, "{what}: the target saw each effect once");
    assert_eq!(faulty.creates, clean.creates, "{what}: as many objects were made");
    let (expected, found) = (clean.end_state(), faulty.end_state());
    for (name, expected) in &expected {
        assert_eq!(found.get(name), Some(expected), "{what}: {name} ends alike");
    }
    assert_eq!(found.len(), expected.len(), "{what}: nothing else is left");
}

#[test]
fn a_simple_remediation_runs_to_its_end_with_few_writes() {
    let world = run(&simple(), Faults::default());
    world.assert_forward();
    let status = world.request().status.clone().expect("a status");
    assert_eq!((status.phase, status.outcome), (Some(RequestPhase::Completed), Some(Outcome::Remediated)));
    let phases: Vec<_> = world.request().transitions().iter().map(|transition| transition.to.as_str()).collect();
    assert_eq!(phases, ["Pending", "Processing", "Analyzing", "Executing", "Verifying", "Completed"]);
    let execution = format!("ke-{REQUEST}-rollback");
    assert_eq!(world.seen_by_target, std::slice::from_ref(&execution));
    let once = ["rp", "aia", "we"].map(|kind| (format!("{kind}-{REQUEST}"), 1));
    let jobs = [(execution.clone(), 1), (format!("Job {execution}"), 1)];
    assert_eq!(world.creates, once.into_iter().chain(jobs).collect::<BTreeMap<_, _>>());
    // Of the 25 that a remediation may cost; Events and the relay's finalizers come on top.
    assert!(world.effects.len() <= 21, "{} writes: {:#?}", world.effects.len(), world.effects);
}

#[test]
fn a_thorough_remediation_asks_a_person_and_runs_its_steps_in_order() {
    let world = run(&thorough(), Faults::default());
    let phases: Vec<_> = world.request().transitions().iter().map(|transition| transition.to.as_str()).collect();
    let expect = ["Pending", "Processing", "Analyzing", "AwaitingApproval", "Executing", "Verifying", "Completed"];
    assert_eq!(phases, expect);
    let steps: Vec<_> = world.seen_by_target.iter().filter_map(|name| name.rsplit('-').next()).collect();
    assert_eq!(steps, ["beside", "first", "second"]);
    assert_eq!(world.request().status.as_ref().and_then(|status| status.reason.as_deref()), Some("TargetHealthy"));
}

#[test]
fn a_refused_action_fails_the_request_and_is_not_tried_again() {
    let world = run(&refused(), Faults::default());
    let status = world.request().status.clone().expect("a status");
    assert_eq!((status.phase, status.outcome), (Some(RequestPhase::Failed), Some(Outcome::ManualReviewRequired)));
    assert_eq!(world.seen_by_target.len(), 1);
}

#[test]
fn finished_steps_are_undone_in_reverse_when_a_later_one_fails() {
    let world = run(&undone(), Faults::default());
    world.assert_forward();
    let status = world.request().status.clone().expect("a status");
    assert_eq!((status.phase, status.outcome), (Some(RequestPhase::Completed), Some(Outcome::RolledBack)));
    let seen: Vec<_> = world.seen_by_target.iter().map(|name| name.replace(REQUEST, "R")).collect();
    assert_eq!(seen, ["ke-R-first", "ke-R-second", "ke-R-last", "kr-R-second", "kr-R-first"]);
}

#[test]
fn a_job_that_never_ran_is_followed_by_another_of_another_name() {
    let world = run(&tried_again(), Faults::default());
    world.assert_forward();
    let status = world.request().status.clone().expect("a status");
    assert_eq!((status.phase, status.outcome), (Some(RequestPhase::Completed), Some(Outcome::Remediated)));
    assert_eq!(world.seen_by_target, [format!("k2-{REQUEST}-rollback")]);
}

#[test]
fn a_rollback_that_has_begun_is_ended_whenever_the_request_is_cancelled() {
    let clean = run(&undone(), Faults::default());
    let begins = clean.effects.iter().position(|effect| effect.ends_with("RollingBack")).expect("it rolls back");
    let mut rolled_back = 0;
    for second in 0..90 {
        let world = run(&Story { cancelled_at: Some(second), ..undone() }, Faults::default());
        let begun = world.effects.iter().any(|effect| effect.ends_with("RollingBack"));
        let undone = world.seen_by_target.iter().filter(|name| name.starts_with("kr-")).count();
        assert_eq!(undone, if begun { 2 } else { 0 }, "cancelled in second {second}: all of it or nothing");
        rolled_back += usize::from(begun);
    }
    assert!(begins > 0 && rolled_back > 10 && rolled_back < 90, "both were met: {rolled_back}");
}

#[test]
fn a_crash_after_any_effect_changes_nothing_in_the_end() {
    for (name, story) in stories() {
        let clean = run(&story, Faults::default());
        for k in 1..=clean.effects.len() {
            let faulty = run(&story, Faults { crash_after: [k].into(), ..Faults::default() });
            compare(&clean, &faulty, &format!("{name}, crash after {}", clean.effects[k - 1]));
        }
    }
}

#[test]
fn two_crashes_change_nothing_in_the_end() {
    for (name, story) in stories() {
        let clean = run(&story, Faults::default());
        for first in 1..=clean.effects.len() {
            for between in 1..=4 {
                let faulty = run(&story, Faults { crash_after: [first, first + between].into(), ..Faults::default() });
                compare(&clean, &faulty, &format!("{name}, crash after {first} and {between} more"));
            }
        }
    }
}

#[test]
fn a_crash_after_every_effect_changes_nothing_in_the_end() {
    for (name, story) in stories() {
        let clean = run(&story, Faults::default());
        let faulty = run(&story, Faults { crash_after: (1..1000).collect(), ..Faults::default() });
        compare(&clean, &faulty, &format!("{name}, a crash after every effect"));
    }
}

#[test]
fn a_decision_on_an_older_object_has_no_effect() {
    for (name, story) in stories() {
        let clean = run(&story, Faults::default());
        let mut conflicts = 0;
        for k in 1..=clean.reconciles {
            let faulty = run(&story, Faults { stale: Some(k), ..Faults::default() });
            compare(&clean, &faulty, &format!("{name}, old news in reconciliation {k}"));
            conflicts += faulty.conflicts;
        }
        assert!(conflicts > 10, "the fault was met, not missed");
    }
}

#[test]
fn a_frozen_watch_delays_and_changes_nothing_in_the_end() {
    let kinds =
        ["RemediationRequest", "RemediationProcessing", "AIAnalysis", "WorkflowExecution", "KubernetesExecution"];
    for (name, story) in stories() {
        let clean = run(&story, Faults::default());
        for kind in kinds {
            // Of the longer stories some seconds do.
            for from in (0..70).step_by(if story.steps.len() > 1 { 3 } else { 1 }) {
                let faulty = run(&story, Faults { frozen: Some((kind, from..from + 12)), ..Faults::default() });
                compare(&clean, &faulty, &format!("{name}, no news of {kind} from second {from}"));
            }
        }
    }
}

#[test]
fn a_crash_while_a_watch_is_frozen_changes_nothing_in_the_end() {
    let story = simple();
    let clean = run(&story, Faults::default());
    for k in 1..=clean.effects.len() {
        for kind in ["RemediationRequest", "WorkflowExecution", "KubernetesExecution"] {
            let faults = Faults { crash_after: [k].into(), frozen: Some((kind, 3..9)), ..Faults::default() };
            compare(&clean, &run(&story, faults), &format!("crash after {k} without news of {kind}"));
        }
    }
}

/// Every request ended so, and the target saw so many effects; that never two work at once the world checks itself.
fn check_all(world: &World, phase: RequestPhase, outcome: Outcome, effects: usize, what: &str) {
    world.assert_forward();
    for request in world.all_requests() {
        let status = request.status.clone().expect("a status");
        assert_eq!(
            (status.phase, status.outcome),
            (Some(phase), Some(outcome)),
            "{what}: {}",
            status.message.unwrap_or_default()
        );
    }
    assert_eq!(world.seen_by_target.len(), effects, "{what}: {:?}", world.seen_by_target);
}

fn check_faults(story: &Story, check: impl Fn(&World, &str)) {
    let clean = run(story, Faults::default());
    check(&clean, "no fault");
    for k in 1..=clean.effects.len() {
        let faulty = run(story, Faults { crash_after: [k].into(), ..Faults::default() });
        check(&faulty, &format!("crash after {}", clean.effects[k - 1]));
    }
    check(&run(story, Faults { crash_after: (1..1000).collect(), ..Faults::default() }), "a crash after every effect");
    for k in 1..=clean.reconciles / 4 {
        let faulty = run(story, Faults { stale: Some(k), ..Faults::default() });
        check(&faulty, &format!("old news in reconciliation {k}"));
    }
    for kind in ["RemediationRequest", "AIAnalysis", "WorkflowExecution", "KubernetesExecution"] {
        for from in (0..40).step_by(3) {
            let faulty = run(story, Faults { frozen: Some((kind, from..from + 12)), ..Faults::default() });
            check(&faulty, &format!("no news of {kind} from second {from}"));
        }
    }
}

#[test]
fn two_requests_with_one_cause_end_in_one_workflow() {
    for story in [one_target(), one_cause()] {
        check_faults(&story, |world, what| {
            check_all(world, RequestPhase::Completed, Outcome::Remediated, 1, what);
            let settled = world.all_requests().filter(|request| {
                let phases: Vec<_> = request.transitions().iter().map(|transition| transition.to.as_str()).collect();
                phases == ["Pending", "Processing", "Analyzing", "Blocked", "Verifying", "Completed"]
            });
            assert_eq!(settled.count(), 1, "{what}: one has worked, the other one has waited");
        });
    }
}

#[test]
fn a_request_that_waits_ends_when_its_alert_is_resolved_by_what_another_one_did() {
    let world = run(&Story { resolves_after: Some(1), ..one_target() }, Faults::default());
    let ends: Vec<_> = world.all_requests().filter_map(Staged::phase).collect();
    assert_eq!(ends, [RequestPhase::Completed, RequestPhase::Cancelled]);
    assert_eq!(world.seen_by_target.len(), 1);
}

#[test]
fn when_the_first_of_two_requests_fails_the_second_one_tries_its_own_plan_after_it() {
    let result = ActionResult { effect: Effect::None, error: Some("Paused".into()), ..changed() };
    let story = Story { result, ..one_target() };
    check_faults(&story, |world, what| {
        check_all(world, RequestPhase::Failed, Outcome::ManualReviewRequired, 2, what);
        let mut executed: Vec<_> = world.seen_by_target.clone();
        executed.dedup();
        assert_eq!(executed.len(), 2, "{what}: each once");
    });
}

#[test]
fn one_of_two_requests_that_is_cancelled_lets_the_other_one_go_on() {
    for second in 0..30 {
        let story = Story { cancelled_at: Some(second), ..one_target() };
        let world = run(&story, Faults::default());
        world.assert_forward();
        let ends: Vec<_> = world.all_requests().map(Staged::phase).collect();
        assert!(ends.contains(&Some(RequestPhase::Completed)), "cancelled in second {second}: {ends:?}");
        assert!(world.seen_by_target.len() <= 2, "{:?}", world.seen_by_target);
    }
}

#[test]
fn a_request_cancelled_in_any_second_ends_and_leaves_nothing_running() {
    for (name, story) in stories() {
        let clean = run(&story, Faults::default());
        for second in 0..60 {
            let story = Story { cancelled_at: Some(second), ..story.clone() };
            let world = run(&story, Faults::default());
            world.assert_forward();
            assert!(world.seen_by_target.len() <= clean.seen_by_target.len());
            let phase = world.request().phase();
            let ended_first = phase == clean.request().phase();
            // A step that failed before the cancellation was seen is not hidden by it.
            let failed = name == "undone" && phase == Some(RequestPhase::Failed);
            assert!(
                phase == Some(RequestPhase::Cancelled) || ended_first || failed,
                "{name}, cancelled in second {second}: {phase:?}"
            );
            for (object, state) in world.end_state() {
                let phase = state.pointer("/status/phase").and_then(|phase| phase.as_str());
                let open = ["Pending", "Enriching", "Analyzing", "Approval", "Executing", "Verifying", "RollingBack"];
                assert!(phase.is_none_or(|phase| !open.contains(&phase)), "{name}, {second}: {object} is {phase:?}");
                let held = state.get("released").and_then(serde_json::Value::as_bool) == Some(false);
                assert!(!held, "{name}, {second}: {object} is still held");
            }
        }
    }
}
