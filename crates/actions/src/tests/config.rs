//! update_config.

use super::*;

const CONFIG: &str = "/api/v1/namespaces/shop/configmaps/settings";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";
const STATEFUL_SETS: &str = "/apis/apps/v1/namespaces/shop/statefulsets";
const DAEMON_SETS: &str = "/apis/apps/v1/namespaces/shop/daemonsets";

fn update(data: &Value) -> ActInput {
    input("update_config", "ConfigMap", "settings", &json!({"data": data}))
}

fn config(fields: &Value) -> Value {
    let mut config = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "shop", "uid": "uid-1", "resourceVersion": "7", "annotations": {}},
        "data": {"mode": "fast", "level": "info"},
    });
    config.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
    config
}

/// The requests before the ConfigMap is touched.
fn looks(live: Value, deployments: &[Value]) -> Vec<(String, Answer)> {
    vec![
        get(CONFIG, live),
        get(DEPLOYMENTS, list_of(deployments)),
        get(STATEFUL_SETS, list_of(&[])),
        get(DAEMON_SETS, list_of(&[])),
    ]
}

fn written(live: Value) -> [(String, Answer); 2] {
    [get(CONFIG, live.clone()), (format!("PATCH {CONFIG}"), Json(200, live))]
}

/// The Deployment with a pod spec.
fn with_pod(spec: Value) -> Value {
    deployment_with("/spec/template/spec", spec)
}

fn reader() -> Value {
    with_pod(json!({"containers": [{"name": "app", "envFrom": [{"configMapRef": {"name": "settings"}}]}]}))
}

#[tokio::test]
async fn keys_are_set_and_removed_then_the_readers_roll_over() {
    let data = json!({"level": "debug", "mode": null, "new": "a\nb", "gone": null});
    let mut script = looks(config(&json!({})), &[reader()]);
    script.extend(written(config(&json!({}))));
    script.extend([get(DEPLOYMENT, reader()), patch(Json(200, reader()))]);
    let (result, seen) = play(&update(&data), script).await;
    assert_eq!(result.message, "changed level, mode, new of ConfigMap/shop/settings and restarted Deployment/shop/web");
    assert_eq!(
        seen[5].body.as_array().unwrap()[3..],
        [
            json!({"op": "add", "path": "/data/level", "value": "debug"}),
            json!({"op": "remove", "path": "/data/mode"}),
            json!({"op": "add", "path": "/data/new", "value": "a\nb"}),
        ]
    );
    let recorded = r#"{"data":{"level":"info","mode":"fast","new":null}}"#;
    assert_eq!(seen[5].body[2]["value"], recorded, "the state before is written in the same request");
    let undo = catalogue::find("update_config").unwrap().undo(&result.before).unwrap();
    assert_eq!((undo.action, json!(undo.parameters).to_string()), ("update_config", recorded.to_owned()));
}

#[tokio::test]
async fn the_inverse_of_new_keys_in_an_empty_map_removes_them() {
    let mut empty = config(&json!({}));
    empty.as_object_mut().unwrap().remove("data");
    let mut script = looks(empty.clone(), &[]);
    script.extend(written(empty));
    let (result, seen) = play(&update(&json!({"a": "1"})), script).await;
    assert_eq!(seen[5].body[3], json!({"op": "add", "path": "/data", "value": {}}));
    let undo = catalogue::find("update_config").unwrap().undo(&result.before).unwrap();
    let live = || config(&json!({"data": {"a": "1"}}));
    let mut script = looks(live(), &[]);
    script.extend(written(live()));
    let (_, seen) = play(&input(undo.action, "ConfigMap", "settings", &json!(undo.parameters)), script).await;
    assert_eq!(seen[5].body[3], json!({"op": "remove", "path": "/data/a"}));
}

