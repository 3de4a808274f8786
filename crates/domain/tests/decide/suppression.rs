//! What holds a further request for the same trouble back, for every end that there is.

use std::time::Duration;

use kubernaut_api::{BlockReason, MicroTime, Outcome, Phase, RequestPhase, Transition};
use kubernaut_domain::settings::{Cooldowns, Suppression};
use kubernaut_domain::suppression::{Alert, Past, Question, Verdict, decide};
use proptest::prelude::*;

use crate::given::{at, request};

const NOW: i64 = 100_000;

/// Every way in which a request can end.
const ENDS: [(RequestPhase, Option<Outcome>); 10] = [
    (RequestPhase::Completed, Some(Outcome::Remediated)),
    (RequestPhase::Completed, Some(Outcome::NoActionRequired)),
    (RequestPhase::Completed, Some(Outcome::ManualReviewRequired)),
    (RequestPhase::Completed, Some(Outcome::Inconclusive)),
    (RequestPhase::Completed, Some(Outcome::RolledBack)),
    (RequestPhase::Completed, Some(Outcome::DryRun)),
    (RequestPhase::Completed, None),
    (RequestPhase::Failed, Some(Outcome::ManualReviewRequired)),
    (RequestPhase::TimedOut, Some(Outcome::Inconclusive)),
    (RequestPhase::Cancelled, None),
];

/// A request that took ten seconds and ended so many seconds ago.
fn ended(ago: i64, phase: RequestPhase, outcome: Option<Outcome>) -> Past {
    Past {
        name: format!("rr-x-{ago}"),
        began: at(NOW - ago - 10),
        ended: at(NOW - ago),
        phase,
        outcome,
        executed: false,
        tried: true,
    }
}

fn failed(ago: i64) -> Past {
    ended(ago, RequestPhase::Failed, Some(Outcome::ManualReviewRequired))
}

fn remediated(ago: i64) -> Past {
    Past { executed: true, ..ended(ago, RequestPhase::Completed, Some(Outcome::Remediated)) }
}

fn ask(past: &[Past]) -> Verdict {
    let now = at(NOW);
    let policy = &Suppression::default();
    decide(&Question { past, alert: Alert::Firing, began: &now, now: &now, policy })
}

/// Held back for this reason, so many seconds from now on, because of the request that ended so long ago.
fn check_held(past: &[Past], reason: BlockReason, seconds: i64, by: i64) {
    match ask(past) {
        Verdict::Held(held) => {
            assert_eq!((held.reason, &held.until), (reason, &at(NOW + seconds)), "{past:?}");
            assert_eq!(held.by, format!("rr-x-{by}"));
            assert!(held.message.contains(&held.by) && held.message.contains(&held.until.0.to_string()), "{held:?}");
        }
        other => panic!("{other:?} for {past:?}"),
    }
}

fn check_proceeds(past: &[Past]) {
    assert_eq!(ask(past), Verdict::Proceed { ask_person: None }, "{past:?}");
}

fn check_asks(past: &[Past]) {
    match ask(past) {
        Verdict::Proceed { ask_person: Some(why) } => assert!(why.contains("did not last") && why.len() < 512, "{why}"),
        other => panic!("{other:?} for {past:?}"),
    }
}

#[test]
fn what_comes_for_the_first_time_proceeds() {
    check_proceeds(&[]);
}

#[test]
fn every_end_holds_back_for_its_cooldown_and_not_longer() {
    for (phase, outcome) in ENDS {
        check_held(&[ended(0, phase, outcome)], BlockReason::Cooldown, 300, 0);
        check_held(&[ended(299, phase, outcome)], BlockReason::Cooldown, 1, 299);
        check_proceeds(&[ended(300, phase, outcome)]);
    }
}

#[test]
fn the_cooldown_is_that_of_the_end() {
    let minutes = Duration::from_mins;
    let cooldown = Cooldowns {
        remediated: minutes(1),
        no_action_required: minutes(2),
        manual_review_required: minutes(3),
        inconclusive: minutes(4),
        rolled_back: minutes(5),
        dry_run: minutes(6),
        failed: minutes(7),
        timed_out: minutes(8),
        cancelled: minutes(9),
    };
    for ((phase, outcome), minutes) in ENDS.into_iter().zip([1, 2, 3, 4, 5, 6, 3, 7, 8, 9]) {
        let until = ended(0, phase, outcome).cools_until(&cooldown);
        assert_eq!(until, at(NOW + minutes * 60), "{phase} {outcome:?}");
    }
}

