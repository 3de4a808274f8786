//! Effects against a scripted API server with the real wire format: which requests, and what their answers mean.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use kube::client::Body;
use kubernaut_api::labels::CHANGED_BY;
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::catalogue::CHANGED_FROM;
use serde_json::{Value, json};
use tower::service_fn;

use super::*;

mod autoscaler;
mod cache;
mod config;
mod drain;
mod nodes;
mod pods;
mod restarts;
mod witness;

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/web";
const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/shop/replicasets";
const AUTOSCALERS: &str = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers";
const POD: &str = "/api/v1/namespaces/shop/pods/web-1";

/// What the scripted server does with one request.
enum Answer {
    Json(u16, Value),
    Hang,
}
use Answer::{Hang, Json};

#[derive(Debug)]
struct Seen {
    line: String,
    query: String,
    body: Value,
}

type Script = Arc<Mutex<VecDeque<(String, Answer)>>>;

/// A server that expects exactly these requests in this order.
fn scripted(script: Vec<(String, Answer)>) -> (Client, Script, Arc<Mutex<Vec<Seen>>>) {
    let script: Script = Arc::new(Mutex::new(script.into()));
    let log = Arc::new(Mutex::new(Vec::new()));
    let (steps, seen) = (script.clone(), log.clone());
    let service = service_fn(move |request: http::Request<Body>| {
        let (steps, seen) = (steps.clone(), seen.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let line = format!("{} {}", parts.method, parts.uri.path());
            let query = parts.uri.query().unwrap_or_default().to_owned();
            let (expected, answer) = steps.lock().unwrap().pop_front().unwrap_or((String::new(), Hang));
            assert_eq!(line, expected, "unexpected request");
            seen.lock().unwrap().push(Seen { line, query, body: serde_json::from_slice(&body).unwrap_or_default() });
            match answer {
                Json(code, value) => {
                    let response =
                        http::Response::builder().status(code).body(Body::from(serde_json::to_vec(&value).unwrap()));
                    Ok::<_, Infallible>(response.unwrap())
                }
                Hang => std::future::pending().await,
            }
        }
    });
    (Client::new(service, "default"), script, log)
}

/// Runs `input` against a server that expects exactly these requests in this order.
async fn play(input: &ActInput, script: Vec<(String, Answer)>) -> (ActionResult, Vec<Seen>) {
    let (client, script, log) = scripted(script);
    let input = input.clone();
    // Spawned, because the controllers' rehearsal needs the future to be Send.
    let result = tokio::spawn(async move { run(client, &input).await }).await.unwrap();
    assert_eq!(script.lock().unwrap().len(), 0, "requests that were never sent; result {result:?}");
    drop(script);
    (result, std::mem::take(&mut log.lock().unwrap()))
}

fn get(path: &str, value: Value) -> (String, Answer) {
    (format!("GET {path}"), Json(200, value))
}

fn patch(answer: Answer) -> (String, Answer) {
    (format!("PATCH {DEPLOYMENT}"), answer)
}

fn failure(code: u16, reason: &str) -> Answer {
    Json(
        code,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason, "reason": reason, "code": code}),
    )
}

fn input(action: &str, kind: &str, name: &str, parameters: &Value) -> ActInput {
    ActInput {
        execution: "ke-rr-1-act".into(),
        action: action.into(),
        target: TargetRef {
            api_version: catalogue::api_version(kind).into(),
            kind: kind.into(),
            namespace: catalogue::is_namespaced(kind).then(|| "shop".into()),
            name: name.into(),
            uid: Some(if kind == "Pod" { "pod-uid" } else { "uid-1" }.into()),
        },
        parameters: parameters.as_object().cloned().unwrap().into_iter().collect(),
        dry_run: false,
        plan_hash: "0".repeat(64),
        start_before: None,
    }
}

fn scale() -> ActInput {
    input("scale_deployment", "Deployment", "web", &json!({"replicas": 5}))
}

fn rollback() -> ActInput {
    input("rollback_deployment", "Deployment", "web", &json!({"toRevision": 1}))
}

fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app", "image": image, "resources": {"limits": {"memory": "64Mi"}}}], "fieldOfTomorrow": 1},
    })
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "uid-1", "resourceVersion": "7", "generation": 2,
            "annotations": {"deployment.kubernetes.io/revision": "2"},
        },
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template("web:2")},
        "status": {"observedGeneration": 2},
    })
}

/// The Deployment with one field replaced, added or (by null) removed.
fn deployment_with(pointer: &str, value: Value) -> Value {
    let mut deployment = deployment();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    deployment.pointer_mut(parent).unwrap()[field.replace("~1", "/")] = value;
    deployment
}

