//! Reconciliation against a server that answers as an API server would, for what no `decide` can show.

use std::sync::Mutex;

use kubernaut_analysis::{Builtin, Provider, ProviderError, Question};
use kubernaut_api::{AIAnalysis, KubernetesExecution, RemediationProcessing, TargetRef};
use kubernaut_domain::diagnosis::Diagnosis;
use kubernaut_domain::settings::{Scope, Settings};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::Metrics;
use crate::analysis::Analyses;
use crate::execution::Executions;
use crate::processing::Processings;
use crate::request::Requests;

/// What a server answers to method, path and body.
pub(crate) type Answer = fn(&str, &str, Value) -> (u16, Value);

/// Method, path and body of every call.
pub(crate) type Log = Arc<Mutex<Vec<(String, String, Value)>>>;

pub(crate) async fn server(answer: Answer) -> (Arc<Ctx>, Log) {
    server_with(answer, Arc::new(Builtin)).await
}

async fn server_with(answer: Answer, provider: Arc<dyn Provider>) -> (Arc<Ctx>, Log) {
    // Labels are looked at where that is what is tested.
    server_set(answer, provider, Settings { scope: Scope::All, ..Settings::default() }).await
}

async fn server_set(answer: Answer, provider: Arc<dyn Provider>, settings: Settings) -> (Arc<Ctx>, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let log = Log::default();
    let calls = log.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer, calls.clone()));
        }
    });
    let client = kube::Client::try_from(kube::Config::new(address.parse().unwrap())).unwrap();
    let metrics = Metrics::new(&mut Registry::default());
    let limit = Duration::from_secs(5);
    let ctx = Ctx::new(client, "ns".into(), settings, limit, 1, provider, metrics);
    (Arc::new(ctx), log)
}

async fn serve(mut stream: TcpStream, answer: Answer, log: Log) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    let (head, body) = loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(&buffer[..count]),
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .to_lowercase()
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| rest.lines().next().unwrap_or_default().trim().parse::<usize>().unwrap());
        if body.len() >= length {
            break (head.to_owned(), serde_json::from_str(body).unwrap_or_default());
        }
    };
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    log.lock().unwrap().push((method.into(), path.into(), Value::clone(&body)));
    let (status, body) = answer(method, path, body);
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all((head + &body).as_bytes()).await;
}

pub(crate) fn refuse(code: u16, reason: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason}))
}

/// Statuses written so far.
fn statuses(log: &Log) -> Vec<Value> {
    let calls = log.lock().unwrap();
    calls.iter().filter(|(method, ..)| method == "PUT").map(|(.., body)| body["status"].clone()).collect()
}

fn object<K: serde::de::DeserializeOwned>(object: Value) -> Arc<Guarded<K>> {
    Arc::new(DeserializeGuard(Ok(serde_json::from_value(object).unwrap())))
}

fn target() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"})
}

fn request(status: &Value) -> Value {
    json!({
        "apiVersion": "kubernaut.io/v1alpha1", "kind": "RemediationRequest",
        "metadata": {
            "name": "rr-1", "namespace": "ns", "uid": "u1", "resourceVersion": "7", "generation": 1,
            "finalizers": [labels::OUTBOX_FINALIZER],
        },
        "spec": {"signal": {"source": "t", "name": "Down", "fingerprint": "f".repeat(64)}, "target": target()},
        "status": status,
    })
}

fn execution(status: &Value) -> Value {
    json!({
        "apiVersion": "kubernaut.io/v1alpha1", "kind": "KubernetesExecution",
        "metadata": {"name": "ke-rr-1-s", "namespace": "ns", "uid": "u2", "resourceVersion": "7", "generation": 1},
        "spec": {
            "request": "rr-1", "step": "s", "action": "restart_pod", "planHash": "a".repeat(64),
            "target": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web-1", "uid": "u3"},
            "timeout": "5m", "verificationTimeout": "5m",
        },
        "status": status,
    })
}

fn ago(duration: Duration) -> String {
    jiff::Timestamp::now().saturating_sub(duration).unwrap().to_string()
}

/// Status in a phase whose deadline passed so long ago.
fn late(phase: &str, since: Duration) -> Value {
    json!({"phase": phase, "phaseDeadline": ago(since)})
}

#[tokio::test]
async fn an_own_write_is_waited_for_only_when_it_changed_something() {
    let same: Answer = |method, _, body| if method == "PUT" { (200, body) } else { (201, body) };
    let (ctx, log) = server(same).await;
    let request = object::<RemediationRequest>(request(&Value::Null));
    for _ in 0..2 {
        reconcile::<Requests>(request.clone(), ctx.clone()).await.unwrap();
    }
    assert_eq!(statuses(&log).len(), 2, "the same version is decided on again");

    let newer: Answer = |method, _, mut body| {
        body["metadata"]["resourceVersion"] = json!("8");
        (if method == "PUT" { 200 } else { 201 }, body)
    };
    let (ctx, log) = server(newer).await;
    for _ in 0..2 {
        reconcile::<Requests>(request.clone(), ctx.clone()).await.unwrap();
    }
    assert_eq!(statuses(&log).len(), 1, "the old version is not decided on again");
}

