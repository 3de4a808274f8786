//! From an alert to the outcome, with the operator that the chart installs and applications that really break.
//!
//! Prometheus and Alertmanager are played by the tests here; `e2e` has the real ones.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::{Api, ResourceExt};
use kubernaut_api::execution::Effect;
use kubernaut_api::{
    AnalysisPhase, Outcome, RemediationApproval, RemediationRequest, RequestPhase, Staged, WorkflowPhase, labels,
};
use kubernaut_testkit::app::Strategy;
use kubernaut_testkit::operator::COOLDOWN;
use kubernaut_testkit::{Alert, App, Namespace, Operator, Remediation, request, until};
use serde_json::{Value, json};

/// How long one remediation may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// What tells a changed Deployment from an untouched one.
fn state(deployment: &Deployment) -> Value {
    json!([deployment.metadata.uid, deployment.metadata.generation, deployment.metadata.labels, deployment.spec])
}

/// The only execution and its only Job.
fn execution(remediation: &Remediation) -> Result<(&kubernaut_api::KubernetesExecution, &Job)> {
    match (&remediation.executions[..], &remediation.jobs[..]) {
        ([execution], [job]) => Ok((execution, job)),
        (executions, jobs) => bail!("{} executions, {} Jobs:\n{}", executions.len(), jobs.len(), remediation.history()),
    }
}

async fn break_and_report(operator: &Operator, app: &App<'_>) -> Result<String> {
    app.break_command().await?;
    let pod = app.crashing_pod().await?;
    operator.alert(&[Alert::about_pod(&app.namespace.name, &pod)]).await?.created()
}

#[tokio::test]
async fn a_rollout_that_crashes_is_rolled_back_once_and_nothing_else_is_touched() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "crash").await?;
    let bystander = App::healthy(&namespace, "bystander", Strategy::Rolling).await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    let maps = Api::<ConfigMap>::namespaced(operator.cluster.client.clone(), &namespace.name);
    let map = ConfigMap { metadata: named("settings"), ..ConfigMap::default() };
    let map = maps.create(&PostParams::default(), &map).await?;
    let (good, beside) = (app.container().await?, state(&bystander.deployment().await?));

    let request = break_and_report(&operator, &app).await?;
    let remediation = operator.ended(&request, LIMIT).await?;

    remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
    remediation.check()?;
    let phases: Vec<_> = remediation.request.transitions().iter().map(|step| step.to.as_str()).collect();
    assert_eq!(phases, ["Pending", "Processing", "Analyzing", "Executing", "Verifying", "Completed"]);
    let target = remediation.request.spec.target.as_ref().context("the target was found")?;
    assert_eq!((target.kind.as_str(), target.name.as_str()), ("Deployment", "app"), "the pod's top-level owner");
    let (execution, job) = execution(&remediation)?;
    assert_eq!(execution.spec.action, "rollback_deployment");
    let account = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()?.service_account_name.clone());
    assert_eq!(account, Some(format!("{}-action-rollback-deployment", operator.name)));
    assert_eq!(job.finalizers().len(), 0, "the result is recorded, so nothing holds the Job");

    app.is_healthy(Duration::from_secs(5)).await?;
    assert_eq!(app.container().await?, good, "the template that worked is back");
    assert_eq!(app.generation().await?, 3, "made, broken, mended: each once");
    let changed_by = app.deployment().await?.annotations().get(labels::CHANGED_BY).cloned();
    assert_eq!(changed_by, execution.metadata.name);
    assert_eq!(state(&bystander.deployment().await?), beside, "the neighbour is as it was");
    assert_eq!(maps.get("settings").await?.resource_version(), map.resource_version());
    let deployments = Api::<Deployment>::namespaced(operator.cluster.client.clone(), &namespace.name);
    assert_eq!(deployments.list(&ListParams::default()).await?.items.len(), 2);
    Ok(())
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_rolled_back() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "image").await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    let good = app.container().await?;
    app.break_image().await?;
    let pod = app.pod_without_image().await?;
    let request = operator.alert(&[Alert::about_pod(&namespace.name, &pod)]).await?.created()?;
    let remediation = operator.ended(&request, LIMIT).await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
    remediation.check()?;
    let cause = remediation.analysis.as_ref().and_then(|analysis| analysis.status.as_ref()?.root_cause.as_ref());
    assert_eq!(cause.map(|cause| cause.cause.as_str()), Some("ImagePull"));
    assert_eq!(execution(&remediation)?.0.spec.action, "rollback_deployment");
    assert_eq!(app.container().await?, good);
    app.is_healthy(Duration::from_secs(5)).await
}

