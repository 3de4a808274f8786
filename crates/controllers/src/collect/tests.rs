//! The whole of `collect` against a server that answers with what a real one wrote.

mod kinds;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What the server does with one path.
#[derive(Clone, Copy)]
enum Answer {
    /// A YAML document, as JSON.
    Yaml(&'static str),
    Text(&'static str),
    /// A status and its reason.
    Refuse(u16, &'static str),
    /// Nothing, ever.
    Hang,
}

const DEPLOYMENT: &str = "/deployments/web";
const LOG: &str = "/log";

const NONE: &str = "{apiVersion: v1, kind: List, metadata: {}, items: []}";
const QUOTAS: &str = "{apiVersion: v1, kind: List, metadata: {}, items: [{metadata: {name: compute}, status: {hard: {pods: '2'}, used: {pods: '2'}}}]}";
const DATABASE: &str = "{apiVersion: v1, kind: List, metadata: {}, items: [{metadata: {name: database, namespace: data}, spec: {replicas: 1, serviceName: db, \
    selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}}}, status: {replicas: 1}}]}";
const DATABASE_ITSELF: &str = "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: database, namespace: data, uid: s1}, spec: {replicas: 1, serviceName: db, \
    selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}, spec: {containers: [{name: db, image: 'db:1'}]}}}, status: {replicas: 1}}";
const DATA: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: data, labels: {kubernaut.io/managed: 'true'}}}";
const DB: &str =
    "{apiVersion: v1, kind: Service, metadata: {name: db, namespace: data, uid: db-1}, spec: {selector: {app: db}}}";
const DEAD_NODE: &str = "{apiVersion: v1, kind: Node, metadata: {name: n1, uid: node-1}, status: {conditions: [{type: Ready, status: Unknown}]}}";
const NODES: &str = "{apiVersion: v1, kind: NodeList, metadata: {}, items: [{metadata: {name: n2}, status: {conditions: [{type: Ready, status: 'True'}]}}]}";

/// The first answer whose path is part of the request's is given.
const WELL: &[(&str, Answer)] = &[
    (DEPLOYMENT, Answer::Yaml(include_str!("fixtures/deployment.yaml"))),
    ("/replicasets", Answer::Yaml(include_str!("fixtures/replicasets.yaml"))),
    (LOG, Answer::Text("starting\nfatal: token=c4n4ry-log\n")),
    ("/pods", Answer::Yaml(include_str!("fixtures/pods.yaml"))),
    ("/events", Answer::Yaml(include_str!("fixtures/events.yaml"))),
    ("/horizontalpodautoscalers", Answer::Yaml(NONE)),
    ("/poddisruptionbudgets", Answer::Yaml(NONE)),
    ("/resourcequotas", Answer::Yaml(QUOTAS)),
    ("/namespaces/data/services/db", Answer::Yaml(DB)),
    ("/services", Answer::Yaml(NONE)),
    ("/nodes?", Answer::Yaml(NODES)),
    ("/nodes/", Answer::Yaml(DEAD_NODE)),
];

async fn client(answers: Vec<(&'static str, Answer)>) -> kube::Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answers.clone()));
        }
    });
    kube::Client::try_from(kube::Config::new(address.parse().unwrap())).unwrap()
}

async fn serve(mut stream: TcpStream, answers: Vec<(&'static str, Answer)>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(&buffer[..count]),
        }
    }
    let path = String::from_utf8_lossy(&request).split_whitespace().nth(1).unwrap_or_default().to_owned();
    assert!(!path.contains("secrets"), "a Secret was asked for: {path}");
    let answer = answers.iter().find(|(part, _)| path.contains(part)).map(|(_, answer)| *answer);
    let (status, body) = match answer {
        Some(Answer::Yaml(yaml)) => (200, serde_yaml_ng::from_str::<Value>(yaml).unwrap().to_string()),
        Some(Answer::Text(text)) => (200, text.to_owned()),
        Some(Answer::Refuse(code, reason)) => {
            (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason}).to_string())
        }
        Some(Answer::Hang) => std::future::pending().await,
        None => panic!("nobody expected {path}"),
    };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all((head + &body).as_bytes()).await;
}

