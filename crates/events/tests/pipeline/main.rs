//! Relay, registry and driver together, against a small stand-in of the API server: what is listed,
//! watched, patched. Schema and access control are tested on the real one.

mod flaky;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::StreamExt;
use kubernaut_events::sinks::http::address::Loopback;
use kubernaut_events::{Event, Metrics, Parts, Settings, Store, run};
use kubernaut_storage::Sqlite;
use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::flaky::Flaky;

const DEADLINE: Duration = Duration::from_secs(20);
const NAMESPACE: &str = "kubernaut-system";

/// The stand-in: objects by plural and name, and what was written.
#[derive(Clone)]
struct Api {
    state: Arc<Mutex<Objects>>,
    changes: broadcast::Sender<(String, Value)>,
    written: Arc<Notify>,
}

#[derive(Default)]
struct Objects {
    version: u64,
    by_name: BTreeMap<(String, String), Value>,
    conflicts: u32,
}

impl Api {
    async fn start() -> (Self, kube::Client) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let api = Self { state: Arc::default(), changes: broadcast::Sender::new(64), written: Arc::new(Notify::new()) };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(serve).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config = kube::Config::new(url.parse().expect("a URL"));
        (api, kube::Client::try_from(config).expect("a client"))
    }

    /// Creates or replaces an object and tells the watchers.
    fn put(&self, plural: &str, mut object: Value) -> Value {
        let mut state = self.state.lock().expect("a lock");
        state.version += 1;
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        let key = (plural.to_owned(), object["metadata"]["name"].as_str().expect("a name").to_owned());
        let leaves = !object["metadata"]["deletionTimestamp"].is_null()
            && object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        let kind = match (leaves, state.by_name.contains_key(&key)) {
            (true, _) => "DELETED",
            (false, true) => "MODIFIED",
            (false, false) => "ADDED",
        };
        if leaves {
            state.by_name.remove(&key);
        } else {
            state.by_name.insert(key, object.clone());
        }
        // Nobody may be watching yet.
        let _ = self.changes.send((plural.to_owned(), json!({"type": kind, "object": object})));
        self.written.notify_one();
        object
    }

    fn get(&self, plural: &str, name: &str) -> Option<Value> {
        self.state.lock().expect("a lock").by_name.get(&(plural.to_owned(), name.to_owned())).cloned()
    }

    async fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let wait = async {
            while !reached(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

async fn serve(State(api): State<Api>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
    let query = parts.uri.query().unwrap_or_default();
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    match (&parts.method, &path[..]) {
        (&Method::GET, [.., plural]) if query.contains("watch=true") => watch(&api, plural),
        (&Method::GET, ["apis", "kubernaut.io", .., plural]) => list(&api, plural),
        (&Method::PATCH | &Method::PUT, ["apis", "kubernaut.io", "v1alpha1", "namespaces", _, plural, name, ..]) => {
            write(&api, plural, name, &body)
        }
        (&Method::GET, ["api", "v1", .., "secrets", name]) => api
            .get("secrets", name)
            .map_or_else(|| refusal(404, "NotFound"), |secret| secret.to_string().into_response()),
        (&Method::POST, [.., "events"]) => (StatusCode::CREATED, body).into_response(),
        _ => refusal(404, "NotFound"),
    }
}

fn refusal(code: u16, reason: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code});
    (StatusCode::from_u16(code).expect("a status"), status.to_string()).into_response()
}

fn list(api: &Api, plural: &str) -> Response {
    let state = api.state.lock().expect("a lock");
    let items: Vec<&Value> = state.by_name.iter().filter(|((of, _), _)| of == plural).map(|(_, item)| item).collect();
    json!({"apiVersion": "kubernaut.io/v1alpha1", "kind": "List", "items": items,
        "metadata": {"resourceVersion": state.version.to_string()}})
    .to_string()
    .into_response()
}

