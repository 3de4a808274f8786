//! What each action reaches in a small cluster that answers as an API server would.

use serde_json::json;

use super::*;
use crate::run::tests::{Log, refuse, server};

/// Three replicas of `web`, one of them here, behind the Service `web`; a DaemonSet's pod; two nodes.
fn cluster(method: &str, path: &str, _: Value) -> (u16, Value) {
    assert_eq!(method, "GET", "it only reads: {path}");
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let list = |items: &[Value]| (200, json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}));
    let owned = |kind: &str, name: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "o", "controller": true}]);
    let web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-web", "generation": 1},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "app", "envFrom": [{"configMapRef": {"name": "settings"}}]}]},
        }},
        "status": {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3},
    });
    let pod = |name: &str, owner: Value| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "uid": name, "labels": {"app": "web"}, "ownerReferences": owner},
            "spec": {"nodeName": "n1"}, "status": {"phase": "Running"},
        })
    };
    let service = |name: &str, app: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop", "uid": name},
            "spec": {"selector": {"app": app}},
        })
    };
    let node = |name: &str, unschedulable: bool| {
        json!({
            "metadata": {"name": name}, "spec": {"unschedulable": unschedulable},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        })
    };
    match path {
        "/apis/apps/v1/namespaces/shop/deployments/web" => (200, web),
        "/apis/apps/v1/namespaces/shop/deployments" => list(&[web]),
        "/apis/apps/v1/namespaces/shop/statefulsets" | "/apis/apps/v1/namespaces/shop/daemonsets" => list(&[]),
        "/apis/apps/v1/namespaces/shop/replicasets/web-1" => (
            200,
            json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {"name": "web-1", "namespace": "shop", "ownerReferences": owned("Deployment", "web")},
            }),
        ),
        "/api/v1/namespaces/shop/pods/web-1-a" => (200, pod("web-1-a", owned("ReplicaSet", "web-1"))),
        // Counted without being sent: one here, and 39 more.
        "/api/v1/namespaces/shop/pods" if !query.contains("labelSelector") => (
            200,
            json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": {"continue": "more", "remainingItemCount": 39},
                "items": [{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}}],
            }),
        ),
        "/api/v1/namespaces/shop/pods" | "/api/v1/pods" => {
            list(&[pod("web-1-a", owned("ReplicaSet", "web-1")), pod("agent", owned("DaemonSet", "agent"))])
        }
        "/api/v1/namespaces/shop/services/web" => (200, service("web", "web")),
        "/api/v1/namespaces/shop/services" | "/api/v1/services" => {
            list(&[service("web", "web"), service("other", "x")])
        }
        "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/web" => (
            200,
            json!({
                "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web", "uid": "u-hpa"},
                "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 4},
            }),
        ),
        "/api/v1/nodes" => list(&[node("n1", false), node("n2", true)]),
        _ => refuse(404, "NotFound"),
    }
}

async fn reach(action: &str, kind: &str, name: &str, parameters: Value) -> (Reach, Log) {
    let (ctx, log) = server(cluster).await;
    let execution = json!({
        "apiVersion": "kubernaut.io/v1alpha1", "kind": "KubernetesExecution", "metadata": {"name": "ke-1"},
        "spec": {
            "request": "rr-1", "step": "s", "action": action, "planHash": "0", "parameters": parameters,
            "target": {"apiVersion": catalogue::api_version(kind), "kind": kind, "name": name,
                "namespace": catalogue::is_namespaced(kind).then_some("shop")},
            "timeout": "5m", "verificationTimeout": "5m",
        },
    });
    let execution = serde_json::from_value(execution).unwrap();
    (of(&ctx, &execution).await.unwrap(), log)
}

/// Pods, replicas, workloads, services, nodes.
fn numbers(reach: &Reach) -> [u32; 5] {
    let radius = kubernaut_domain::blast::radius(reach);
    [radius.pods, radius.replicas, radius.workloads, radius.services, radius.nodes]
}

#[tokio::test]
async fn each_action_reaches_what_it_touches_and_no_more() {
    for (action, kind, name, parameters, expect) in [
        ("rollback_deployment", "Deployment", "web", json!({"toRevision": 1}), [3, 3, 1, 1, 0]),
        ("update_resources", "Deployment", "web", json!({"container": "app"}), [3, 3, 1, 1, 0]),
        ("scale_deployment", "Deployment", "web", json!({"replicas": 0}), [3, 3, 1, 1, 0]),
        ("scale_deployment", "Deployment", "web", json!({"replicas": 5}), [2, 5, 1, 1, 0]),
        ("restart_pod", "Deployment", "web", json!({"pod": "web-1-a", "uid": "web-1-a"}), [1, 3, 1, 1, 0]),
        ("delete_pod", "Pod", "web-1-a", json!({}), [1, 3, 1, 1, 0]),
        ("update_config", "ConfigMap", "settings", json!({"data": {"a": "1"}}), [3, 3, 1, 1, 0]),
        ("update_config", "ConfigMap", "unread", json!({"data": {"a": "1"}}), [0, 0, 0, 0, 0]),
        ("update_hpa", "HorizontalPodAutoscaler", "web", json!({"maxReplicas": 7}), [0, 7, 1, 0, 0]),
        ("clear_cache", "Service", "web", json!({}), [0, 0, 0, 1, 0]),
        ("cordon_node", "Node", "n1", json!({}), [0, 0, 0, 0, 1]),
        ("remove_taint", "Node", "n1", json!({"key": "a"}), [0, 0, 0, 0, 1]),
        // The DaemonSet's pod stays.
        ("drain_node", "Node", "n1", json!({}), [1, 3, 1, 1, 1]),
        ("run_script", "Deployment", "web", json!({}), [3, 3, 1, 1, 0]),
        ("run_script", "ConfigMap", "settings", json!({}), [0, 0, 0, 0, 0]),
        ("rollback_deployment", "Deployment", "gone", json!({"toRevision": 1}), [0, 0, 0, 0, 0]),
    ] {
        let (reach, _) = reach(action, kind, name, parameters.clone()).await;
        assert_eq!(numbers(&reach), expect, "{action} on {kind}/{name} with {parameters}");
    }
}

#[tokio::test]
async fn a_service_reaches_the_workloads_that_own_its_pods() {
    let (reach, _) = reach("restart_service", "Service", "web", json!({})).await;
    // The pod of the DaemonSet that is gone meanwhile counts as one workload more.
    assert_eq!(numbers(&reach), [2, 3, 2, 1, 0]);
    assert_eq!(reach.workloads.iter().map(|one| one.workload.name.as_str()).collect::<Vec<_>>(), ["web"]);
    assert!(reach.workloads[0].watched);
}

#[tokio::test]
async fn the_pools_are_counted_and_the_pods_of_a_namespace_not_even_sent() {
    let (of_pods, log) = reach("rollback_deployment", "Deployment", "web", json!({"toRevision": 1})).await;
    assert_eq!(of_pods.pods_in_namespace, Some(40));
    let lists =
        log.lock().unwrap().iter().filter(|(_, path, _)| path.starts_with("/api/v1/namespaces/shop/pods")).count();
    assert_eq!(lists, 1, "one page is enough");
    let (of_nodes, _) = reach("cordon_node", "Node", "n1", json!({})).await;
    assert_eq!((of_nodes.nodes_in_cluster, of_nodes.nodes_out), (Some(2), 1), "n2 is cordoned already");
}