#[test]
fn a_cooldown_of_nothing_holds_nothing_back() {
    let policy = Suppression { cooldown: Cooldowns::of(Duration::ZERO), ..Suppression::default() };
    let now = at(NOW);
    for (phase, outcome) in ENDS {
        let past = [ended(0, phase, outcome)];
        let question = Question { past: &past, alert: Alert::Firing, began: &now, now: &now, policy: &policy };
        assert_eq!(decide(&question), Verdict::Proceed { ask_person: None });
    }
}

#[test]
fn the_end_that_holds_longest_counts_whatever_the_order() {
    let (one, other) = (failed(200), ended(100, RequestPhase::Cancelled, None));
    check_held(&[one.clone(), other.clone()], BlockReason::Cooldown, 200, 100);
    check_held(&[other, one], BlockReason::Cooldown, 200, 100);
}

#[test]
fn a_resolved_alert_never_proceeds_whatever_came_before() {
    let now = at(NOW);
    let policy = &Suppression::default();
    for past in [vec![], vec![failed(1)], vec![remediated(400), remediated(1000), remediated(2000)]] {
        let question = Question { past: &past, alert: Alert::Resolved, began: &now, now: &now, policy };
        assert_eq!(decide(&question), Verdict::Over);
    }
}

#[test]
fn three_failures_in_a_row_hold_back_for_an_hour() {
    let timed_out = |ago| ended(ago, RequestPhase::TimedOut, None);
    check_held(&[failed(400), timed_out(800), failed(1200)], BlockReason::RepeatedFailure, 3200, 400);
    check_held(&[timed_out(1200), failed(400), failed(9000)], BlockReason::RepeatedFailure, 3200, 400);
    check_proceeds(&[failed(400), failed(800)]);
    check_proceeds(&[failed(3600), failed(4000), failed(5000)]);
}

#[test]
fn a_success_in_between_ends_the_row_of_failures() {
    for (phase, outcome) in ENDS.into_iter().filter(|(phase, _)| *phase == RequestPhase::Completed) {
        check_proceeds(&[failed(400), failed(800), ended(1000, phase, outcome), failed(1200)]);
    }
}

#[test]
fn what_was_cancelled_or_never_tried_is_no_failure_and_no_success() {
    let cancelled = ended(600, RequestPhase::Cancelled, None);
    let blocked = Past { tried: false, ..ended(500, RequestPhase::TimedOut, None) };
    let row = [failed(400), blocked.clone(), cancelled, failed(800), failed(1200)];
    check_held(&row, BlockReason::RepeatedFailure, 3200, 400);
    check_proceeds(&[failed(400), blocked, failed(800)]);
}

#[test]
fn three_rounds_that_did_not_last_bring_a_pause_and_then_a_person_is_asked() {
    let rounds = |last| [remediated(last), remediated(last + 1000), remediated(last + 2000)];
    check_held(&rounds(400), BlockReason::Ineffective, 200, 400);
    check_asks(&rounds(600));
    check_asks(&rounds(3600));
    check_proceeds(&rounds(3601));
    check_proceeds(&rounds(600)[..2]);
}

#[test]
fn every_round_that_did_something_counts_and_no_other() {
    for (phase, outcome) in ENDS {
        for executed in [true, false] {
            let one = Past { executed, ..ended(2700, phase, outcome) };
            let past = [remediated(700), remediated(1700), one];
            if executed && phase != RequestPhase::Cancelled { check_asks(&past) } else { check_proceeds(&past) }
        }
    }
}

#[test]
fn what_stayed_away_for_longer_than_the_window_has_lasted() {
    check_proceeds(&[remediated(700), remediated(1700), remediated(1700 + 10 + 3601)]);
    check_asks(&[remediated(700), remediated(1700), remediated(1700 + 10 + 3600)]);
    // What came in between, and did nothing, shows that it went on.
    let between = ended(3000, RequestPhase::Completed, Some(Outcome::NoActionRequired));
    check_asks(&[remediated(700), remediated(1700), between, remediated(5500)]);
}

