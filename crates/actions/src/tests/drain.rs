//! drain_node.

use super::nodes::{NODE, node};
use super::*;

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/pods";

fn drain(parameters: &Value) -> ActInput {
    input("drain_node", "Node", "n1", parameters)
}

fn nodes(other: &Value, ready: &str) -> Value {
    let other = json!({
        "metadata": {"name": "n2", "uid": "uid-2"},
        "spec": other,
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    });
    list_of(&[node(&json!({}), &json!({})), other])
}

/// A pod that a ReplicaSet owns, with some fields replaced.
fn pod_on(name: &str, fields: &Value) -> Value {
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("{name}-uid"),
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs", "controller": true}],
        },
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running"},
    });
    for (pointer, value) in fields.as_object().unwrap() {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[field] = value.clone();
    }
    pod
}

fn owned_by(kind: &str) -> Value {
    json!([{"apiVersion": "v1", "kind": kind, "name": "o", "uid": "o", "controller": true}])
}

fn eviction(name: &str, answer: Answer) -> (String, Answer) {
    (format!("POST /api/v1/namespaces/shop/pods/{name}/eviction"), answer)
}

fn evicted(name: &str) -> (String, Answer) {
    eviction(name, Json(201, json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})))
}

fn busy(name: &str) -> (String, Answer) {
    eviction(name, failure(429, "Cannot evict pod as it would violate the pod's disruption budget."))
}

/// The requests before the node is touched.
fn looks(pods: &[Value]) -> Vec<(String, Answer)> {
    vec![get(NODE, node(&json!({}), &json!({}))), get(NODES, nodes(&json!({}), "True")), get(PODS, list_of(pods))]
}

/// The requests up to and including the cordon.
fn start(pods: &[Value]) -> Vec<(String, Answer)> {
    let live = || node(&json!({}), &json!({}));
    let mut script = looks(pods);
    script.extend([get(NODE, live()), (format!("PATCH {NODE}"), Json(200, live()))]);
    script
}

#[tokio::test(start_paused = true)]
async fn a_drain_cordons_then_evicts_by_uid_until_the_node_is_empty() {
    let stay = [
        pod_on("daemon", &json!({"/metadata/ownerReferences": owned_by("DaemonSet")})),
        pod_on("static", &json!({"/metadata/ownerReferences": owned_by("Node")})),
        pod_on("done", &json!({"/status/phase": "Succeeded", "/metadata/ownerReferences": []})),
        pod_on("runner", &json!({"/metadata/labels": {"kubernaut.io/execution": "ke-rr-1-act"}})),
    ];
    let with = |pods: &[Value]| [&stay[..], pods].concat();
    let both = with(&[pod_on("a", &json!({})), pod_on("b", &json!({}))]);
    let ending = pod_on("a", &json!({"/metadata/deletionTimestamp": "2026-01-01T00:00:00Z"}));
    let mut script = start(&both);
    script.extend([get(PODS, list_of(&both)), evicted("a"), busy("b")]);
    script.extend([get(PODS, list_of(&with(&[ending, pod_on("b", &json!({}))]))), evicted("b")]);
    script.push(get(PODS, list_of(&stay)));
    let (result, seen) = play(&drain(&json!({})), script).await;
    assert_eq!(
        result,
        changed("cordoned Node/n1 and evicted 2 pods".into(), [("unschedulable".into(), false.into())].into())
    );
    assert!(seen[2].query.contains("fieldSelector=spec.nodeName%3Dn1"), "{}", seen[2].query);
    assert_eq!(seen[6].body["deleteOptions"], json!({"preconditions": {"uid": "a-uid"}}));
    let undo = catalogue::find("drain_node").unwrap().undo(&result.before).unwrap();
    assert_eq!((undo.action, undo.parameters.len()), ("uncordon_node", 0));
}

#[tokio::test]
async fn what_an_eviction_would_destroy_is_refused_before_the_node_is_touched() {
    let bare = pod_on("bare", &json!({"/metadata/ownerReferences": []}));
    let data = pod_on("data", &json!({"/spec/volumes": [{"name": "tmp", "emptyDir": {}}]}));
    for (pod, parameters, word) in [
        (bare, json!({"deleteEmptyDirData": true}), "no controller"),
        (data, json!({"deleteBarePods": true}), "emptyDir"),
    ] {
        let (result, _) = play(&drain(&parameters), looks(&[pod])).await;
        assert_eq!(outcome(&result), (Effect::None, Some("PodsWouldBeLost")));
        assert!(result.message.contains(word), "{}", result.message);
    }
}

#[tokio::test(start_paused = true)]
async fn parameters_let_pods_go_that_would_be_lost() {
    let lost =
        pod_on("a", &json!({"/metadata/ownerReferences": [], "/spec/volumes": [{"name": "tmp", "emptyDir": {}}]}));
    let mut script = start(std::slice::from_ref(&lost));
    script.extend([get(PODS, list_of(&[lost])), evicted("a"), get(PODS, list_of(&[]))]);
    let (result, _) = play(&drain(&json!({"deleteEmptyDirData": true, "deleteBarePods": true})), script).await;
    assert_eq!(outcome(&result), (Effect::Changed, None));
}

