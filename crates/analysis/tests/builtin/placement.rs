//! Pods that have no node, no volume or may not exist.

use super::*;

/// A pod of the newest revision without a node, and what the scheduler says.
fn unplaced(told: &str) -> String {
    format!(
        "\n- {{name: new-a, owner: web-new, phase: Pending, ready: false, unschedulable: {told:?}, containers: [{{name: app, image: 'app:2', ready: false, state: Waiting}}]}}"
    )
}

const SHORT: &str = "0/3 nodes are available: 3 Insufficient memory. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.";
const NO_MATCH: &str = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.";
const TAINTED: &str =
    "0/3 nodes are available: 3 node(s) had untolerated taint {dedicated: gpu}. no new claims to deallocate";
const CORDONED: &str = "0/1 nodes are available: 1 node(s) were unschedulable.";
const UNBOUND: &str = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found";

const MORE_MEMORY: &str = "changes: [{fromRevision: 3, toRevision: 4, path: 'containers[app].resources.requests.memory', before: 64Mi, after: 640Gi}]";
const SELECTOR: &str =
    "changes: [{fromRevision: 3, toRevision: 4, path: 'nodeSelector', after: '{\"disk\":\"nvme\"}'}]";

#[test]
fn requests_that_a_fresh_revision_raised_above_every_node_are_rolled_back() {
    let pods = pods(&[&unplaced(SHORT), OLD_PODS]);
    rolls_back("Unschedulable", 3, SURE, &[STUCK, FRESH, MORE_MEMORY, &pods]);
}

#[test]
fn a_new_selector_that_no_node_has_is_rolled_back() {
    let pods = pods(&[&unplaced(NO_MATCH), OLD_PODS]);
    rolls_back("Unschedulable", 3, SURE, &[STUCK, FRESH, SELECTOR, &pods]);
}

#[test]
fn a_toleration_that_a_revision_took_away_is_brought_back() {
    let changes = "changes: [{fromRevision: 3, toRevision: 4, path: tolerations, before: '[{\"key\":\"dedicated\"}]'}]";
    rolls_back("Unschedulable", 3, SURE, &[STUCK, FRESH, changes, &pods(&[&unplaced(TAINTED), OLD_PODS])]);
}

#[test]
fn what_hangs_since_days_asks_a_person() {
    let revisions = FRESH.replace("2026-11-21T11:57", "2026-11-19T11:57");
    rolls_back("Unschedulable", 3, ASKS, &[STUCK, &revisions, MORE_MEMORY, &pods(&[&unplaced(SHORT), OLD_PODS])]);
}

#[test]
fn a_change_of_something_else_is_no_reason_to_go_back() {
    for (told, changes) in [
        (SHORT, SELECTOR),
        (SHORT, IMAGE_CHANGED),
        (NO_MATCH, MORE_MEMORY),
        (TAINTED, SELECTOR),
        (CORDONED, SELECTOR),
        (CORDONED, MORE_MEMORY),
    ] {
        finds_without_a_step("Unschedulable", &[STUCK, FRESH, changes, &pods(&[&unplaced(told), OLD_PODS])]);
    }
    let less = MORE_MEMORY.replace("before: 64Mi", "before: 900Gi");
    finds_without_a_step("Unschedulable", &[STUCK, FRESH, &less, &pods(&[&unplaced(SHORT), OLD_PODS])]);
}

#[test]
fn when_nothing_serves_a_person_looks_at_the_cluster() {
    finds_without_a_step("Unschedulable", &[REPLACED, FRESH_ALONE, MORE_MEMORY, &pods(&[&unplaced(SHORT)])]);
}

#[test]
fn an_event_alone_does_not_make_a_pod_unschedulable() {
    let events =
        format!("events: [{{object: Pod/new-a, type: Warning, reason: FailedScheduling, message: {SHORT:?}}}]");
    let pods = pods(&[&new_pod("new-a", "ready: false, state: Running"), OLD_PODS]);
    leaves_to_a_person(&[STUCK, FRESH, MORE_MEMORY, &pods, &events]);
}

