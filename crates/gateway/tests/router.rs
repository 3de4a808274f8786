//! The gateway from the outside: alerts in, answers and requests out, against an API server that
//! speaks the wire format.

#![allow(clippy::unwrap_used)]

mod fake;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use fake::{Fake, Fault, NAMESPACE};
use kubernaut_gateway::{Authentication, Gateway, Metrics, Scope, Settings, router};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tower::ServiceExt;

const URL: &str = "/api/v1/signals/alertmanager";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/web";
const REPLICA_SET: &str = "/apis/apps/v1/namespaces/shop/replicasets/web-7d4b9c6f5d";
const POD: &str = "/api/v1/namespaces/shop/pods/web-7d4b9c6f5d-x2k4j";
const SIBLING: &str = "/api/v1/namespaces/shop/pods/web-7d4b9c6f5d-z9w8v";

struct Answer {
    code: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn result(&self, index: usize) -> &Value {
        &self.body["results"][index]
    }

    fn statuses(&self) -> Vec<&str> {
        self.body["results"].as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap()).collect()
    }

    fn is_problem(&self, code: u16) {
        assert_eq!(self.code, code, "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], code);
        assert!(self.body["title"].is_string() && self.body["detail"].is_string());
    }
}

struct Setup {
    fake: Fake,
    gateway: Arc<Gateway>,
    registry: Registry,
}

impl Setup {
    /// A shop whose namespace is managed and whose deployment has two pods.
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let fake = Fake::default();
        fake.add("/api/v1/namespaces/shop", "Namespace", &[("kubernaut.io/managed", "true")], None);
        fake.add("/api/v1/namespaces/other", "Namespace", &[], None);
        fake.add(DEPLOYMENT, "Deployment", &[], None);
        fake.add(REPLICA_SET, "ReplicaSet", &[], Some(DEPLOYMENT));
        fake.add(POD, "Pod", &[], Some(REPLICA_SET));
        fake.add(SIBLING, "Pod", &[], Some(REPLICA_SET));
        fake.add("/apis/apps/v1/namespaces/other/deployments/api", "Deployment", &[], None);
        fake.add("/api/v1/nodes/n1", "Node", &[], None);
        let mut settings = Settings::new(NAMESPACE, Authentication::None);
        settings.cluster = "test".into();
        settings.call_timeout = Duration::from_millis(200);
        change(&mut settings);
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let gateway = Arc::new(Gateway::new(fake.client(), settings, metrics));
        Self { fake, gateway, registry }
    }

    async fn send(&self, body: impl Into<Body>) -> Answer {
        send(&self.gateway, Request::post(URL).body(body.into()).unwrap()).await
    }

    async fn alerts(&self, alerts: &[Value]) -> Answer {
        self.send(json!({"version": "4", "status": "firing", "alerts": alerts}).to_string()).await
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    fn only_request(&self) -> Value {
        let mut requests = self.fake.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests.remove(0)
    }
}

async fn send(gateway: &Arc<Gateway>, request: Request<Body>) -> Answer {
    let response = router(gateway.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Answer { code: parts.status.as_u16(), headers: parts.headers, body }
}

fn alert(name: &str, status: &str, labels: &[(&str, &str)]) -> Value {
    let mut all = json!({"alertname": name, "severity": "critical"});
    for (key, value) in labels {
        all[*key] = json!(value);
    }
    json!({"status": status, "labels": all, "annotations": {"summary": "s"},
        "startsAt": "2026-01-02T03:04:05Z", "endsAt": "0001-01-01T00:00:00Z"})
}

fn pod(path: &str) -> [(&str, &str); 2] {
    [("namespace", "shop"), ("pod", path.rsplit('/').next().unwrap())]
}

fn firing(path: &str) -> Value {
    alert("KubePodCrashLooping", "firing", &pod(path))
}

fn resolved(path: &str) -> Value {
    alert("KubePodCrashLooping", "resolved", &pod(path))
}

fn end(fake: &Fake, name: &str, seconds_ago: i64) {
    let at = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds_ago);
    fake.change(name, |request| {
        request["status"]["phase"] = json!("Completed");
        request["status"]["outcome"] = json!("ManualReviewRequired");
        request["status"]["completedAt"] = json!(at);
    });
}