#[tokio::test]
async fn a_container_that_the_kernel_kills_gets_twice_its_memory() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "memory").await?;
    let app = App::out_of_memory(&namespace, "app").await?;
    let pod = app.crashing_pod().await?;
    let request = operator.alert(&[Alert::about_pod(&namespace.name, &pod)]).await?.created()?;
    let remediation = operator.ended(&request, LIMIT).await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
    remediation.check()?;
    let cause = remediation.analysis.as_ref().and_then(|analysis| analysis.status.as_ref()?.root_cause.as_ref());
    assert_eq!(cause.map(|cause| cause.cause.as_str()), Some("OutOfMemory"));
    assert_eq!(execution(&remediation)?.0.spec.action, "update_resources");
    let container = app.container().await?;
    assert_eq!(container["resources"]["limits"]["memory"], "32Mi");
    assert_eq!(container["resources"]["requests"]["memory"], "4Mi", "what it asks its node for stays");
    app.is_healthy(Duration::from_secs(5)).await
}

#[tokio::test]
async fn what_is_not_labelled_is_refused_with_the_command_that_opts_in() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::unmanaged(&operator.cluster, "unmanaged").await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    let before = state(&app.deployment().await?);
    let answer = operator.alert(&[Alert::about_deployment(&namespace.name, "app")]).await?;
    let refusal = answer.only()?;
    assert_eq!((answer.code, &refusal["status"], &refusal["reason"]), (207, &json!("refused"), &json!("OutOfScope")));
    let command = format!("kubectl label namespace {} kubernaut.io/managed=true", namespace.name);
    ensure!(refusal["detail"].as_str().is_some_and(|detail| detail.contains(&command)), "no {command:?} in {refusal}");
    assert_eq!(about(&operator, &namespace).await?, [] as [String; 0]);
    assert_eq!(state(&app.deployment().await?), before);
    Ok(())
}

#[tokio::test]
async fn who_shows_no_token_or_a_wrong_one_is_told_so_and_starts_nothing() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "token").await?;
    App::healthy(&namespace, "app", Strategy::Rolling).await?;
    for token in [None, Some("wrong")] {
        let answer = operator.alert_as(token, &[Alert::about_deployment(&namespace.name, "app")]).await?;
        assert_eq!((answer.code, &answer.body["status"]), (401, &json!(401)), "{answer:?}");
    }
    assert_eq!(about(&operator, &namespace).await?, [] as [String; 0]);
    Ok(())
}

#[tokio::test]
async fn a_false_alarm_ends_without_a_change_and_is_held_back_until_the_cooldown_is_over() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "false").await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    let before = state(&app.deployment().await?);
    let alert = Alert::about_deployment(&namespace.name, "app");

    let first = operator.alert(std::slice::from_ref(&alert)).await?.created()?;
    let remediation = operator.ended(&first, LIMIT).await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::NoActionRequired))?;
    remediation.check()?;
    ensure!(remediation.workflow.is_none() && remediation.jobs.is_empty(), "{}", remediation.history());
    assert_eq!(state(&app.deployment().await?), before);

    let answer = operator.alert(std::slice::from_ref(&alert)).await?;
    let held = answer.only()?;
    assert_eq!((&held["status"], &held["reason"]), (&json!("heldBack"), &json!("Cooldown")), "{answer:?}");
    ensure!(held["until"].is_string(), "it says until when: {held}");

    let second = until("the cooldown is over", COOLDOWN * 2, || async {
        operator.alert(std::slice::from_ref(&alert)).await?.created()
    })
    .await?;
    assert_eq!(Some(second.as_str()), first.strip_suffix("-1").map(|stem| format!("{stem}-2")).as_deref());
    operator.ended(&second, LIMIT).await?.ended_as(RequestPhase::Completed, Some(Outcome::NoActionRequired))
}

