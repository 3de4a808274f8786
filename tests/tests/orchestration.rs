//! What holds a remediation back, and what lets it go on, with the operator that the chart installs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kubernaut_api::{BlockReason, Outcome, RemediationApproval, RemediationRequest, RequestPhase, Staged};
use kubernaut_testkit::app::Strategy;
use kubernaut_testkit::{App, Namespace, Operator, Remediation, request, until};
use serde_json::{Value, json};

/// How long one remediation may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// A request for the app's Deployment that a person makes, with this besides in its spec.
async fn make(operator: &Operator, app: &App<'_>, name: &str, more: &Value) -> Result<String> {
    let request = request::by_hand(app, &app.deployment().await?, name, more)?;
    operator.api().create(&PostParams::default(), &request).await?;
    Ok(request.name_any())
}

fn name(app: &App<'_>, number: u8) -> String {
    format!("{}-{}-{number}", app.namespace.name.replace(kubernaut_testkit::namespace::PREFIX, "rr-"), app.name)
}

/// Waits until a request is held back for this reason.
async fn is_blocked(operator: &Operator, name: &str, reason: BlockReason) -> Result<Remediation> {
    until(&format!("{name} is held back: {reason}"), LIMIT, || async {
        let remediation = operator.remediation(name).await?;
        let status = remediation.request.status.clone().unwrap_or_default();
        ensure!(status.block_reason == Some(reason), "{:?}\n{}", status.block_reason, remediation.history());
        ensure!(status.phase == Some(RequestPhase::Blocked) && status.next_attempt_at.is_some(), "{status:?}");
        Ok(remediation)
    })
    .await
}

fn blocked(remediation: &Remediation) -> bool {
    remediation.request.transitions().iter().any(|step| step.to == RequestPhase::Blocked.to_string())
}

async fn cancel(operator: &Operator, name: &str) -> Result<()> {
    let cancel = Patch::Merge(json!({ "spec": { "cancelled": true } }));
    operator.api::<RemediationRequest>().patch(name, &PatchParams::default(), &cancel).await?;
    operator.ended(name, LIMIT).await?.ended_as(RequestPhase::Cancelled, None)
}

#[tokio::test]
async fn what_nobody_put_under_its_care_waits_for_the_label_and_then_goes_on() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::unmanaged(&operator.cluster, "care").await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    let request = make(&operator, &app, &name(&app, 1), &json!({})).await?;
    let waiting = is_blocked(&operator, &request, BlockReason::Unmanaged).await?;
    ensure!(waiting.processing.is_none(), "nothing was begun:\n{}", waiting.history());
    let command = format!("kubectl label namespace {} kubernaut.io/managed=true", namespace.name);
    let message = waiting.request.status.and_then(|status| status.message).unwrap_or_default();
    ensure!(message.contains(&command), "no {command:?} in {message:?}");
    let events = operator.cluster.kubectl(["get", "events", "-n", &operator.namespace, "-o", "json"]).await?;
    let events: Value = serde_json::from_str(&events)?;
    let told = events["items"].as_array().into_iter().flatten().filter(|event| {
        event["involvedObject"]["name"] == request.as_str()
            && event["reason"] == "Blocked"
            && event["type"] == "Warning"
    });
    assert_eq!(told.count(), 1, "it is told once");

    operator.cluster.kubectl(["label", "namespace", &namespace.name, "kubernaut.io/managed=true"]).await?;
    let remediation = operator.ended(&request, LIMIT).await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::NoActionRequired))?;
    remediation.check()
}

#[tokio::test]
async fn a_second_request_about_the_same_waits_for_the_first_and_then_only_looks_whether_it_helped() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "both").await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    app.break_image().await?;
    app.pod_without_image().await?;
    let first = make(&operator, &app, &name(&app, 1), &json!({})).await?;
    let second = make(&operator, &app, &name(&app, 2), &json!({})).await?;
    let mut worked = 0;
    for request in [&first, &second] {
        let remediation = operator.ended(request, LIMIT).await?;
        remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
        remediation.check()?;
        worked += remediation.jobs.len();
        let settled = remediation.request.transitions().iter().any(|step| step.reason == "MendedByOther");
        assert_eq!(settled, remediation.workflow.is_none(), "{}", remediation.history());
        assert_eq!(settled, blocked(&remediation), "{}", remediation.history());
    }
    assert_eq!(worked, 1, "one Job for both");
    assert_eq!(app.generation().await?, 3, "made, broken, mended: each once");
    Ok(())
}

