//! The operator dies, or its API server goes wrong, at one write after the other: the end is always that of a
//! clean run, and the target saw exactly one effect.
//!
//! `SWEEP=all` takes every write with every fault; otherwise a spread of them, each fault in turn.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use kubernaut_api::{Outcome, RequestPhase, labels};
use kubernaut_testkit::app::Strategy;
use kubernaut_testkit::{Alert, App, Fault, Namespace, Operator, Process, Proxy, Remediation, until};
use serde_json::json;

/// How long a remediation may take while its operator dies.
const LIMIT: Duration = Duration::from_mins(3);
/// How many cases are taken from all that there are.
const SAMPLE: usize = 12;
const FAULTS: [Fault; 5] =
    [Fault::CrashBefore, Fault::CrashAfter, Fault::LoseAnswer(504), Fault::Refuse(500), Fault::Refuse(429)];

/// What happened, without names and times: of each object its phases in order.
fn story(remediation: &Remediation) -> BTreeMap<&'static str, Vec<String>> {
    let mut story: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for step in remediation.steps() {
        story.entry(step.noun).or_default().push(format!("{} {}", step.transition.to, step.transition.reason));
    }
    story
}

/// An application that cannot pull its image, and one of its pods.
struct Broken<'a> {
    app: App<'a>,
    pod: String,
}

async fn broken<'a>(namespace: &'a Namespace, name: &str) -> Result<Broken<'a>> {
    let app = App::healthy(namespace, name, Strategy::Rolling).await?;
    app.break_image().await?;
    let pod = app.pod_without_image().await?;
    Ok(Broken { app, pod })
}

/// From the alert to the end, as Alertmanager would see to it: what is not taken is sent again.
async fn remediated(operator: &Operator, gateway: &str, broken: &Broken<'_>) -> Result<Remediation> {
    let firing = Alert::about_pod(&broken.app.namespace.name, &broken.pod);
    let send = |alert: Alert| async move {
        until("the alert is taken", LIMIT, || async {
            let answer = operator.alert_at(gateway, std::slice::from_ref(&alert)).await?;
            ensure!(answer.code < 300, "{answer:?}");
            Ok(answer.only()?["request"].as_str().map(str::to_owned))
        })
        .await
    };
    let resolved = firing.resolved();
    let request = send(firing).await?.context("an alert that is taken has a request")?;
    operator.reached(&request, RequestPhase::Verifying, LIMIT).await?;
    send(resolved).await?;
    operator.ended(&request, LIMIT).await
}

/// Fails unless the target saw one effect, nothing is held, and the records are whole.
async fn holds(broken: &Broken<'_>, remediation: &Remediation) -> Result<()> {
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
    remediation.check()?;
    ensure!(
        (remediation.executions.len(), remediation.jobs.len()) == (1, 1),
        "one execution with one Job:\n{}",
        remediation.history()
    );
    ensure!(broken.app.generation().await? == 3, "made, broken, mended: each once");
    let changed_by = broken.app.deployment().await?.annotations().get(labels::CHANGED_BY).cloned();
    ensure!(changed_by == remediation.executions[0].metadata.name, "changed by {changed_by:?}");
    Ok(())
}

/// Waits until the only Job is let go of: nothing is stuck.
async fn let_go(operator: &Operator, remediation: &Remediation) -> Result<()> {
    until("its Job is let go of", LIMIT, || async {
        let now = operator.remediation(&remediation.request.name_any()).await?;
        ensure!(now.jobs.iter().all(|job| job.finalizers().is_empty()), "a finalizer is still there");
        Ok(())
    })
    .await
}