#[tokio::test]
async fn the_same_alert_again_is_counted_on_the_open_request() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "again").await?;
    let app = App::healthy(&namespace, "app", Strategy::Recreate).await?;
    app.break_image().await?;
    let pod = app.pod_without_image().await?;
    let alert = Alert::about_pod(&namespace.name, &pod);
    let request = operator.alert(std::slice::from_ref(&alert)).await?.created()?;
    // It waits for a person, so it stays open.
    operator.reached(&request, RequestPhase::AwaitingApproval, LIMIT).await?;

    let other = Alert { name: "TestedAppSlow".into(), ..Alert::about_deployment(&namespace.name, "app") };
    for alert in [&alert, &alert, &other] {
        let answer = operator.alert(std::slice::from_ref(alert)).await?;
        let verdict = answer.only()?;
        assert_eq!((answer.code, &verdict["status"]), (202, &json!("duplicate")));
        assert_eq!(verdict["request"], json!(request), "about the same target, whatever names it");
    }
    assert_eq!(about(&operator, &namespace).await?, std::slice::from_ref(&request));
    let status = operator.remediation(&request).await?.request.status.unwrap_or_default();
    assert_eq!(status.deduplication.map(|seen| seen.occurrences), Some(4));
    assert_eq!(status.signals, ["TestedAppSlow"], "another alert joins");

    // Over before anybody decided: nothing is done.
    let answer = operator.alert(&[alert.resolved()]).await?;
    assert_eq!((answer.code, &answer.only()?["status"]), (202, &json!("resolved")));
    let remediation = operator.ended(&request, LIMIT).await?;
    remediation.ended_as(RequestPhase::Cancelled, None)?;
    ensure!(remediation.workflow.is_none(), "{}", remediation.history());
    Ok(())
}

#[tokio::test]
async fn a_doubtful_plan_waits_for_a_person_and_is_done_when_approved() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "approve").await?;
    // The old pod is gone, so nothing serves: less sure than a rollback to what still runs.
    let app = App::healthy(&namespace, "app", Strategy::Recreate).await?;
    let good = app.container().await?;
    app.break_image().await?;
    let pod = app.pod_without_image().await?;
    let request = operator.alert(&[Alert::about_pod(&namespace.name, &pod)]).await?.created()?;

    operator.reached(&request, RequestPhase::AwaitingApproval, LIMIT).await?;
    let asked = until("a person is asked", LIMIT, || async {
        let remediation = operator.remediation(&request).await?;
        remediation.check()?;
        remediation.approval.with_context(|| "no RemediationApproval")
    })
    .await?;
    ensure!((0.7..=0.9).contains(&asked.spec.confidence), "{:?}", asked.spec);
    ensure!(asked.spec.steps.iter().any(|step| step.contains("Roll back Deployment")), "{:?}", asked.spec);
    let waiting = operator.remediation(&request).await?;
    assert_eq!(waiting.request.phase(), Some(RequestPhase::AwaitingApproval));
    ensure!(waiting.jobs.is_empty() && waiting.workflow.is_none(), "{}", waiting.history());
    assert_eq!(app.generation().await?, 2, "nothing is done before the answer");

    decide(&operator, &asked, "Approved").await?;
    let remediation = operator.ended(&request, LIMIT).await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
    remediation.check()?;
    let workflow = remediation.workflow.as_ref().context("a workflow ran")?;
    assert_eq!(workflow.spec.plan_hash.as_ref(), Some(&asked.spec.plan_hash), "what was approved is what was done");
    assert_eq!(app.container().await?, good);
    Ok(())
}

#[tokio::test]
async fn a_rejected_plan_is_never_done() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "reject").await?;
    let app = App::healthy(&namespace, "app", Strategy::Recreate).await?;
    app.break_image().await?;
    let pod = app.pod_without_image().await?;
    let request = operator.alert(&[Alert::about_pod(&namespace.name, &pod)]).await?.created()?;
    let asked = until("a person is asked", LIMIT, || async {
        operator.remediation(&request).await?.approval.context("no RemediationApproval")
    })
    .await?;
    decide(&operator, &asked, "Rejected").await?;
    let remediation = operator.ended(&request, LIMIT).await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::ManualReviewRequired))?;
    remediation.check()?;
    assert_eq!(remediation.analysis.as_ref().and_then(Staged::phase), Some(AnalysisPhase::Rejected));
    ensure!(remediation.workflow.is_none() && remediation.jobs.is_empty(), "{}", remediation.history());
    assert_eq!(app.generation().await?, 2);
    Ok(())
}