#[tokio::test]
async fn an_alert_about_a_pod_makes_a_request_about_its_deployment() {
    let setup = Setup::new();
    let answer = setup.alerts(&[firing(POD)]).await;
    assert_eq!(answer.code, 201, "{}", answer.body);
    let request = setup.only_request();
    assert_eq!(answer.result(0)["request"], request["metadata"]["name"]);
    assert_eq!(answer.result(0)["fingerprint"], request["spec"]["signal"]["fingerprint"]);
    let fingerprint = request["spec"]["signal"]["fingerprint"].as_str().unwrap();
    assert_eq!(request["metadata"]["name"], format!("rr-{}-1", &fingerprint[..12]));
    assert_eq!(request["metadata"]["labels"]["kubernaut.io/fingerprint"], fingerprint[..32]);
    assert_eq!(request["metadata"]["finalizers"], json!(["kubernaut.io/outbox"]));
    assert_eq!(
        request["spec"]["target"],
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web",
            "uid": "uid-of--apis-apps-v1-namespaces-shop-deployments-web"})
    );
    assert_eq!(request["spec"]["resource"]["kind"], "Pod");
    assert_eq!(request["spec"]["signal"]["source"], "alertmanager");
    assert_eq!(request["spec"]["signal"]["severity"], "critical");
    assert!(setup.metrics().contains(r#"kubernaut_gateway_signals_total{source="alertmanager",result="created"} 1"#));
    assert!(setup.metrics().contains("kubernaut_gateway_in_flight 0"));
}

#[tokio::test]
async fn repeats_siblings_and_other_alerts_about_the_target_are_counted() {
    let setup = Setup::new();
    assert_eq!(setup.alerts(&[firing(POD)]).await.code, 201);
    let answer = setup.alerts(&[firing(POD), firing(SIBLING)]).await;
    assert_eq!(answer.code, 202, "{}", answer.body);
    assert_eq!(answer.statuses(), ["duplicate", "duplicate"]);
    let other = alert("KubeDeploymentReplicasMismatch", "firing", &[("namespace", "shop"), ("deployment", "web")]);
    assert_eq!(setup.alerts(&[other]).await.code, 202);
    let status = &setup.only_request()["status"];
    assert_eq!(status["deduplication"]["occurrences"], 4);
    assert_eq!(status["signals"], json!(["KubeDeploymentReplicasMismatch"]));
}

#[tokio::test]
async fn one_batch_makes_one_request_per_target() {
    let setup = Setup::new();
    let answer = setup.alerts(&[firing(POD), firing(SIBLING), firing(POD)]).await;
    assert_eq!(answer.code, 207);
    assert_eq!(answer.statuses(), ["created", "duplicate", "duplicate"]);
    assert_eq!(setup.only_request()["status"]["deduplication"]["occurrences"], 3);
}

#[tokio::test]
async fn two_gateways_at_once_make_one_request() {
    let setup = Setup::new();
    let settings = Settings { cluster: "test".into(), ..Settings::new(NAMESPACE, Authentication::None) };
    let twin = Arc::new(Gateway::new(setup.fake.client(), settings, Metrics::new(&mut Registry::default())));
    let body = json!({"alerts": [firing(POD)]}).to_string();
    let posts = (0..8).map(|n| {
        let gateway = if n % 2 == 0 { &setup.gateway } else { &twin };
        send(gateway, Request::post(URL).body(Body::from(body.clone())).unwrap())
    });
    let answers = futures::future::join_all(posts).await;
    assert_eq!(answers.iter().filter(|answer| answer.code == 201).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.code == 202).count(), 7);
    assert_eq!(setup.only_request()["status"]["deduplication"]["occurrences"], 8);
    let creates = setup.fake.calls().iter().filter(|call| call.starts_with("POST")).count();
    assert!(creates > 1, "the race did not take place");
}

