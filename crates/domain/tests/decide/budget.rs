//! Safety budgets: pure, and as they hold an execution back.

use std::collections::BTreeSet;

use kubernaut_api::{BlockReason, EventReason, ExecutionPhase, MicroTime, TargetRef, Transition};
use kubernaut_domain::budget::{Entry, State, decide, protected};
use kubernaut_domain::execution::{JobPlan, Seen};
use kubernaut_domain::settings::{Budgets, Settings};
use kubernaut_domain::stage::Next;
use proptest::prelude::*;

use crate::execution::{advance, begun};
use crate::given::{at, settings, target};

const NOW: i64 = 10_000;

fn on(namespace: &str, name: &str) -> TargetRef {
    TargetRef { namespace: Some(namespace.into()), name: name.into(), ..target() }
}

fn node(name: &str) -> TargetRef {
    TargetRef { api_version: "v1".into(), kind: "Node".into(), name: name.into(), ..TargetRef::default() }
}

fn entry(name: &str, target: TargetRef, state: State) -> Entry {
    Entry {
        name: name.into(),
        created: Some(at(NOW - 1000)),
        uid: name.into(),
        action: "restart_pod".into(),
        target,
        state,
        started: None,
        undoes: false,
    }
}

fn active(name: &str, target: TargetRef) -> Entry {
    entry(name, target, State::Active)
}

/// Made when `entry` makes it, and so many seconds later.
fn younger(seconds: i64, entry: Entry) -> Entry {
    Entry { created: Some(at(NOW - 1000 + seconds)), ..entry }
}

fn ask(wanted: &Entry, ledger: &[Entry]) -> Option<BlockReason> {
    decide(wanted, ledger, &settings(), &at(NOW)).map(|held| held.reason)
}

fn wanted(target: TargetRef) -> Entry {
    entry("ke-wanted", target, State::New)
}

#[test]
fn nothing_holds_back_the_first_one() {
    assert_eq!(ask(&wanted(target()), &[]), None);
    assert_eq!(ask(&wanted(target()), &[entry("ke-wanted", target(), State::New)]), None, "itself");
}

#[test]
fn one_works_on_a_target_at_a_time() {
    let ledger = [active("ke-a", target())];
    let held = decide(&wanted(target()), &ledger, &settings(), &at(NOW)).expect("held back");
    assert_eq!(held.reason, BlockReason::ResourceBusy);
    assert!(held.message.contains("ke-a works on Deployment/shop/web"), "{}", held.message);
    assert_eq!(held.until, at(NOW + 600), "it is woken earlier");
    assert_eq!(ask(&wanted(on("shop", "api")), &ledger), None);
    assert_eq!(ask(&wanted(on("other", "web")), &ledger), None);
    let mut renewed = target();
    renewed.uid = Some("another".into());
    assert_eq!(ask(&wanted(renewed), &ledger), Some(BlockReason::ResourceBusy), "whichever incarnation");
}

#[test]
fn what_has_not_started_or_is_over_uses_nothing_up() {
    for state in [State::New, State::Over] {
        assert_eq!(ask(&wanted(target()), &[entry("ke-a", target(), state)]), None, "{state:?}");
    }
}

#[test]
fn three_work_in_a_namespace_at_a_time() {
    let three = ["a", "b", "c"].map(|name| active(name, on("shop", name)));
    assert_eq!(ask(&wanted(on("shop", "d")), &three), Some(BlockReason::Budget));
    assert_eq!(ask(&wanted(on("shop", "d")), &three[..2]), None);
    assert_eq!(ask(&wanted(on("other", "d")), &three), None);
    assert_eq!(ask(&wanted(node("n1")), &three), None, "a node is in no namespace");
}

#[test]
fn ten_work_in_the_cluster_at_a_time() {
    let ten: Vec<_> = (0..10).map(|number| active(&format!("ke-{number}"), on(&format!("ns-{number}"), "x"))).collect();
    assert_eq!(ask(&wanted(on("shop", "d")), &ten), Some(BlockReason::Budget));
    assert_eq!(ask(&wanted(on("shop", "d")), &ten[1..]), None);
}

#[test]
fn one_node_is_worked_on_at_a_time() {
    assert_eq!(ask(&wanted(node("n2")), &[active("ke-a", node("n1"))]), Some(BlockReason::Budget));
    assert_eq!(ask(&wanted(target()), &[active("ke-a", node("n1"))]), None);
}