#[tokio::test]
async fn cancelling_ends_a_request_that_waits_and_removes_nothing() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "cancel").await?;
    let app = App::healthy(&namespace, "app", Strategy::Recreate).await?;
    app.break_image().await?;
    let pod = app.pod_without_image().await?;
    let request = operator.alert(&[Alert::about_pod(&namespace.name, &pod)]).await?.created()?;
    operator.reached(&request, RequestPhase::AwaitingApproval, LIMIT).await?;
    let cancel = Patch::Merge(json!({ "spec": { "cancelled": true } }));
    operator.api::<RemediationRequest>().patch(&request, &PatchParams::default(), &cancel).await?;
    let remediation = operator.ended(&request, LIMIT).await?;
    remediation.ended_as(RequestPhase::Cancelled, None)?;
    until("its analysis has ended too", LIMIT, || async {
        let remediation = operator.remediation(&request).await?;
        remediation.check()?;
        let phase = remediation.analysis.as_ref().and_then(Staged::phase);
        ensure!(phase == Some(AnalysisPhase::Failed), "{phase:?}");
        Ok(())
    })
    .await?;
    assert_eq!(app.generation().await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_says_what_it_would_have_done() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "dry").await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    app.break_image().await?;
    app.pod_without_image().await?;
    let deployment = app.deployment().await?;
    let before = state(&deployment);

    // By hand, without an alert: dry runs are asked for in the spec.
    let request = by_hand(&app, &deployment, &json!({ "dryRun": true }))?;
    let name = request.name_any();
    operator.api().create(&PostParams::default(), &request).await?;
    let remediation = operator.ended(&name, LIMIT).await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::DryRun))?;
    remediation.check()?;
    let status = remediation.request.status.clone().unwrap_or_default();
    ensure!(
        status.would_have_done.iter().any(|line| line.contains("rollback")),
        "it says what: {:?}",
        status.would_have_done
    );
    let (execution, _) = execution(&remediation)?;
    let result = execution.status.as_ref().and_then(|status| status.result.as_ref());
    assert_eq!(result.map(|result| result.effect), Some(Effect::Changed), "the rehearsal would have changed it");
    assert_eq!(state(&app.deployment().await?), before);
    Ok(())
}

#[tokio::test]
async fn deleting_a_request_removes_everything_it_made() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "delete").await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    app.break_image().await?;
    let pod = app.pod_without_image().await?;
    let request = operator.alert(&[Alert::about_pod(&namespace.name, &pod)]).await?.created()?;
    let remediation = operator.ended(&request, LIMIT).await?;
    execution(&remediation)?;
    let requests = operator.api::<RemediationRequest>();
    requests
        .delete(
            &request,
            &DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() },
        )
        .await?;
    operator.is_gone(&request, Duration::from_mins(1)).await
}

#[tokio::test]
async fn deleting_a_request_in_the_middle_leaves_nothing_behind() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "middle").await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    app.break_image().await?;
    let pod = app.pod_without_image().await?;
    let request = operator.alert(&[Alert::about_pod(&namespace.name, &pod)]).await?.created()?;
    operator.reached(&request, RequestPhase::Executing, LIMIT).await?;
    operator.api::<RemediationRequest>().delete(&request, &DeleteParams::default()).await?;
    operator.is_gone(&request, Duration::from_mins(1)).await?;
    ensure!([2, 3].contains(&app.generation().await?), "done once or not at all");
    Ok(())
}

#[tokio::test]
async fn an_alert_about_nothing_that_exists_asks_a_person() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "nothing").await?;
    let answer = operator.alert(&[Alert::about_deployment(&namespace.name, "absent")]).await?;
    let verdict = answer.only()?;
    assert_eq!(verdict["reason"], json!("TargetNotFound"), "{answer:?}");
    let remediation = operator.ended(&answer.created()?, LIMIT).await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::ManualReviewRequired))?;
    ensure!(remediation.processing.is_none(), "{}", remediation.history());
    Ok(())
}