/// Changes from now on: the tests change nothing between a list and its watch but by `put` before both.
fn watch(api: &Api, plural: &str) -> Response {
    let plural = plural.to_owned();
    // What was there when the watch began is sent again: a client has to bear that.
    let known: Vec<Value> = {
        let state = api.state.lock().expect("a lock");
        let known = state.by_name.iter().filter(|((of, _), _)| *of == plural);
        known.map(|(_, object)| json!({"type": "MODIFIED", "object": object})).collect()
    };
    let changes = futures::stream::unfold(api.changes.subscribe(), |mut changes| async {
        let change = changes.recv().await.ok()?;
        Some((change, changes))
    })
    .filter_map(move |(of, change)| std::future::ready((of == plural).then_some(change)));
    let lines = futures::stream::iter(known).chain(changes);
    Body::from_stream(lines.map(|line| Ok::<_, std::io::Error>(Bytes::from(format!("{line}\n"))))).into_response()
}

fn write(api: &Api, plural: &str, name: &str, body: &[u8]) -> Response {
    let Some(mut object) = api.get(plural, name) else { return refusal(404, "NotFound") };
    let change: Value = serde_json::from_slice(body).expect("JSON");
    {
        let mut state = api.state.lock().expect("a lock");
        let outdated = change["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"];
        if outdated || state.conflicts > 0 {
            state.conflicts = state.conflicts.saturating_sub(1);
            return refusal(409, "Conflict");
        }
    }
    if let Some(finalizers) = change["metadata"].get("finalizers").filter(|_| change.get("spec").is_none()) {
        object["metadata"]["finalizers"] = finalizers.clone();
    }
    if let Some(status) = change.get("status") {
        object["status"] = status.clone();
    }
    api.put(plural, object).to_string().into_response()
}

fn workflow(name: &str, phases: &[&str]) -> Value {
    let transitions: Vec<Value> = phases
        .iter()
        .enumerate()
        .map(|(index, to)| {
            json!({"seq": index + 1, "to": to, "at": format!("2026-01-02T03:04:{:02}.000000Z", index + 1), "reason": "Test"})
        })
        .collect();
    json!({
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": {
            "name": name, "namespace": NAMESPACE, "uid": format!("uid-{name}"),
            "finalizers": ["kubernaut.io/outbox", "example.com/other"],
        },
        "spec": {
            "request": "rr-1",
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "api"},
            "planHash": "0".repeat(64),
            "steps": [],
            "timeout": "5m",
        },
        "status": {"phase": phases.last(), "transitions": transitions},
    })
}

fn sink(name: &str, url: &str, types: &[&str]) -> Value {
    json!({
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "EventSink",
        "metadata": {
            "name": name, "namespace": NAMESPACE, "uid": format!("uid-{name}"), "generation": 1,
            "creationTimestamp": "2025-01-01T00:00:00Z",
        },
        "spec": {"types": types, "http": {"url": url}},
    })
}

/// A server that accepts everything and keeps the ids.
async fn receiver(status: u16) -> (String, Arc<Mutex<Vec<String>>>) {
    let ids: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&ids);
    let handler = move |body: Bytes| async move {
        let event: Value = serde_json::from_slice(&body).expect("an event");
        kept.lock().expect("a lock").push(event["id"].as_str().expect("an id").to_owned());
        StatusCode::from_u16(status).expect("a status")
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(handler))).await });
    (url, ids)
}

struct Operator {
    store: Sqlite,
    metrics: prometheus_client::registry::Registry,
    task: tokio::task::JoinHandle<Result<(), kubernaut_events::Error>>,
    token: CancellationToken,
    _guard: DropGuard,
}

impl Operator {
    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).expect("text");
        text
    }
}

fn operate(client: kube::Client, store: Sqlite, settings: Settings) -> Operator {
    operate_on(client, store.clone(), store, settings)
}

fn operate_on(client: kube::Client, used: impl Store, store: Sqlite, settings: Settings) -> Operator {
    let token = CancellationToken::new();
    let mut metrics = prometheus_client::registry::Registry::default();
    let parts = Parts {
        client,
        namespace: NAMESPACE.into(),
        cluster: "test".into(),
        store: Arc::new(used),
        metrics: Metrics::new(&mut metrics),
        settings,
    };
    let task = tokio::spawn(run(parts, token.clone()));
    Operator { store, metrics, task, token: token.clone(), _guard: token.drop_guard() }
}

