//! People and policies over what Kubernaut does: who may approve, and what Rego forbids, on a real API server.
//!
//! One test after the other: a policy is that of all requests.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PostParams};
use kubernaut_api::{Outcome, PolicyDecision, RemediationApproval, RemediationRequest, RequestPhase};
use kubernaut_testkit::app::Strategy;
use kubernaut_testkit::{Alert, App, Namespace, Operator, Remediation, until};
use serde_json::json;
use tokio::sync::Mutex;

/// Held by the test that runs.
static ALONE: Mutex<()> = Mutex::const_new(());
/// How long one remediation may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// Runs kubectl in the operator's namespace as a person on call.
async fn kubectl_as(operator: &Operator, who: &str, arguments: &[&str]) -> Result<String> {
    let name = format!("--as={who}");
    let call = ["-n", &operator.namespace, &name, "--as-group=on-call", "--as-group=system:authenticated"];
    operator.cluster.kubectl(call.iter().chain(arguments)).await
}

/// People on call may approve, as docs/approvals.md says.
async fn let_people_answer(operator: &Operator) -> Result<()> {
    let role = format!("--clusterrole={}-approver", operator.name);
    let call = ["create", "rolebinding", "approvers", &role, "--group=on-call", "-n", &operator.namespace];
    match operator.cluster.kubectl(call).await {
        Err(error) if !error.to_string().contains("already exists") => Err(error),
        _ => Ok(()),
    }
}

async fn answer(operator: &Operator, who: &str, approval: &str, status: serde_json::Value) -> Result<String> {
    let patch = json!({ "status": status }).to_string();
    kubectl_as(operator, who, &["patch", "rap", approval, "--subresource=status", "--type=merge", "-p", &patch]).await
}

/// That the API server refuses, in these words.
fn refused(result: Result<String>, why: &str) -> Result<()> {
    match result {
        Ok(done) => anyhow::bail!("it was taken: {done}"),
        Err(error) => {
            ensure!(error.to_string().contains(why), "not {why:?}: {error}");
            Ok(())
        }
    }
}

/// An application that is broken in a way that Kubernaut is sure how to mend, or not so sure.
async fn broken<'a>(namespace: &'a Namespace, name: &str, strategy: Strategy) -> Result<(App<'a>, Alert)> {
    let app = App::healthy(namespace, name, strategy).await?;
    app.break_image().await?;
    let pod = app.pod_without_image().await?;
    let alert = Alert::about_pod(&namespace.name, &pod);
    Ok((app, alert))
}

async fn asked(operator: &Operator, request: &str) -> Result<RemediationApproval> {
    until("a person is asked", LIMIT, || async {
        let remediation = operator.remediation(request).await?;
        remediation.approval.with_context(|| "no RemediationApproval".to_owned())
    })
    .await
}

/// The Events about an object of the operator's namespace, by reason.
async fn events(operator: &Operator, kind: &str, name: &str) -> Result<Vec<String>> {
    let about = format!("involvedObject.kind={kind},involvedObject.name={name}");
    let events = operator.api::<Event>().list(&ListParams::default().fields(&about)).await?.items;
    Ok(events.into_iter().filter_map(|event| event.reason).collect())
}

async fn policy(operator: &Operator, kind: &str, rego: &str) -> Result<()> {
    let name = format!("policy-{kind}");
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "labels": { "kubernaut.io/policy": kind } },
        "data": { "rules.rego": rego },
    });
    let call = ["apply", "-n", &operator.namespace, "-f", "-"];
    operator.cluster.kubectl_with(&map.to_string(), call).await?;
    let expected = if rego.contains("broken") { "PolicyBroken" } else { "PolicyLoaded" };
    until("the policy is in force", LIMIT, || async {
        let seen = events(operator, "ConfigMap", &name).await?;
        ensure!(seen.iter().any(|reason| reason == expected), "{seen:?}");
        Ok(())
    })
    .await
}

