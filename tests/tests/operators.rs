//! More than one operator, and operators that die: never a second effect, always the same end.
//!
//! One test after the other: each disturbs the operator of all.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use kubernaut_api::{ObjectMeta, Outcome, RemediationRequest, RequestPhase};
use kubernaut_testkit::app::Strategy;
use kubernaut_testkit::{Alert, App, Namespace, Operator, Process, Remediation, fault, pods, until};
use serde_json::json;
use tokio::sync::Mutex;

/// The CustomResourceDefinition of a kind without which nothing can be done.
const EXECUTIONS: &str = "kubernetesexecutions.kubernaut.io";
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

#[tokio::test]
async fn a_kind_that_goes_and_comes_back_stops_nothing_else_and_nothing_is_done_twice() -> Result<()> {
    let _alone = ALONE.lock().await;
    let operator = Operator::installed().await?;
    operator.is_ready(1).await?;
    let namespace = Namespace::managed(&operator.cluster, "kind").await?;
    let done = App::healthy(&namespace, "done", Strategy::Rolling).await?;
    let begun = App::healthy(&namespace, "begun", Strategy::Recreate).await?;
    let well = App::healthy(&namespace, "well", Strategy::Rolling).await?;
    done.break_image().await?;
    let alert = Alert::about_pod(&namespace.name, &done.pod_without_image().await?);
    let first = operator.ended(&operator.alert(&[alert]).await?.created()?, LIMIT).await?;
    one_effect(&operator, &done, &first).await?;
    begun.break_image().await?;
    let alert = Alert::about_pod(&namespace.name, &begun.pod_without_image().await?);
    let second = operator.alert(&[alert]).await?.created()?;
    let approval = fault::asked(&operator, &second).await?;
    let before = runs(&operator).await?;

    let crds = Api::<CustomResourceDefinition>::all(operator.cluster.client.clone());
    let mut crd = crds.get(EXECUTIONS).await?;
    // As it was, with what tells Helm that it is its own.
    let ObjectMeta { name, labels, annotations, .. } = std::mem::take(&mut crd.metadata);
    crd.metadata = ObjectMeta { name, labels, annotations, ..ObjectMeta::default() };
    crd.status = None;
    crds.delete(EXECUTIONS, &DeleteParams::default()).await?;
    let gone = until("the kind is gone", LIMIT, || async {
        let found = crds.get_opt(EXECUTIONS).await?;
        ensure!(found.is_none(), "{:?}", found.and_then(|crd| crd.status).and_then(|status| status.conditions));
        Ok(())
    })
    .await;
    let meanwhile = async {
        gone?;
        operator.approve(&approval).await?;
        // What needs no execution goes on.
        let alert = Alert::about_deployment(&namespace.name, &well.name);
        let request = operator.alert(&[alert]).await?.created()?;
        // The executions that belong to it cannot be listed now.
        until("it has ended", LIMIT, || async {
            let status = operator.api::<RemediationRequest>().get(&request).await?.status.unwrap_or_default();
            ensure!(status.outcome == Some(Outcome::NoActionRequired), "{:?} {:?}", status.phase, status.outcome);
            Ok(())
        })
        .await
    }
    .await;
    // Whatever happened, the tests after this one need it.
    until("the kind is back", LIMIT, || async {
        if crds.get_opt(EXECUTIONS).await?.is_none_or(|crd| crd.metadata.deletion_timestamp.is_some()) {
            crds.create(&PostParams::default(), &crd).await?;
        }
        Ok(())
    })
    .await?;
    meanwhile?;

    let remediation = operator.ended(&second, LIMIT).await?;
    one_effect(&operator, &begun, &remediation).await?;
    assert_eq!(done.generation().await?, 3, "what was done is not done again");
    let again = operator.remediation(&first.request.name_any()).await?;
    ensure!(again.executions.is_empty() && again.end() == first.end(), "{}", again.history());
    assert_eq!(runs(&operator).await?, before, "the operator has not been started anew");
    Ok(())
}

/// Uids of the operator's pods, with how often each was started again.
async fn runs(operator: &Operator) -> Result<Vec<(Option<String>, i32)>> {
    let restarts = |pod: &Pod| pods::containers(pod).map(|container| container.restart_count).sum();
    Ok(operator.pods().await?.iter().map(|pod| (pod.uid(), restarts(pod))).collect())
}

async fn scale(operator: &Operator, replicas: u32) -> Result<()> {
    let deployments = operator.api::<k8s_openapi::api::apps::v1::Deployment>();
    let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    deployments.patch(&operator.name, &PatchParams::default(), &patch).await?;
    Ok(())
}