fn settings() -> Settings {
    Settings {
        loopback: Loopback::Allowed,
        status_interval: Duration::from_millis(20),
        // The times in the tests are fixed.
        retention: Duration::from_hours(100 * 365 * 24),
        ..Settings::default()
    }
}

async fn store() -> (Sqlite, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    (Sqlite::open(directory.path().join("events.db")).await.expect("a store"), directory)
}

fn ids(name: &str, last: u32) -> Vec<String> {
    (1..=last).map(|sequence| kubernaut_events::event::id(&format!("uid-{name}"), sequence).to_string()).collect()
}

async fn timeline(store: &Sqlite) -> Vec<Event> {
    store.timeline("rr-1").await.expect("a timeline")
}

#[tokio::test]
async fn every_recorded_transition_reaches_the_sink_once_and_in_order_also_after_a_restart() {
    let (api, client) = Api::start().await;
    let (store, _directory) = store().await;
    let (url, received) = receiver(200).await;
    api.put("eventsinks", sink("audit", &url, &["workflow.*"]));
    api.put("workflowexecutions", workflow("we-1", &["Pending", "Executing"]));
    let operator = operate(client.clone(), store.clone(), settings());
    api.until("two events", |_| received.lock().expect("a lock").len() == 2).await;
    api.put("workflowexecutions", workflow("we-1", &["Pending", "Executing", "Completed"]));
    api.until("three events", |_| received.lock().expect("a lock").len() == 3).await;
    api.until("the status", |api| api.get("eventsinks", "audit").expect("a sink")["status"]["delivered"] == 3).await;
    drop(operator);

    let operator = operate(client, store, settings());
    api.put("workflowexecutions", workflow("we-2", &["Pending"]));
    api.until("four events", |_| received.lock().expect("a lock").len() == 4).await;
    let mut expect = ids("we-1", 3);
    expect.extend(ids("we-2", 1));
    assert_eq!(*received.lock().expect("a lock"), expect);
    let types: Vec<String> = timeline(&operator.store).await.into_iter().map(|event| event.type_).collect();
    assert_eq!(types, ["workflow.pending", "workflow.pending", "workflow.executing", "workflow.complete"]);
    let status = &api.get("eventsinks", "audit").expect("a sink")["status"];
    assert_eq!(status["conditions"][0]["reason"], "Serving");
}

#[tokio::test]
async fn who_stops_first_lets_the_drivers_end_and_writes_the_last_status() {
    let (api, client) = Api::start().await;
    let (store, _directory) = store().await;
    let (url, received) = receiver(200).await;
    api.put("eventsinks", sink("audit", &url, &["workflow.*"]));
    let rarely = Settings { status_interval: Duration::from_hours(1), ..settings() };
    let mut operator = operate(client, store, rarely);
    api.until("registered", |api| api.get("eventsinks", "audit").expect("a sink")["status"]["pending"] == 0).await;
    api.put("workflowexecutions", workflow("we-1", &["Pending"]));
    api.until("one event", |_| received.lock().expect("a lock").len() == 1).await;
    while operator.store.counts("eventsink/audit/uid-audit").await.expect("counts").delivered == 0 {
        tokio::task::yield_now().await;
    }
    operator.token.cancel();
    let ended = tokio::time::timeout(DEADLINE, &mut operator.task).await.expect("an end").expect("no panic");
    ended.expect("as asked");
    assert_eq!(api.get("eventsinks", "audit").expect("a sink")["status"]["delivered"], 1);
}

