//! Targets that are no Deployment: Jobs, claims, quotas, Services, autoscalers, budgets, custom kinds.

use super::*;

fn target(kind: &str, name: &str) -> TargetRef {
    TargetRef { kind: kind.into(), namespace: Some("shop".into()), name: name.into(), ..TargetRef::default() }
}

#[track_caller]
fn without_a_step(cause: &str, diagnosis: &Diagnosis) -> Finding {
    let Diagnosis::Found(finding) = diagnosis else { panic!("{diagnosis:?}") };
    assert_eq!((finding.cause.as_str(), finding.steps.len()), (cause, 0), "{finding:?}");
    (**finding).clone()
}

const NIGHTLY: &str = "workload: {object: {apiVersion: batch/v1, kind: Job, namespace: shop, name: nightly, uid: j1}, replicas: 0, \
    containers: [{name: app, image: 'app:1'}]}";
const CRON: &str = "workload: {object: {apiVersion: batch/v1, kind: CronJob, namespace: shop, name: nightly, uid: c1}, replicas: 0, \
    containers: [{name: app, image: 'app:1'}]}
schedule: {object: {apiVersion: batch/v1, kind: CronJob, namespace: shop, name: nightly, uid: c1}, schedule: '0 3 * * *'}";
const FAILED: &str = "jobs: [{object: {apiVersion: batch/v1, kind: Job, namespace: shop, name: nightly-2, uid: j1}, failed: 3, backoffLimit: 2, \
    conditions: [{type: Failed, status: 'True', reason: BackoffLimitExceeded}]}, \
    {object: {apiVersion: batch/v1, kind: Job, namespace: shop, name: nightly-1, uid: j0}, succeeded: 1, conditions: [{type: Complete, status: 'True'}]}]";
const SUCCEEDED: &str = "jobs: [{object: {apiVersion: batch/v1, kind: Job, namespace: shop, name: nightly-2, uid: j1}, succeeded: 1, \
    conditions: [{type: Complete, status: 'True'}]}]";
const ENDED: &str = "pods: [{name: nightly-2-x, owner: nightly-2, phase: Failed, ready: false, containers: [{name: app, image: 'app:1', ready: false, \
    state: Terminated, lastTermination: {exitCode: 3, reason: Error, finishedAt: '2026-11-21T03:00:00.000000Z'}}]}]";

#[test]
fn a_failed_job_is_named_with_how_it_ended_and_left_to_a_person() {
    let finding = without_a_step("JobFailed", &ask_about(&target("Job", "nightly-2"), &[NIGHTLY, FAILED, ENDED]));
    assert!(finding.summary.contains("BackoffLimitExceeded") && finding.summary.contains("exit code 3"), "{finding:?}");
    assert!(finding.confidence() > 0.99);
    let unseen = without_a_step("JobFailed", &ask_about(&target("CronJob", "nightly"), &[CRON, FAILED]));
    assert!(unseen.confidence() < 0.8);
}

#[test]
fn a_job_that_fails_and_goes_on_is_failing_too() {
    let running = "jobs: [{object: {apiVersion: batch/v1, kind: Job, namespace: shop, name: nightly-2, uid: j1}, failed: 2, active: 1}]";
    without_a_step("JobFailed", &ask_about(&target("Job", "nightly-2"), &[NIGHTLY, running, ENDED]));
}

#[test]
fn a_job_without_its_configuration_says_so_before_that_it_failed() {
    let workload = NIGHTLY.replace(
        "containers:",
        "references: [{kind: ConfigMap, name: web-2, path: 'containers[app].envFrom'}], containers:",
    );
    let waiting = pods(&[&new_pod(
        "nightly-x",
        "ready: false, state: Waiting, reason: CreateContainerConfigError, message: 'configmap \"web-2\" not found'",
    )]);
    without_a_step("MissingConfiguration", &ask_about(&target("Job", "nightly"), &[&workload, FAILED, &waiting]));
    let no_image = pods(&[&new_pod("nightly-x", NO_IMAGE)]);
    without_a_step("ImagePull", &ask_about(&target("Job", "nightly"), &[NIGHTLY, FAILED, &no_image]));
}

#[test]
fn a_run_that_succeeded_after_one_that_failed_leaves_nothing_to_do() {
    for (kind, workload) in [("Job", NIGHTLY), ("CronJob", CRON)] {
        assert!(matches!(ask_about(&target(kind, "nightly"), &[workload, SUCCEEDED]), Diagnosis::NothingWrong { .. }));
    }
    // The newest of several counts.
    let both = SUCCEEDED.replace(
        "]}]",
        "]}, {object: {apiVersion: batch/v1, kind: Job, namespace: shop, name: nightly-1, uid: j0}, failed: 3}]",
    );
    assert!(matches!(ask_about(&target("CronJob", "nightly"), &[CRON, &both]), Diagnosis::NothingWrong { .. }));
}