async fn no_policy(operator: &Operator, kind: &str) -> Result<()> {
    let name = format!("policy-{kind}");
    operator.api::<ConfigMap>().delete(&name, &DeleteParams::default()).await?;
    // The Events of the next one are its own.
    let about = ListParams::default().fields(&format!("involvedObject.name={name}"));
    operator.api::<Event>().delete_collection(&DeleteParams::default(), &about).await?;
    Ok(())
}

fn said(remediation: &Remediation) -> String {
    remediation.history()
}

#[tokio::test]
async fn a_person_approves_with_kubectl_and_nobody_in_their_name() -> Result<()> {
    let _alone = ALONE.lock().await;
    let operator = Operator::installed().await?;
    let_people_answer(&operator).await?;
    let namespace = Namespace::managed(&operator.cluster, "person").await?;
    let (app, alert) = broken(&namespace, "app", Strategy::Recreate).await?;
    let request = operator.alert(&[alert]).await?.created()?;
    let name = asked(&operator, &request).await?.name_any();

    let yes = |who: &str| json!({ "decision": "Approved", "decidedBy": who });
    refused(answer(&operator, "ada", &name, yes("bob")).await, "status.decidedBy must be who sends it: ada")?;
    refused(answer(&operator, "ada", &name, json!({ "decision": "Approved" })).await, "decidedBy")?;
    // Also an account of the operator that somebody has let answer.
    let account = format!("system:serviceaccount:{}:{}", operator.namespace, operator.name);
    refused(answer(&operator, &account, &name, yes(&account)).await, "a person does")?;
    let second = json!({ "decision": "Approved", "decidedBy": "ada", "second": yes("ada") });
    refused(answer(&operator, "ada", &name, second).await, "second")?;
    // What was asked cannot be changed, not even by an administrator, nor what was found out.
    let root = ["--as=root", "--as-group=system:masters", "-n", &operator.namespace];
    let analysis = format!("aia-{request}");
    let only = "only Kubernaut itself does this";
    for (kind, object, more, patch, why) in [
        ("rap", &name, None, r#"{"spec":{"confidence":1}}"#, "spec is immutable"),
        ("rap", &name, None, r#"{"metadata":{"labels":{"a":"b"}}}"#, only),
        ("aia", &analysis, Some("--subresource=status"), r#"{"status":{"phase":"Completed"}}"#, only),
    ] {
        let call = ["patch", kind, object, "--type=merge", "-p", patch];
        let call = root.iter().chain(&call).copied().chain(more);
        refused(operator.cluster.kubectl(call).await, why)?;
    }
    let forged = json!({
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "KubernetesExecution",
        "metadata": { "name": "ke-forged" },
        "spec": {
            "request": "forged", "step": "a", "action": "restart_pod", "planHash": "0".repeat(64), "timeout": "5m",
            "verificationTimeout": "5m",
            "target": { "apiVersion": "v1", "kind": "Pod", "namespace": namespace.name, "name": "x" },
        },
    });
    let create = operator.cluster.kubectl_with(&forged.to_string(), root.iter().chain(&["create", "-f", "-"])).await;
    refused(create, only)?;
    // A plan that says it serves a request would go unasked.
    let forged = json!({
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": { "name": "we-forged" },
        "spec": {
            "request": request, "planHash": "0".repeat(64), "timeout": "5m",
            "target": { "apiVersion": "v1", "kind": "Pod", "namespace": namespace.name, "name": "x" },
            "steps": [{
                "name": "a", "action": "restart_pod",
                "target": { "apiVersion": "v1", "kind": "Pod", "namespace": namespace.name, "name": "x" },
            }],
        },
    });
    let create = operator.cluster.kubectl_with(&forged.to_string(), root.iter().chain(&["create", "-f", "-"])).await;
    refused(create, "only Kubernaut makes a workflow for a request")?;
    assert_eq!(app.generation().await?, 2, "nothing is done before the answer");

    answer(&operator, "ada", &name, yes("ada")).await?;
    let changed = json!({ "decision": "Rejected", "decidedBy": "ada" });
    refused(answer(&operator, "ada", &name, changed).await, "cannot be changed once it is made")?;
    let remediation = operator.ended(&request, LIMIT).await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
    ensure!(said(&remediation).contains("approved by ada"), "{}", said(&remediation));
    let policy = remediation.analysis.as_ref().and_then(|analysis| analysis.status.as_ref()?.policy.clone());
    let policy = policy.context("the analysis records what the policy said")?;
    assert_eq!((policy.decision, policy.source.as_str(), policy.hash.len()), (PolicyDecision::Allow, "default", 64));
    app.is_healthy(LIMIT).await
}

#[tokio::test]
async fn who_asks_for_it_cannot_approve_it_and_a_question_lapses_with_a_warning() -> Result<()> {
    let _alone = ALONE.lock().await;
    let operator = Operator::installed().await?;
    let_people_answer(&operator).await?;
    let namespace = Namespace::managed(&operator.cluster, "asker").await?;
    let app = App::healthy(&namespace, "app", Strategy::Recreate).await?;
    app.break_image().await?;
    app.pod_without_image().await?;
    let name = namespace.name.replace(kubernaut_testkit::namespace::PREFIX, "rr-");
    let request = json!({
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "RemediationRequest",
        "metadata": { "name": name, "annotations": { "kubernaut.io/requested-by": "carol" } },
        "spec": {
            "signal": { "source": "test", "name": "TestedAppDown", "fingerprint": format!("{:a<64}", "0ca701") },
            "target": {
                "apiVersion": "apps/v1", "kind": "Deployment", "namespace": namespace.name, "name": app.name,
                "uid": app.deployment().await?.uid(),
            },
            "timeouts": { "approval": "24s" },
        },
    });
    // Nobody speaks for somebody else.
    let forged: RemediationRequest = serde_json::from_value(request.clone())?;
    let made = operator.api().create(&PostParams::default(), &forged).await.map(|_| "made".to_owned());
    refused(made.map_err(Into::into), "kubernaut.io/requested-by must be who sends it")?;
    let carol = ["--as=carol", "--as-group=system:masters", "-n", &operator.namespace, "create", "-f", "-"];
    operator.cluster.kubectl_with(&request.to_string(), carol).await?;

    let question = asked(&operator, &name).await?;
    assert_eq!(question.spec.requested_by.as_deref(), Some("carol"));
    let yes = json!({ "decision": "Approved", "decidedBy": "carol" });
    refused(answer(&operator, "carol", &question.name_any(), yes).await, "who asked for it cannot approve it")?;
    let remediation = operator.ended(&name, LIMIT).await?;
    remediation.ended_as(RequestPhase::TimedOut, Some(Outcome::ManualReviewRequired))?;
    ensure!(said(&remediation).contains("ApprovalExpired"), "{}", said(&remediation));
    // Too late: taken by the API server, which knows no deadline, and without effect.
    let late = json!({ "decision": "Approved", "decidedBy": "ada" });
    answer(&operator, "ada", &question.name_any(), late).await?;
    let seen = events(&operator, "AIAnalysis", &format!("aia-{name}")).await?;
    for reason in ["ApprovalRequired", "ApprovalExpiring", "ApprovalExpired"] {
        assert_eq!(seen.iter().filter(|one| *one == reason).count(), 1, "{reason} once in {seen:?}");
    }
    assert_eq!(app.generation().await?, 2, "nothing was done");
    ensure!(operator.remediation(&name).await?.workflow.is_none());
    Ok(())
}

#[tokio::test]
async fn a_policy_asks_two_people_about_what_would_have_run_by_itself() -> Result<()> {
    let _alone = ALONE.lock().await;
    let operator = Operator::installed().await?;
    let_people_answer(&operator).await?;
    let namespace = Namespace::managed(&operator.cluster, "two-people").await?;
    let rego = format!(
        "package kubernaut.approval\ndefault decision := \"allow\"\nours if input.target.namespace == \"{0}\"\n\
         decision := \"ask\" if ours\napprovers := 2 if ours\nmessages := [\"four eyes for {0}\"] if ours",
        namespace.name
    );
    policy(&operator, "approval", &rego).await?;
    let (app, alert) = broken(&namespace, "app", Strategy::Rolling).await?;
    let request = operator.alert(&[alert]).await?.created()?;
    let question = asked(&operator, &request).await?;
    let name = question.name_any();
    assert_eq!(question.spec.approvers, 2);
    ensure!(question.spec.confidence > 0.9 && question.spec.reason.contains("four eyes"), "{:?}", question.spec);

    let yes = |who: &str| json!({ "decision": "Approved", "decidedBy": who });
    answer(&operator, "ada", &name, yes("ada")).await?;
    refused(answer(&operator, "ada", &name, json!({ "second": yes("ada") })).await, "must be another person")?;
    refused(answer(&operator, "ada", &name, json!({ "second": yes("bob") })).await, "must be who sends it: ada")?;
    ensure!(operator.remediation(&request).await?.workflow.is_none(), "one of two is not enough");
    answer(&operator, "bob", &name, json!({ "second": yes("bob") })).await?;
    let remediation = operator.ended(&request, LIMIT).await?;
    no_policy(&operator, "approval").await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
    ensure!(said(&remediation).contains("approved by ada, and by bob"), "{}", said(&remediation));
    app.is_healthy(LIMIT).await
}

#[tokio::test]
async fn a_safety_policy_forbids_breaks_and_goes_without_a_restart() -> Result<()> {
    let _alone = ALONE.lock().await;
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "safety").await?;
    let leader = operator.leader().await?;
    let rego = format!(
        "package kubernaut.safety\ndefault decision := \"allow\"\n\
         decision := \"deny\" if input.namespace.name == \"{}\"\nmessages := [\"closed for the holidays\"]",
        namespace.name
    );
    policy(&operator, "safety", &rego).await?;
    let denied = async |app: &str, why: &str| {
        let (app, alert) = broken(&namespace, app, Strategy::Rolling).await?;
        let request = operator.alert(&[alert]).await?.created()?;
        let remediation = operator.ended(&request, LIMIT).await?;
        let [execution] = &remediation.executions[..] else { anyhow::bail!("{}", said(&remediation)) };
        let status = execution.status.clone().unwrap_or_default();
        assert_eq!(status.reason.as_deref(), Some("PolicyDenied"), "{}", said(&remediation));
        let record = status.policy.context("what the policy said is recorded")?;
        assert_eq!(record.decision, PolicyDecision::Deny);
        ensure!(record.messages.iter().any(|message| message.contains(why)), "{record:?}");
        ensure!(remediation.jobs.is_empty(), "no Job is made");
        assert_eq!(app.generation().await?, 2, "nothing was done");
        ensure!(
            events(&operator, "KubernetesExecution", &execution.name_any()).await?.contains(&"PolicyDenied".into())
        );
        Ok(record.hash)
    };
    let hash = denied("closed", "closed for the holidays").await?;
    assert_eq!(hash.len(), 64);
    // What is broken does not leave the one before it in force, and denies everything.
    policy(&operator, "safety", "package kubernaut.safety\n\nbroken := {").await?;
    denied("broken", "rules.rego:3:").await?;
    no_policy(&operator, "safety").await?;

    let (app, alert) = broken(&namespace, "open", Strategy::Rolling).await?;
    let request = operator.alert(&[alert]).await?.created()?;
    let remediation = operator.ended(&request, LIMIT).await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
    app.is_healthy(LIMIT).await?;
    assert_eq!(operator.leader().await?, leader, "all that without a restart");
    Ok(())
}