#[tokio::test]
async fn only_workloads_that_read_a_changed_key_roll_over() {
    let key = |key: &str| json!({"name": "X", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": key}}});
    let volume = |source: Value| json!({"containers": [], "volumes": [source]});
    let items = |key: &str| json!({"name": "settings", "items": [{"key": key, "path": "f"}]});
    for (spec, reads) in [
        (json!({"containers": [{"env": [key("mode")]}]}), true),
        (json!({"containers": [{"env": [key("level")]}]}), false),
        (json!({"containers": [], "initContainers": [{"env": [key("mode")]}]}), true),
        (json!({"containers": [{"envFrom": [{"configMapRef": {"name": "other"}}]}]}), false),
        (json!({"containers": [{"envFrom": [{"secretRef": {"name": "settings"}}]}]}), false),
        (volume(json!({"configMap": {"name": "settings"}})), true),
        (volume(json!({"configMap": items("mode")})), true),
        (volume(json!({"configMap": items("level")})), false),
        (volume(json!({"configMap": {"name": "other"}})), false),
        (volume(json!({"projected": {"sources": [{"secret": {}}, {"configMap": {"name": "settings"}}]}})), true),
        (volume(json!({"secret": {"secretName": "settings"}})), false),
    ] {
        let workload = with_pod(spec.clone());
        let mut script = looks(config(&json!({})), std::slice::from_ref(&workload));
        script.extend(written(config(&json!({}))));
        if reads {
            script.extend([get(DEPLOYMENT, workload.clone()), patch(Json(200, workload))]);
        }
        let (result, _) = play(&update(&json!({"mode": "slow"})), script).await;
        assert_eq!(outcome(&result), (Effect::Changed, None), "{spec}");
    }
}

#[tokio::test]
async fn what_may_not_be_written_is_refused() {
    let large = "x".repeat(65 * 1024);
    for (live, error) in [
        (config(&json!({"immutable": true})), "Immutable"),
        (config(&json!({"binaryData": {"mode": "AA=="}})), "Invalid"),
        (config(&json!({"data": {"mode": large}})), "TooLarge"),
    ] {
        let mut script = looks(live.clone(), &[]);
        script.push(get(CONFIG, live));
        let (result, _) = play(&update(&json!({"mode": "slow"})), script).await;
        assert_eq!(outcome(&result), (Effect::None, Some(error)));
    }
    let paused = || {
        let mut paused = reader();
        paused["spec"]["paused"] = true.into();
        paused
    };
    let (result, _) = play(
        &update(&json!({"mode": "slow"})),
        vec![
            get(CONFIG, config(&json!({}))),
            get(DEPLOYMENTS, list_of(&[paused()])),
            get(STATEFUL_SETS, list_of(&[])),
            get(DAEMON_SETS, list_of(&[])),
        ],
    )
    .await;
    assert_eq!(outcome(&result), (Effect::None, Some("DeploymentPaused")));
}

#[tokio::test]
async fn values_that_stand_there_already_restart_nobody() {
    let mut script = looks(config(&json!({"immutable": true})), &[reader()]);
    script.push(get(CONFIG, config(&json!({"immutable": true}))));
    let (result, _) = play(&update(&json!({"mode": "fast", "gone": null})), script).await;
    assert_eq!(outcome(&result), (Effect::Unchanged, None));
}

#[tokio::test]
async fn a_run_that_was_cut_short_goes_on_with_the_restarts() {
    let marks = json!({CHANGED_BY: "ke-rr-1-act", CHANGED_FROM: r#"{"data":{"mode":"fast"}}"#});
    let mut live = config(&json!({"data": {"mode": "slow"}}));
    live["metadata"]["annotations"] = marks;
    let mut script = looks(live.clone(), &[reader()]);
    script.extend([get(CONFIG, live), get(DEPLOYMENT, reader()), patch(Json(200, reader()))]);
    let (result, _) = play(&update(&json!({"mode": "slow"})), script).await;
    assert_eq!((result.effect, &result.before["data"]["mode"]), (Effect::Changed, &json!("fast")));
}

#[tokio::test]
async fn a_restart_that_fails_leaves_it_incomplete_with_the_values_before() {
    let script = || {
        let mut script = looks(config(&json!({})), &[reader()]);
        script.extend(written(config(&json!({}))));
        script.extend([get(DEPLOYMENT, reader()), patch(failure(403, "Forbidden"))]);
        script
    };
    let input = update(&json!({"mode": "slow"}));
    let (result, _) = play(&input, script()).await;
    assert_eq!(outcome(&result), (Effect::Unknown, Some("Incomplete")));
    assert_eq!(result.before["data"]["mode"], "fast");
    assert!(!result.message.contains("slow"), "no value in a message: {}", result.message);
    let (result, seen) = play(&ActInput { dry_run: true, ..input }, script()).await;
    assert_eq!(outcome(&result), (Effect::None, Some("Forbidden")));
    assert!([5, 7].iter().all(|index: &usize| seen[*index].query.contains("dryRun=All")), "{seen:?}");
}