#[test]
fn an_action_runs_so_often_within_an_hour_and_the_time_of_the_next_one_is_told() {
    let ended = |number: i64, ago: i64, action: &str| Entry {
        action: action.into(),
        started: Some(at(NOW - ago)),
        ..entry(&format!("ke-{number}"), on("shop", "x"), State::Over)
    };
    let thirty: Vec<_> = (0..30).map(|number| ended(number, 3000 - number, "restart_pod")).collect();
    let held = decide(&wanted(target()), &thirty, &settings(), &at(NOW)).expect("held back");
    assert_eq!((held.reason, held.until), (BlockReason::Budget, at(NOW - 3000 + 3600)));
    assert_eq!(ask(&wanted(target()), &thirty[1..]), None);
    let other: Vec<_> = (0..30).map(|number| ended(number, 3000, "delete_pod")).collect();
    assert_eq!(ask(&wanted(target()), &other), None, "another action");
    let old: Vec<_> = (0..30).map(|number| ended(number, 3600, "restart_pod")).collect();
    assert_eq!(ask(&wanted(target()), &old), None, "an hour is over");
}

#[test]
fn the_numbers_are_settings() {
    let budgets = Budgets { per_target: 2, per_namespace: 1, ..Budgets::default() };
    let settings = Settings { budgets, ..settings() };
    let held = |target, ledger: &[Entry]| decide(&wanted(target), ledger, &settings, &at(NOW)).map(|held| held.reason);
    assert_eq!(held(target(), &[active("ke-a", target())]), Some(BlockReason::Budget), "of the namespace");
    assert_eq!(held(on("other", "x"), &[active("ke-a", target())]), None);
}

#[test]
fn who_has_waited_longer_goes_first() {
    let waits = |name: &str, seconds| younger(seconds, entry(name, target(), State::Waiting));
    let own = younger(10, wanted(target()));
    assert_eq!(ask(&own, &[waits("ke-older", 5)]), Some(BlockReason::ResourceBusy));
    assert_eq!(ask(&own, &[waits("ke-younger", 15)]), None);
    let same_second = Entry { uid: "b".into(), ..own.clone() };
    assert_eq!(ask(&same_second, &[Entry { uid: "a".into(), ..waits("ke-x", 10) }]), Some(BlockReason::ResourceBusy));
    assert_eq!(ask(&same_second, &[Entry { uid: "c".into(), ..waits("ke-x", 10) }]), None);
}

#[test]
fn who_waits_for_something_else_is_not_waited_for() {
    let stuck = entry("ke-stuck", on("shop", "busy"), State::Waiting);
    let ledger = [active("ke-a", on("shop", "busy")), stuck];
    assert_eq!(ask(&younger(10, wanted(target())), &ledger), None, "it could not start anyway");
}

#[test]
fn what_undoes_waits_for_its_target_and_for_no_budget() {
    let three = ["a", "b", "c"].map(|name| active(name, on("shop", name)));
    let undo = |target| Entry { undoes: true, ..wanted(target) };
    assert_eq!(ask(&undo(on("shop", "d")), &three), None);
    assert_eq!(ask(&undo(on("shop", "a")), &three), Some(BlockReason::ResourceBusy));
}

#[test]
fn protected_namespaces_are_named_and_the_operators_own_is_one() {
    let budgets = Budgets::default();
    for (target, own, expect) in [
        (on("kube-system", "dns"), None, true),
        (on("kube-public", "x"), None, true),
        (on("kube-node-lease", "x"), None, true),
        (on("shop", "web"), Some("kubernaut-system"), false),
        (on("kubernaut-system", "web"), Some("kubernaut-system"), true),
        (on("kube-systems", "web"), None, false),
        (node("kube-system"), None, false),
        (TargetRef { kind: "Namespace".into(), ..node("kube-system") }, None, true),
    ] {
        assert_eq!(protected(&target, own, &budgets).is_some(), expect, "{target}");
    }
}

#[test]
fn an_entry_says_where_an_execution_stands() {
    let state = |phase: ExecutionPhase, held: bool| {
        let mut execution = crate::execution::execution();
        let status = execution.status.get_or_insert_default();
        status.phase = Some(phase);
        status.block_reason = held.then_some(BlockReason::Budget);
        Entry::of(&execution).expect("it counts").state
    };
    for (phase, expect) in ExecutionPhase::ALL.iter().zip([
        State::New,
        State::New,
        State::Active,
        State::Active,
        State::Over,
        State::Active,
        State::Over,
        State::Over,
    ]) {
        assert_eq!(state(*phase, false), expect, "{phase}");
    }
    assert_eq!(state(ExecutionPhase::Validating, true), State::Waiting);
    let mut dry = crate::execution::execution();
    dry.spec.dry_run = true;
    assert_eq!(Entry::of(&dry), None);
    let mut started = crate::execution::execution();
    started.status.get_or_insert_default().transitions = vec![Transition {
        seq: 1,
        from: None,
        to: "Executing".into(),
        at: at(7),
        reason: "X".into(),
        message: String::new(),
    }];
    assert_eq!(Entry::of(&started).and_then(|entry| entry.started), Some(at(7)));
}