#[tokio::test]
async fn a_deleted_object_goes_when_its_last_transition_is_stored() {
    let (api, client) = Api::start().await;
    let (store, _directory) = store().await;
    let mut object = workflow("we-1", &["Pending", "Cancelled"]);
    object["metadata"]["deletionTimestamp"] = "2025-01-02T03:04:05Z".into();
    object["metadata"]["finalizers"] = json!(["kubernaut.io/outbox"]);
    api.state.lock().expect("a lock").conflicts = 1;
    api.put("workflowexecutions", object);
    let operator = operate(client, store, settings());
    // The first attempt conflicts; the next version is let go.
    api.until("the conflict", |api| api.state.lock().expect("a lock").conflicts == 0).await;
    if let Some(object) = api.get("workflowexecutions", "we-1") {
        api.put("workflowexecutions", object);
    }
    api.until("gone", |api| api.get("workflowexecutions", "we-1").is_none()).await;
    assert_eq!(timeline(&operator.store).await.len(), 2);
}

#[tokio::test]
async fn finalizers_of_others_stay() {
    let (api, client) = Api::start().await;
    let (store, _directory) = store().await;
    let mut object = workflow("we-1", &["Pending"]);
    object["metadata"]["deletionTimestamp"] = "2025-01-02T03:04:05Z".into();
    api.put("workflowexecutions", object);
    let _operator = operate(client, store, settings());
    let finalizers =
        |api: &Api| api.get("workflowexecutions", "we-1").expect("an object")["metadata"]["finalizers"].clone();
    api.until("let go", |api| finalizers(api) == json!(["example.com/other"])).await;
}

