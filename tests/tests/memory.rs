//! What the operator keeps in memory does not grow with what lies in the namespaces that it looks at.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use kubernaut_api::{ObjectMeta, RequestPhase};
use kubernaut_testkit::app::{CONTAINER, Strategy};
use kubernaut_testkit::{Alert, App, Namespace, Operator};
use serde_json::json;

/// ConfigMaps in the namespace.
const MAPS: usize = 100;
/// Size of each, in bytes.
const SIZE: usize = 1_000_000;
/// How much the operator's resident memory may grow by, in MiB. The ConfigMaps are 95 MiB.
const BOUND: f64 = 24.0;
/// How many of them the application mounts.
const MOUNTED: usize = 3;
/// How long one request may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// Resident memory of the operator's process, in MiB, as it says itself.
async fn resident(operator: &Operator) -> Result<f64> {
    let path =
        format!("/api/v1/namespaces/{}/pods/{}:9090/proxy/metrics", operator.namespace, operator.leader().await?);
    let told = operator.cluster.kubectl(["get", "--raw", &path]).await?;
    let line = told.lines().find(|line| line.starts_with("process_resident_memory_bytes"));
    let bytes = line.and_then(|line| line.rsplit(' ').next()).context("the process tells its memory")?;
    Ok(bytes.parse::<f64>()? / f64::from(1 << 20))
}

/// Reports that an application crashes, and waits for the evidence: how many ConfigMaps it tells of.
async fn look_at(operator: &Operator, app: &App<'_>) -> Result<usize> {
    let pod = app.crashing_pod().await?;
    let alert = Alert::about_pod(&app.namespace.name, &pod);
    let request = operator.alert(&[alert]).await?.created()?;
    let remediation = operator.reached(&request, RequestPhase::Analyzing, LIMIT).await?;
    let status = remediation.processing.and_then(|processing| processing.status);
    Ok(status.and_then(|status| status.evidence).map_or(0, |evidence| evidence.configs.len()))
}

#[tokio::test]
async fn a_hundred_large_config_maps_in_a_namespace_do_not_grow_the_operator() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "memory").await?;
    let first = App::healthy(&namespace, "first", Strategy::Recreate).await?;
    let second = App::healthy(&namespace, "second", Strategy::Recreate).await?;
    first.break_command().await?;
    look_at(&operator, &first).await?;
    let before = resident(&operator).await?;

    let maps = Api::<ConfigMap>::namespaced(operator.cluster.client.clone(), &namespace.name);
    let make = |number: usize| {
        let metadata = ObjectMeta { name: Some(format!("large-{number}")), ..ObjectMeta::default() };
        let map =
            ConfigMap { metadata, data: Some([("text".to_owned(), "x".repeat(SIZE))].into()), ..ConfigMap::default() };
        let maps = maps.clone();
        async move { maps.create(&PostParams::default(), &map).await.map(|_| ()) }
    };
    stream::iter(0..MAPS).map(make).buffer_unordered(4).try_collect::<()>().await?;
    let name = |number: usize| format!("large-{number}");
    let volumes: Vec<_> =
        (0..MOUNTED).map(|number| json!({"name": name(number), "configMap": {"name": name(number)}})).collect();
    let mounts: Vec<_> =
        (0..MOUNTED).map(|number| json!({"name": name(number), "mountPath": format!("/large/{number}")})).collect();
    let container = json!({"name": CONTAINER, "command": ["false"], "volumeMounts": mounts});
    let patch = json!({"spec": {"template": {"spec": {"volumes": volumes, "containers": [container]}}}}).to_string();
    operator.cluster.kubectl(["patch", "deployment", "second", "-n", &namespace.name, "-p", &patch]).await?;
    assert_eq!(look_at(&operator, &second).await?, MOUNTED, "those that are mounted were read");

    let after = resident(&operator).await?;
    eprintln!("resident memory: {before:.1} MiB before, {after:.1} MiB after");
    ensure!(after - before <= BOUND, "it grew from {before:.1} to {after:.1} MiB");
    Ok(())
}