// As an execution is held back.

fn held() -> Seen {
    Seen { ledger: vec![active("ke-a", target())], ..begun() }
}

fn status(seen: &Seen) -> kubernaut_api::KubernetesExecutionStatus {
    seen.execution.status.clone().expect("a status")
}

#[test]
fn an_execution_that_may_not_start_waits_in_validating_and_says_why_once() {
    let mut seen = held();
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Pending Created", "Validating Rehearsing"]);
    assert_eq!(plan.job, JobPlan::Leave);
    let waiting = status(&seen);
    assert_eq!(
        (waiting.reason.as_deref(), waiting.block_reason),
        (Some("ResourceBusy"), Some(BlockReason::ResourceBusy))
    );
    assert_eq!(waiting.next_attempt_at, Some(at(600)));
    assert_eq!(waiting.phase_deadline, Some(at(1800)), "until its request's execution is over");
    assert_eq!(plan.next, Next::At(at(600)));
    assert_eq!(plan.notices.iter().map(|notice| notice.reason).collect::<Vec<_>>(), [EventReason::ActionHeld]);
    seen.now = at(100);
    let (plan, _) = advance(&mut seen);
    assert_eq!((plan.status, plan.notices), (waiting, vec![]), "nothing is new");
}

#[test]
fn it_starts_when_its_turn_has_come() {
    let mut seen = held();
    advance(&mut seen);
    seen.ledger.clear();
    seen.now = at(900);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Executing RehearsalPassed"]);
    assert!(matches!(plan.job, JobPlan::Create(_)));
    assert_eq!((plan.status.block_reason, plan.status.next_attempt_at), (None, None));
    let mut at_once = begun();
    at_once.now = at(900);
    assert_eq!(plan.status.phase_deadline, advance(&mut at_once).0.status.phase_deadline, "the Job has its whole time");
}

#[test]
fn it_fails_with_the_reason_when_its_turn_does_not_come() {
    let mut seen = held();
    advance(&mut seen);
    seen.now = at(1800);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Failed ResourceBusy"]);
    assert!(plan.status.message.is_some_and(|message| message.contains("nothing was changed")));
    assert_eq!((plan.job, plan.status.block_reason), (JobPlan::Leave, None));
}

#[test]
fn it_is_looked_at_again_when_it_said_and_waits_on() {
    let mut seen = held();
    advance(&mut seen);
    seen.now = at(600);
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty() && plan.notices.is_empty());
    assert_eq!(plan.next, Next::At(at(1200)));
}

#[test]
fn it_is_cancelled_while_it_waits() {
    let mut seen = held();
    advance(&mut seen);
    seen.request_over = true;
    let (plan, trail) = advance(&mut seen);
    assert_eq!((trail, plan.job), (vec!["Cancelled RequestEnded".to_owned()], JobPlan::Leave));
}

#[test]
fn it_waits_for_as_long_as_an_execution_may_take_where_there_is_no_request() {
    let mut seen = Seen { request_deadline: None, ..held() };
    advance(&mut seen);
    assert_eq!(status(&seen).phase_deadline, Some(at(1800)));
}

#[test]
fn a_dry_run_waits_for_nobody() {
    let mut seen = held();
    seen.execution.spec.dry_run = true;
    assert!(matches!(advance(&mut seen).0.job, JobPlan::Create(_)));
}

#[test]
fn what_is_protected_or_not_managed_is_refused_before_there_is_a_job() {
    let mut seen = begun();
    seen.settings.budgets.protected_namespaces.push("shop".into());
    let (plan, trail) = advance(&mut seen);
    assert_eq!((trail.last().map(String::as_str), plan.job), (Some("Failed ProtectedNamespace"), JobPlan::Leave));
    let mut seen = Seen { unmanaged: Some("namespace shop is not labelled".into()), ..begun() };
    let (plan, trail) = advance(&mut seen);
    assert_eq!((trail.last().map(String::as_str), plan.job), (Some("Failed Unmanaged"), JobPlan::Leave));
}

