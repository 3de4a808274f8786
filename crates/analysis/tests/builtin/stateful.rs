//! StatefulSets that wait for ever.

use super::*;

const SET: &str = "workload: {object: {apiVersion: apps/v1, kind: StatefulSet, namespace: shop, name: web, uid: u1}, \
    replicas: 2, totalReplicas: 2, updatedReplicas: 0, readyReplicas: 1, availableReplicas: 1, generation: 4, observedGeneration: 4, \
    containers: [{name: app, image: 'app:1', memoryLimit: 128Mi, memoryRequest: 64Mi}]}";
const MENDED: &str = "revisions:
- {number: 4, holder: web-new, createdAt: '2026-11-21T11:57:00.000000Z', replicas: 0, current: true}
- {number: 3, holder: web-bad, createdAt: '2026-11-21T11:40:00.000000Z', replicas: 1}";

fn pod(name: &str, revision: &str, container: &str) -> String {
    format!(
        "\n- {{name: {name}, uid: uid-{name}, owner: web, revision: {revision}, phase: Running, ready: false, node: n1, containers: [{{name: app, image: 'app:2', {container}}}]}}"
    )
}

fn well(name: &str) -> String {
    pod(name, "web-old", WELL).replace("ready: false", "ready: true")
}

#[track_caller]
fn restarts(confidence: std::ops::RangeInclusive<f64>, pieces: &[&str]) {
    let finding = found(pieces);
    assert_eq!((finding.cause.as_str(), finding.steps.len()), ("StatefulSetStuck", 1), "{finding:?}");
    assert_eq!(finding.steps[0].action, "restart_pod");
    assert_eq!(json!(finding.steps[0].parameters), json!({"pod": "web-1", "uid": "uid-web-1"}));
    assert!(confidence.contains(&finding.confidence()), "{} {:?}", finding.confidence(), finding.signals);
}

#[test]
fn a_failing_pod_of_an_older_revision_is_made_anew() {
    for container in [BACK_OFF, NO_IMAGE, KILLED] {
        restarts(SURE, &[SET, MENDED, &pods(&[&pod("web-1", "web-bad", container), &well("web-0")])]);
    }
}

#[test]
fn what_hangs_since_days_asks_a_person() {
    let revisions = MENDED.replace("2026-11-21", "2026-11-19");
    restarts(ASKS, &[SET, &revisions, &pods(&[&pod("web-1", "web-bad", BACK_OFF), &well("web-0")])]);
}

#[test]
fn a_pod_of_the_newest_revision_is_not_helped_by_a_restart() {
    leaves_to_a_person(&[SET, MENDED, &pods(&[&pod("web-1", "web-new", BACK_OFF), &well("web-0")])]);
}

#[test]
fn a_controller_that_may_still_be_at_it_is_left_alone() {
    let revisions = MENDED.replace("11:57:00", "11:59:30");
    leaves_to_a_person(&[SET, &revisions, &pods(&[&pod("web-1", "web-bad", BACK_OFF), &well("web-0")])]);
}

#[test]
fn when_more_than_one_pod_fails_a_person_has_to_look() {
    let both = pods(&[&pod("web-1", "web-bad", BACK_OFF), &pod("web-0", "web-old", BACK_OFF)]);
    leaves_to_a_person(&[SET, MENDED, &both]);
}

#[test]
fn an_update_that_is_held_back_by_a_partition_is_left_alone() {
    let held = SET.replace("generation: 4,", "paused: true, generation: 4,");
    leaves_to_a_person(&[&held, MENDED, &pods(&[&pod("web-1", "web-bad", BACK_OFF), &well("web-0")])]);
}
