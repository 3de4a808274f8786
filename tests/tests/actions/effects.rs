//! The actions on workloads, pods, configuration, autoscalers and Services.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use kubernaut_api::execution::Effect;
use kubernaut_testkit::app::Strategy;
use kubernaut_testkit::{App, Namespace, Operator, objects, until};
use serde_json::json;

use crate::{Run, operator, target, value};

const LIMIT: Duration = Duration::from_secs(90);

/// A namespace with an application that is well.
async fn begin(purpose: &str) -> Result<(Operator, Namespace)> {
    let operator = operator().await?;
    let namespace = Namespace::managed(&operator.cluster, purpose).await?;
    Ok((operator, namespace))
}

async fn pods(namespace: &Namespace) -> Result<Vec<Pod>> {
    let api = Api::<Pod>::namespaced(namespace.cluster.client.clone(), &namespace.name);
    Ok(api.list(&ListParams::default()).await?.items)
}

#[tokio::test]
async fn scale_deployment_sets_a_number_and_takes_it_back() -> Result<()> {
    let (operator, namespace) = begin("scale").await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    let target = target(&operator, "Deployment", Some(&namespace.name), "app").await?;
    let run = Run::new(&operator, "scale_deployment", target.clone(), &json!({ "replicas": 2 }));
    run.is_forbidden_to("clear_cache").await?;
    assert_eq!(app.generation().await?, 1, "refused: not touched");
    let result = run.changes().await?;
    assert_eq!(value(&operator, &target, "{.spec.replicas}").await?, "2");
    let mark = result.target.clone().expect("as it was left");
    assert_eq!((mark.generation, mark.changed_by.as_deref()), (Some(2), Some(run.input.execution.as_str())));
    run.changes_and_is_undone().await?;
    assert_eq!(value(&operator, &target, "{.spec.replicas}").await?, "1");
    Ok(())
}

#[tokio::test]
async fn update_resources_sets_quantities_and_takes_them_back() -> Result<()> {
    let (operator, namespace) = begin("resources").await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    let before = app.container().await?;
    let target = target(&operator, "Deployment", Some(&namespace.name), "app").await?;
    let parameters = json!({ "container": "app", "memoryRequest": "6Mi", "cpuRequest": "2m" });
    let run = Run::new(&operator, "update_resources", target.clone(), &parameters);
    run.is_forbidden_to("clear_cache").await?;
    run.changes_and_is_undone().await?;
    assert_eq!(app.container().await?["resources"], before["resources"]);
    app.is_healthy(LIMIT).await
}

#[tokio::test]
async fn rollback_deployment_goes_back_and_forth_by_revision() -> Result<()> {
    let (operator, namespace) = begin("revision").await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    let good = app.container().await?;
    app.break_image().await?;
    let bad = app.container().await?;
    app.pod_without_image().await?;
    let target = target(&operator, "Deployment", Some(&namespace.name), "app").await?;
    let run = Run::new(&operator, "rollback_deployment", target, &json!({ "toRevision": 1, "fromRevision": 2 }));
    run.is_forbidden_to("clear_cache").await?;
    let result = run.changes().await?;
    assert_eq!(app.container().await?, good);
    app.is_healthy(LIMIT).await?;
    let undoing = run.undoing(run.inverse(&result)?);
    Run { operator: &operator, input: undoing }.changes().await?;
    assert_eq!(app.container().await?, bad, "its inverse brings the revision before back, whatever that was");
    Ok(())
}