fn changed_by_us() -> Value {
    deployment_with("/metadata/annotations", json!({CHANGED_BY: "ke-rr-1-act", CHANGED_FROM: r#"{"replicas":3}"#}))
}

fn replica_set(name: &str, revision: &str, image: &str, owner: &str) -> Value {
    let mut template = template(image);
    template["metadata"]["labels"]["pod-template-hash"] = "abc".into();
    json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("{name}-uid"),
            "annotations": {"deployment.kubernetes.io/revision": revision},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": owner, "controller": true}],
        },
        "spec": {"template": template},
    })
}

fn list_of(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "9"}, "items": items})
}

fn replica_sets() -> Value {
    list_of(&[
        replica_set("foreign", "1", "evil:1", "uid-of-another"),
        replica_set("web-one", "1", "web:1", "uid-1"),
        replica_set("web-two", "2", "web:2", "uid-1"),
    ])
}

fn pod(metadata: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": "web-1", "namespace": "shop", "uid": "pod-uid", "resourceVersion": "3",
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-two", "uid": "web-two-uid", "controller": true}],
    }});
    pod["metadata"].as_object_mut().unwrap().extend(metadata.as_object().cloned().unwrap());
    pod
}

fn outcome(result: &ActionResult) -> (Effect, Option<&str>) {
    (result.effect, result.error.as_deref())
}

