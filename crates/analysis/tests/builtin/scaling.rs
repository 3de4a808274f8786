//! Autoscalers at their bounds.

use super::*;

const PINNED: &str = "autoscalers: [{object: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, namespace: shop, name: web, uid: h1}, \
  minReplicas: 1, maxReplicas: 2, currentReplicas: 2, desiredReplicas: 2, \
  conditions: [{type: ScalingLimited, status: 'True', reason: TooManyReplicas}], metrics: [{name: cpu, current: 190%, target: 80%}]}]";

fn well() -> String {
    pods(&[&new_pod("new-a", WELL), &new_pod("new-b", WELL)]).replace("ready: false", "ready: true")
}

#[track_caller]
fn raises(confidence: std::ops::RangeInclusive<f64>, pieces: &[&str]) {
    let finding = found(pieces);
    assert_eq!((finding.cause.as_str(), finding.steps.len()), ("AutoscalerAtMaximum", 1), "{finding:?}");
    assert_eq!(
        (finding.steps[0].action.as_str(), &finding.steps[0].parameters["maxReplicas"]),
        ("update_hpa", &json!(3))
    );
    assert!(confidence.contains(&finding.confidence()), "{} {:?}", finding.confidence(), finding.signals);
}

#[test]
fn an_autoscaler_at_its_maximum_under_load_is_raised_by_half() {
    raises(SURE, &[SETTLED, OLD, &well(), PINNED]);
}

#[test]
fn a_fresh_revision_or_an_earlier_raise_asks_a_person() {
    raises(ASKS, &[SETTLED, FRESH_ALONE, IMAGE_CHANGED, &well(), PINNED]);
    raises(ASKS, &[SETTLED, OLD, &well(), &PINNED.replace("minReplicas", "changedBefore: true, minReplicas")]);
}

#[test]
fn what_is_not_above_its_target_is_not_raised() {
    for metric in [
        "{name: cpu, current: 80%, target: 80%}",
        "{name: cpu, target: 80%}",
        "{name: cpu, current: lots, target: 80%}",
    ] {
        let pinned = PINNED.replace("{name: cpu, current: 190%, target: 80%}", metric);
        finds_without_a_step("AutoscalerAtMaximum", &[SETTLED, OLD, &well(), &pinned]);
    }
}

#[test]
fn more_pods_are_no_help_to_a_workload_whose_pods_are_not_ready() {
    let pods = pods(&[&new_pod("new-a", "ready: false, state: Running"), &new_pod("new-b", WELL)]);
    finds_without_a_step("AutoscalerAtMaximum", &[REPLACED, OLD, &pods, PINNED]);
}

#[test]
fn a_workload_that_crashes_is_healed_from_that_first() {
    let pods = pods(&[&new_pod("new-a", BACK_OFF), OLD_PODS]);
    rolls_back("BadRollout", 3, SURE, &[STUCK, FRESH, COMMAND_CHANGED, &pods, PINNED]);
}

#[test]
fn an_autoscaler_within_its_bounds_is_no_trouble() {
    for within in [
        PINNED.replace("maxReplicas: 2", "maxReplicas: 9"),
        PINNED.replace("desiredReplicas: 2", "desiredReplicas: 1"),
        PINNED.replace("TooManyReplicas", "TooFewReplicas"),
        PINNED.replace("status: 'True'", "status: 'False'"),
    ] {
        assert!(matches!(ask(&[SETTLED, OLD, &well(), &within]), Diagnosis::NothingWrong { .. }), "{within}");
    }
}

#[test]
fn two_autoscalers_over_one_workload_are_left_to_a_person() {
    let two = PINNED.replace("autoscalers: [", "autoscalers: [{object: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, namespace: shop, name: other, uid: h2}, minReplicas: 1, maxReplicas: 9}, ");
    finds_without_a_step("AutoscalerAtMaximum", &[SETTLED, OLD, &well(), &two]);
}