#[test]
fn a_revision_that_crashes_is_rolled_back_for_that_even_if_one_pod_has_no_node() {
    let pods = pods(&[&new_pod("new-b", BACK_OFF), &unplaced(SHORT), OLD_PODS]);
    rolls_back("BadRollout", 3, ASKS, &[STUCK, FRESH, COMMAND_CHANGED, &pods]);
}

const CLAIM: &str = "claims: [{name: data, phase: Pending, storageClass: fast, requested: 10Gi}]";

#[test]
fn an_unbound_claim_is_named_and_left_to_a_person() {
    let finding = finds_without_a_step("ClaimNotBound", &[REPLACED, OLD, CLAIM, &pods(&[&unplaced(UNBOUND)])]);
    assert!(finding.summary.contains("PersistentVolumeClaim data") && finding.evidence[0].observation.contains("fast"));
}

#[test]
fn a_claim_that_waits_for_its_first_consumer_is_not_the_cause() {
    finds_without_a_step("Unschedulable", &[REPLACED, OLD, CLAIM, &pods(&[&unplaced(SHORT)])]);
}

#[test]
fn an_unbound_claim_of_nobody_who_waits_is_no_cause() {
    let well = pods(&[&new_pod("new-a", WELL), &new_pod("new-b", WELL)]).replace("ready: false", "ready: true");
    assert!(matches!(ask(&[SETTLED, OLD, CLAIM, &well]), Diagnosis::NothingWrong { .. }));
}

const QUOTA: &str = "quotas: [{name: compute, amounts: [{resource: pods, used: '2', hard: '2'}]}]";

fn refused(message: &str) -> String {
    STUCK.replace("totalReplicas: 3, updatedReplicas: 1", "totalReplicas: 2, updatedReplicas: 0").replace(
        "containers:",
        &format!("conditions: [{{type: ReplicaFailure, status: 'True', reason: FailedCreate, message: {message:?}}}], containers:"),
    )
}

#[test]
fn a_used_up_quota_is_named_and_left_to_a_person() {
    let workload = refused(
        "pods \"web-new-x\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=2, limited: pods=2",
    );
    let finding = finds_without_a_step("QuotaExhausted", &[&workload, FRESH, IMAGE_CHANGED, QUOTA, &pods(&[OLD_PODS])]);
    assert!(finding.summary.contains("quota compute") && finding.confidence() > 0.99, "{finding:?}");
}

#[test]
fn an_event_of_the_current_holder_tells_it_too() {
    let workload = refused("").replace("ReplicaFailure", "Other");
    let events = "events: [{object: ReplicaSet/web-new, type: Warning, reason: FailedCreate, message: 'pods is forbidden: exceeded quota: compute, requested: x', lastSeen: '2026-11-21T11:59:00.000000Z'}]";
    finds_without_a_step("QuotaExhausted", &[&workload, FRESH, IMAGE_CHANGED, events, &pods(&[OLD_PODS])]);
    leaves_to_a_person(&[&workload, FRESH, IMAGE_CHANGED, &events.replace("web-new", "other"), &pods(&[OLD_PODS])]);
}

#[test]
fn what_admission_forbids_is_left_to_a_person() {
    let workload = refused("pods \"web-new-x\" is forbidden: violates PodSecurity \"restricted:latest\"");
    finds_without_a_step("PodsRefused", &[&workload, FRESH, IMAGE_CHANGED, &pods(&[OLD_PODS])]);
}

#[test]
fn a_used_up_quota_without_a_missing_replica_is_no_trouble() {
    let well = pods(&[&new_pod("new-a", WELL), &new_pod("new-b", WELL)]).replace("ready: false", "ready: true");
    assert!(matches!(ask(&[SETTLED, OLD, QUOTA, &well]), Diagnosis::NothingWrong { .. }));
}

const DRILL: &str = "0/2 nodes are available: 2 node(s) had untolerated taint {drill: on}. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.";