/// Every write with every fault, or a spread of them.
fn cases(writes: usize) -> Vec<(usize, Fault)> {
    let all: Vec<_> = (1..=writes).flat_map(|at| FAULTS.map(|fault| (at, fault))).collect();
    if std::env::var("SWEEP").is_ok_and(|sweep| sweep == "all") {
        return all;
    }
    // A step that has no factor in common with the number of faults meets each of them.
    let step = (all.len() / SAMPLE).max(1);
    let step = if step.is_multiple_of(FAULTS.len()) { step + 1 } else { step };
    all.into_iter().step_by(step).collect()
}

#[tokio::test]
async fn whatever_goes_wrong_at_whichever_write_the_end_is_that_of_a_clean_run() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "sweep").await?;
    // The installed one would do the work of the one that dies.
    let deployments = operator.api::<Deployment>();
    let replicas = |count: u32| Patch::Merge(json!({ "spec": { "replicas": count } }));
    deployments.patch(&operator.name, &PatchParams::default(), &replicas(0)).await?;
    until("the installed operator has ended", LIMIT, || async {
        let pods = operator.pods().await?;
        ensure!(pods.is_empty(), "{} pods are there", pods.len());
        Ok(())
    })
    .await?;
    let result = Box::pin(sweep(&operator, &namespace)).await;
    deployments.patch(&operator.name, &PatchParams::default(), &replicas(1)).await?;
    operator.is_ready(1).await?;
    result
}

/// A remediation whose operator is killed when the fault says so.
async fn through(
    operator: &Operator,
    proxy: &Proxy,
    process: &mut Process,
    fault: Fault,
    broken: &Broken<'_>,
) -> Result<Remediation> {
    let gateway = process.gateway.clone();
    let crash = async {
        proxy.struck().await;
        if matches!(fault, Fault::CrashBefore | Fault::CrashAfter) {
            process.crash().await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let work = remediated(operator, &gateway, broken);
    let (mut crash, mut work) = (std::pin::pin!(crash), std::pin::pin!(work));
    tokio::select! {
        ended = &mut work => ended,
        crashed = &mut crash => {
            crashed?;
            work.await
        }
    }
}

async fn sweep(operator: &Operator, namespace: &Namespace) -> Result<()> {
    let proxy = Proxy::start(&operator.cluster).await?;
    let mut process = Process::through(operator, &proxy.kubeconfig).await?;
    let gateway = process.gateway.clone();

    proxy.learn();
    let first = broken(namespace, "clean").await?;
    let clean = remediated(operator, &gateway, &first).await?;
    holds(&first, &clean).await?;
    let_go(operator, &clean).await?;
    let (writes, made) = (proxy.writes().len(), proxy.made_and_deleted());
    println!("a clean run has {writes} writes: {made:?}");

    let cases = cases(writes);
    // A few at a time, so that breaking them does not crowd the node.
    let mut struck = 0;
    for some in cases.chunks(4) {
        let apps = some.iter().map(|(at, fault)| {
            let name = format!("{fault:?}-{at}").to_lowercase().replace(['(', ')'], "");
            async move { broken(namespace, &name).await }
        });
        for ((at, fault), app) in some.iter().zip(try_join_all(apps).await?) {
            proxy.arm(*at, *fault);
            let remediation = through(operator, &proxy, &mut process, *fault, &app).await;
            let case = format!("{fault:?} at write {at} of {writes}");
            let remediation = remediation.with_context(|| case.clone())?;
            let check = async {
                holds(&app, &remediation).await?;
                let_go(operator, &remediation).await?;
                ensure!(
                    story(&remediation) == story(&clean),
                    "another story than in a clean run:\n{}",
                    remediation.history()
                );
                kubernaut_testkit::proxy::same_writes(&made, &proxy.made_and_deleted())
            };
            check.await.with_context(|| format!("{case}\n{}", process.log()))?;
            struck += usize::from(proxy.has_struck());
        }
    }
    // The number of writes may differ by one or two from run to run, so the last ones may not come.
    ensure!(struck * 10 >= cases.len() * 9, "only {struck} of {} faults struck", cases.len());
    println!("{struck} of {} faults struck", cases.len());
    Ok(())
}
