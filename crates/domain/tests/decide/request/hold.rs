//! Blocked: every reason, how it is entered, and every way out.

use std::time::Duration;

use kubernaut_api::{BlockReason, TargetRef};
use kubernaut_domain::budget::{Entry, State};
use kubernaut_domain::request::Working;
use kubernaut_domain::settings::Cooldowns;
use kubernaut_domain::suppression::Past;

use super::*;
use crate::given::later;

/// A way to hold a request back: the reason, and what has to be seen.
type Hold = (BlockReason, fn(&mut Seen));

/// Before anything begins.
const EARLY: [Hold; 5] = [
    (BlockReason::Cooldown, |seen| seen.neighbours.past = vec![past(60, Outcome::NoActionRequired, false)]),
    (BlockReason::RepeatedFailure, |seen| seen.neighbours.past = [400, 500, 600].map(failure).into()),
    (BlockReason::Ineffective, |seen| seen.neighbours.past = [400, 500, 600].map(round).into()),
    (BlockReason::Unmanaged, unmanaged),
    (BlockReason::ProtectedNamespace, protect),
];

/// Before a plan is executed.
const LATE: [Hold; 4] = [
    (BlockReason::ResourceBusy, |seen| seen.neighbours.working = vec![works("rr-other-1", RequestPhase::Executing)]),
    (BlockReason::Budget, exhaust),
    (BlockReason::Unmanaged, unmanaged),
    (BlockReason::ProtectedNamespace, protect),
];

fn past(ago: i64, outcome: Outcome, executed: bool) -> Past {
    Past {
        name: format!("rr-x-{ago}"),
        began: at(-ago - 10),
        ended: at(-ago),
        phase: RequestPhase::Completed,
        outcome: Some(outcome),
        executed,
        tried: true,
    }
}

fn failure(ago: i64) -> Past {
    Past { phase: RequestPhase::Failed, outcome: None, ..past(ago, Outcome::Inconclusive, false) }
}

fn round(ago: i64) -> Past {
    past(ago, Outcome::Remediated, true)
}

fn unmanaged(seen: &mut Seen) {
    seen.neighbours.unmanaged = vec!["namespace shop is not labelled as managed; opt in: kubectl label".into()];
}

fn protect(seen: &mut Seen) {
    seen.settings.budgets.protected_namespaces.push("shop".into());
}

fn works(name: &str, phase: RequestPhase) -> Working {
    Working {
        name: name.into(),
        created: Some(at(-100)),
        uid: format!("uid-{name}"),
        phase,
        outcome: None,
        touches: vec![target()],
    }
}

fn elsewhere(name: &str) -> TargetRef {
    TargetRef { name: name.into(), uid: None, ..target() }
}

fn running(name: &str, target: TargetRef) -> Entry {
    Entry {
        name: name.into(),
        created: Some(at(-50)),
        uid: format!("uid-{name}"),
        action: "restart_pod".into(),
        target,
        state: State::Active,
        started: Some(at(-40)),
        undoes: false,
    }
}

/// As much runs in the namespace as may.
fn exhaust(seen: &mut Seen) {
    seen.neighbours.executions =
        ["a", "b", "c"].into_iter().map(|name| running(&format!("ke-{name}"), elsewhere(name))).collect();
}

/// Nothing that holds back any more.
fn free(seen: &mut Seen) {
    seen.neighbours = Neighbours::default();
    seen.settings.budgets = settings().budgets;
}

/// A new request that this holds back.
fn held_early((reason, hold): Hold) -> (Seen, Plan, Vec<String>) {
    let mut seen = begun();
    hold(&mut seen);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(plan.status.block_reason, Some(reason));
    (seen, plan, trail)
}

/// A request whose plan is ready and which this holds back, two seconds after the start.
fn held_late((reason, hold): Hold) -> (Seen, Plan, Vec<String>) {
    let mut seen = walk(begun(), RequestPhase::Analyzing);
    analyse(&mut seen, AnalysisPhase::Completed);
    hold(&mut seen);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(plan.status.block_reason, Some(reason));
    (seen, plan, trail)
}

fn all_held() -> Vec<Seen> {
    EARLY.map(held_early).into_iter().chain(LATE.map(held_late)).map(|(seen, ..)| seen).collect()
}