#[tokio::test]
async fn scaling_is_absolute_guarded_marked_and_recorded() {
    let left = deployment_with("/metadata/generation", 3.into());
    let script = vec![get(DEPLOYMENT, deployment()), get(AUTOSCALERS, list_of(&[])), patch(Json(200, left))];
    let (result, seen) = play(&scale(), script).await;
    let target = result.target.clone();
    assert_eq!(target.as_ref().and_then(|mark| mark.generation), Some(3), "as the write left it");
    let expect =
        changed("scaled Deployment/shop/web from 3 to 5 replicas".into(), [("replicas".into(), 3.into())].into());
    assert_eq!(result, ActionResult { target, ..expect });
    assert_eq!(seen[2].query.trim_start_matches('&'), "fieldManager=kubernaut-action");
    assert_eq!(
        seen[2].body,
        json!([
            {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
            {"op": "add", "path": "/metadata/annotations/kubernaut.io~1changed-by", "value": "ke-rr-1-act"},
            {"op": "add", "path": "/metadata/annotations/kubernaut.io~1changed-from", "value": r#"{"replicas":3}"#},
            {"op": "add", "path": "/spec/replicas", "value": 5},
        ])
    );
}

#[tokio::test]
async fn a_dry_run_sends_dry_run_all_and_is_never_unknown() {
    let input = ActInput { dry_run: true, ..scale() };
    let script = || vec![get(DEPLOYMENT, deployment()), get(AUTOSCALERS, list_of(&[]))];
    let (result, seen) =
        play(&input, [script(), vec![patch(Json(200, deployment()))]].into_iter().flatten().collect()).await;
    assert_eq!(result.effect, Effect::Changed);
    assert!(result.message.starts_with("dry run: scaled"), "{}", result.message);
    assert_eq!(result.target.and_then(|mark| mark.generation), Some(2), "as the rehearsal found it");
    assert!(seen[2].query.contains("dryRun=All"), "{}", seen[2].query);
    let (result, _) =
        play(&input, [script(), vec![patch(failure(500, "InternalError"))]].into_iter().flatten().collect()).await;
    assert_eq!(outcome(&result), (Effect::None, Some("ApiError")));
    assert!(is_transient(&result));
}

#[tokio::test]
async fn nothing_is_written_to_a_target_that_is_not_the_planned_one() {
    for (answer, error) in [
        (Json(200, deployment_with("/metadata/uid", "uid-2".into())), "TargetReplaced"),
        (Json(200, deployment_with("/metadata/deletionTimestamp", "2026-01-01T00:00:00Z".into())), "TargetGone"),
        (failure(404, "NotFound"), "TargetGone"),
        (failure(403, "Forbidden"), "Forbidden"),
        (failure(500, "InternalError"), "ApiError"),
    ] {
        let (result, _) = play(&scale(), vec![(format!("GET {DEPLOYMENT}"), answer)]).await;
        assert_eq!(outcome(&result), (Effect::None, Some(error)));
    }
}

#[tokio::test]
async fn a_refused_write_changed_nothing() {
    for (code, error) in [(403, "Forbidden"), (404, "TargetGone"), (422, "Invalid"), (429, "TooManyRequests")] {
        let script =
            vec![get(DEPLOYMENT, deployment()), get(AUTOSCALERS, list_of(&[])), patch(failure(code, "Reason"))];
        let (result, _) = play(&scale(), script).await;
        assert_eq!(outcome(&result), (Effect::None, Some(error)));
        assert_eq!(is_transient(&result), code == 429);
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_decided_anew_on_what_stands_there_now() {
    let (result, seen) = play(
        &scale(),
        vec![
            get(DEPLOYMENT, deployment()),
            get(AUTOSCALERS, list_of(&[])),
            patch(failure(409, "Conflict")),
            get(DEPLOYMENT, deployment_with("/metadata/resourceVersion", "8".into())),
            get(AUTOSCALERS, list_of(&[])),
            patch(Json(200, deployment())),
        ],
    )
    .await;
    assert_eq!(result.effect, Effect::Changed);
    assert_eq!(seen[5].body[0]["value"], "8");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_stays_busy_is_given_up() {
    let attempt = || [get(DEPLOYMENT, deployment()), get(AUTOSCALERS, list_of(&[])), patch(failure(409, "Conflict"))];
    let (result, _) = play(&scale(), (0..5).flat_map(|_| attempt()).collect()).await;
    assert_eq!(outcome(&result), (Effect::None, Some("Conflict")));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_settled_by_the_mark_on_the_target() {
    for lost in [Hang, failure(500, "InternalError"), failure(504, "Timeout")] {
        let (result, _) = play(
            &scale(),
            vec![
                get(DEPLOYMENT, deployment()),
                get(AUTOSCALERS, list_of(&[])),
                patch(lost),
                get(DEPLOYMENT, deployment()),
                get(DEPLOYMENT, changed_by_us()),
            ],
        )
        .await;
        assert_eq!(outcome(&result), (Effect::Changed, None), "{}", result.message);
        assert_eq!(result.before["replicas"], 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_without_a_mark_stays_unknown() {
    let mut script = vec![get(DEPLOYMENT, deployment()), get(AUTOSCALERS, list_of(&[])), patch(Hang)];
    script.extend((0..3).map(|_| get(DEPLOYMENT, deployment())));
    let (result, _) = play(&scale(), script).await;
    assert_eq!(outcome(&result), (Effect::Unknown, Some("Timeout")));
}

#[tokio::test]
async fn a_second_run_of_the_same_execution_writes_nothing() {
    let (result, _) = play(&scale(), vec![get(DEPLOYMENT, changed_by_us())]).await;
    assert_eq!(outcome(&result), (Effect::Changed, None));
    assert!(result.message.starts_with("an earlier run"), "{}", result.message);
    assert_eq!(result.before["replicas"], 3);
}

#[tokio::test]
async fn what_already_is_as_wanted_stays_untouched() {
    let script = vec![get(DEPLOYMENT, deployment_with("/spec/replicas", 5.into())), get(AUTOSCALERS, list_of(&[]))];
    assert_eq!(play(&scale(), script).await.0.effect, Effect::Unchanged);
    let script =
        vec![get(DEPLOYMENT, deployment_with("/spec/template", template("web:1"))), get(REPLICA_SETS, replica_sets())];
    assert_eq!(play(&rollback(), script).await.0.effect, Effect::Unchanged);
    let same = input("update_resources", "Deployment", "web", &json!({"container": "app", "memoryLimit": "65536Ki"}));
    assert_eq!(play(&same, vec![get(DEPLOYMENT, deployment())]).await.0.effect, Effect::Unchanged);
}

#[tokio::test]
async fn an_autoscaler_of_this_deployment_refuses_the_scaling() {
    let scaler = |name: &str| json!({"metadata": {"name": "hpa"}, "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}}});
    let script = vec![get(DEPLOYMENT, deployment()), get(AUTOSCALERS, list_of(&[scaler("other"), scaler("web")]))];
    let (result, _) = play(&scale(), script).await;
    assert_eq!(outcome(&result), (Effect::None, Some("ManagedByAutoscaler")));
}

#[tokio::test]
async fn a_rollback_takes_the_template_of_the_own_revision_whole() {
    let script = vec![get(DEPLOYMENT, deployment()), get(REPLICA_SETS, replica_sets()), patch(Json(200, deployment()))];
    let (result, seen) = play(&rollback(), script).await;
    assert!(seen[1].query.contains("labelSelector=app%3Dweb"), "{}", seen[1].query);
    assert_eq!(seen[2].body[3], json!({"op": "replace", "path": "/spec/template", "value": template("web:1")}));
    assert_eq!(result.before, [("replicaSet".into(), "web-two".into()), ("revision".into(), 2.into())].into());
}

#[tokio::test]
async fn a_rollback_that_cannot_work_is_refused() {
    for (live, parameters, error) in [
        (deployment_with("/spec/paused", true.into()), json!({"toRevision": 1}), "DeploymentPaused"),
        (deployment_with("/metadata/generation", 3.into()), json!({"toRevision": 1}), "RolloutNotObserved"),
        (deployment(), json!({"toRevision": 9}), "RevisionNotFound"),
        (deployment(), json!({"toRevision": 1, "fromRevision": 3}), "RevisionMoved"),
    ] {
        let input = input("rollback_deployment", "Deployment", "web", &parameters);
        let (result, _) = play(&input, vec![get(DEPLOYMENT, live), get(REPLICA_SETS, replica_sets())]).await;
        assert_eq!(outcome(&result), (Effect::None, Some(error)), "{}", result.message);
    }
}

#[tokio::test]
async fn resources_of_one_container_are_merged() {
    let parameters = json!({"container": "app", "memoryLimit": "128Mi", "memoryRequest": "32Mi"});
    let script = vec![get(DEPLOYMENT, deployment()), patch(Json(200, deployment()))];
    let (result, seen) = play(&input("update_resources", "Deployment", "web", &parameters), script).await;
    assert_eq!(
        seen[1].body[3],
        json!({
            "op": "add", "path": "/spec/template/spec/containers/0/resources",
            "value": {"limits": {"memory": "128Mi"}, "requests": {"memory": "32Mi"}},
        })
    );
    assert_eq!(result.before, [("container".into(), "app".into()), ("memoryLimit".into(), "64Mi".into())].into());
}

#[tokio::test]
async fn a_request_never_ends_up_above_the_limit_that_stands() {
    for (parameters, error) in [
        (json!({"container": "app", "memoryRequest": "65Mi"}), "Invalid"),
        (json!({"container": "other", "memoryRequest": "1Mi"}), "ContainerNotFound"),
    ] {
        let input = input("update_resources", "Deployment", "web", &parameters);
        let (result, _) = play(&input, vec![get(DEPLOYMENT, deployment())]).await;
        assert_eq!(outcome(&result), (Effect::None, Some(error)), "{}", result.message);
    }
}

#[tokio::test]
async fn bad_parameters_reach_no_server() {
    let input = input("scale_deployment", "Deployment", "web", &json!({"replicas": -1}));
    let (result, _) = play(&input, vec![]).await;
    assert_eq!(outcome(&result), (Effect::None, Some("Invalid")));
    assert_eq!(result.message, "parameters.replicas: must be an integer from 0 to 1000");
}

#[tokio::test]
async fn every_action_of_the_catalogue_has_an_effect() {
    let stop = Stop::default();
    // A script's Job runs the script itself.
    for spec in catalogue::ALL.iter().filter(|spec| spec.name != "run_script") {
        let parameters = match spec.name {
            "rollback_deployment" => json!({"toRevision": 1}),
            "update_resources" => json!({"container": "app", "cpuLimit": "1"}),
            "scale_deployment" => json!({"replicas": 5}),
            "remove_taint" => json!({"key": "a"}),
            "update_config" => json!({"data": {"a": "1"}}),
            "update_hpa" => json!({"maxReplicas": 5}),
            _ => json!({}),
        };
        let service = service_fn(|_: http::Request<Body>| async {
            let Json(code, status) = failure(404, "NotFound") else { unreachable!() };
            let body = Body::from(serde_json::to_vec(&status).unwrap());
            Ok::<_, Infallible>(http::Response::builder().status(code).body(body).unwrap())
        });
        let input = input(spec.name, spec.target_kinds[0], "web-1", &parameters);
        let result = run_until(Client::new(service, "default"), &input, &stop).await;
        // That a pod which is to go is gone, is no failure.
        let gone =
            if spec.name == "delete_pod" { (Effect::Unchanged, None) } else { (Effect::None, Some("TargetGone")) };
        assert_eq!(outcome(&result), gone, "{}", spec.name);
    }
}

#[tokio::test]
async fn after_a_request_to_stop_no_write_is_begun() {
    let service = service_fn(|request: http::Request<Body>| async move {
        assert_eq!(request.method(), "GET");
        let body = if request.uri().path() == DEPLOYMENT { deployment() } else { list_of(&[]) };
        Ok::<_, Infallible>(http::Response::new(Body::from(serde_json::to_vec(&body).unwrap())))
    });
    let stop = Stop::default();
    stop.request();
    let result = run_until(Client::new(service, "default"), &scale(), &stop).await;
    assert_eq!(outcome(&result), (Effect::None, Some("Terminated")));
    assert!(matches!(stop.interrupted(), Failure::Refused { .. }));
}
