//! What happens to a target and its alert while a remediation is under way.

use anyhow::{Result, bail, ensure};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use kubernaut_api::{Outcome, RequestPhase, Staged};
use kubernaut_testkit::fault::{LIMIT, asked};
use kubernaut_testkit::shop::PATIENCE;
use kubernaut_testkit::snapshot::{Allowed, assert_only_changed};
use kubernaut_testkit::{Alert, Operator, Remediation, Shop, objects, until};
use serde_json::json;

use crate::healed;

/// Keeps its object from going.
const HOLD: &str = "kubernaut-tests/hold";

/// Breaks `db` so that a person is asked, and waits until that is so.
async fn waits_for_a_person(shop: &Shop) -> Result<(String, Alert, kubernaut_api::RemediationApproval)> {
    shop.roll_out_container("db", &json!({ "image": "localhost/absent:2" })).await?;
    let alert = shop.waiting("db", &["ErrImagePull", "ImagePullBackOff"]).await?;
    let request = shop.operator.alert(std::slice::from_ref(&alert)).await?.created()?;
    let approval = asked(&shop.operator, &request).await?;
    Ok((request, alert, approval))
}

/// Waits until a Job of the request is there: from then on its step is let end.
async fn acts(operator: &Operator, request: &str) -> Result<()> {
    until(&format!("{request} has a Job"), LIMIT, || async {
        let remediation = operator.remediation(request).await?;
        ensure!(!remediation.jobs.is_empty(), "so far:\n{}", remediation.history());
        Ok(())
    })
    .await
}

/// It ends by the rehearsal, so that no Job is made, and once: no phase is entered again.
async fn ended_without_effect(operator: &Operator, request: &str, reason: &str) -> Result<Remediation> {
    let remediation = operator.ended(request, LIMIT).await?;
    remediation.check()?;
    let status = remediation.request.status.clone().unwrap_or_default();
    let history = remediation.history();
    ensure!(remediation.request.phase() == Some(RequestPhase::Failed), "{history}");
    ensure!(status.outcome == Some(Outcome::ManualReviewRequired), "{history}");
    let [execution] = &remediation.executions[..] else { bail!("not one execution:\n{history}") };
    let why = execution.status.as_ref().and_then(|status| status.reason.as_deref());
    ensure!(why == Some(reason) && remediation.jobs.is_empty(), "{why:?}, not {reason}:\n{history}");
    Ok(remediation)
}

#[tokio::test]
async fn an_alert_that_ends_while_the_action_runs_lets_it_finish() -> Result<()> {
    let operator = Operator::installed().await?;
    let shop = Shop::open(&operator, "meanwhile").await?;
    shop.roll_out_container("web", &json!({ "image": "localhost/absent:2" })).await?;
    let alert = shop.waiting("web", &["ErrImagePull", "ImagePullBackOff"]).await?;
    let broken = shop.snapshot().await?;
    let request = operator.alert(std::slice::from_ref(&alert)).await?.created()?;
    acts(&operator, &request).await?;
    operator.alert(&[alert.resolved()]).await?;
    let remediation = operator.ended(&request, LIMIT).await?;
    remediation.check()?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
    ensure!(remediation.jobs.len() == 1, "{}", remediation.history());
    let after = shop.snapshot().await?;
    assert_only_changed(&broken, &after, &[Allowed { object: "Deployment/web", paths: &["spec.template"] }])?;
    ensure!(after.spec("Deployment/web") == shop.good.spec("Deployment/web"), "the rollback was finished");
    Ok(())
}

