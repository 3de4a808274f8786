//! What a template names and does not exist.

use super::*;

const MISSING: &str =
    "ready: false, state: Waiting, reason: CreateContainerConfigError, message: 'configmap \"web-2\" not found'";
const NO_KEY: &str = "ready: false, state: Waiting, reason: CreateContainerConfigError, \
    message: 'couldn''t find key mode in ConfigMap shop/web-2'";
const NEWLY_NAMED: &str = "changes:
- {fromRevision: 3, toRevision: 4, path: 'containers[app].envFrom', before: ConfigMap web, after: ConfigMap web-2}";

/// The workload, whose template names these things.
fn naming(workload: &str) -> String {
    workload.replace(
        "containers: [",
        "references: [{kind: ConfigMap, name: web-2, path: 'containers[app].envFrom'}, {kind: Secret, name: tls, path: 'volumes[tls]'}], containers: [",
    )
}

fn not_mounted(message: &str) -> String {
    format!(
        "events: [{{object: Pod/new-a, type: Warning, reason: FailedMount, count: 5, lastSeen: '2026-11-21T11:59:30.000000Z', message: {message:?}}}]"
    )
}

const CREATING: &str = "ready: false, state: Waiting, reason: ContainerCreating";

#[test]
fn what_a_fresh_revision_began_to_name_and_nobody_has_is_rolled_back() {
    let pods = pods(&[&new_pod("new-a", MISSING), OLD_PODS]);
    rolls_back("MissingConfiguration", 3, SURE, &[&naming(STUCK), FRESH, NEWLY_NAMED, &pods]);
}

#[test]
fn a_secret_that_cannot_be_mounted_is_found_by_the_warnings_about_the_pod() {
    let events = not_mounted("MountVolume.SetUp failed for volume \"tls\" : secret \"tls\" not found");
    let changes = "changes: [{fromRevision: 3, toRevision: 4, path: 'volumes[tls]', after: Secret tls}]";
    let pods = pods(&[&new_pod("new-a", CREATING), OLD_PODS]);
    rolls_back("MissingConfiguration", 3, SURE, &[&naming(STUCK), FRESH, changes, &pods, &events]);
    let finding = finds_without_a_step("MissingConfiguration", &[&naming(STUCK), FRESH, IMAGE_CHANGED, &pods, &events]);
    assert!(finding.summary.contains("Secret tls"), "{}", finding.summary);
}

#[test]
fn what_was_named_before_and_is_gone_is_left_to_a_person_by_name() {
    let pods = pods(&[&new_pod("new-a", MISSING), OLD_PODS]);
    for changes in [COMMAND_CHANGED, "changes: []"] {
        let finding = finds_without_a_step("MissingConfiguration", &[&naming(STUCK), FRESH, changes, &pods]);
        assert!(finding.summary.contains("ConfigMap web-2") && finding.rationale.contains("web-2"));
    }
}

#[test]
fn another_variable_that_changed_is_no_reason_to_go_back() {
    let changes = "changes: [{fromRevision: 3, toRevision: 4, path: 'containers[app].env[MODE]', before: a, after: b}]";
    let pods = pods(&[&new_pod("new-a", MISSING), OLD_PODS]);
    finds_without_a_step("MissingConfiguration", &[&naming(STUCK), FRESH, changes, &pods]);
}

#[test]
fn a_key_that_a_fresh_revision_began_to_ask_for_is_rolled_back() {
    let workload = naming(STUCK).replace("containers[app].envFrom", "containers[app].env");
    let changes = "changes: [{fromRevision: 3, toRevision: 4, path: 'containers[app].env[MODE]', after: 'ConfigMap web-2, key mode'}]";
    let pods = pods(&[&new_pod("new-a", NO_KEY), OLD_PODS]);
    rolls_back("MissingConfiguration", 3, SURE, &[&workload, FRESH, changes, &pods]);
    let finding = finds_without_a_step("MissingConfiguration", &[&workload, FRESH, IMAGE_CHANGED, &pods]);
    assert!(finding.summary.contains("key mode of ConfigMap web-2"), "{}", finding.summary);
}

#[test]
fn without_a_serving_revision_a_person_is_asked() {
    let pods = pods(&[&new_pod("new-a", MISSING), &new_pod("new-b", MISSING)]);
    rolls_back("MissingConfiguration", 3, ASKS, &[&naming(REPLACED), FRESH_ALONE, NEWLY_NAMED, &pods]);
}

#[test]
fn a_name_that_the_template_does_not_hold_is_only_text() {
    let events = not_mounted("configmap \"web-2\" not found; secret \"kube-root\" not found, delete it");
    let pods = pods(&[&new_pod("new-a", CREATING), OLD_PODS]);
    leaves_to_a_person(&[STUCK, FRESH, NEWLY_NAMED, &pods, &events]);
}

#[test]
fn a_mount_that_failed_before_the_pod_ran_is_over() {
    let events = not_mounted("MountVolume.SetUp failed for volume \"tls\" : secret \"tls\" not found");
    let pods = pods(&[&new_pod("new-a", "ready: false, state: Running"), OLD_PODS]);
    leaves_to_a_person(&[&naming(STUCK), FRESH, NEWLY_NAMED, &pods, &events]);
}