#[tokio::test]
async fn an_object_is_let_go_with_an_error_when_the_store_stays_away() {
    let (api, client) = Api::start().await;
    let (store, _directory) = store().await;
    store.close().await;
    let mut object = workflow("we-1", &["Pending"]);
    object["metadata"]["deletionTimestamp"] = "2025-01-02T03:04:05Z".into();
    object["metadata"]["finalizers"] = json!(["kubernaut.io/outbox"]);
    api.put("workflowexecutions", object);
    let operator = operate(client, store, settings());
    api.until("gone", |api| api.get("workflowexecutions", "we-1").is_none()).await;
    api.until("counted", |_| operator.metrics().contains("kubernaut_completion_events_abandoned_total 1")).await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_not_held_for_ever() {
    let (api, client) = Api::start().await;
    let (store, _directory) = store().await;
    let mut object = workflow("we-1", &["PhaseOfALaterVersion"]);
    object["metadata"]["deletionTimestamp"] = "2025-01-02T03:04:05Z".into();
    object["metadata"]["finalizers"] = json!(["kubernaut.io/outbox"]);
    api.put("workflowexecutions", object.clone());
    object["metadata"]["name"] = "we-2".into();
    object["metadata"]["uid"] = "uid-we-2".into();
    object["metadata"]["deletionTimestamp"] = jiff::Timestamp::now().to_string().into();
    api.put("workflowexecutions", object);
    let operator = operate(client, store, settings());
    api.until("gone", |api| api.get("workflowexecutions", "we-1").is_none()).await;
    api.until("counted", |_| operator.metrics().contains("kubernaut_completion_events_abandoned_total 1")).await;
    assert!(api.get("workflowexecutions", "we-2").is_some(), "a version that can read it may come back in time");
}

#[tokio::test]
async fn an_invalid_sink_says_which_field_is_wrong() {
    let (api, client) = Api::start().await;
    let (store, _directory) = store().await;
    api.put("eventsinks", sink("pattern", "http://127.0.0.1:1/", &["workflow.*", "Work*"]));
    api.put("eventsinks", sink("address", "http://169.254.169.254/", &["*"]));
    let mut secret = sink("secret", "http://127.0.0.1:1/", &["*"]);
    secret["spec"]["http"]["bearerToken"] = json!({"name": "token", "key": "value"});
    api.put("eventsinks", secret);
    let _operator = operate(client, store, settings());
    for (name, reason, field) in [
        ("pattern", "InvalidSpec", "spec.types[1]"),
        ("address", "InvalidSpec", "spec.http.url"),
        ("secret", "SecretUnavailable", "spec.http.bearerToken: Secret kubernaut-system/token does not exist"),
    ] {
        let condition = |api: &Api| api.get("eventsinks", name).expect("a sink")["status"]["conditions"][0].clone();
        api.until(name, |api| condition(api)["reason"] == reason).await;
        let message = condition(&api)["message"].as_str().expect("a message").to_owned();
        assert!(message.starts_with(field), "{message}");
    }
}

#[tokio::test]
async fn a_sink_that_answers_410_is_disabled_and_stays_so_after_a_restart() {
    let (api, client) = Api::start().await;
    let (store, _directory) = store().await;
    let (url, received) = receiver(410).await;
    api.put("eventsinks", sink("audit", &url, &["*"]));
    api.put("workflowexecutions", workflow("we-1", &["Pending", "Executing"]));
    let operator = operate(client.clone(), store.clone(), settings());
    let reason =
        |api: &Api| api.get("eventsinks", "audit").expect("a sink")["status"]["conditions"][0]["reason"].clone();
    api.until("disabled", |api| reason(api) == "Gone").await;
    drop(operator);
    let operator = operate(client, store, settings());
    api.put("workflowexecutions", workflow("we-2", &["Pending"]));
    api.until("pending", |api| api.get("eventsinks", "audit").expect("a sink")["status"]["pending"] == 3).await;
    assert_eq!(received.lock().expect("a lock").len(), 1);
    assert_eq!(timeline(&operator.store).await.len(), 3);
}

#[tokio::test]
async fn a_token_that_was_replaced_is_sent_without_a_restart() {
    let (api, client) = Api::start().await;
    let (store, _directory) = store().await;
    let handler = |headers: HeaderMap| async move {
        if headers["authorization"] == "Bearer new" { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(handler))).await });
    let secret = |value: &str| json!({"metadata": {"name": "audit", "namespace": NAMESPACE}, "data": {"token": value}});
    api.put("secrets", secret("b2xk"));
    let mut audit = sink("audit", &url, &["workflow.*"]);
    audit["spec"]["http"]["bearerToken"] = json!({"name": "audit", "key": "token"});
    api.put("eventsinks", audit);
    let _operator = operate(client, store, settings());
    let status = |api: &Api, field: &str| api.get("eventsinks", "audit").expect("a sink")["status"][field].clone();
    api.put("workflowexecutions", workflow("we-0", &["Pending"]));
    api.until("refused", |api| status(api, "deadLetters") == 1).await;
    api.put("secrets", secret("bmV3"));
    let delivered = async {
        for number in 1.. {
            api.put("workflowexecutions", workflow(&format!("we-{number}"), &["Pending"]));
            tokio::time::sleep(Duration::from_millis(50)).await;
            if status(&api, "delivered").as_u64() > Some(0) {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, delivered).await.expect("the new token is sent");
}

#[tokio::test]
async fn a_store_that_was_away_gets_everything_in_order_when_it_is_back() {
    let (api, client) = Api::start().await;
    let (store, _directory) = store().await;
    let (url, received) = receiver(200).await;
    let flaky = Flaky::new(store.clone());
    api.put("eventsinks", sink("audit", &url, &["*"]));
    api.put("workflowexecutions", workflow("we-1", &["Pending"]));
    let _operator = operate_on(client, flaky.clone(), store, settings());
    api.until("one event", |_| received.lock().expect("a lock").len() == 1).await;
    flaky.set_away(true);
    let before = flaky.refused();
    api.put("workflowexecutions", workflow("we-1", &["Pending", "Planning"]));
    api.until("a failed append", |_| flaky.refused() > before).await;
    api.put("workflowexecutions", workflow("we-1", &["Pending", "Planning", "Executing"]));
    let mut leaving = workflow("we-1", &["Pending", "Planning", "Executing", "Completed"]);
    leaving["metadata"]["deletionTimestamp"] = jiff::Timestamp::now().to_string().into();
    leaving["metadata"]["finalizers"] = json!(["kubernaut.io/outbox"]);
    api.put("workflowexecutions", leaving);
    assert!(api.get("workflowexecutions", "we-1").is_some(), "the finalizer holds it");
    flaky.set_away(false);
    api.until("gone", |api| api.get("workflowexecutions", "we-1").is_none()).await;
    api.until("four events", |_| received.lock().expect("a lock").len() == 4).await;
    assert_eq!(*received.lock().expect("a lock"), ids("we-1", 4));
}