#[tokio::test]
async fn restart_pod_has_one_pod_made_anew_and_delete_pod_ends_one_for_good() -> Result<()> {
    let (operator, namespace) = begin("pods").await?;
    App::healthy(&namespace, "app", Strategy::Rolling).await?;
    let old = pods(&namespace).await?.remove(0);
    let workload = target(&operator, "Deployment", Some(&namespace.name), "app").await?;
    let parameters = json!({ "pod": old.name_any(), "uid": old.uid() });
    let run = Run::new(&operator, "restart_pod", workload, &parameters);
    run.is_forbidden_to("clear_cache").await?;
    run.changes().await?;
    until("the pod is made anew", LIMIT, || async {
        let now = pods(&namespace).await?;
        ensure!(now.len() == 1 && now[0].uid() != old.uid(), "{:?}", now.iter().map(Pod::name_any).collect::<Vec<_>>());
        Ok(())
    })
    .await?;
    let again = run.under("restart_pod").await?;
    assert_eq!(again.effect, Effect::None, "by its uid a second run meets no other pod: {again:?}");

    let bare = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "bare" },
        "spec": { "terminationGracePeriodSeconds": 1, "containers": [
            { "name": "app", "image": objects::image(), "command": ["sleep", "86400"] },
        ] },
    });
    objects::create(&operator.cluster, &namespace.name, &bare).await?;
    let bare = target(&operator, "Pod", Some(&namespace.name), "bare").await?;
    let restart = Run::new(&operator, "restart_pod", bare.clone(), &json!({}));
    let refused = restart.under("restart_pod").await?;
    assert_eq!(refused.error.as_deref(), Some("NotControlled"), "nothing would make it anew");
    let delete = Run::new(&operator, "delete_pod", bare, &json!({}));
    delete.is_forbidden_to("clear_cache").await?;
    delete.changes().await?;
    until("the pod is gone", LIMIT, || async {
        ensure!(pods(&namespace).await?.iter().all(|pod| pod.name_any() != "bare"), "it is still there");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn update_config_writes_keys_and_restarts_who_reads_them_and_nobody_else() -> Result<()> {
    let (operator, namespace) = begin("config").await?;
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" },
        "data": { "level": "info", "other": "kept" },
    });
    objects::create(&operator.cluster, &namespace.name, &settings).await?;
    let reader = App::healthy(&namespace, "reader", Strategy::Rolling).await?;
    reader.roll_out(&json!({ "envFrom": [{ "configMapRef": { "name": "settings" } }] })).await?;
    reader.is_healthy(LIMIT).await?;
    let bystander = App::healthy(&namespace, "bystander", Strategy::Rolling).await?;

    let config = target(&operator, "ConfigMap", Some(&namespace.name), "settings").await?;
    // The kubelet would take `$$` for `$` in a Job's environment if it were not doubled there; here it is data anyway.
    let run = Run::new(
        &operator,
        "update_config",
        config.clone(),
        &json!({ "data": { "level": "$$debug $(HOME)", "new": "1" } }),
    );
    run.is_forbidden_to("clear_cache").await?;
    let result = run.changes().await?;
    assert_eq!(value(&operator, &config, "{.data.level}|{.data.new}|{.data.other}").await?, "$$debug $(HOME)|1|kept");
    assert_eq!((reader.generation().await?, bystander.generation().await?), (3, 1));
    reader.is_healthy(LIMIT).await?;
    let own = crate::client(&operator, "update_config").await?;
    assert_eq!(kubernaut_actions::check(own, &run.input).await, kubernaut_actions::Check::Holds);

    Run { operator: &operator, input: run.undoing(run.inverse(&result)?) }.changes().await?;
    assert_eq!(value(&operator, &config, "{.data.level}|{.data.new}|{.data.other}").await?, "info||kept");
    assert_eq!((reader.generation().await?, bystander.generation().await?), (4, 1));
    Ok(())
}

#[tokio::test]
async fn update_hpa_sets_bounds_and_takes_them_back() -> Result<()> {
    let (operator, namespace) = begin("hpa").await?;
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "app" },
        "spec": { "minReplicas": 1, "maxReplicas": 2, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "app" } },
    });
    objects::create(&operator.cluster, &namespace.name, &autoscaler).await?;
    let target = target(&operator, "HorizontalPodAutoscaler", Some(&namespace.name), "app").await?;
    let run = Run::new(&operator, "update_hpa", target.clone(), &json!({ "maxReplicas": 4 }));
    run.is_forbidden_to("scale_deployment").await?;
    run.changes().await?;
    assert_eq!(value(&operator, &target, "{.spec.minReplicas}-{.spec.maxReplicas}").await?, "1-4");
    run.changes_and_is_undone().await?;
    assert_eq!(value(&operator, &target, "{.spec.minReplicas}-{.spec.maxReplicas}").await?, "1-2");
    Ok(())
}

#[tokio::test]
async fn a_service_has_its_workloads_restarted_and_its_cache_cleared_by_the_endpoint_it_declares() -> Result<()> {
    let (operator, namespace) = begin("service").await?;
    let program = "busybox mkdir -p /tmp/www/cgi-bin && cd /tmp/www && \
                   printf '#!/bin/sh\\nprintf \"%%s %%s\" \"$REQUEST_METHOD\" \"$HTTP_IDEMPOTENCY_KEY\" >/tmp/www/cleared\\n\
                   printf \"Status: 204 Cleared\\\\r\\\\n\\\\r\\\\n\"\\n' >cgi-bin/clear && busybox chmod +x cgi-bin/clear && \
                   exec busybox httpd -f -p 8080 -h /tmp/www";
    let app = App::healthy(&namespace, "shop", Strategy::Rolling).await?;
    app.roll_out(&json!({
        "command": ["sh", "-c", program], "ports": [{ "containerPort": 8080 }],
        "readinessProbe": { "tcpSocket": { "port": 8080 }, "periodSeconds": 1 },
    }))
    .await?;
    app.is_healthy(LIMIT).await?;
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "shop", "annotations": { "kubernaut.io/clear-cache": "POST /cgi-bin/clear" } },
        "spec": { "selector": { "app": "shop" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
    });
    objects::create(&operator.cluster, &namespace.name, &service).await?;
    let service = target(&operator, "Service", Some(&namespace.name), "shop").await?;

    let clear = Run::new(&operator, "clear_cache", service.clone(), &json!({}));
    clear.is_forbidden_to("cordon_node").await?;
    until("the cache is cleared", LIMIT, || async { clear.changes().await.map(|_| ()) }).await?;
    let said = operator
        .cluster
        .kubectl(["exec", "-n", &namespace.name, "deployment/shop", "--", "cat", "/tmp/www/cleared"])
        .await?;
    assert_eq!(said, format!("POST {}", clear.input.execution));

    let before = app.generation().await?;
    let restart = Run::new(&operator, "restart_service", service, &json!({}));
    restart.is_forbidden_to("clear_cache").await?;
    restart.changes().await?;
    assert_eq!(app.generation().await?, before + 1);
    app.is_healthy(LIMIT).await?;
    let again = restart.under("restart_service").await?;
    assert_eq!(app.generation().await?, before + 1, "a second run restarts nothing: {again:?}");
    Ok(())
}