#[test]
fn a_job_that_runs_and_has_not_failed_proves_nothing() {
    let running =
        "jobs: [{object: {apiVersion: batch/v1, kind: Job, namespace: shop, name: nightly-2, uid: j1}, active: 1}]";
    assert!(matches!(ask_about(&target("Job", "nightly-2"), &[NIGHTLY, running]), Diagnosis::Unknown { .. }));
    assert!(matches!(ask_about(&target("CronJob", "nightly"), &[CRON]), Diagnosis::Unknown { .. }));
}

#[test]
fn a_suspended_schedule_is_named() {
    let suspended = CRON.replace("schedule: '0", "suspended: true, schedule: '0");
    without_a_step("ScheduleSuspended", &ask_about(&target("CronJob", "nightly"), &[&suspended, SUCCEEDED]));
}

const WELL_BEHIND: &str = "workload: {object: {apiVersion: apps/v1, kind: Deployment, namespace: shop, name: web, uid: u1}, replicas: 1, totalReplicas: 1, \
    updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1, generation: 1, observedGeneration: 1, containers: [{name: app, image: 'app:2'}]}";
const WELL_POD: &str = "\n- {name: web-1, owner: web-new, phase: Running, ready: true, node: n1, containers: [{name: app, image: 'app:2', ready: true, state: Running}]}";

#[test]
fn a_claim_that_no_pod_uses_is_left_alone() {
    for phase in ["Bound", "Pending"] {
        let claims = format!("claims: [{{name: data, phase: {phase}, consumers: 0}}]");
        let diagnosis = ask_about(&target("PersistentVolumeClaim", "data"), &[&claims]);
        assert!(matches!(diagnosis, Diagnosis::NothingWrong { .. }), "{diagnosis:?}");
    }
}

#[test]
fn a_claim_that_is_lost_used_or_not_fully_known_is_left_to_a_person() {
    for claims in [
        "claims: [{name: data, phase: Lost, consumers: 0}]",
        "claims: [{name: data, phase: Bound, consumers: 2}]",
        "claims: [{name: data, phase: Bound}]",
    ] {
        let diagnosis = ask_about(&target("PersistentVolumeClaim", "data"), &[claims, WELL_BEHIND, &pods(&[WELL_POD])]);
        assert!(matches!(diagnosis, Diagnosis::Unknown { .. }), "{diagnosis:?}");
    }
}

#[test]
fn a_claim_that_its_pod_waits_for_is_named() {
    let waiting = "\n- {name: new-a, owner: web-new, phase: Pending, ready: false, unschedulable: 'pod has unbound immediate PersistentVolumeClaims', containers: []}";
    let claims = "claims: [{name: data, phase: Pending, consumers: 1}]";
    without_a_step(
        "ClaimNotBound",
        &ask_about(&target("PersistentVolumeClaim", "data"), &[REPLACED, OLD, claims, &pods(&[waiting])]),
    );
}

const QUOTA: &str = "quotas: [{name: compute, amounts: [{resource: pods, used: '2', hard: '2'}, {resource: requests.cpu, used: 100m, hard: '1'}]}]";

#[test]
fn a_quota_that_is_used_up_is_named_and_left_to_a_person() {
    let finding = without_a_step("QuotaExhausted", &ask_about(&target("ResourceQuota", "compute"), &[QUOTA]));
    assert!(finding.summary.ends_with("is used up: pods."), "{}", finding.summary);
    let free = QUOTA.replace("used: '2'", "used: '1'");
    assert!(matches!(ask_about(&target("ResourceQuota", "compute"), &[&free]), Diagnosis::NothingWrong { .. }));
    let stopped = "events: [{object: ReplicaSet/web-1, type: Warning, reason: FailedCreate, message: 'is forbidden: exceeded quota: compute, requested: requests.cpu=2', lastSeen: '2026-11-21T11:59:00.000000Z'}]";
    without_a_step("QuotaExhausted", &ask_about(&target("ResourceQuota", "compute"), &[&free, stopped]));
    let nothing_allowed = QUOTA.replace("used: '2', hard: '2'", "used: '0', hard: '0'");
    assert!(matches!(
        ask_about(&target("ResourceQuota", "compute"), &[&nothing_allowed]),
        Diagnosis::NothingWrong { .. }
    ));
}

const SERVICE: &str = "service: {object: {apiVersion: v1, kind: Service, namespace: shop, name: web}, host: '', namedIn: '', exists: true, selects: true, \
    readyEndpoints: 1}";