#[tokio::test]
async fn one_bad_alert_of_a_hundred_is_refused_and_the_others_are_taken() {
    let setup = Setup::with(|settings| settings.scope = Scope::All);
    let mut alerts: Vec<_> = (0..99).map(|n| alert(&format!("A{n}"), "firing", &[("node", "n1")])).collect();
    alerts.insert(50, json!({"labels": {"alertname": 7}}));
    let answer = setup.alerts(&alerts).await;
    assert_eq!(answer.code, 207);
    assert_eq!(answer.result(50)["status"], "refused");
    assert_eq!(answer.result(50)["reason"], "Malformed");
    assert_eq!(setup.fake.requests().len(), 99);
    assert!(setup.metrics().contains(r#"kubernaut_gateway_refused_total{reason="Malformed"} 1"#));
}

#[tokio::test]
async fn what_is_no_payload_is_a_problem_and_makes_nothing() {
    let setup = Setup::new();
    for body in ["", "{", "[]", r#"{"alerts": 7}"#, r#"{"alerts": [7]}"#] {
        setup.send(body).await.is_problem(400);
    }
    let get = send(&setup.gateway, Request::get(URL).body(Body::empty()).unwrap()).await;
    get.is_problem(405);
    assert!(setup.fake.calls().is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_problem() {
    let setup = Setup::with(|settings| settings.max_body_bytes = 100);
    setup.send("x".repeat(101)).await.is_problem(413);
}

#[tokio::test]
async fn without_the_token_nothing_is_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret").unwrap();
    let path = PathBuf::from(file.path());
    let setup = Setup::with(|settings| settings.authentication = Authentication::BearerFile(path));
    let body = json!({"alerts": [firing(POD)]}).to_string();
    let answer = setup.send(body.clone()).await;
    answer.is_problem(401);
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    let with = |token: &str| {
        Request::post(URL).header("authorization", format!("Bearer {token}")).body(Body::from(body.clone())).unwrap()
    };
    send(&setup.gateway, with("wrong")).await.is_problem(401);
    assert!(setup.fake.calls().is_empty());
    assert_eq!(send(&setup.gateway, with("secret")).await.code, 201);
}

#[tokio::test]
async fn out_of_scope_is_refused_with_the_command_that_opts_in() {
    let setup = Setup::new();
    let answer = setup
        .alerts(&[
            alert("Down", "firing", &[("namespace", "other"), ("deployment", "api")]),
            alert("Down", "firing", &[("node", "n1")]),
            alert("Watchdog", "firing", &[]),
        ])
        .await;
    assert_eq!(answer.code, 207);
    assert_eq!(answer.statuses(), ["refused"; 3]);
    let detail = |index| answer.result(index)["detail"].as_str().unwrap();
    assert!(detail(0).contains("kubectl label namespace other kubernaut.io/managed=true"));
    assert!(detail(1).contains("kubectl label node n1 kubernaut.io/managed=true"));
    assert!(detail(2).contains("scope: all"));
    assert!(setup.fake.requests().is_empty());
    assert!(setup.metrics().contains(r#"kubernaut_gateway_refused_total{reason="OutOfScope"} 3"#));
}

#[tokio::test]
async fn the_targets_own_label_opts_in_and_out() {
    let setup = Setup::new();
    let managed = |value| [("kubernaut.io/managed", value)];
    setup.fake.add("/apis/apps/v1/namespaces/other/deployments/api", "Deployment", &managed("true"), None);
    setup.fake.add("/api/v1/nodes/n1", "Node", &managed("true"), None);
    setup.fake.add(DEPLOYMENT, "Deployment", &managed("false"), None);
    let answer = setup
        .alerts(&[
            alert("Down", "firing", &[("namespace", "other"), ("deployment", "api")]),
            alert("Down", "firing", &[("node", "n1")]),
            firing(POD),
        ])
        .await;
    assert_eq!(answer.statuses(), ["created", "created", "refused"]);
    assert!(answer.result(2)["detail"].as_str().unwrap().contains("--overwrite"));
}

#[tokio::test]
async fn resolved_settles_the_open_request_and_firing_again_takes_it_back() {
    let setup = Setup::new();
    let before = setup.alerts(&[resolved(POD)]).await;
    assert_eq!((before.code, before.statuses()), (202, vec!["resolved"]));
    assert!(setup.fake.requests().is_empty());

    setup.alerts(&[firing(POD)]).await;
    assert_eq!(setup.alerts(&[resolved(SIBLING)]).await.result(0)["reason"], "StillFiring");
    assert_eq!(setup.alerts(&[resolved(POD), firing(SIBLING)]).await.code, 202);
    assert!(setup.only_request()["status"]["deduplication"]["resolvedAt"].is_null());

    assert_eq!(setup.alerts(&[resolved(POD)]).await.code, 202);
    let at = setup.only_request()["status"]["deduplication"]["resolvedAt"].clone();
    assert!(at.is_string());
    setup.alerts(&[resolved(POD)]).await;
    assert_eq!(setup.only_request()["status"]["deduplication"]["resolvedAt"], at);
    setup.alerts(&[firing(POD)]).await;
    assert!(setup.only_request()["status"]["deduplication"]["resolvedAt"].is_null());
}

#[tokio::test]
async fn after_the_end_it_is_held_back_then_a_new_episode_begins() {
    let setup = Setup::new();
    setup.alerts(&[firing(POD)]).await;
    let name = setup.only_request()["metadata"]["name"].as_str().unwrap().to_owned();
    end(&setup.fake, &name, 10);
    let answer = setup.alerts(&[firing(POD)]).await;
    assert_eq!((answer.code, answer.statuses()), (202, vec!["heldBack"]));
    assert_eq!(answer.result(0)["reason"], "Cooldown");
    assert!(answer.result(0)["until"].is_string());
    assert_eq!(setup.only_request()["status"]["deduplication"]["occurrences"], 2);
    assert_eq!(setup.only_request()["status"]["phase"], "Completed");

    end(&setup.fake, &name, 301);
    assert_eq!(setup.alerts(&[firing(POD)]).await.code, 201);
    assert_eq!(setup.fake.requests()[1]["spec"]["episode"], 2);
}

#[tokio::test]
async fn a_pod_that_is_gone_is_still_its_deployments() {
    let setup = Setup::new();
    setup.alerts(&[firing(POD)]).await;
    setup.fake.remove(POD);
    assert_eq!(setup.alerts(&[firing(POD)]).await.statuses(), ["duplicate"]);
    assert_eq!(setup.alerts(&[resolved(POD)]).await.statuses(), ["resolved"]);
    assert!(setup.only_request()["status"]["deduplication"]["resolvedAt"].is_string());

    // Without the ReplicaSet, the request itself tells.
    setup.fake.remove(REPLICA_SET);
    assert_eq!(setup.alerts(&[firing(POD)]).await.statuses(), ["duplicate"]);
    assert!(setup.only_request()["status"]["deduplication"]["resolvedAt"].is_null());
    let answer = setup.alerts(&[resolved(POD)]).await;
    assert_eq!(answer.result(0)["reason"], Value::Null, "{}", answer.body);
    assert!(setup.only_request()["status"]["deduplication"]["resolvedAt"].is_string());
}

#[tokio::test]
async fn a_target_that_cannot_be_found_makes_a_request_without_one() {
    let setup = Setup::with(|settings| settings.scope = Scope::All);
    let gone = alert("Down", "firing", &[("namespace", "shop"), ("pod", "nobody")]);
    let answer = setup.alerts(&[gone.clone(), alert("Watchdog", "firing", &[]), json!({})]).await;
    assert_eq!(answer.code, 201, "{}", answer.body);
    assert_eq!(answer.result(0)["reason"], "TargetNotFound");
    let requests = setup.fake.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| request["spec"].get("target").is_none()));
    assert_eq!(setup.alerts(&[gone]).await.statuses(), ["duplicate"]);
}

#[tokio::test]
async fn a_failed_look_up_never_changes_the_fingerprint() {
    for fault in [Fault::Code(500), Fault::Code(503), Fault::Code(403), Fault::Hang] {
        let setup = Setup::new();
        setup.fake.add("/apis/apps/v1/namespaces/shop/statefulsets/db", "StatefulSet", &[], None);
        setup.fake.fail("GET", "/replicasets/", fault, usize::MAX);
        let db = alert("Down", "firing", &[("namespace", "shop"), ("statefulset", "db")]);
        let answer = setup.alerts(&[firing(POD), db.clone()]).await;
        answer.is_problem(503);
        assert!(answer.headers.contains_key("retry-after"));
        assert_eq!(answer.statuses(), ["unjudged", "created"], "{fault:?}");
        setup.fake.heal();
        assert_eq!(setup.alerts(&[firing(POD), db]).await.statuses(), ["created", "duplicate"]);
        assert_eq!(setup.fake.requests().len(), 2);
    }
}

#[tokio::test]
async fn a_404_that_is_not_the_api_servers_is_no_answer() {
    let setup = Setup::new();
    setup.fake.fail("GET", "/pods/", Fault::Page(404), 1);
    setup.alerts(&[firing(POD)]).await.is_problem(503);
    assert!(setup.fake.requests().is_empty());
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_costs_a_batch_only_a_moment() {
    let setup = Setup::new();
    setup.fake.fail("GET", "/", Fault::Hang, usize::MAX);
    let alerts: Vec<_> = (0..1000).map(|n| alert("Down", "firing", &[("node", &format!("n{n}"))])).collect();
    let began = std::time::Instant::now();
    setup.alerts(&alerts).await.is_problem(503);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(setup.fake.calls().len() < 100);
}

#[tokio::test]
async fn a_create_that_was_carried_out_and_reported_as_failed_is_not_done_twice() {
    let setup = Setup::new();
    setup.fake.fail("POST", "/remediationrequests", Fault::CarriedOutThen(500), 1);
    setup.alerts(&[firing(POD)]).await.is_problem(503);
    assert_eq!(setup.alerts(&[firing(POD)]).await.statuses(), ["duplicate"]);
    setup.only_request();
}

#[tokio::test]
async fn a_request_of_the_same_name_about_something_else_is_left_alone() {
    let setup = Setup::new();
    setup.alerts(&[firing(POD)]).await;
    let name = setup.only_request()["metadata"]["name"].as_str().unwrap().to_owned();
    setup.fake.change(&name, |request| {
        request["spec"]["signal"]["fingerprint"] = json!("f".repeat(64));
        request["metadata"]["labels"] = json!({});
    });
    assert_eq!(setup.alerts(&[firing(POD)]).await.code, 201);
    assert_eq!(setup.fake.requests().len(), 2);
    assert!(setup.fake.requests()[0]["status"].is_null());
}

#[tokio::test]
async fn a_custom_owner_is_the_target_also_when_it_may_not_be_read() {
    for (served, fault) in [(true, None), (true, Some(Fault::Code(403))), (false, None)] {
        let setup = Setup::new();
        let rollout = "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/cart";
        if served {
            setup.fake.serve("argoproj.io/v1alpha1", "Rollout", "rollouts");
        }
        setup.fake.add(rollout, "Rollout", &[], None);
        setup.fake.add("/apis/apps/v1/namespaces/shop/replicasets/cart-1", "ReplicaSet", &[], Some(rollout));
        if let Some(fault) = fault {
            setup.fake.fail("GET", "/rollouts/", fault, usize::MAX);
        }
        let alerts = [alert("Down", "firing", &[("namespace", "shop"), ("replicaset", "cart-1")])];
        let answer = setup.alerts(&alerts).await;
        assert_eq!(answer.code, 201, "{} {:?}", answer.body, setup.fake.calls());
        assert_eq!(setup.only_request()["spec"]["target"]["kind"], "Rollout");
        assert_eq!(setup.only_request()["spec"]["target"]["name"], "cart");
    }
}

#[tokio::test]
async fn a_static_pod_is_not_taken_for_its_node() {
    let setup = Setup::new();
    setup.fake.add("/api/v1/namespaces/shop/pods/etcd-n1", "Pod", &[], Some("/api/v1/nodes/n1"));
    setup.alerts(&[alert("Down", "firing", &[("namespace", "shop"), ("pod", "etcd-n1")])]).await;
    assert_eq!(setup.only_request()["spec"]["target"]["kind"], "Pod");
}

#[tokio::test]
async fn hostile_labels_reach_no_path_and_no_other_object() {
    let setup = Setup::with(|settings| settings.scope = Scope::All);
    for hostile in ["../kube-system", "$(id)", "{{ .x }}", "a\r\nHost: evil", "web/status", "%2e%2e"] {
        let answer = setup
            .alerts(&[
                alert("Down", "firing", &[("namespace", hostile), ("pod", "web")]),
                alert("Down", "firing", &[("namespace", "shop"), ("pod", hostile)]),
                alert(hostile, "firing", &[("node", hostile)]),
            ])
            .await;
        assert!([201, 207, 202].contains(&answer.code), "{}", answer.body);
    }
    assert!(setup.fake.requests().iter().all(|request| request["spec"].get("target").is_none()));
    let allowed = "/apis/kubernaut.io/v1alpha1/namespaces/kubernaut-system/remediationrequests";
    for call in setup.fake.calls() {
        assert!(call.contains(allowed), "{call}");
    }
}

#[tokio::test]
async fn huge_labels_are_cut_and_the_object_stays_small() {
    let setup = Setup::new();
    let mut huge = firing(POD);
    for n in 0..5000 {
        huge["labels"][format!("l{n}")] = json!("x".repeat(200));
    }
    huge["annotations"]["description"] = json!("y".repeat(1_000_000));
    assert_eq!(setup.alerts(&[huge]).await.code, 201);
    let request = setup.only_request();
    assert_eq!(request["spec"]["signal"]["labels"].as_object().unwrap().len(), 64);
    assert_eq!(request["spec"]["target"]["name"], "web");
    assert!(request.to_string().len() < 100_000);
}

#[tokio::test]
async fn more_than_can_be_worked_on_is_told_to_come_back() {
    let setup = Setup::with(|settings| {
        settings.max_in_flight = 1;
        settings.call_timeout = Duration::from_secs(5);
    });
    setup.fake.fail("GET", "/pods/", Fault::Hang, 1);
    let held = tokio::spawn({
        let gateway = setup.gateway.clone();
        let body = json!({"alerts": [firing(POD)]}).to_string();
        async move { send(&gateway, Request::post(URL).body(Body::from(body)).unwrap()).await.code }
    });
    while setup.fake.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    let answer = setup.alerts(&[firing(SIBLING)]).await;
    answer.is_problem(503);
    assert_eq!(answer.headers["retry-after"], "1");
    held.abort();
    let _ = held.await;
    assert_eq!(setup.alerts(&[firing(SIBLING)]).await.code, 201);
}

#[tokio::test]
async fn settings_reach_the_request() {
    let setup = Setup::with(|settings| settings.dry_run = true);
    setup.alerts(&[firing(POD)]).await;
    assert_eq!(setup.only_request()["spec"]["dryRun"], true);
}