#[tokio::test]
async fn a_workflow_that_is_cancelled_while_it_runs_ends_by_itself() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "running").await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    app.break_image().await?;
    let pod = app.pod_without_image().await?;
    let request = operator.alert(&[Alert::about_pod(&namespace.name, &pod)]).await?.created()?;
    operator.reached(&request, RequestPhase::Executing, LIMIT).await?;
    let cancel = Patch::Merge(json!({ "spec": { "cancelled": true } }));
    operator.api::<RemediationRequest>().patch(&request, &PatchParams::default(), &cancel).await?;
    let remediation = operator.ended(&request, LIMIT).await?;
    remediation.check()?;
    remediation.ended_as(RequestPhase::Cancelled, None)?;
    let workflow = remediation.workflow.as_ref().and_then(Staged::phase);
    ensure!(
        matches!(workflow, Some(WorkflowPhase::Cancelled | WorkflowPhase::Completed)),
        "{workflow:?}:\n{}",
        remediation.history()
    );
    ensure!([2, 3].contains(&app.generation().await?), "done once or not at all");
    Ok(())
}

#[tokio::test]
async fn a_fix_that_does_not_help_is_undone() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "undo").await?;
    let maps = Api::<ConfigMap>::namespaced(operator.cluster.client.clone(), &namespace.name);
    let data = Some([("greeting".to_owned(), "hello".to_owned())].into());
    maps.create(&PostParams::default(), &ConfigMap { metadata: named("settings"), data, ..ConfigMap::default() })
        .await?;
    let app = App::healthy(&namespace, "app", Strategy::Recreate).await?;
    let greeting = json!({ "configMapKeyRef": { "name": "settings", "key": "greeting" } });
    app.roll_out(&json!({ "env": [{ "name": "GREETING", "valueFrom": greeting }] })).await?;
    app.is_healthy(kubernaut_testkit::app::PATIENCE).await?;
    // What the good revision needs goes away, and the next one is broken: going back does not help.
    maps.delete("settings", &DeleteParams::default()).await?;
    app.break_image().await?;
    app.pod_without_image().await?;
    let broken = app.container().await?;

    let request = by_hand(&app, &app.deployment().await?, &json!({ "timeouts": { "execution": "40s" } }))?;
    let name = request.name_any();
    operator.api().create(&PostParams::default(), &request).await?;
    let asked = until("a person is asked", LIMIT, || async {
        operator.remediation(&name).await?.approval.context("no RemediationApproval")
    })
    .await?;
    decide(&operator, &asked, "Approved").await?;

    let remediation = operator.ended(&name, LIMIT).await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::RolledBack))?;
    remediation.check()?;
    let [execution] = &remediation.executions[..] else { bail!("{}", remediation.history()) };
    let phases: Vec<_> = execution.transitions().iter().map(|step| step.to.as_str()).collect();
    assert_eq!(phases, ["Pending", "Validating", "Executing", "Verifying", "RollingBack", "Failed"]);
    assert_eq!(remediation.jobs.len(), 2, "one that acts, one that undoes");
    assert_eq!(app.container().await?, broken, "everything is as it was before");
    assert_eq!(app.generation().await?, 5, "made, changed, broken, mended, undone: each once");
    Ok(())
}

/// A request for the app's Deployment, not made by an alert, with this besides in its spec.
fn by_hand(app: &App<'_>, deployment: &Deployment, more: &Value) -> Result<RemediationRequest> {
    let name = app.namespace.name.replace(kubernaut_testkit::namespace::PREFIX, "rr-");
    request::by_hand(app, deployment, &name, more)
}

/// Names of the requests about a namespace.
async fn about(operator: &Operator, namespace: &Namespace) -> Result<Vec<String>> {
    let all = operator.api::<RemediationRequest>().list(&ListParams::default()).await?.items;
    let is_about = |request: &RemediationRequest| request.spec.signal.labels.get("namespace") == Some(&namespace.name);
    Ok(all.iter().filter(|request| is_about(request)).map(ResourceExt::name_any).collect())
}

async fn decide(operator: &Operator, asked: &RemediationApproval, decision: &str) -> Result<()> {
    let user = operator.cluster.user().await?;
    let answer = Patch::Merge(json!({ "status": { "decision": decision, "decidedBy": user } }));
    let approvals = operator.api::<RemediationApproval>();
    approvals.patch_status(&asked.name_any(), &PatchParams::default(), &answer).await?;
    Ok(())
}

fn named(name: &str) -> kubernaut_api::ObjectMeta {
    kubernaut_api::ObjectMeta { name: Some(name.into()), ..kubernaut_api::ObjectMeta::default() }
}