/// The usual answers, but for one path.
fn but(path: &'static str, answer: Answer) -> Vec<(&'static str, Answer)> {
    std::iter::once((path, answer)).chain(WELL.iter().copied()).collect()
}

fn target() -> TargetRef {
    TargetRef {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        namespace: Some("collect-probe".into()),
        name: "web".into(),
        uid: None,
    }
}

async fn run(answers: Vec<(&'static str, Answer)>, target: &TargetRef) -> Collected {
    let limits = Limits { call_timeout: Duration::from_millis(300), ..Limits::default() };
    let pod = TargetRef {
        api_version: "v1".into(),
        kind: "Pod".into(),
        name: "web-5b7667fbd-ffxvw".into(),
        ..target.clone()
    };
    collect(&client(answers).await, target, Some(&pod), "2026-11-21T05:16:00Z".parse().unwrap(), &limits).await
}

#[tokio::test]
async fn everything_that_can_be_read_is_in_the_evidence_and_no_secret_is() {
    let collected = run(WELL.to_vec(), &target()).await;
    assert!(collected.target_found && collected.degraded.is_empty(), "{:?}", collected.degraded);
    let evidence = &collected.evidence;
    assert_eq!((evidence.revisions.len(), evidence.changes.len(), evidence.pods.len()), (2, 2, 2));
    assert_eq!(evidence.logs.len(), 1);
    assert_eq!(evidence.logs[0].lines, ["starting", "fatal: token=[redacted]"]);
    assert!(evidence.events.iter().any(|event| event.reason == "BackOff"));
    let workload = evidence.workload.as_ref().unwrap();
    assert_eq!((workload.replicas, workload.total_replicas, workload.updated_replicas), (2, 3, 1));
    assert_eq!(workload.containers[0].memory_limit.as_deref(), Some("16Mi"));
    let chain: Vec<String> = evidence.owner_chain.iter().map(|one| format!("{}/{}", one.kind, one.name)).collect();
    assert_eq!(chain, ["Pod/web-5b7667fbd-ffxvw", "ReplicaSet/web-5b7667fbd", "Deployment/web"]);
    let json = serde_json::to_string(evidence).unwrap();
    assert!(!json.contains("c4n4ry") && json.len() <= 64 * 1024);
}

#[tokio::test]
async fn a_target_that_is_gone_is_told_from_one_that_may_not_be_read() {
    let gone = run(but(DEPLOYMENT, Answer::Refuse(404, "NotFound")), &target()).await;
    assert!(!gone.target_found);
    assert_eq!(gone.degraded, ["deployments collect-probe/web: NotFound"]);
    let forbidden = run(but(DEPLOYMENT, Answer::Refuse(403, "Forbidden")), &target()).await;
    assert!(forbidden.target_found && forbidden.evidence.workload.is_none());
    assert_eq!(forbidden.degraded, ["deployments collect-probe/web: Forbidden (needs get on deployments)"]);
}

#[tokio::test]
async fn a_target_that_was_made_anew_is_another_one() {
    let old = TargetRef { uid: Some("0".into()), ..target() };
    let collected = run(WELL.to_vec(), &old).await;
    assert!(!collected.target_found && collected.evidence.workload.is_none());
    assert_eq!(collected.degraded, ["Deployment/collect-probe/web: was made anew since the signal"]);
}

#[tokio::test]
async fn what_may_not_be_read_is_named_and_the_rest_is_there() {
    let collected = run(but(LOG, Answer::Refuse(403, "Forbidden")), &target()).await;
    assert_eq!(
        collected.degraded,
        ["pods/log of collect-probe/web-5b7667fbd-ffxvw: Forbidden (needs get on pods/log)"]
    );
    assert!(collected.target_found && collected.evidence.logs.is_empty() && collected.evidence.pods.len() == 2);

    let collected = run(but("/replicasets", Answer::Refuse(403, "Forbidden")), &target()).await;
    assert_eq!(collected.degraded, ["replicasets of collect-probe: Forbidden (needs list on replicasets)"]);
    assert_eq!((collected.evidence.revisions.len(), collected.evidence.pods.len()), (0, 2));
}

#[tokio::test]
async fn what_takes_too_long_is_named_and_the_rest_is_there() {
    let collected = run(but("/events", Answer::Hang), &target()).await;
    assert_eq!(collected.degraded, ["events of collect-probe: no answer within 300 ms"]);
    assert!(collected.target_found && collected.evidence.events.is_empty() && collected.evidence.logs.len() == 1);
}

#[tokio::test]
async fn nodes_in_trouble_are_told_with_how_many_others_there_are() {
    let collected = run(WELL.to_vec(), &target()).await;
    let evidence = &collected.evidence;
    assert!(!evidence.nodes.is_empty() && !evidence.nodes[0].ready);
    assert_eq!(evidence.other_nodes_ready, Some(1));
    assert!(evidence.quotas.is_empty() || evidence.quotas[0].name == "compute");

    let collected = run(but("/nodes/", Answer::Refuse(403, "Forbidden")), &target()).await;
    assert!(collected.evidence.nodes.is_empty() && collected.degraded[0].starts_with("nodes "));
}

#[tokio::test]
async fn a_service_that_the_log_names_is_looked_up_where_it_lives() {
    let mut answers = but(LOG, Answer::Text("cannot connect to db.data.svc:5432: connection refused\n"));
    answers.insert(0, ("/namespaces/data/pods", Answer::Yaml(NONE)));
    answers.insert(0, ("/namespaces/data/daemonsets", Answer::Yaml(NONE)));
    answers.insert(0, ("/namespaces/data/controllerrevisions", Answer::Yaml(NONE)));
    answers.insert(0, ("/namespaces/data/events", Answer::Yaml(NONE)));
    answers.push(("/namespaces/data", Answer::Yaml(DATA)));
    answers.insert(0, ("/namespaces/data/deployments", Answer::Yaml(NONE)));
    answers.insert(0, ("/namespaces/data/statefulsets", Answer::Yaml(DATABASE)));
    answers.insert(0, ("/namespaces/data/statefulsets/database", Answer::Yaml(DATABASE_ITSELF)));
    let collected = run(answers, &target()).await;
    assert!(collected.degraded.is_empty(), "{:?}", collected.degraded);
    let [db] = &collected.evidence.dependencies[..] else { panic!("{:?}", collected.evidence.dependencies) };
    assert_eq!((db.host.as_str(), db.exists, db.selects, db.ready_endpoints), ("db.data.svc", true, true, 0));
    assert_eq!(db.workload.as_ref().map(|one| one.name.as_str()), Some("database"));
    assert_eq!((db.replicas, db.ready_replicas), (Some(1), Some(0)));
    let [upstream] = &collected.evidence.upstream[..] else { panic!("{:?}", collected.evidence.upstream) };
    assert_eq!((upstream.workload.object.name.as_str(), upstream.workload.unmanaged), ("database", false));
    assert_eq!(upstream.workload.containers[0].image, "db:1");
}

#[tokio::test]
async fn a_node_is_a_target_too() {
    let node = TargetRef { kind: "Node".into(), name: "n1".into(), namespace: None, ..TargetRef::default() };
    let collected = run(WELL.to_vec(), &node).await;
    assert!(collected.target_found && collected.degraded.is_empty(), "{:?}", collected.degraded);
    assert_eq!(collected.evidence.nodes[0].object.uid.as_deref(), Some("node-1"));
    assert!(collected.evidence.workload.is_none() && collected.evidence.other_nodes_ready == Some(1));
}

#[tokio::test]
async fn a_kind_that_is_not_known_is_named_and_nothing_is_asked() {
    let class = TargetRef { kind: "StorageClass".into(), name: "s1".into(), namespace: None, ..TargetRef::default() };
    let collected = run(Vec::new(), &class).await;
    assert!(collected.target_found);
    assert_eq!(collected.degraded, ["StorageClass/s1: nothing is collected about this kind"]);
}