#[test]
fn a_service_is_healed_by_the_workload_behind_it() {
    let down = SERVICE.replace("readyEndpoints: 1", "readyEndpoints: 0");
    let pods_down = pods(&[&new_pod("new-a", BACK_OFF), OLD_PODS]);
    let Diagnosis::Found(finding) =
        ask_about(&target("Service", "web"), &[&down, STUCK, FRESH, COMMAND_CHANGED, &pods_down])
    else {
        panic!("nothing found")
    };
    assert_eq!((finding.cause.as_str(), finding.steps[0].target.kind.as_str()), ("BadRollout", "Deployment"));
    let foreign = STUCK.replace("replicas: 2, total", "unmanaged: true, replicas: 2, total");
    let told = ask_about(&target("Service", "web"), &[&down, &foreign, FRESH, COMMAND_CHANGED, &pods_down]);
    assert!(without_a_step("BadRollout", &told).rationale.contains("kubernaut.io/managed=true"));
    let well = ask_about(&target("Service", "web"), &[SERVICE, WELL_BEHIND, &pods(&[WELL_POD])]);
    assert!(matches!(well, Diagnosis::NothingWrong { .. }), "{well:?}");
    let empty = ask_about(&target("Service", "web"), &[&down, WELL_BEHIND, &pods(&[WELL_POD])]);
    assert!(matches!(empty, Diagnosis::Unknown { .. }), "its selector may be wrong: {empty:?}");
}

#[test]
fn an_autoscaler_is_raised_as_a_target_and_one_that_cannot_measure_is_left_to_a_person() {
    let pinned = "autoscalers: [{object: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, namespace: shop, name: web, uid: h1}, \
      minReplicas: 1, maxReplicas: 1, currentReplicas: 1, desiredReplicas: 1, \
      conditions: [{type: ScalingLimited, status: 'True', reason: TooManyReplicas}], metrics: [{name: cpu, current: 190%, target: 80%}]}]";
    let scaler = target("HorizontalPodAutoscaler", "web");
    let Diagnosis::Found(finding) = ask_about(&scaler, &[pinned, WELL_BEHIND, &pods(&[WELL_POD])]) else {
        panic!("nothing found")
    };
    assert_eq!(
        (finding.steps[0].action.as_str(), &finding.steps[0].parameters["maxReplicas"]),
        ("update_hpa", &json!(2))
    );
    let blind = pinned.replace(
        "{type: ScalingLimited, status: 'True', reason: TooManyReplicas}",
        "{type: ScalingActive, status: 'False', reason: FailedGetResourceMetric}",
    );
    assert!(matches!(ask_about(&scaler, &[&blind, WELL_BEHIND, &pods(&[WELL_POD])]), Diagnosis::Unknown { .. }));
}

const BUDGET: &str = "budgets: [{name: web, rule: minAvailable 1, disruptionsAllowed: 0, currentHealthy: 1, desiredHealthy: 1, expectedPods: 1}]";
const CORDONED: &str = "otherNodesReady: 1
nodes: [{object: {apiVersion: v1, kind: Node, name: n1, uid: node-1}, ready: true, unschedulable: true}]";

#[test]
fn a_budget_deadlock_ends_with_one_more_replica_where_another_node_takes_it() {
    let budget = target("PodDisruptionBudget", "web");
    let Diagnosis::Found(finding) = ask_about(&budget, &[BUDGET, CORDONED, WELL_BEHIND, &pods(&[WELL_POD])]) else {
        panic!("nothing found")
    };
    assert_eq!(
        (finding.steps[0].action.as_str(), &finding.steps[0].parameters["replicas"]),
        ("scale_deployment", &json!(2))
    );
    let scaler = "autoscalers: [{object: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, namespace: shop, name: web, uid: h1}, minReplicas: 1, maxReplicas: 9}]";
    for (budget_told, nodes, more) in [
        (BUDGET.replace("minAvailable 1", "maxUnavailable 0"), CORDONED.to_owned(), ""),
        (BUDGET.replace("minAvailable 1", "minAvailable 100%"), CORDONED.to_owned(), ""),
        (BUDGET.to_owned(), CORDONED.replace("otherNodesReady: 1", "otherNodesReady: 0"), ""),
        (BUDGET.to_owned(), CORDONED.to_owned(), scaler),
    ] {
        let told = ask_about(&budget, &[&budget_told, &nodes, WELL_BEHIND, &pods(&[WELL_POD]), more]);
        without_a_step("BudgetDeadlock", &told);
    }
    let ill = BUDGET.replace("currentHealthy: 1", "currentHealthy: 0");
    without_a_step("BudgetDeadlock", &ask_about(&budget, &[&ill, CORDONED, WELL_BEHIND, &pods(&[WELL_POD])]));
}

#[test]
fn nothing_is_done_to_a_workload_of_a_custom_kind() {
    let custom = "workload: {object: {apiVersion: example.com/v1, kind: Widget, namespace: shop, name: web, uid: w1}, replicas: 1, containers: [{name: app, image: 'app:2', memoryLimit: 64Mi}]}";
    for container in [BACK_OFF, KILLED, NO_IMAGE] {
        let steps = match ask_about(&target("Widget", "web"), &[custom, &pods(&[&new_pod("new-a", container)])]) {
            Diagnosis::Found(finding) => finding.steps.len(),
            Diagnosis::Unknown { .. } => 0,
            nothing @ Diagnosis::NothingWrong { .. } => panic!("{nothing:?}"),
        };
        assert_eq!(steps, 0);
    }
}