#[test]
fn a_request_is_judged_by_when_it_came_not_by_how_long_it_was_held_back() {
    let past = [remediated(4000), remediated(5000), remediated(6000)];
    let (began, now) = (at(NOW - 3500), at(NOW));
    let policy = &Suppression::default();
    let verdict = decide(&Question { past: &past, alert: Alert::Firing, began: &began, now: &now, policy });
    assert!(matches!(verdict, Verdict::Proceed { ask_person: Some(_) }), "{verdict:?}");
}

#[test]
fn a_person_goes_on_being_asked_while_it_goes_on_coming_back() {
    check_asks(&[remediated(700), remediated(1700), remediated(2700), remediated(3700), remediated(4700)]);
}

#[test]
fn a_request_that_is_not_over_is_not_past_and_every_end_is() {
    for phase in RequestPhase::ALL {
        let mut request = request();
        let status = request.status.get_or_insert_default();
        status.phase = Some(*phase);
        status.completed_at = phase.is_terminal().then(|| at(900));
        let past = Past::of(&request);
        assert_eq!(past.as_ref().map(|past| &past.ended), phase.is_terminal().then(|| at(900)).as_ref(), "{phase}");
        request.metadata.deletion_timestamp = Some(kubernaut_api::Time(at(950).0));
        let past = Past::of(&request).expect("what is being deleted is over");
        assert_eq!(past.ended, if phase.is_terminal() { at(900) } else { at(950) }, "{phase}");
    }
    assert_eq!(Past::of(&request()), None);
}

#[test]
fn an_end_without_a_time_is_dated_by_what_else_is_known() {
    let mut ended = request();
    ended.status.get_or_insert_default().phase = Some(RequestPhase::Failed);
    assert_eq!(Past::of(&ended).map(|past| past.ended), Some(MicroTime(jiff::Timestamp::UNIX_EPOCH)));
    ended.metadata.creation_timestamp = Some(kubernaut_api::Time(at(800).0));
    assert_eq!(Past::of(&ended).map(|past| past.ended), Some(at(800)));
}

#[test]
fn what_it_did_is_read_from_its_transitions() {
    use RequestPhase::{Analyzing, Blocked, Cancelled, Completed, Executing, TimedOut, Verifying};
    let mut request = request();
    let step = |seq: u32, from: RequestPhase, to: RequestPhase| Transition {
        seq,
        from: Some(from.to_string()),
        to: to.to_string(),
        at: at(1),
        reason: "X".into(),
        message: String::new(),
    };
    let status = request.status.get_or_insert_default();
    status.phase = Some(Completed);
    status.transitions =
        vec![step(1, Analyzing, Executing), step(2, Executing, Verifying), step(3, Verifying, Completed)];
    let facts = |request: &kubernaut_api::RemediationRequest| Past::of(request).map(|past| (past.executed, past.tried));
    assert_eq!(facts(&request), Some((true, true)));
    request.spec.dry_run = true;
    assert_eq!(facts(&request), Some((false, true)), "a dry run does nothing");
    request.spec.dry_run = false;
    for end in [TimedOut, Cancelled] {
        request.status.get_or_insert_default().transitions = vec![step(1, Analyzing, Blocked), step(2, Blocked, end)];
        assert_eq!(facts(&request), Some((false, false)));
    }
}

fn pasts() -> impl Strategy<Value = Vec<Past>> {
    let one = (0..20_000i64, 0..ENDS.len(), any::<bool>(), any::<bool>())
        .prop_map(|(ago, end, executed, tried)| Past { executed, tried, ..ended(ago, ENDS[end].0, ENDS[end].1) });
    prop::collection::vec(one, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What is held back gets its turn: at the time it is told, nothing of the past holds for ever.
    #[test]
    fn whatever_came_before_a_request_gets_its_turn_in_the_end(past in pasts()) {
        let (began, policy) = (at(NOW), Suppression::default());
        let mut now = began.clone();
        for _ in 0..=8 {
            match decide(&Question { past: &past, alert: Alert::Firing, began: &began, now: &now, policy: &policy }) {
                Verdict::Held(held) => {
                    prop_assert!(held.until > now, "it is held back into the future");
                    now = held.until;
                }
                Verdict::Proceed { .. } => return Ok(()),
                Verdict::Over => prop_assert!(false, "it fires"),
            }
        }
        prop_assert!(false, "held back again and again");
    }

    #[test]
    fn the_order_in_which_the_past_is_told_does_not_count(past in pasts()) {
        let mut reversed = past.clone();
        reversed.reverse();
        prop_assert_eq!(ask(&past), ask(&reversed));
    }
}