/// What is seen when a request is about to be held back for a reason that is no matter of time.
pub fn held(settings: &kubernaut_domain::settings::Settings) -> Vec<Seen> {
    let start = || Seen { settings: settings.clone(), ..begun() };
    let early = [EARLY[3], EARLY[4]].map(|(_, hold)| {
        let mut seen = start();
        hold(&mut seen);
        seen
    });
    let late = LATE.map(|(_, hold)| {
        let mut seen = walk(start(), RequestPhase::Analyzing);
        analyse(&mut seen, AnalysisPhase::Completed);
        hold(&mut seen);
        seen
    });
    early.into_iter().chain(late).collect()
}

fn reason(seen: &Seen) -> BlockReason {
    seen.request.status.as_ref().and_then(|status| status.block_reason).expect("it is held back")
}

#[test]
fn a_new_request_is_held_back_before_anything_is_made() {
    for hold in EARLY {
        let (seen, plan, trail) = held_early(hold);
        assert_eq!(trail, ["Pending Received".to_owned(), format!("Blocked {}", hold.0)]);
        let status = plan.status;
        assert_eq!((plan.child, &status.processing_name), (None, &None));
        assert!(status.next_attempt_at > Some(seen.now.clone()), "it says when it is tried again");
        assert_eq!(status.phase_deadline, status.deadline, "it has a deadline");
        assert!(status.message.is_some_and(|message| !message.is_empty()), "it says why");
    }
}

#[test]
fn a_request_with_a_plan_is_held_back_before_it_is_executed() {
    for hold in LATE {
        let (_, plan, trail) = held_late(hold);
        assert_eq!(trail, [format!("Blocked {}", hold.0)]);
        assert_eq!((plan.child, plan.status.workflow_name), (None, None));
        assert_eq!(plan.status.touches, [target()], "others see what it waits for");
    }
}

#[test]
fn an_approved_plan_is_held_back_too_and_executed_without_being_asked_about_again() {
    for (_, hold) in LATE {
        let mut seen = walk(begun(), RequestPhase::AwaitingApproval);
        analyse(&mut seen, AnalysisPhase::Completed);
        hold(&mut seen);
        advance(&mut seen);
        free(&mut seen);
        assert_eq!(advance(&mut seen).1, ["Executing Unblocked"]);
    }
}

#[test]
fn being_held_back_is_one_warning_and_not_one_a_look() {
    for (hold, held) in EARLY.into_iter().zip(EARLY.map(held_early)).chain(LATE.into_iter().zip(LATE.map(held_late))) {
        let (mut seen, plan, _) = held;
        let [notice] = plan.notices.as_slice() else { panic!("{:?}", plan.notices) };
        assert!(notice.warning && notice.note.starts_with(&format!("{}: ", hold.0)), "{notice:?}");
        for _ in 0..3 {
            let due = seen.request.status.as_ref().and_then(|status| status.next_attempt_at.clone()).expect("a time");
            seen.now = later(&due, -1);
            let before = seen.request.status.clone();
            let (plan, trail) = advance(&mut seen);
            assert!(trail.is_empty() && plan.notices.is_empty());
            assert_eq!(Some(plan.status), before, "nothing is new, so nothing is written");
        }
    }
}

#[test]
fn it_is_looked_at_again_when_it_said_and_held_back_anew_while_the_reason_stands() {
    for (mut seen, ..) in [EARLY[3], EARLY[4]].map(held_early).into_iter().chain(LATE.map(held_late)) {
        let due = seen.request.status.as_ref().and_then(|status| status.next_attempt_at.clone()).expect("a time");
        seen.now = due.clone();
        let (plan, trail) = advance(&mut seen);
        assert!(trail.is_empty() && plan.notices.is_empty() && plan.child.is_none());
        assert!(plan.status.next_attempt_at > Some(due), "{}", reason(&seen));
    }
}

#[test]
fn a_request_begins_when_its_reason_is_gone() {
    for hold in EARLY {
        let (mut seen, ..) = held_early(hold);
        free(&mut seen);
        seen.now = at(5);
        let (plan, trail) = advance(&mut seen);
        assert_eq!(trail, ["Processing TargetResolved"], "{}", hold.0);
        assert!(matches!(plan.child, Some(Child::Processing(_))));
        let status = plan.status;
        assert_eq!((status.block_reason, status.next_attempt_at, status.blocked_by), (None, None, None));
    }
}

#[test]
fn a_plan_is_executed_when_what_held_it_back_is_gone() {
    for hold in LATE {
        let (mut seen, ..) = held_late(hold);
        free(&mut seen);
        let (plan, trail) = advance(&mut seen);
        assert_eq!(trail, ["Executing Unblocked"], "{}", hold.0);
        assert!(matches!(plan.child, Some(Child::Workflow(_))));
        assert_eq!((plan.status.block_reason, plan.status.next_attempt_at), (None, None));
    }
}

