//! Did it help? Verification of a request.

use super::*;

#[test]
fn a_healed_target_with_a_resolved_alert_ends_the_request_at_once() {
    let change = |seen: &mut Seen| {
        seen.health = Some(Health::Healthy);
        resolve(seen);
    };
    check(RequestPhase::Verifying, change, &["Completed AlertResolved"], Some(Outcome::Remediated));
}

#[test]
fn verification_ends_in_the_write_that_begins_it_when_everything_is_well_already() {
    let change = |seen: &mut Seen| {
        work(seen, WorkflowPhase::Completed);
        seen.health = Some(Health::Healthy);
        resolve(seen);
    };
    let expect = ["Verifying WorkflowCompleted", "Completed AlertResolved"];
    check(RequestPhase::Executing, change, &expect, Some(Outcome::Remediated));
}

#[test]
fn a_target_that_stays_healthy_in_silence_is_remediated_after_the_stabilization() {
    let mut seen = walk(begun(), RequestPhase::Verifying);
    seen.health = Some(Health::Healthy);
    seen.now = at(100);
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty());
    assert_eq!(plan.status.healthy_since, Some(at(100)));
    assert_eq!(plan.next, Next::At(at(220)));
    seen.now = at(219);
    assert!(advance(&mut seen).1.is_empty());
    seen.now = at(220);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Completed TargetHealthy"]);
    assert_eq!(plan.status.outcome, Some(Outcome::Remediated));
}

#[test]
fn a_target_whose_health_is_not_read_is_proven_well_by_its_alert_alone() {
    let mut seen = walk(begun(), RequestPhase::Verifying);
    seen.health = Some(Health::NotApplicable);
    seen.now = at(100);
    advance(&mut seen);
    seen.now = at(220);
    assert!(advance(&mut seen).1.is_empty(), "silence proves nothing");
    let deadline = seen.request.status.as_ref().and_then(|status| status.phase_deadline.clone());
    let mut late = seen.clone();
    late.now = deadline.expect("verifying has a deadline");
    let (plan, trail) = advance(&mut late);
    assert_eq!(
        (trail, plan.status.outcome),
        (vec!["TimedOut VerifyingTimedOut".to_owned()], Some(Outcome::Inconclusive))
    );
}

#[test]
fn a_target_that_falls_ill_again_has_to_be_healthy_anew_for_the_whole_time() {
    let mut seen = walk(begun(), RequestPhase::Verifying);
    for (second, health, expect) in [
        (100, Health::Healthy, Some(at(100))),
        (150, Health::Unhealthy("1 of 2 replicas are available".into()), None),
        (160, Health::Healthy, Some(at(160))),
        (279, Health::Healthy, Some(at(160))),
    ] {
        seen.now = at(second);
        seen.health = Some(health);
        let (plan, trail) = advance(&mut seen);
        assert!(trail.is_empty(), "at {second}");
        assert_eq!(plan.status.healthy_since, expect, "at {second}");
    }
    seen.now = at(280);
    assert_eq!(advance(&mut seen).1, ["Completed TargetHealthy"]);
}

#[test]
fn an_alert_that_is_heard_again_starts_the_count_anew() {
    let mut seen = walk(begun(), RequestPhase::Verifying);
    seen.health = Some(Health::Healthy);
    seen.now = at(100);
    advance(&mut seen);
    hear(&mut seen, at(200));
    seen.now = at(220);
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty());
    assert_eq!(plan.next, Next::At(at(320)));
    seen.now = at(320);
    assert_eq!(advance(&mut seen).1, ["Completed TargetHealthy"]);
}

#[test]
fn a_resolved_alert_alone_is_no_proof() {
    check(RequestPhase::Verifying, resolve, &[], None);
}

#[test]
fn no_news_of_the_targets_health_is_no_proof() {
    let change = |seen: &mut Seen| {
        seen.health = None;
        resolve(seen);
    };
    check(RequestPhase::Verifying, change, &[], None);
}

#[test]
fn a_target_deleted_while_it_is_verified_leaves_the_result_open() {
    let change = |seen: &mut Seen| seen.health = Some(Health::Gone);
    check(RequestPhase::Verifying, change, &["Completed TargetGone"], Some(Outcome::Inconclusive));
}
