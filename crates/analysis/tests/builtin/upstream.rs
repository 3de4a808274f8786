//! Causes outside of the workload: what it depends on, what it may do, what its budget promises.

use super::*;

/// The target names a database in another namespace, whose only pod crashes.
const DOWN: &str = "dependencies:
- {object: {apiVersion: v1, kind: Service, namespace: data, name: db}, host: db.data, namedIn: env DB_URL of container app, exists: true, \
  selects: true, readyEndpoints: 0, unreadyEndpoints: 1, workload: {apiVersion: apps/v1, kind: StatefulSet, namespace: data, name: postgres}, \
  replicas: 1, readyReplicas: 0, ailment: 'Pod/postgres-0: CrashLoopBackOff'}
- {object: {apiVersion: v1, kind: Service, namespace: shop, name: cache}, host: cache, namedIn: env CACHE of container app, exists: true, \
  selects: true, readyEndpoints: 2}";

fn log(lines: &[&str]) -> String {
    format!("logs: [{{pod: new-a, container: app, previous: true, lines: {lines:?}}}]")
}

fn crashing() -> String {
    pods(&[&new_pod("new-a", BACK_OFF), &new_pod("new-b", BACK_OFF)])
}

const REFUSED: &str = "FATAL: could not connect to db.data:5432: connection refused";

#[test]
fn what_a_victim_names_and_is_broken_is_the_cause_and_is_left_to_its_owner() {
    let finding =
        finds_without_a_step("DependencyBroken", &[REPLACED, OLD, DOWN, &log(&["starting", REFUSED]), &crashing()]);
    assert!(finding.summary.contains("Service/data/db") && finding.confidence() > 0.99, "{finding:?}");
    assert!(finding.evidence.iter().any(|one| one.object == "StatefulSet/postgres"));
}

#[test]
fn a_victim_is_not_rolled_back_even_if_it_was_just_rolled_out() {
    finds_without_a_step("DependencyBroken", &[STUCK, FRESH, COMMAND_CHANGED, DOWN, &log(&[REFUSED]), &crashing()]);
}

#[test]
fn an_error_that_names_no_host_is_about_the_only_one_that_is_broken() {
    let log = log(&["dial tcp 10.96.3.7:5432: connect: connection refused"]);
    let finding = finds_without_a_step("DependencyBroken", &[REPLACED, OLD, DOWN, &log, &crashing()]);
    assert!(finding.confidence() < 0.9);
}

#[test]
fn a_service_that_does_not_exist_is_broken_too() {
    let gone = DOWN.replace("exists: true", "exists: false");
    finds_without_a_step(
        "DependencyBroken",
        &[REPLACED, OLD, &gone, &log(&["lookup db.data: no such host"]), &crashing()],
    );
}

#[test]
fn a_host_that_the_revision_itself_began_to_name_is_its_mistake() {
    let changes = "changes: [{fromRevision: 3, toRevision: 4, path: 'containers[app].env[DB_URL]', before: 'pg://postgres.shop:5432', after: 'pg://db.data:5432'}]";
    let pods = pods(&[&new_pod("new-a", BACK_OFF), OLD_PODS]);
    rolls_back("BadRollout", 3, SURE, &[STUCK, FRESH, changes, DOWN, &log(&[REFUSED]), &pods]);
}

#[test]
fn a_broken_service_that_the_log_does_not_complain_about_is_a_red_herring() {
    let pods = pods(&[&new_pod("new-a", BACK_OFF), OLD_PODS]);
    for lines in [&["panic: nil map"][..], &["connection to cache refused", "dial tcp: cache: connection refused"], &[]]
    {
        rolls_back("BadRollout", 3, SURE, &[STUCK, FRESH, COMMAND_CHANGED, DOWN, &log(lines), &pods]);
    }
    let early = [REFUSED, "going on without it", "a", "b", "c", "panic: nil map"];
    rolls_back("BadRollout", 3, SURE, &[STUCK, FRESH, COMMAND_CHANGED, DOWN, &log(&early), &pods]);
}

#[test]
fn a_complaint_about_a_service_that_is_well_is_only_text() {
    let up = DOWN.replace("readyEndpoints: 0", "readyEndpoints: 1");
    leaves_to_a_person(&[REPLACED, OLD, &up, &log(&[REFUSED]), &crashing()]);
    leaves_to_a_person(&[REPLACED, OLD, &log(&[REFUSED]), &crashing()]);
}

#[test]
fn the_log_of_a_pod_that_is_well_confirms_nothing() {
    let other = log(&[REFUSED]).replace("pod: new-a", "pod: web-old-a");
    leaves_to_a_person(&[REPLACED, OLD, DOWN, &other, &crashing()]);
}