#[test]
fn a_hold_that_is_a_matter_of_time_ends_by_itself_at_the_time_it_named() {
    for hold in [EARLY[0], EARLY[1], EARLY[2]] {
        let (mut seen, plan, _) = held_early(hold);
        assert_eq!(plan.next, Next::At(plan.status.next_attempt_at.clone().expect("a time")));
        seen.now = plan.status.next_attempt_at.expect("a time");
        assert_eq!(advance(&mut seen).1, ["Processing TargetResolved"], "{}", hold.0);
    }
}

#[test]
fn the_pause_and_the_cooldown_are_no_part_of_the_time_that_a_request_has() {
    let (_, plan, _) = held_early(EARLY[1]);
    assert_eq!(plan.status.next_attempt_at, Some(at(3600 - 400)));
    assert_eq!(plan.status.deadline, Some(at(3600 - 400 + 3600)));
    let (_, plan, _) = held_early(EARLY[3]);
    assert_eq!(plan.status.deadline, Some(at(3600)), "nobody knows how long that would be");
}

#[test]
fn a_blocked_request_is_cancelled_by_a_person_or_by_the_end_of_its_alert() {
    for seen in all_held() {
        for (change, expect) in [
            ((|seen| seen.request.spec.cancelled = true) as fn(&mut Seen), "Cancelled CancelledByUser"),
            (resolve, "Cancelled AlertResolved"),
        ] {
            let mut seen = seen.clone();
            change(&mut seen);
            let (plan, trail) = advance(&mut seen);
            assert_eq!(trail, [expect]);
            assert_eq!((plan.status.block_reason, plan.status.next_attempt_at, plan.child), (None, None, None));
        }
    }
}

#[test]
fn a_blocked_request_times_out_with_its_reason() {
    for mut seen in all_held() {
        let reason = reason(&seen);
        let deadline = seen.request.status.as_ref().and_then(|status| status.deadline.clone()).expect("a deadline");
        seen.now = deadline;
        let (plan, trail) = advance(&mut seen);
        assert_eq!(trail, ["TimedOut BlockedTimedOut"], "{reason}");
        assert_eq!(plan.status.outcome, Some(Outcome::ManualReviewRequired));
        let message = plan.status.message.unwrap_or_default();
        assert!(message.contains(&format!("held back by {reason}: ")), "{message}");
    }
}

#[test]
fn a_request_whose_alert_was_resolved_before_it_was_seen_makes_nothing() {
    let mut seen = begun();
    resolve(&mut seen);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Pending Received", "Cancelled AlertResolved"]);
    assert_eq!(plan.child, None);
}

#[test]
fn another_reason_is_told_once_and_is_no_transition() {
    let (mut seen, ..) = held_early(EARLY[0]);
    free(&mut seen);
    unmanaged(&mut seen);
    seen.now = at(240);
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty(), "it is still Blocked");
    assert_eq!(plan.status.reason.as_deref(), Some("Unmanaged"));
    assert_eq!(plan.notices.len(), 1);
    assert!(advance(&mut seen).0.notices.is_empty());
}

#[test]
fn after_rounds_that_did_not_last_a_person_is_asked_whatever_the_confidence_is() {
    let (mut seen, plan, _) = held_early(EARLY[2]);
    seen.now = plan.status.next_attempt_at.expect("a time");
    let (plan, _) = advance(&mut seen);
    let why = plan.status.ask_person.clone().expect("it says why");
    assert!(why.contains("did not last"), "{why}");
    free(&mut seen);
    seen.processing = seen.processing.map(processed);
    let Some(Child::Analysis(child)) = advance(&mut seen).0.child else { panic!("an analysis") };
    assert_eq!(child.spec.ask_person, Some(why));
}

#[test]
fn a_first_request_asks_nobody_but_for_its_confidence() {
    let seen = walk(begun(), RequestPhase::Analyzing);
    assert_eq!(seen.analysis.expect("an analysis").spec.ask_person, None);
}

