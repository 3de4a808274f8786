//! restart_service.

use kubernaut_domain::catalogue::RESTARTED_BY;

use super::*;

const SERVICE: &str = "/api/v1/namespaces/shop/services/web";
const PODS: &str = "/api/v1/namespaces/shop/pods";
const DATABASE: &str = "/apis/apps/v1/namespaces/shop/statefulsets/db";

fn restart() -> ActInput {
    input("restart_service", "Service", "web", &json!({}))
}

fn service(spec: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "uid": "uid-1", "resourceVersion": "7"},
        "spec": spec,
    })
}

fn stateful_set(spec: &Value) -> Value {
    json!({
        "metadata": {"name": "db", "namespace": "shop", "uid": "db-uid", "resourceVersion": "8"},
        "spec": spec,
    })
}

fn pod_of(name: &str, kind: &str, owner: &str) -> Value {
    pod(&json!({"name": name, "ownerReferences": [
        {"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": "x", "controller": true},
    ]}))
}

/// The requests up to the workloads' state, of two pods of a Deployment, one of a StatefulSet and one bare.
fn looks(deployment: Value, set: Value) -> Vec<(String, Answer)> {
    let pods = [
        pod_of("web-1", "ReplicaSet", "web-two"),
        pod_of("web-2", "ReplicaSet", "web-two"),
        pod_of("db-0", "StatefulSet", "db"),
        pod(&json!({"name": "bare", "ownerReferences": []})),
    ];
    vec![
        get(SERVICE, service(&json!({"selector": {"app": "web"}}))),
        get(PODS, list_of(&pods)),
        get(&format!("{REPLICA_SETS}/web-two"), replica_set("web-two", "2", "web:2", "uid-1")),
        get(DEPLOYMENT, deployment),
        get(DATABASE, set),
    ]
}

fn restarted() -> Value {
    deployment_with("/spec/template/metadata/annotations", json!({RESTARTED_BY: "ke-rr-1-act"}))
}

#[tokio::test]
async fn every_workload_behind_the_service_rolls_over_once() {
    let set = || stateful_set(&json!({"template": {"metadata": {"annotations": {"a": "b"}}}}));
    let mut script = looks(deployment(), set());
    script.extend([get(DEPLOYMENT, deployment()), patch(Json(200, deployment()))]);
    script.extend([get(DATABASE, set()), (format!("PATCH {DATABASE}"), Json(200, set()))]);
    let (result, seen) = play(&restart(), script).await;
    assert_eq!(
        result.message,
        "restarted Deployment/shop/web, StatefulSet/shop/db behind Service/shop/web; left alone: Pod bare"
    );
    assert!(seen[1].query.contains("labelSelector=app%3Dweb"), "{}", seen[1].query);
    assert_eq!(
        seen[6].body.as_array().unwrap()[3..],
        [
            json!({"op": "add", "path": "/spec/template/metadata/annotations", "value": {}}),
            json!({"op": "add", "path": "/spec/template/metadata/annotations/kubernaut.io~1restarted-by", "value": "ke-rr-1-act"}),
        ]
    );
    assert_eq!(seen[6].body[0]["value"], "7", "the patch carries the resourceVersion");
    let operations = seen[8].body.as_array().unwrap();
    assert_eq!(operations.last().unwrap()["value"], "ke-rr-1-act");
    assert!(!operations.iter().any(|operation| operation["path"] == "/spec/template/metadata/annotations"));
    assert_eq!(catalogue::find("restart_service").unwrap().undo(&result.before), None);
}

#[tokio::test]
async fn a_second_run_restarts_nothing_again() {
    let set = || stateful_set(&json!({"template": {"metadata": {"annotations": {RESTARTED_BY: "ke-rr-1-act"}}}}));
    let mut script = looks(restarted(), set());
    script.extend([get(DEPLOYMENT, restarted()), get(DATABASE, set())]);
    assert_eq!(outcome(&play(&restart(), script).await.0), (Effect::Unchanged, None));
}

#[tokio::test]
async fn workloads_that_would_not_roll_over_are_refused_before_any_is_touched() {
    let set = stateful_set(&json!({"template": {}}));
    let script = looks(deployment_with("/spec/paused", true.into()), set);
    assert_eq!(outcome(&play(&restart(), script).await.0), (Effect::None, Some("DeploymentPaused")));
    let set = stateful_set(&json!({"updateStrategy": {"type": "OnDelete"}, "template": {}}));
    assert_eq!(outcome(&play(&restart(), looks(deployment(), set)).await.0), (Effect::None, Some("UpdatesOnDelete")));
}

#[tokio::test]
async fn a_service_without_selector_or_workload_restarts_nothing() {
    for spec in [json!({}), json!({"selector": {}}), json!({"type": "ExternalName", "externalName": "example.com"})] {
        let (result, _) = play(&restart(), vec![get(SERVICE, service(&spec))]).await;
        assert_eq!(outcome(&result), (Effect::None, Some("NoSelector")));
    }
    let pods = list_of(&[pod(&json!({"ownerReferences": []}))]);
    let script = vec![get(SERVICE, service(&json!({"selector": {"app": "web"}}))), get(PODS, pods)];
    assert_eq!(outcome(&play(&restart(), script).await.0), (Effect::None, Some("NothingToRestart")));
}

#[tokio::test]
async fn more_workloads_than_ten_are_refused() {
    let names: Vec<String> = (10..21).map(|number| format!("db{number}")).collect();
    let pods: Vec<Value> = names.iter().map(|name| pod_of(name, "StatefulSet", name)).collect();
    let mut script = vec![get(SERVICE, service(&json!({"selector": {"app": "web"}}))), get(PODS, list_of(&pods))];
    let set = || stateful_set(&json!({"template": {}}));
    script.extend(names.iter().map(|name| get(&format!("/apis/apps/v1/namespaces/shop/statefulsets/{name}"), set())));
    assert_eq!(outcome(&play(&restart(), script).await.0), (Effect::None, Some("TooManyWorkloads")));
}

#[tokio::test]
async fn a_failure_half_way_is_unknown_and_says_what_was_done() {
    let set = || stateful_set(&json!({"template": {"metadata": {"annotations": {}}}}));
    let forbidden = || (format!("PATCH {DATABASE}"), failure(403, "Forbidden"));
    let script = || {
        let mut script = looks(deployment(), set());
        script.extend([get(DEPLOYMENT, deployment()), patch(Json(200, deployment()))]);
        script.extend([get(DATABASE, set()), forbidden()]);
        script
    };
    let (result, _) = play(&restart(), script()).await;
    assert_eq!(outcome(&result), (Effect::Unknown, Some("Incomplete")));
    assert!(result.message.starts_with("restarted Deployment/shop/web behind"), "{}", result.message);
    let (result, seen) = play(&ActInput { dry_run: true, ..restart() }, script()).await;
    assert_eq!(outcome(&result), (Effect::None, Some("Forbidden")));
    assert!([6, 8].iter().all(|index: &usize| seen[*index].query.contains("dryRun=All")), "{seen:?}");
}
