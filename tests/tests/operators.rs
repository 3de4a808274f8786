//! More than one operator, and operators that die: never a second effect, always the same end.
//!
//! One test after the other: each disturbs the operator of all.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use kubernaut_api::{Outcome, RemediationRequest, RequestPhase};
use kubernaut_testkit::app::Strategy;
use kubernaut_testkit::{Alert, App, Namespace, Operator, Process, Remediation, until};
use serde_json::json;
use tokio::sync::Mutex;

/// Held by the test that runs.
static ALONE: Mutex<()> = Mutex::const_new(());
/// How long a remediation may take while operators die and are restarted.
const LIMIT: Duration = Duration::from_mins(3);
/// From the death of a leader until another leads.
const FAIL_OVER: Duration = Duration::from_secs(20);

/// Fails unless it ended well, with one request, one Job and one change of the target.
async fn one_effect(operator: &Operator, app: &App<'_>, remediation: &Remediation) -> Result<()> {
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
    remediation.check()?;
    assert_eq!((remediation.executions.len(), remediation.jobs.len()), (1, 1), "{}", remediation.history());
    assert_eq!(app.generation().await?, 3, "made, broken, mended: each once");
    let all = operator.api::<RemediationRequest>().list(&ListParams::default()).await?.items;
    let fingerprint = &remediation.request.spec.signal.fingerprint;
    let same: Vec<_> = all.iter().filter(|request| request.spec.signal.fingerprint == *fingerprint).collect();
    assert_eq!(same.len(), 1, "{:?}", same.iter().map(|request| request.name_any()).collect::<Vec<_>>());
    app.is_healthy(Duration::from_secs(10)).await
}

#[tokio::test]
async fn two_operators_at_once_do_everything_once() -> Result<()> {
    let _alone = ALONE.lock().await;
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "two").await?;
    let second = Process::start(&operator).await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    app.break_image().await?;
    let alerts = [Alert::about_pod(&namespace.name, &app.pod_without_image().await?)];

    // Highly available Alertmanagers send the same to everyone.
    let (here, there) = tokio::join!(operator.alert(&alerts), operator.alert_at(&second.gateway, &alerts));
    let (here, there) = (here?, there?);
    let mut statuses = [here.only()?["status"].clone(), there.only()?["status"].clone()];
    statuses.sort_by_key(ToString::to_string);
    assert_eq!(statuses, [json!("created"), json!("duplicate")]);
    let request = here.only()?["request"].clone();
    assert_eq!(request, there.only()?["request"]);

    let remediation = operator.ended(request.as_str().unwrap_or_default(), LIMIT).await?;
    one_effect(&operator, &app, &remediation).await.inspect_err(|_| eprintln!("the second said:\n{}", second.log()))
}

#[tokio::test]
async fn an_operator_that_is_killed_again_and_again_ends_what_it_began() -> Result<()> {
    let _alone = ALONE.lock().await;
    let operator = Operator::installed().await?;
    operator.is_ready(1).await?;
    let namespace = Namespace::managed(&operator.cluster, "killed").await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    app.break_image().await?;
    let pod = app.pod_without_image().await?;
    let request = operator.alert(&[Alert::about_pod(&namespace.name, &pod)]).await?.created()?;
    // Durable before it was answered: a death right after loses nothing.
    operator.signal(&operator.leader().await?, "SIGKILL").await?;
    for phase in [RequestPhase::Executing, RequestPhase::Verifying] {
        operator.reached(&request, phase, LIMIT).await?;
        operator.signal(&operator.leader().await?, "SIGKILL").await?;
    }
    let remediation = operator.ended(&request, LIMIT).await?;
    one_effect(&operator, &app, &remediation).await?;
    operator.is_ready(1).await
}

#[tokio::test]
async fn a_leader_that_hangs_is_replaced_in_time_and_leads_no_more() -> Result<()> {
    let _alone = ALONE.lock().await;
    let operator = Operator::installed().await?;
    operator.is_ready(1).await?;
    scale(&operator, 2).await?;
    operator.is_ready(2).await?;
    let old = operator.leader().await?;
    let namespace = Namespace::managed(&operator.cluster, "hang").await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    app.break_image().await?;
    let alerts = [Alert::about_pod(&namespace.name, &app.pod_without_image().await?)];

    operator.signal(&old, "SIGSTOP").await?;
    let new = until("another leads", FAIL_OVER, || async {
        let leader = operator.leader().await?;
        ensure!(leader != old, "{old} still does");
        Ok(leader)
    })
    .await;
    // The alert may meet the one that hangs; Alertmanager sends it again then, as is done here.
    let request = until("the alert is taken", LIMIT, || async {
        let answer = operator.alert(&alerts).await?;
        ensure!(answer.code < 300, "{answer:?}");
        let request = answer.only()?["request"].as_str().map(str::to_owned);
        Ok(request.unwrap_or_default())
    })
    .await;
    if operator.cluster.is_local() {
        operator.signal(&old, "SIGCONT").await?;
    }
    let (new, request) = (new?, request?);
    let remediation = operator.ended(&request, LIMIT).await?;
    one_effect(&operator, &app, &remediation).await?;
    ensure!(operator.leader().await? == new, "{new} does not lead any more");
    scale(&operator, 1).await?;
    operator.is_ready(1).await
}

async fn scale(operator: &Operator, replicas: u32) -> Result<()> {
    let deployments = operator.api::<k8s_openapi::api::apps::v1::Deployment>();
    let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    deployments.patch(&operator.name, &PatchParams::default(), &patch).await?;
    Ok(())
}