#[tokio::test]
async fn a_request_that_a_person_made_is_held_for_the_relay_before_anything_is_recorded() {
    let (ctx, log) = server(|_, _, body| (200, body)).await;
    let mut plain = request(&Value::Null);
    plain["metadata"]["finalizers"] = json!(["example.com/own"]);
    reconcile::<Requests>(object(plain), ctx).await.unwrap();
    let calls = log.lock().unwrap();
    let held =
        json!({"metadata": {"resourceVersion": "7", "finalizers": ["example.com/own", labels::OUTBOX_FINALIZER]}});
    assert_eq!((calls.len(), &calls[0].0, &calls[0].2), (1, &"PATCH".to_owned(), &held));
}

#[tokio::test]
async fn a_deadline_is_kept_although_the_target_cannot_be_read() {
    let forbidden: Answer = |method, _, body| if method == "PUT" { (200, body) } else { refuse(403, "Forbidden") };
    let (ctx, log) = server(forbidden).await;
    let soon = object::<RemediationRequest>(request(&late("Verifying", Duration::from_secs(30))));
    reconcile::<Requests>(soon, ctx.clone()).await.unwrap_err();
    assert!(statuses(&log).is_empty(), "a read that fails is repeated for a while");
    let over = object::<RemediationRequest>(request(&late("Verifying", Duration::from_mins(5))));
    reconcile::<Requests>(over, ctx).await.unwrap();
    assert_eq!(
        (&statuses(&log)[0]["phase"], &statuses(&log)[0]["outcome"]),
        (&json!("TimedOut"), &json!("Inconclusive"))
    );
}

#[tokio::test]
async fn a_rehearsal_that_never_succeeds_ends_by_its_deadline() {
    let down: Answer = |method, path, body| match method {
        "PUT" => (200, body),
        "GET" if path.contains("/remediationrequests/") => (200, request(&json!({"phase": "Executing"}))),
        _ => refuse(500, "InternalError"),
    };
    let (ctx, log) = server(down).await;
    let run = async |status: &Value| {
        reconcile::<Executions>(object::<KubernetesExecution>(execution(status)), ctx.clone()).await
    };
    run(&Value::Null).await.unwrap();
    let status = statuses(&log).remove(0);
    assert_eq!(status["phase"], "Validating", "{}", status["message"]);
    assert!(status["phaseDeadline"].is_string());
    run(&status).await.unwrap_err();
    run(&late("Validating", Duration::from_secs(1))).await.unwrap();
    let status = statuses(&log).pop().unwrap();
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("ValidatingTimedOut")));
}

struct Mute;

#[async_trait::async_trait]
impl Provider for Mute {
    fn name(&self) -> &'static str {
        "mute"
    }

    async fn analyse(&self, _: &Question<'_>) -> Result<Diagnosis, ProviderError> {
        Err(ProviderError::Timeout)
    }
}

#[tokio::test]
async fn a_provider_that_never_answers_is_given_up_by_the_deadline() {
    let well: Answer = |method, path, body| match method {
        "PUT" => (200, body),
        _ if path.contains("/remediationrequests/") => (200, request(&json!({"phase": "Analyzing"}))),
        _ => {
            let spec = json!({"request": "rr-1", "signal": request(&Value::Null)["spec"]["signal"], "target": target(), "timeout": "5m"});
            let status = json!({"phase": "Completed", "evidence": {}});
            (200, json!({"metadata": {"name": "rp-rr-1"}, "spec": spec, "status": status}))
        }
    };
    let (ctx, log) = server_with(well, Arc::new(Mute)).await;
    let run = async |status: &Value| {
        let analysis = json!({
            "apiVersion": "kubernaut.io/v1alpha1", "kind": "AIAnalysis",
            "metadata": {"name": "aia-rr-1", "namespace": "ns", "uid": "u4", "resourceVersion": "7", "generation": 1},
            "spec": {
                "request": "rr-1", "processing": "rp-rr-1", "signal": request(&Value::Null)["spec"]["signal"],
                "target": target(), "timeout": "10m", "approvalTimeout": "15m",
            },
            "status": status,
        });
        reconcile::<Analyses>(object::<AIAnalysis>(analysis), ctx.clone()).await
    };
    run(&Value::Null).await.unwrap();
    let status = statuses(&log).remove(0);
    assert_eq!(status["phase"], "Analyzing", "{}", status["message"]);
    run(&status).await.unwrap_err();
    run(&late("Analyzing", Duration::from_secs(1))).await.unwrap();
    assert_eq!(statuses(&log).pop().unwrap()["reason"], "AnalyzingTimedOut");
}

