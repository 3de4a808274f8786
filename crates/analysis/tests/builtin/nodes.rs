//! Nodes in trouble, as the host of failing pods and as a target.

use super::*;

const SILENT: &str = "otherNodesReady: 2
nodes: [{object: {apiVersion: v1, kind: Node, name: n1, uid: node-1}, ready: false, since: '2026-11-21T11:50:00.000000Z', \
  conditions: [{type: Ready, status: Unknown, reason: NodeStatusUnknown}]}]";
const PRESSED: &str = "otherNodesReady: 2
nodes: [{object: {apiVersion: v1, kind: Node, name: n1, uid: node-1}, ready: true, since: '2026-11-20T11:50:00.000000Z', \
  conditions: [{type: MemoryPressure, status: 'True', reason: KubeletHasInsufficientMemory}]}]";
const FINE: &str = "nodes: [{object: {apiVersion: v1, kind: Node, name: n1, uid: node-1}, ready: true}]";

const UNREADY: &str = "ready: false, state: Running";
const EVICTED: &str = "\n- {name: gone, owner: web-new, phase: Failed, reason: Evicted, ready: false, node: n1, containers: [{name: app, image: 'app:2', ready: false, state: Terminated, reason: Error}]}";
const ELSEWHERE: &str = "\n- {name: new-z, owner: web-new, phase: Running, ready: true, node: n2, containers: [{name: app, image: 'app:2', ready: true, state: Running}]}";

/// A cordon and a drain after it, of the node n1.
#[track_caller]
fn drains(cause: &str, diagnosis: &Diagnosis) -> Finding {
    let Diagnosis::Found(finding) = diagnosis else { panic!("{diagnosis:?}") };
    assert_eq!(finding.cause, cause);
    let steps: Vec<_> = finding.steps.iter().map(|one| (one.action.as_str(), one.target.name.as_str())).collect();
    assert_eq!(steps, [("cordon_node", "n1"), ("drain_node", "n1")]);
    assert_eq!(finding.steps[1].depends_on, ["cordon"]);
    assert_eq!(kubernaut_domain::plan::risk(&finding.steps), Some(kubernaut_api::analysis::Risk::High));
    (**finding).clone()
}

#[test]
fn pods_on_a_silent_node_are_its_victims() {
    let pods = pods(&[&new_pod("new-a", UNREADY), ELSEWHERE]);
    let finding = drains("NodeNotReady", &ask(&[REPLACED, OLD, SILENT, &pods]));
    assert!(finding.confidence() > 0.9 && finding.evidence[0].object == "Node/n1");
}

#[test]
fn a_silent_node_comes_before_a_rollout_whose_pods_are_there() {
    let pods = pods(&[&new_pod("new-a", BACK_OFF), ELSEWHERE]);
    drains("NodeNotReady", &ask(&[STUCK, FRESH, COMMAND_CHANGED, SILENT, &pods]));
}

#[test]
fn a_pod_that_fails_on_a_good_node_has_another_cause() {
    let good = new_pod("new-b", BACK_OFF).replace("node: n1", "node: n2");
    let pods = pods(&[&new_pod("new-a", UNREADY), &good, OLD_PODS]);
    rolls_back("BadRollout", 3, ASKS, &[STUCK, FRESH, COMMAND_CHANGED, SILENT, &pods]);
}

#[test]
fn a_silent_node_without_a_pod_that_suffers_is_no_cause() {
    let well = pods(&[ELSEWHERE, &ELSEWHERE.replace("new-z", "new-y")]);
    assert!(matches!(ask(&[SETTLED, OLD, SILENT, &well]), Diagnosis::NothingWrong { .. }));
}

#[test]
fn evictions_from_a_node_under_pressure_are_its_doing() {
    let finding = drains("NodeUnderPressure", &ask(&[REPLACED, OLD, PRESSED, &pods(&[EVICTED, ELSEWHERE])]));
    assert!(ASKS.contains(&finding.confidence()), "{}", finding.confidence());
}

#[test]
fn a_crash_on_a_node_under_pressure_is_the_rollouts() {
    let pods = pods(&[&new_pod("new-a", BACK_OFF), OLD_PODS]);
    rolls_back("BadRollout", 3, SURE, &[STUCK, FRESH, COMMAND_CHANGED, PRESSED, &pods]);
    let killed = super::pods(&[&new_pod("new-a", KILLED)]);
    let expected = json!({"container": "app", "memoryLimit": "256Mi"});
    raises_memory(SURE, &expected, &[REPLACED, OLD, PRESSED, &killed]);
}

#[test]
fn a_pod_that_is_not_ready_beside_well_ones_is_not_pressed() {
    leaves_to_a_person(&[STUCK, FRESH, IMAGE_CHANGED, PRESSED, &pods(&[&new_pod("new-a", UNREADY), OLD_PODS])]);
}

#[test]
fn without_another_node_nothing_is_drained() {
    let alone = SILENT.replace("otherNodesReady: 2", "otherNodesReady: 0");
    let finding = found(&[REPLACED, OLD, &alone, &pods(&[&new_pod("new-a", UNREADY)])]);
    assert_eq!((finding.steps.len(), finding.steps[0].action.as_str()), (1, "cordon_node"));
    assert!(ASKS.contains(&finding.confidence()));
}

#[test]
fn a_node_that_is_cordoned_already_is_only_drained() {
    let cordoned = SILENT.replace("ready: false", "ready: false, unschedulable: true");
    let finding = found(&[REPLACED, OLD, &cordoned, &pods(&[&new_pod("new-a", UNREADY)])]);
    assert_eq!((finding.steps.len(), finding.steps[0].action.as_str()), (1, "drain_node"));
    assert!(finding.steps[0].depends_on.is_empty());
}

#[test]
fn a_good_node_is_never_the_cause() {
    leaves_to_a_person(&[REPLACED, OLD, FINE, &pods(&[&new_pod("new-a", UNREADY)])]);
}

#[test]
fn a_node_is_diagnosed_as_a_target_too() {
    let target = TargetRef { kind: "Node".into(), name: "n1".into(), ..TargetRef::default() };
    drains("NodeNotReady", &ask_about(&target, &[SILENT]));
    drains("NodeUnderPressure", &ask_about(&target, &[PRESSED]));
    assert!(matches!(ask_about(&target, &[FINE]), Diagnosis::Unknown { .. }));
    let other = TargetRef { name: "n2".into(), ..target };
    assert!(matches!(ask_about(&other, &[SILENT]), Diagnosis::Unknown { .. }));
}