#[tokio::test]
async fn cancelling_works_while_a_person_is_asked_and_while_it_is_held_back() -> Result<()> {
    let operator = Operator::installed().await?;
    let unmanaged = Namespace::unmanaged(&operator.cluster, "stop").await?;
    let app = App::healthy(&unmanaged, "app", Strategy::Rolling).await?;
    let held = make(&operator, &app, &name(&app, 1), &json!({})).await?;
    is_blocked(&operator, &held, BlockReason::Unmanaged).await?;
    cancel(&operator, &held).await?;

    let managed = Namespace::managed(&operator.cluster, "stop").await?;
    let app = App::healthy(&managed, "app", Strategy::Recreate).await?;
    app.break_image().await?;
    app.pod_without_image().await?;
    let asked = make(&operator, &app, &name(&app, 1), &json!({})).await?;
    operator.reached(&asked, RequestPhase::AwaitingApproval, LIMIT).await?;
    cancel(&operator, &asked).await?;
    assert_eq!(app.generation().await?, 2, "nothing was done");
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_request_holds_the_next_one_back_whoever_makes_it() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "cool").await?;
    let app = App::healthy(&namespace, "app", Strategy::Rolling).await?;
    let same = json!({ "signal": { "source": "test", "name": "TestedAppDown", "fingerprint": request::fingerprint(&name(&app, 0)) } });
    let first = make(&operator, &app, &name(&app, 1), &same).await?;
    operator.ended(&first, LIMIT).await?.ended_as(RequestPhase::Completed, Some(Outcome::NoActionRequired))?;
    let second = make(&operator, &app, &name(&app, 2), &same).await?;
    let waiting = is_blocked(&operator, &second, BlockReason::Cooldown).await?;
    let message = waiting.request.status.and_then(|status| status.message).unwrap_or_default();
    ensure!(message.contains(&first), "it names the one before: {message}");
    let remediation = operator.ended(&second, LIMIT).await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::NoActionRequired))
}

#[tokio::test]
async fn more_executions_than_a_namespace_may_have_at_once_wait_and_all_run_in_the_end() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "many").await?;
    let mut apps = vec![];
    for number in 1..=5 {
        apps.push(App::healthy(&namespace, &format!("app{number}"), Strategy::Recreate).await?);
    }
    let mut requests = vec![];
    for app in &apps {
        app.break_image().await?;
        app.pod_without_image().await?;
        requests.push(make(&operator, app, &name(app, 1), &json!({})).await?);
    }
    for request in &requests {
        let asked = until("a person is asked", LIMIT, || async {
            operator.remediation(request).await?.approval.context("no RemediationApproval")
        })
        .await?;
        let who = operator.cluster.user().await?;
        let yes = Patch::Merge(json!({ "status": { "decision": "Approved", "decidedBy": who } }));
        let approvals: Api<RemediationApproval> = operator.api();
        approvals.patch_status(&asked.name_any(), &PatchParams::default(), &yes).await?;
    }
    let mut spans = vec![];
    for request in &requests {
        let remediation = operator.ended(request, LIMIT).await?;
        remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
        remediation.check()?;
        let [execution] = &remediation.executions[..] else { anyhow::bail!("{}", remediation.history()) };
        let at = |phase: &str| execution.transitions().iter().find(|step| step.to == phase).map(|step| step.at.0);
        spans.push((at("Executing").context("it ran")?, at("Completed").context("it ended")?));
    }
    for (start, _) in &spans {
        let at_once = spans.iter().filter(|(from, to)| from <= start && start < to).count();
        ensure!(at_once <= 3, "{at_once} at once in one namespace: {spans:?}");
    }
    Ok(())
}

#[tokio::test]
async fn nothing_is_done_in_a_protected_namespace() -> Result<()> {
    let operator = Operator::installed().await?;
    let own = json!({
        "signal": { "source": "test", "name": "TestedAppDown", "fingerprint": request::fingerprint("rr-protected") },
        "target": { "apiVersion": "apps/v1", "kind": "Deployment", "namespace": operator.namespace, "name": operator.name },
    });
    let request: RemediationRequest = serde_json::from_value(json!({
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "RemediationRequest",
        "metadata": { "generateName": "rr-protected-" },
        "spec": own,
    }))?;
    let made: RemediationRequest = operator.api().create(&PostParams::default(), &request).await?;
    let waiting = is_blocked(&operator, &made.name_any(), BlockReason::ProtectedNamespace).await?;
    ensure!(waiting.processing.is_none());
    cancel(&operator, &made.name_any()).await
}