#[tokio::test]
async fn an_alert_that_ends_while_the_first_of_two_steps_runs_lets_no_second_one_begin() -> Result<()> {
    let operator = Operator::installed().await?;
    let mut shop = Shop::open(&operator, "steps").await?;
    let seeded = healed::node_not_ready(&mut shop).await?;
    let broken = shop.snapshot().await?;
    let request = operator.alert(std::slice::from_ref(&seeded.alert)).await?.created()?;
    let approval = asked(&operator, &request).await?;
    ensure!(approval.spec.steps.len() == 2, "cordon and drain: {:?}", approval.spec.steps);
    operator.approve(&approval).await?;
    acts(&operator, &request).await?;
    operator.alert(&[seeded.alert.resolved()]).await?;

    let remediation = operator.ended(&request, LIMIT).await?;
    remediation.check()?;
    remediation.ended_as(RequestPhase::Cancelled, None)?;
    let status = remediation.request.status.clone().unwrap_or_default();
    ensure!(status.reason.as_deref() == Some("AlertResolved"), "{}", remediation.history());
    let actions: Vec<_> = remediation.executions.iter().map(|execution| execution.spec.action.as_str()).collect();
    ensure!(actions == ["cordon_node"] && remediation.jobs.len() == 1, "{actions:?}:\n{}", remediation.history());
    let cordon = Allowed { object: "Node/spare", paths: &["spec.unschedulable"] };
    assert_only_changed(&broken, &shop.snapshot().await?, &[cordon])
}

#[tokio::test]
async fn what_was_made_anew_under_the_same_name_while_a_person_thought_is_not_touched() -> Result<()> {
    let operator = Operator::installed().await?;
    let shop = Shop::open(&operator, "anew").await?;
    let (request, _, approval) = waits_for_a_person(&shop).await?;
    let deployments = objects::api(&operator.cluster, &shop.namespace.name, "Deployment")?;
    let mut anew = serde_json::to_value(deployments.get("db").await?)?;
    shop.delete("Deployment", "db").await?;
    anew["metadata"] = json!({ "name": "db" });
    anew["spec"]["template"]["spec"]["containers"][0]["image"] = json!(objects::image());
    until("the name is free", PATIENCE, || async { shop.create(&anew).await }).await?;
    shop.is_healthy("Deployment", "db").await?;
    let before = shop.snapshot().await?;

    operator.approve(&approval).await?;
    ended_without_effect(&operator, &request, "TargetReplaced").await?;
    assert_only_changed(&before, &shop.snapshot().await?, &[])
}

#[tokio::test]
async fn a_namespace_that_is_being_deleted_ends_its_requests_and_nothing_is_tried_again() -> Result<()> {
    let operator = Operator::installed().await?;
    let shop = Shop::open(&operator, "ending").await?;
    let (request, alert, approval) = waits_for_a_person(&shop).await?;
    // Whatever is deleted there, the namespace stays as long as this does.
    shop.change("ConfigMap", "settings", &json!({ "metadata": { "finalizers": [HOLD] } })).await?;
    operator.cluster.kubectl(["delete", "namespace", "--wait=false", &shop.namespace.name]).await?;
    until("its workloads are gone", PATIENCE, || async {
        for kind in ["Deployment", "ReplicaSet", "Pod"] {
            let left = objects::api(&operator.cluster, &shop.namespace.name, kind)?;
            let left = left.list(&ListParams::default()).await?.items;
            ensure!(left.is_empty(), "{kind}: {:?}", left.iter().map(ResourceExt::name_any).collect::<Vec<_>>());
        }
        Ok(())
    })
    .await?;
    operator.approve(&approval).await?;
    let first = ended_without_effect(&operator, &request, "TargetGone").await;

    // Its alert may still fire: nothing is begun anew for it.
    let again = async {
        let answer = operator.alert(&[alert]).await?;
        let verdict = answer.only()?;
        ensure!(verdict["status"] == "heldBack" && verdict["request"] == json!(request), "{answer:?}");
        Ok(())
    }
    .await;
    let maps = objects::api(&operator.cluster, &shop.namespace.name, "ConfigMap")?;
    let release = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    maps.patch("settings", &PatchParams::default(), &release).await?;
    first?;
    again
}
