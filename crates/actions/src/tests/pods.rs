//! restart_pod and delete_pod.

use super::*;

#[tokio::test]
async fn a_pod_is_deleted_by_its_uid() {
    let input = ActInput { dry_run: true, ..input("restart_pod", "Pod", "web-1", &json!({})) };
    let script = vec![get(POD, pod(&json!({}))), (format!("DELETE {POD}"), Json(200, pod(&json!({}))))];
    let (result, seen) = play(&input, script).await;
    assert_eq!(result.effect, Effect::Changed);
    assert_eq!(seen[1].body["preconditions"], json!({"uid": "pod-uid"}));
    assert_eq!(seen[1].body["dryRun"], json!(["All"]), "{}", seen[1].line);
}

#[tokio::test]
async fn a_pod_that_would_not_come_back_or_is_not_meant_is_left_alone() {
    let node =
        json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "n", "controller": true}]});
    for (live, effect, error) in [
        (pod(&json!({"ownerReferences": []})), Effect::None, Some("NotControlled")),
        (pod(&node), Effect::None, Some("NotControlled")),
        (pod(&json!({"uid": "another"})), Effect::None, Some("TargetReplaced")),
        (pod(&json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})), Effect::Unchanged, None),
    ] {
        let (result, _) = play(&input("restart_pod", "Pod", "web-1", &json!({})), vec![get(POD, live)]).await;
        assert_eq!(outcome(&result), (effect, error));
    }
}

#[tokio::test]
async fn a_named_pod_must_belong_to_the_target() {
    let input = input("restart_pod", "Deployment", "web", &json!({"pod": "web-1", "uid": "pod-uid"}));
    let set = |owner| get(&format!("{REPLICA_SETS}/web-two"), replica_set("web-two", "2", "web:2", owner));
    let (result, _) = play(&input, vec![get(POD, pod(&json!({}))), set("uid-of-another")]).await;
    assert_eq!(outcome(&result), (Effect::None, Some("NotOwnedByTarget")));
    let deleted = (format!("DELETE {POD}"), Json(200, pod(&json!({}))));
    let (result, _) = play(&input, vec![get(POD, pod(&json!({}))), set("uid-1"), deleted]).await;
    assert_eq!(result.effect, Effect::Changed);
}

#[tokio::test(start_paused = true)]
async fn a_delete_without_answer_is_settled_by_the_pod() {
    let start = || vec![get(POD, pod(&json!({}))), (format!("DELETE {POD}"), Hang)];
    let mut script = start();
    script.push((format!("GET {POD}"), failure(404, "NotFound")));
    let input = input("restart_pod", "Pod", "web-1", &json!({}));
    assert_eq!(play(&input, script).await.0.effect, Effect::Changed);
    let mut script = start();
    script.extend((0..3).map(|_| get(POD, pod(&json!({})))));
    assert_eq!(outcome(&play(&input, script).await.0), (Effect::Unknown, Some("Timeout")));
}

fn delete(parameters: &Value) -> ActInput {
    input("delete_pod", "Pod", "web-1", parameters)
}

fn deleted(answer: Answer) -> (String, Answer) {
    (format!("DELETE {POD}"), answer)
}

fn stuck() -> Value {
    pod(&json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}))
}

#[tokio::test]
async fn a_pod_without_controller_is_deleted_by_its_uid_with_its_own_grace() {
    let bare = pod(&json!({"ownerReferences": []}));
    let (result, seen) = play(&delete(&json!({})), vec![get(POD, bare.clone()), deleted(Json(200, bare))]).await;
    assert_eq!(outcome(&result), (Effect::Changed, None));
    assert_eq!(seen[1].body["preconditions"], json!({"uid": "pod-uid"}));
    assert!(seen[1].body.get("gracePeriodSeconds").is_none(), "{}", seen[1].body);
    assert_eq!(result.before, [("pod".into(), "web-1".into()), ("uid".into(), "pod-uid".into())].into());
}

#[tokio::test]
async fn a_stuck_pod_is_deleted_by_force_only_when_asked() {
    let (result, _) = play(&delete(&json!({})), vec![get(POD, stuck())]).await;
    assert_eq!(outcome(&result), (Effect::Unchanged, None));
    let input = ActInput { dry_run: true, ..delete(&json!({"force": true})) };
    let (result, seen) = play(&input, vec![get(POD, stuck()), deleted(Json(200, stuck()))]).await;
    assert_eq!(outcome(&result), (Effect::Changed, None));
    assert_eq!((&seen[1].body["gracePeriodSeconds"], &seen[1].body["dryRun"]), (&json!(0), &json!(["All"])));
    assert_eq!(result.before["owner"], "ReplicaSet/web-two");
}

#[tokio::test]
async fn force_is_the_last_resort() {
    let node =
        json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "n", "controller": true}]});
    let held = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/hold"]});
    for (live, error) in [
        (pod(&json!({})), "NotStuck"),
        (pod(&json!({"deletionTimestamp": "2999-01-01T00:00:00Z"})), "NotStuck"),
        (pod(&held), "HeldByFinalizer"),
        (pod(&node), "StaticPod"),
    ] {
        let (result, _) = play(&delete(&json!({"force": true})), vec![get(POD, live)]).await;
        assert_eq!(outcome(&result), (Effect::None, Some(error)));
    }
}

#[tokio::test]
async fn a_second_run_finds_the_pod_gone() {
    for answer in [failure(404, "NotFound"), Json(200, pod(&json!({"uid": "another"})))] {
        let (result, _) = play(&delete(&json!({})), vec![(format!("GET {POD}"), answer)]).await;
        assert_eq!(outcome(&result), (Effect::Unchanged, None));
    }
}

#[tokio::test]
async fn a_refused_delete_changed_nothing() {
    for (code, effect, error) in [
        (403, Effect::None, Some("Forbidden")),
        (409, Effect::None, Some("TargetReplaced")),
        (404, Effect::Unchanged, None),
    ] {
        let script = vec![get(POD, pod(&json!({}))), deleted(failure(code, "Reason"))];
        assert_eq!(outcome(&play(&delete(&json!({})), script).await.0), (effect, error));
    }
}

#[tokio::test(start_paused = true)]
async fn a_forced_delete_without_answer_is_settled_only_by_absence() {
    let force = delete(&json!({"force": true}));
    let start = || vec![get(POD, stuck()), deleted(Hang)];
    let mut script = start();
    script.push((format!("GET {POD}"), failure(404, "NotFound")));
    assert_eq!(play(&force, script).await.0.effect, Effect::Changed);
    let mut script = start();
    script.extend((0..3).map(|_| get(POD, stuck())));
    assert_eq!(outcome(&play(&force, script).await.0), (Effect::Unknown, Some("Timeout")));
}