#[tokio::test]
async fn nobody_watches_the_target_of_an_object_that_is_being_deleted() {
    let (ctx, _) = server(|_, _, _| refuse(404, "NotFound")).await;
    let mut deleted = request(&late("Verifying", Duration::ZERO));
    deleted["metadata"]["deletionTimestamp"] = json!(ago(Duration::ZERO));
    let deleted = object::<RemediationRequest>(deleted);
    let target: TargetRef = serde_json::from_value(target()).unwrap();
    ctx.targets.await_change(deleted.0.as_ref().unwrap(), &target);
    assert_eq!(ctx.targets.watched(), 1);
    reconcile::<Requests>(deleted, ctx.clone()).await.unwrap();
    assert_eq!(ctx.targets.watched(), 0);
}

#[tokio::test]
async fn a_conflict_is_looked_at_soon_then_less_often_and_a_malformed_object_not_at_all() {
    let (ctx, _) = server(|_, _, _| refuse(404, "NotFound")).await;
    let request = object::<RemediationRequest>(request(&Value::Null));
    let conflict = Error::Conflict { call: "update".into() };
    let waits: Vec<_> = (0..12).map(|_| back_off::<Requests>(request.clone(), &conflict, ctx.clone())).collect();
    assert_eq!(waits[0], Action::requeue(Duration::from_millis(50)));
    assert_eq!(waits[11], Action::requeue(Duration::from_secs(10)));
    let malformed = Error::Malformed { object: "rr-1".into(), message: "unknown phase".into() };
    assert_eq!(back_off::<Requests>(request, &malformed, ctx), Action::await_change());
}

/// Labels of what is about `path`: the Deployment's and its namespace's.
fn labelled(path: &str, deployment: &Value, namespace: &Value) -> Option<(u16, Value)> {
    let labels = match path {
        "/apis/apps/v1/namespaces/shop/deployments/web" => deployment,
        "/api/v1/namespaces/shop" => namespace,
        _ => return None,
    };
    let metadata = json!({"name": "x", "labels": labels});
    Some((200, json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})))
}

#[tokio::test]
async fn a_request_about_what_nobody_put_under_its_care_is_blocked_with_the_command_that_opts_in() {
    let none: Answer = |_, path, body| labelled(path, &json!({}), &json!({})).unwrap_or((200, body));
    let own: Answer =
        |_, path, body| labelled(path, &json!({labels::MANAGED: "true"}), &json!({})).unwrap_or((200, body));
    let all: Answer =
        |_, path, body| labelled(path, &json!({}), &json!({labels::MANAGED: "true"})).unwrap_or((200, body));
    let out: Answer = |_, path, body| {
        labelled(path, &json!({labels::MANAGED: "false"}), &json!({labels::MANAGED: "true"})).unwrap_or((200, body))
    };
    for (answer, phase, says) in [
        (none, "Blocked", "kubectl label namespace shop kubernaut.io/managed=true"),
        (out, "Blocked", "kubectl label -n shop deployment web kubernaut.io/managed=true --overwrite"),
        (own, "Processing", ""),
        (all, "Processing", ""),
    ] {
        let (ctx, log) = server_set(answer, Arc::new(Builtin), Settings::default()).await;
        reconcile::<Requests>(object::<RemediationRequest>(request(&Value::Null)), ctx).await.unwrap();
        let status = statuses(&log).remove(0);
        assert_eq!(status["phase"], phase, "{status}");
        assert!(status["message"].as_str().unwrap().contains(says), "{status}");
    }
}

#[tokio::test]
async fn labels_that_cannot_be_read_are_no_permission() {
    let down: Answer = |method, _, body| if method == "PUT" { (200, body) } else { refuse(500, "InternalError") };
    let (ctx, log) = server_set(down, Arc::new(Builtin), Settings::default()).await;
    reconcile::<Requests>(object::<RemediationRequest>(request(&Value::Null)), ctx).await.unwrap_err();
    assert!(statuses(&log).is_empty());
}

#[test]
fn what_is_finished_is_kept_without_its_evidence() {
    let keep = |phase: &str| {
        let mut kept: Guarded<RemediationProcessing> = DeserializeGuard(Ok(serde_json::from_value(json!({
            "apiVersion": "kubernaut.io/v1alpha1", "kind": "RemediationProcessing",
            "metadata": {"name": "rp-rr-1", "namespace": "ns", "managedFields": [{"manager": "kubernaut-controller"}]},
            "spec": {
                "request": "rr-1", "signal": {"source": "t", "name": "Down", "fingerprint": "f".repeat(64)}, "target": target(),
                "timeout": "5m",
            },
            "status": {"phase": phase, "evidence": {"logs": [{"pod": "p", "container": "c", "lines": ["x".repeat(500)]}]}},
        }))
        .unwrap()));
        slim::<Processings>(&mut kept);
        assert!(kept.meta().managed_fields.is_none());
        kept.0.unwrap().status.unwrap().evidence.is_some()
    };
    assert!(!keep("Completed") && !keep("Failed"));
    assert!(keep("Enriching"), "what is decided upon is whole");
}