#[test]
fn every_end_of_an_earlier_request_holds_the_next_one_back() {
    use Outcome::{DryRun, Inconclusive, ManualReviewRequired, NoActionRequired, Remediated, RolledBack};
    for outcome in [Remediated, NoActionRequired, ManualReviewRequired, Inconclusive, RolledBack, DryRun] {
        let mut seen = begun();
        seen.neighbours.past = vec![past(10, outcome, false)];
        assert_eq!(advance(&mut seen).1, ["Pending Received", "Blocked Cooldown"], "{outcome:?}");
        let mut seen = begun();
        seen.settings.suppression.cooldown = Cooldowns::of(Duration::ZERO);
        seen.neighbours.past = vec![past(10, outcome, false)];
        assert_eq!(advance(&mut seen).1.last().map(String::as_str), Some("Processing TargetResolved"));
    }
}

#[test]
fn it_waits_for_whoever_works_on_what_a_step_would_change_and_for_nobody_else() {
    for phase in RequestPhase::ALL {
        let mut seen = walk(begun(), RequestPhase::Analyzing);
        seen.request.metadata.creation_timestamp = Some(kubernaut_api::Time(at(0).0));
        analyse(&mut seen, AnalysisPhase::Completed);
        seen.neighbours.working = vec![works("rr-other-1", *phase)];
        // It has waited longer, as it is older.
        let expect = matches!(phase, RequestPhase::Executing | RequestPhase::Verifying | RequestPhase::Blocked);
        let (plan, _) = advance(&mut seen);
        assert_eq!(plan.status.phase == Some(RequestPhase::Blocked), expect, "{phase}");
        assert_eq!(plan.status.blocked_by.as_deref(), expect.then_some("rr-other-1"));
    }
    let mut seen = walk(begun(), RequestPhase::Analyzing);
    analyse(&mut seen, AnalysisPhase::Completed);
    let other = Working { touches: vec![elsewhere("db")], ..works("rr-other-1", RequestPhase::Executing) };
    seen.neighbours.working = vec![other, works(REQUEST, RequestPhase::Executing)];
    assert_eq!(advance(&mut seen).1, ["Executing PlanAccepted"], "another target, and itself");
}

#[test]
fn of_two_that_wait_only_the_younger_one_yields() {
    let mut seen = walk(begun(), RequestPhase::Analyzing);
    seen.request.metadata.creation_timestamp = Some(kubernaut_api::Time(at(-100).0));
    analyse(&mut seen, AnalysisPhase::Completed);
    for (created, uid, yields) in
        [(at(-101), "z", true), (at(-99), "a", false), (at(-100), "a", true), (at(-100), "zz", false)]
    {
        let mut seen = seen.clone();
        let other = works("rr-other-1", RequestPhase::Blocked);
        seen.neighbours.working = vec![Working { created: Some(created), uid: uid.into(), ..other }];
        let (plan, _) = advance(&mut seen);
        assert_eq!(plan.status.phase == Some(RequestPhase::Blocked), yields, "{uid}");
    }
}

#[test]
fn when_the_one_that_works_on_the_cause_has_mended_it_the_others_only_look_whether_it_helped() {
    let (mut seen, ..) = held_late(LATE[0]);
    free(&mut seen);
    let ended = works("rr-other-1", RequestPhase::Completed);
    seen.neighbours.awaited = Some(Working { outcome: Some(Outcome::Remediated), ..ended });
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Verifying MendedByOther"]);
    assert_eq!((plan.child, &plan.status.workflow_name, &plan.status.blocked_by), (None, &None, &None));
    assert!(plan.status.phase_deadline.is_some());
    resolve(&mut seen);
    seen.health = Some(Health::Healthy);
    let (plan, trail) = advance(&mut seen);
    assert_eq!((trail, plan.status.outcome), (vec!["Completed AlertResolved".into()], Some(Outcome::Remediated)));
}

#[test]
fn one_that_has_mended_a_part_only_leaves_the_rest_to_the_plan() {
    let (mut seen, ..) = held_late(LATE[0]);
    free(&mut seen);
    let ended = works("rr-other-1", RequestPhase::Completed);
    let part = Working { outcome: Some(Outcome::Remediated), touches: vec![elsewhere("db")], ..ended };
    seen.neighbours.awaited = Some(part);
    assert_eq!(advance(&mut seen).1, ["Executing Unblocked"]);
}

