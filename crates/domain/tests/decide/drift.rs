//! Told apart: our effect, an autoscaler at its work, another step of ours, and somebody else.

use kubernaut_api::KubernetesExecution;
use kubernaut_api::execution::{ActionResult, KubernetesExecutionStatus, TargetMark};
use kubernaut_domain::drift::{between, is_untouched, mark, of_request};
use serde_json::{Value, json};

use crate::execution::execution;
use crate::given::{changed, target};

fn deployment(generation: i64, replicas: i32, image: &str) -> Value {
    json!({
        "metadata": {"generation": generation, "resourceVersion": format!("{generation}1"),
            "annotations": {"kubernaut.io/changed-by": "ke-rr-0123456789ab-1-rollback"}},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"name": "app", "image": image}]}}},
        "status": {"observedGeneration": generation},
    })
}

fn by(mark: &TargetMark, by: &str) -> TargetMark {
    TargetMark { changed_by: Some(by.into()), ..mark.clone() }
}

fn left(name: &str, mark: TargetMark) -> KubernetesExecution {
    let mut execution = execution();
    execution.metadata.name = Some(name.into());
    execution.spec.step = name.rsplit('-').next().expect("a step").into();
    execution.status = Some(KubernetesExecutionStatus {
        result: Some(ActionResult { target: Some(mark), ..changed() }),
        ..KubernetesExecutionStatus::default()
    });
    execution
}

const OWN: &str = "ke-rr-0123456789ab-1-rollback";

#[test]
fn a_status_or_an_annotation_that_changes_is_no_drift() {
    let after = mark(&deployment(5, 3, "web:1"));
    let mut later = deployment(5, 3, "web:1");
    later["metadata"]["resourceVersion"] = json!("99");
    later["status"] = json!({"observedGeneration": 5, "readyReplicas": 3});
    assert_eq!(between(&after, &mark(&later)), None);
}

#[test]
fn an_autoscaler_at_its_work_is_no_drift_and_anything_else_is() {
    let after = mark(&deployment(5, 3, "web:1"));
    assert_eq!(between(&after, &mark(&deployment(6, 7, "web:1"))), None);
    let why = between(&after, &mark(&deployment(6, 3, "web:2"))).expect("it was changed");
    assert!(why.contains("generation 5 → 6"), "{why}");
}

#[test]
fn a_change_that_was_taken_back_is_no_drift_any_more() {
    assert_eq!(between(&mark(&deployment(5, 3, "web:1")), &mark(&deployment(7, 3, "web:1"))), None);
}

#[test]
fn kinds_without_a_generation_are_left_to_the_actions_own_check() {
    let node = |unschedulable: bool| {
        mark(&json!({"metadata": {"resourceVersion": "1"}, "spec": {"unschedulable": unschedulable}}))
    };
    assert_eq!(between(&node(true), &node(false)), None);
}

#[test]
fn who_changed_it_is_named_where_it_is_known() {
    let after = mark(&deployment(5, 3, "web:1"));
    let now = by(&mark(&deployment(6, 3, "web:2")), "ke-rr-other-1-scale");
    assert!(between(&after, &now).is_some_and(|why| why.starts_with("ke-rr-other-1-scale has changed")));
}

#[test]
fn untouched_is_what_has_the_same_generation_or_not_a_single_write() {
    let with = |generation: Option<i64>, version: &str| TargetMark {
        generation,
        resource_version: Some(version.into()),
        ..TargetMark::default()
    };
    assert!(is_untouched(&with(Some(5), "1"), &with(Some(5), "2")), "only its status was written");
    assert!(!is_untouched(&with(Some(5), "1"), &with(Some(6), "2")));
    assert!(is_untouched(&with(None, "1"), &with(None, "1")));
    assert!(!is_untouched(&with(None, "1"), &with(None, "2")));
    assert!(!is_untouched(&TargetMark::default(), &TargetMark::default()), "no data is no proof");
}

#[test]
fn a_request_compares_with_what_its_own_last_execution_left() {
    let (first, second) = (mark(&deployment(5, 3, "web:1")), mark(&deployment(6, 3, "web:2")));
    let other = "ke-rr-0123456789ab-1-scale";
    let executions = [left(OWN, by(&first, OWN)), left(other, by(&second, other))];
    let drift = |now: &TargetMark| of_request(&executions, &target(), now);
    assert_eq!(drift(&by(&second, other)), None, "the second step is ours too");
    let changed = mark(&deployment(7, 3, "evil:1"));
    assert!(drift(&by(&changed, other)).is_some());
    assert!(drift(&by(&changed, "ke-rr-other-1-x")).is_some());
}

#[test]
fn what_a_step_changes_besides_its_target_is_no_drift() {
    // The second step wrote a ConfigMap and restarted the target of the first as one of its readers.
    let mut reader = left("ke-rr-0123456789ab-1-config", TargetMark::default());
    reader.spec.target.kind = "ConfigMap".into();
    let executions = [left(OWN, by(&mark(&deployment(5, 3, "web:1")), OWN)), reader];
    let now = by(&mark(&deployment(6, 3, "web:2")), "ke-rr-0123456789ab-1-config");
    assert_eq!(of_request(&executions, &target(), &now), None);
}

#[test]
fn without_an_effect_on_the_target_there_is_nothing_to_compare() {
    assert_eq!(of_request(&[], &target(), &mark(&deployment(6, 3, "web:2"))), None);
    let mut elsewhere = left(OWN, mark(&deployment(5, 3, "web:1")));
    elsewhere.spec.target.name = "api".into();
    assert_eq!(of_request(&[elsewhere], &target(), &by(&mark(&deployment(9, 1, "x")), "somebody")), None);
}
