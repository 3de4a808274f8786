//! `make bench`: the numbers of docs/performance.md, measured on the cluster under test, as a Markdown table.
//!
//! Nothing is asserted about time: the machine is shared. RUNS sets how many remediations are measured.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use kubernaut_api::{Outcome, RequestPhase, labels};
use kubernaut_testkit::app::Strategy;
use kubernaut_testkit::{Alert, App, Namespace, Operator, Process, until};

const PATIENCE: Duration = Duration::from_mins(2);

/// When the Job of each request was first seen.
type Sightings = Arc<Mutex<HashMap<String, Instant>>>;

fn main() -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(bench())
}

async fn bench() -> Result<()> {
    let runs: usize = std::env::var("RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let operator = Operator::installed().await?;
    let pods = operator.pods().await?;
    let pod = pods.first().context("the operator has a pod")?;
    println!("| What | Value |\n|---|---|");
    println!("| Image | {} |", image_size(&operator, pod).await?);
    println!("| Process start to ready, median of 5 | {} |", start_to_ready(&operator).await?);
    println!("| Resident memory before | {} |", resident_memory(&operator).await?);

    let namespace = Namespace::managed(&operator.cluster, "bench").await?;
    let seen = Sightings::default();
    let watch = tokio::spawn(watch_jobs(operator.clone(), seen.clone()));
    let writes_before = writes(&operator)?;
    let (mut to_job, mut to_end) = (vec![], vec![]);
    for run in 0..runs {
        let app = App::healthy(&namespace, &format!("app-{run}"), Strategy::Rolling).await?;
        // The old pod serves until the new one has run for a while, which it never does.
        let patient = r#"{"spec":{"minReadySeconds":5}}"#;
        operator.cluster.kubectl(["patch", "deployment", &app.name, "-n", &namespace.name, "-p", patient]).await?;
        app.break_command().await?;
        let alert = Alert::about_pod(&namespace.name, &app.crashing_pod().await?);
        let posted = Instant::now();
        let request = operator.alert(std::slice::from_ref(&alert)).await?.created()?;
        let job = until("its Job is made", PATIENCE, || async {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.get(&request).copied().context("no Job yet")
        });
        to_job.push(job.await?.duration_since(posted));
        operator.reached(&request, RequestPhase::Verifying, PATIENCE).await?;
        operator.alert(&[alert.resolved()]).await?;
        let remediation = operator.ended(&request, PATIENCE).await?;
        to_end.push(posted.elapsed());
        let end = remediation.end();
        ensure!(end == (Some(RequestPhase::Completed), Some(Outcome::Remediated)), "{}", remediation.history());
        eprintln!("run {}: Job after {:?}, healed after {:?}", run + 1, to_job[run], to_end[run]);
    }
    watch.abort();
    let writes_after = writes(&operator)?;

    println!(
        "| Alert posted to Job created, of {runs}: p50, p99 | {}, {} |",
        quantile(&mut to_job, 50),
        quantile(&mut to_job, 99)
    );
    println!(
        "| Alert posted to proven fix, of {runs}: p50, p99 | {}, {} |",
        quantile(&mut to_end, 50),
        quantile(&mut to_end, 99)
    );
    println!("| Resident memory after {runs} remediations | {} |", resident_memory(&operator).await?);
    if let (Some(before), Some(after)) = (writes_before, writes_after) {
        let mut total = 0;
        let mut parts = vec![];
        for (what, count) in &after {
            let count = count - before.get(what).copied().unwrap_or(0);
            total += count;
            if count > 0 {
                parts.push(format!("{what} {}", per(count, runs)));
            }
        }
        println!("| Own API writes per remediation | {} ({}) |", per(total, runs), parts.join(", "));
    }
    Ok(())
}

/// Notes when the Job of each request is first seen.
async fn watch_jobs(operator: Operator, seen: Sightings) {
    let config = watcher::Config::default().labels(labels::REQUEST);
    watcher(operator.api::<Job>(), config)
        .default_backoff()
        .applied_objects()
        .for_each(|job| async {
            let Ok(job) = job else { return };
            if let Some(request) = job.labels().get(labels::REQUEST) {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.entry(request.clone()).or_insert_with(Instant::now);
            }
        })
        .await;
}

/// Writes of the operator's own ServiceAccount but for leases, by verb and resource, from the local cluster's
/// audit log; `None` where there is none.
fn writes(operator: &Operator) -> Result<Option<BTreeMap<String, usize>>> {
    let path = operator.cluster.root.join(".local/cluster/log/audit.json");
    if !operator.cluster.is_local() || !path.exists() {
        return Ok(None);
    }
    let user = format!("system:serviceaccount:{}:{}", operator.namespace, operator.name);
    let mut counts = BTreeMap::new();
    for line in std::fs::read_to_string(&path)?.lines() {
        let Ok(entry) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let object = &entry["objectRef"];
        if entry["user"]["username"] != user.as_str() || object["resource"] == "leases" {
            continue;
        }
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let subresource = object["subresource"].as_str().map_or_else(String::new, |name| format!("/{name}"));
        let what = format!("{} {}{subresource}", text(&entry["verb"]), text(&object["resource"]));
        *counts.entry(what).or_insert(0) += 1;
    }
    Ok(Some(counts))
}

#[allow(clippy::cast_precision_loss)] // counts are small
fn per(count: usize, runs: usize) -> String {
    format!("{:.1}", count as f64 / runs as f64)
}

fn quantile(durations: &mut [Duration], percent: usize) -> String {
    durations.sort();
    let index = (durations.len() * percent).div_ceil(100).max(1) - 1;
    format!("{:.2} s", durations[index].as_secs_f64())
}

async fn resident_memory(operator: &Operator) -> Result<String> {
    let path = format!("/api/v1/namespaces/{}/services/{}:9090/proxy/metrics", operator.namespace, operator.name);
    let metrics = operator.cluster.kubectl(["get", "--raw", &path]).await?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    let bytes: f64 = line.context("the metric of resident memory")?.parse()?;
    Ok(format!("{:.1} MiB", bytes / 1_048_576.0))
}

async fn start_to_ready(operator: &Operator) -> Result<String> {
    let mut took = vec![];
    for _ in 0..5 {
        let begun = Instant::now();
        let process = Process::start(operator).await?;
        took.push(begun.elapsed());
        drop(process);
    }
    Ok(quantile(&mut took, 50))
}

async fn image_size(operator: &Operator, pod: &Pod) -> Result<String> {
    let image = pod.spec.as_ref().and_then(|spec| spec.containers.first()).and_then(|one| one.image.clone());
    let image = image.context("the operator's container has an image")?;
    let nodes = Api::<Node>::all(operator.cluster.client.clone()).list(&ListParams::default()).await?;
    let known = nodes.items.into_iter().filter_map(|node| node.status?.images).flatten();
    let size = known.filter(|one| one.names.iter().flatten().any(|name| *name == image)).find_map(|one| one.size_bytes);
    #[allow(clippy::cast_precision_loss)] // far below 2^53
    Ok(size.map_or_else(|| "unknown".into(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6)))
}