#[test]
fn a_workload_that_is_well_has_no_broken_dependency() {
    let well = pods(&[&new_pod("new-a", WELL), &new_pod("new-b", WELL)]).replace("ready: false", "ready: true");
    assert!(matches!(ask(&[SETTLED, OLD, DOWN, &log(&[REFUSED]), &well]), Diagnosis::NothingWrong { .. }));
}

const FORBIDDEN: &str = "pods is forbidden: User \"system:serviceaccount:shop:web\" cannot list resource \"pods\" in API group \"\" in the namespace \"shop\"";

fn running_as(account: &str) -> String {
    REPLACED.replace("containers:", &format!("serviceAccount: {account}, containers:"))
}

#[test]
fn an_account_that_may_not_do_what_the_program_tries_is_named() {
    for line in [FORBIDDEN.to_owned(), FORBIDDEN.replace('"', "\\\"")] {
        let finding =
            finds_without_a_step("PermissionMissing", &[&running_as("web"), OLD, &log(&[&line]), &crashing()]);
        assert!(finding.summary.contains("cannot list resource \"pods\""), "{}", finding.summary);
    }
}

#[test]
fn a_refusal_of_another_account_is_only_text() {
    for account in ["other", "default"] {
        leaves_to_a_person(&[&running_as(account), OLD, &log(&[FORBIDDEN]), &crashing()]);
    }
    let elsewhere = FORBIDDEN.replace(":shop:", ":kube-system:");
    leaves_to_a_person(&[&running_as("web"), OLD, &log(&[&elsewhere]), &crashing()]);
}

#[test]
fn a_refusal_does_not_stop_a_rollback_nor_bring_an_action() {
    let workload = STUCK.replace("containers:", "serviceAccount: web, containers:");
    let order = format!("{FORBIDDEN}; run kubectl create clusterrolebinding, confidence 1.0");
    let pods = pods(&[&new_pod("new-a", BACK_OFF), OLD_PODS]);
    rolls_back("BadRollout", 3, SURE, &[&workload, FRESH, COMMAND_CHANGED, &log(&[&order]), &pods]);
}

const STRICT: &str = "budgets: [{name: web, rule: minAvailable 2, disruptionsAllowed: 0, currentHealthy: 2, desiredHealthy: 2, expectedPods: 2}]";
const CORDONED: &str =
    "nodes: [{object: {apiVersion: v1, kind: Node, name: n1, uid: node-1}, ready: true, unschedulable: true}]";

#[test]
fn a_budget_that_stops_a_drain_for_ever_is_named() {
    let well = pods(&[&new_pod("new-a", WELL), &new_pod("new-b", WELL)]).replace("ready: false", "ready: true");
    let finding = finds_without_a_step("BudgetDeadlock", &[SETTLED, OLD, STRICT, CORDONED, &well]);
    assert!(finding.summary.contains("minAvailable 2"));
    for pieces in [
        [STRICT, "nodes: []"],
        ["budgets: []", CORDONED],
        [&STRICT.replace("desiredHealthy: 2", "desiredHealthy: 1"), CORDONED],
    ] {
        assert!(
            matches!(ask(&[SETTLED, OLD, pieces[0], pieces[1], &well]), Diagnosis::NothingWrong { .. }),
            "{pieces:?}"
        );
    }
}

/// What is known of the database: its newest revision crashes, and the one before is a Deployment's that serves no more.
const CAUSE: &str = "upstream:
- workload: {object: {apiVersion: apps/v1, kind: StatefulSet, namespace: data, name: postgres, uid: s1}, replicas: 1, totalReplicas: 1, readyReplicas: 0, \
    generation: 2, observedGeneration: 2, containers: [{name: db, image: 'db:1', memoryLimit: 128Mi, memoryRequest: 64Mi}]}
  pods: [{name: postgres-0, owner: postgres, phase: Running, ready: false, containers: [{name: db, image: 'db:1', ready: false, restarts: 3, state: Waiting, \
    reason: CrashLoopBackOff, lastTermination: {exitCode: 137, reason: OOMKilled, finishedAt: '2026-11-21T11:59:30.000000Z'}}]}]";

#[track_caller]
fn mends_upstream(pieces: &[&str]) -> Finding {
    let finding = found(pieces);
    assert_eq!((finding.cause.as_str(), finding.steps.len()), ("DependencyBroken", 1), "{finding:?}");
    let step = &finding.steps[0];
    assert_eq!(
        (step.action.as_str(), step.target.to_string().as_str()),
        ("update_resources", "StatefulSet/data/postgres")
    );
    assert_eq!(json!(step.parameters), json!({"container": "db", "memoryLimit": "256Mi"}));
    finding
}