/// One execution of a random world: its namespace, target, action, and how many rounds it runs.
#[derive(Clone, Debug)]
struct Drawn {
    entry: Entry,
    rounds: usize,
}

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let one = (0..3usize, 0..4usize, any::<bool>(), 0..30i64, 1..4usize);
    prop::collection::vec(one, 1..25).prop_map(|all| {
        let entry =
            |(number, (namespace, name, is_node, created, rounds)): (usize, (usize, usize, bool, i64, usize))| {
                let target = if is_node && name < 2 {
                    node(&format!("n{name}"))
                } else {
                    on(&format!("ns{namespace}"), &format!("w{name}"))
                };
                let entry =
                    Entry { state: State::Waiting, ..entry(&format!("ke-{number:02}"), target, State::Waiting) };
                Drawn { entry: younger(created, entry), rounds }
            };
        all.into_iter().enumerate().map(entry).collect()
    })
}

/// That no budget is exceeded.
fn assert_within(entries: &[Entry], budgets: &Budgets, now: &MicroTime) -> Result<(), TestCaseError> {
    let active: Vec<_> = entries.iter().filter(|entry| entry.state == State::Active).collect();
    let count =
        |is: &dyn Fn(&Entry) -> bool| u32::try_from(active.iter().filter(|entry| is(entry)).count()).expect("few");
    prop_assert!(count(&|_| true) <= budgets.per_cluster);
    prop_assert!(count(&|entry| entry.target.kind == "Node") <= budgets.nodes);
    for one in &active {
        prop_assert!(count(&|entry| entry.target == one.target) <= budgets.per_target);
        let namespace = one.target.namespace.as_ref();
        prop_assert!(
            namespace.is_none()
                || count(&|entry| entry.target.namespace.as_ref() == namespace) <= budgets.per_namespace
        );
    }
    let recent = entries
        .iter()
        .filter(|entry| entry.started.as_ref().is_some_and(|at| at.0 > now.0 - jiff::SignedDuration::from_hours(1)));
    prop_assert!(u32::try_from(recent.count()).expect("few") <= budgets.actions_per_hour);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is asked for, in whatever order it is looked at: budgets hold, and everything runs in the end.
    #[test]
    fn budgets_are_never_exceeded_and_nobody_starves(
        mut all in drawn(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 60),
        budgets in (1..3u32, 1..4u32, 1..6u32, 1..3u32, 20..30u32),
    ) {
        let (per_target, per_namespace, per_cluster, nodes, actions_per_hour) = budgets;
        let budgets = Budgets { per_target, per_namespace, per_cluster, nodes, actions_per_hour, ..Budgets::default() };
        let settings = Settings { budgets: budgets.clone(), ..settings() };
        let mut ran = BTreeSet::new();
        for round in 0..2000 {
            let now = at(NOW + 100 * round);
            let offset = order[usize::try_from(round).expect("few") % order.len()].index(all.len());
            for step in 0..all.len() {
                let index = (offset + step) % all.len();
                let ledger: Vec<_> = all.iter().map(|one| one.entry.clone()).collect();
                if all[index].entry.state == State::Waiting && decide(&ledger[index], &ledger, &settings, &now).is_none() {
                    all[index].entry.state = State::Active;
                    all[index].entry.started = Some(now.clone());
                }
                let ledger: Vec<_> = all.iter().map(|one| one.entry.clone()).collect();
                assert_within(&ledger, &budgets, &now)?;
            }
            for one in all.iter_mut().filter(|one| one.entry.state == State::Active) {
                one.rounds -= 1;
                if one.rounds == 0 {
                    one.entry.state = State::Over;
                    ran.insert(one.entry.name.clone());
                }
            }
            if ran.len() == all.len() {
                break;
            }
        }
        prop_assert_eq!(ran.len(), all.len(), "everything runs in the end");
    }

    /// Of those that wait for one target, the oldest one is next.
    #[test]
    fn the_oldest_one_that_may_start_is_never_passed_over(all in drawn(), pick in any::<prop::sample::Index>()) {
        let ledger: Vec<_> = all.into_iter().map(|one| one.entry).collect();
        let wanted = &ledger[pick.index(ledger.len())];
        if decide(wanted, &ledger, &settings(), &at(NOW)).is_none() {
            let key = |entry: &Entry| (entry.created.clone(), entry.uid.clone());
            for older in ledger.iter().filter(|entry| entry.target == wanted.target && key(entry) < key(wanted)) {
                prop_assert!(decide(older, &ledger, &settings(), &at(NOW)).is_some(), "an older one was passed over");
            }
        }
    }
}