fn tainted(taint: &str, at: &str, more: &str) -> String {
    format!(
        "nodes: [{{object: {{apiVersion: v1, kind: Node, name: n1, uid: node-1}}, ready: true, taints: ['{taint}'], taintsChangedAt: '{at}', \
           taintsChangedBy: kubectl-taint{more}}}]"
    )
}

const LATELY: &str = "2026-11-21T11:58:00.000000Z";

#[track_caller]
fn takes_it_off(confidence: std::ops::RangeInclusive<f64>, pieces: &[&str]) {
    let finding = found(pieces);
    assert_eq!((finding.cause.as_str(), finding.steps.len()), ("NodeTainted", 1), "{finding:?}");
    assert_eq!((finding.steps[0].action.as_str(), finding.steps[0].target.name.as_str()), ("remove_taint", "n1"));
    assert_eq!(json!(finding.steps[0].parameters), json!({"key": "drill", "value": "on", "effect": "NoSchedule"}));
    assert!(confidence.contains(&finding.confidence()), "{} {:?}", finding.confidence(), finding.signals);
}

#[test]
fn a_taint_of_the_last_hour_that_is_all_that_bars_every_node_is_taken_off_by_a_persons_word() {
    let pods = pods(&[&unplaced(DRILL), OLD_PODS]);
    takes_it_off(ASKS, &[STUCK, OLD, &tainted("drill=on:NoSchedule", LATELY, ""), &pods]);
}

#[test]
fn on_a_managed_node_nobody_is_asked() {
    let well = new_pod("new-b", WELL).replace("ready: false", "ready: true");
    let pods = pods(&[&unplaced(DRILL), &well]);
    takes_it_off(SURE, &[STUCK, OLD, &tainted("drill=on:NoSchedule", LATELY, ", managed: true"), &pods]);
}

#[test]
fn a_taint_that_is_old_kept_by_kubernetes_or_not_named_is_left_alone() {
    let pods = pods(&[&unplaced(DRILL), OLD_PODS]);
    for nodes in [
        tainted("drill=on:NoSchedule", "2026-11-21T09:58:00.000000Z", ""),
        tainted("drill=on:NoSchedule", "2026-11-01T09:58:00.000000Z", ""),
        tainted("other=on:NoSchedule", LATELY, ""),
        tainted("dri=on:NoSchedule", LATELY, ""),
        tainted("drill=on:PreferNoSchedule", LATELY, ""),
        tainted("drill=on:NoSchedule", LATELY, ", unschedulable: true"),
    ] {
        finds_without_a_step("Unschedulable", &[STUCK, OLD, &nodes, &pods]);
    }
    for key in ["node-role.kubernetes.io/control-plane", "node.kubernetes.io/memory-pressure"] {
        let told = DRILL.replace("drill: on", &format!("{key}: "));
        let kept = super::pods(&[&unplaced(&told), OLD_PODS]);
        finds_without_a_step("Unschedulable", &[STUCK, OLD, &tainted(&format!("{key}:NoSchedule"), LATELY, ""), &kept]);
    }
}

#[test]
fn a_taint_that_was_there_before_the_template_is_the_templates_matter() {
    let before = tainted("drill=on:NoSchedule", "2026-11-21T11:50:00.000000Z", "");
    finds_without_a_step(
        "Unschedulable",
        &[STUCK, FRESH, COMMAND_CHANGED, &before, &pods(&[&unplaced(DRILL), OLD_PODS])],
    );
    let taken = "changes: [{fromRevision: 3, toRevision: 4, path: tolerations, before: '[{\"key\":\"drill\"}]'}]";
    let lately = tainted("drill=on:NoSchedule", LATELY, "");
    rolls_back("Unschedulable", 3, SURE, &[STUCK, FRESH, taken, &lately, &pods(&[&unplaced(DRILL), OLD_PODS])]);
}

#[test]
fn a_taint_beside_other_reasons_is_named_and_left_to_a_person() {
    let told = "0/2 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint {drill: on}.";
    let nodes = tainted("drill=on:NoSchedule", LATELY, "");
    finds_without_a_step("NodeTainted", &[STUCK, OLD, &nodes, &pods(&[&unplaced(told), OLD_PODS])]);
}