#[tokio::test]
async fn the_last_usable_node_is_never_drained() {
    for (other, ready) in [(json!({"unschedulable": true}), "True"), (json!({}), "Unknown")] {
        let script = vec![get(NODE, node(&json!({}), &json!({}))), get(NODES, nodes(&other, ready))];
        assert_eq!(outcome(&play(&drain(&json!({})), script).await.0), (Effect::None, Some("LastNode")));
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_evicted_in_time_is_reported_and_can_be_undone() {
    for answer in [|| failure(429, "budget"), || failure(403, "Forbidden"), || failure(500, "InternalError")] {
        let pods = [pod_on("a", &json!({}))];
        let mut script = start(&pods);
        // 10 s are four rounds, 3 s apart.
        for _ in 0..4 {
            script.extend([get(PODS, list_of(&pods)), eviction("a", answer())]);
        }
        let (result, _) = play(&drain(&json!({"timeoutSeconds": 10})), script).await;
        assert_eq!(outcome(&result), (Effect::Unknown, Some("Incomplete")));
        assert!(result.message.contains("time is up; left: shop/a: "), "{}", result.message);
        assert_eq!(result.before["unschedulable"], false);
    }
}

#[tokio::test]
async fn a_rehearsed_drain_asks_once_and_tells_what_a_budget_holds_back() {
    let rehearsal = ActInput { dry_run: true, ..drain(&json!({})) };
    let pods = [pod_on("a", &json!({})), pod_on("b", &json!({})), pod_on("c", &json!({}))];
    let mut script = start(&pods);
    script.extend([evicted("a"), busy("b"), eviction("c", failure(404, "NotFound"))]);
    let (result, seen) = play(&rehearsal, script).await;
    assert_eq!(outcome(&result), (Effect::Changed, None));
    assert!(
        result.message.starts_with("dry run: cordoned Node/n1 and evicted 1 pods, not now: shop/b"),
        "{}",
        result.message
    );
    assert!(seen[4..].iter().all(|seen| seen.query.contains("dryRun=All")), "{seen:?}");
    let mut script = start(&pods);
    script.push(eviction("a", failure(403, "Forbidden")));
    assert_eq!(outcome(&play(&rehearsal, script).await.0), (Effect::None, Some("Forbidden")));
}

#[tokio::test(start_paused = true)]
async fn a_second_run_goes_on_with_what_is_left() {
    let marks = json!({CHANGED_BY: "ke-rr-1-act", CHANGED_FROM: r#"{"unschedulable":false}"#});
    let cordoned = || node(&json!({"unschedulable": true}), &marks);
    let pods = [pod_on("b", &json!({}))];
    let script = vec![
        get(NODE, cordoned()),
        get(NODES, nodes(&json!({}), "True")),
        get(PODS, list_of(&pods)),
        get(NODE, cordoned()),
        get(PODS, list_of(&pods)),
        evicted("b"),
        get(PODS, list_of(&[])),
    ];
    let (result, _) = play(&drain(&json!({})), script).await;
    assert_eq!((result.effect, &result.before["unschedulable"]), (Effect::Changed, &json!(false)));
}

#[tokio::test]
async fn a_drained_node_stays_untouched_and_has_nothing_to_undo() {
    let cordoned = || node(&json!({"unschedulable": true}), &json!({}));
    let script = vec![
        get(NODE, cordoned()),
        get(NODES, nodes(&json!({}), "True")),
        get(PODS, list_of(&[])),
        get(NODE, cordoned()),
        get(PODS, list_of(&[])),
    ];
    let (result, _) = play(&drain(&json!({})), script).await;
    assert_eq!(outcome(&result), (Effect::Unchanged, None));
}

#[tokio::test]
async fn a_list_is_read_to_its_last_page() {
    let mut first = list_of(&[pod_on("bare", &json!({"/metadata/ownerReferences": []}))]);
    first["metadata"]["continue"] = "more".into();
    let mut script = looks(&[]);
    script[2] = get(PODS, first);
    script.push(get(PODS, list_of(&[pod_on("bear", &json!({"/metadata/ownerReferences": []}))])));
    let (result, seen) = play(&drain(&json!({})), script).await;
    assert!(result.message.contains("shop/bare") && result.message.contains("shop/bear"), "{}", result.message);
    assert!(seen[3].query.contains("continue=more"), "{}", seen[3].query);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_terminated_begins_no_eviction_and_says_what_is_left() {
    let stop = Arc::new(Stop::default());
    let asked = stop.clone();
    let service = service_fn(move |request: http::Request<Body>| {
        let body = match (request.method().as_str(), request.uri().path()) {
            ("GET", NODES) => nodes(&json!({}), "True"),
            ("GET", PODS) => list_of(&[pod_on("a", &json!({})), pod_on("b", &json!({}))]),
            ("GET" | "PATCH", NODE) => node(&json!({}), &json!({})),
            ("POST", path) => {
                assert!(path.contains("/pods/a/"), "{path} after the end was asked for");
                asked.request();
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})
            }
            other => unreachable!("{other:?}"),
        };
        async move { Ok::<_, Infallible>(http::Response::new(Body::from(serde_json::to_vec(&body).unwrap()))) }
    });
    let result = run_until(Client::new(service, "default"), &drain(&json!({})), &stop).await;
    assert_eq!(outcome(&result), (Effect::Unknown, Some("Incomplete")));
    assert!(result.message.contains("evicted 1 pods, then was terminated; left: shop/a is ending; shop/b: "));
}