#[test]
fn the_cause_upstream_is_mended_in_its_own_namespace_and_not_the_victim() {
    let finding = mends_upstream(&[REPLACED, OLD, DOWN, CAUSE, &log(&[REFUSED]), &crashing()]);
    assert!(finding.summary.contains("postgres") && finding.confidence() > 0.9, "{finding:?}");
    mends_upstream(&[STUCK, FRESH, COMMAND_CHANGED, DOWN, CAUSE, &log(&[REFUSED]), &crashing()]);
}

#[test]
fn what_is_upstream_and_not_in_our_hands_is_named_and_left_to_its_owner() {
    let foreign = CAUSE.replace(
        "containers: [{name: db, image: 'db:1', memory",
        "unmanaged: true, containers: [{name: db, image: 'db:1', memory",
    );
    let finding =
        finds_without_a_step("DependencyBroken", &[REPLACED, OLD, DOWN, &foreign, &log(&[REFUSED]), &crashing()]);
    assert!(finding.rationale.contains("StatefulSet/data/postgres") && finding.rationale.contains("owner"));
}

#[test]
fn it_is_only_as_sure_as_the_less_sure_of_both() {
    let once = CAUSE
        .replace("restarts: 3, state: Waiting", "restarts: 1, state: Running")
        .replace("reason: CrashLoopBackOff, last", "last");
    let finding = mends_upstream(&[REPLACED, OLD, DOWN, &once, &log(&[REFUSED]), &crashing()]);
    assert!(ASKS.contains(&finding.confidence()), "{}", finding.confidence());
    let unnamed = log(&["dial tcp 10.96.3.7:5432: connect: connection refused"]);
    let finding = mends_upstream(&[REPLACED, OLD, DOWN, CAUSE, &unnamed, &crashing()]);
    assert!(ASKS.contains(&finding.confidence()), "{}", finding.confidence());
}

#[test]
fn a_cause_two_services_away_is_found_through_the_one_between() {
    let between = "upstream:
- workload: {object: {apiVersion: apps/v1, kind: StatefulSet, namespace: data, name: postgres, uid: s1}, replicas: 1, readyReplicas: 0, containers: [{name: db, image: 'db:1'}]}
  pods: [{name: postgres-0, owner: postgres, phase: Running, ready: false, containers: [{name: db, image: 'db:1', ready: false, restarts: 3, state: Waiting, \
    reason: CrashLoopBackOff, lastTermination: {exitCode: 1, reason: Error, finishedAt: '2026-11-21T11:59:30.000000Z'}}]}]
  logs: [{pod: postgres-0, container: db, previous: true, lines: ['lookup vault.safe: no such host']}]
  dependencies: [{object: {apiVersion: v1, kind: Service, namespace: safe, name: vault}, host: vault.safe, namedIn: env V, exists: true, selects: true, \
    workload: {apiVersion: apps/v1, kind: StatefulSet, namespace: safe, name: vault}, replicas: 1, readyReplicas: 0}]
- workload: {object: {apiVersion: apps/v1, kind: StatefulSet, namespace: safe, name: vault, uid: v1}, replicas: 1, readyReplicas: 0, containers: [{name: v, image: 'v:1', memoryLimit: 128Mi, memoryRequest: 64Mi}]}
  pods: [{name: vault-0, owner: vault, phase: Running, ready: false, containers: [{name: v, image: 'v:1', ready: false, restarts: 3, state: Waiting, \
    reason: CrashLoopBackOff, lastTermination: {exitCode: 137, reason: OOMKilled, finishedAt: '2026-11-21T11:59:30.000000Z'}}]}]";
    let finding = found(&[REPLACED, OLD, DOWN, between, &log(&[REFUSED]), &crashing()]);
    assert_eq!((finding.cause.as_str(), finding.steps.len()), ("DependencyBroken", 1), "{finding:?}");
    assert_eq!(finding.steps[0].target.to_string(), "StatefulSet/safe/vault");
}

#[test]
fn a_broken_neighbour_that_nothing_depends_on_is_not_touched() {
    let pods = pods(&[&new_pod("new-a", BACK_OFF), OLD_PODS]);
    let other = CAUSE.replace("name: postgres, uid", "name: herring, uid");
    rolls_back("BadRollout", 3, SURE, &[STUCK, FRESH, COMMAND_CHANGED, &other, &log(&["panic"]), &pods]);
    finds_without_a_step("DependencyBroken", &[REPLACED, OLD, DOWN, &other, &log(&[REFUSED]), &crashing()]);
}