#[test]
fn when_it_ended_otherwise_they_go_on_with_their_own_plan() {
    use Outcome::{DryRun, Inconclusive, ManualReviewRequired, NoActionRequired, RolledBack};
    let otherwise = [DryRun, Inconclusive, ManualReviewRequired, NoActionRequired, RolledBack].map(Some);
    for outcome in otherwise.into_iter().chain([None]) {
        let (mut seen, ..) = held_late(LATE[0]);
        free(&mut seen);
        seen.neighbours.awaited = Some(Working { outcome, ..works("rr-other-1", RequestPhase::Failed) });
        assert_eq!(advance(&mut seen).1, ["Executing Unblocked"], "{outcome:?}");
    }
    let (mut gone, ..) = held_late(LATE[0]);
    free(&mut gone);
    assert_eq!(advance(&mut gone).1, ["Executing Unblocked"], "it was deleted");
}

#[test]
fn they_go_on_one_after_the_other() {
    let (mut seen, ..) = held_late(LATE[0]);
    free(&mut seen);
    seen.neighbours.awaited = Some(works("rr-other-1", RequestPhase::Failed));
    seen.neighbours.working = vec![works("rr-third-1", RequestPhase::Executing)];
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty() && plan.notices.is_empty(), "held back for the same reason");
    assert_eq!(plan.status.blocked_by.as_deref(), Some("rr-third-1"));
}

#[test]
fn a_plan_waits_for_its_budget_only_while_no_step_of_it_may_start() {
    let mut seen = walk(begun(), RequestPhase::Analyzing);
    seen.analysis = seen.analysis.map(|analysis| {
        let mut free = step("free", &[]);
        free.target.namespace = Some("other".into());
        analysed(analysis, AnalysisPhase::Completed, &[step("full", &[]), free])
    });
    exhaust(&mut seen);
    assert_eq!(advance(&mut seen).1, ["Executing PlanAccepted"]);
}

#[test]
fn an_execution_whose_request_has_ended_still_keeps_its_target() {
    let mut seen = walk(begun(), RequestPhase::Analyzing);
    analyse(&mut seen, AnalysisPhase::Completed);
    seen.neighbours.executions = vec![running("ke-x", target())];
    let (plan, _) = advance(&mut seen);
    assert_eq!((plan.status.block_reason, plan.status.blocked_by), (Some(BlockReason::ResourceBusy), None));
}

#[test]
fn a_dry_run_waits_for_nobody_but_touches_nothing_out_of_bounds() {
    for (reason, hold) in LATE {
        let mut dry = begun();
        dry.request.spec.dry_run = true;
        let mut seen = walk(dry, RequestPhase::Analyzing);
        analyse(&mut seen, AnalysisPhase::Completed);
        hold(&mut seen);
        let expect = if matches!(reason, BlockReason::ResourceBusy | BlockReason::Budget) {
            "Executing PlanAccepted".to_owned()
        } else {
            format!("Blocked {reason}")
        };
        assert_eq!(advance(&mut seen).1, [expect]);
    }
}

#[test]
fn the_operators_own_namespace_is_always_protected() {
    let mut seen = begun();
    seen.settings.budgets.protected_namespaces.clear();
    let own = seen.request.metadata.namespace.clone();
    seen.request.spec.target = Some(TargetRef { namespace: own, ..target() });
    assert_eq!(advance(&mut seen).1, ["Pending Received", "Blocked ProtectedNamespace"]);
}

#[test]
fn a_cause_in_a_protected_namespace_is_not_touched_for_its_victims_sake() {
    let mut seen = walk(begun(), RequestPhase::Analyzing);
    seen.analysis = seen.analysis.map(|analysis| {
        let mut cause = step("cause", &[]);
        cause.target.namespace = Some("kube-system".into());
        analysed(analysis, AnalysisPhase::Completed, &[cause])
    });
    assert_eq!(advance(&mut seen).1, ["Blocked ProtectedNamespace"]);
}

#[test]
fn the_configuration_makes_every_request_a_dry_run() {
    let mut own = begun();
    own.settings.dry_run = true;
    let mut seen = walk(own, RequestPhase::Executing);
    assert!(seen.workflow.as_ref().is_some_and(|workflow| workflow.spec.dry_run));
    work(&mut seen, WorkflowPhase::Completed);
    let (plan, trail) = advance(&mut seen);
    assert_eq!((trail, plan.status.outcome), (vec!["Completed DryRun".into()], Some(Outcome::DryRun)));
}

#[test]
fn a_dry_run_that_was_refused_says_how_far_it_came() {
    let mut own = begun();
    own.request.spec.dry_run = true;
    let mut seen = walk(own, RequestPhase::Executing);
    work(&mut seen, WorkflowPhase::Failed);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Failed StepsCompleted"]);
    assert_eq!(plan.status.would_have_done, ["rollback: went back to revision 3"]);
}
