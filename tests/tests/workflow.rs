//! Workflows that a person made by hand: the examples of `docs/workflows.md` on a real application.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kubernaut_api::execution::{Effect, KubernetesExecution};
use kubernaut_api::meta::Phase;
use kubernaut_api::workflow::UndoState;
use kubernaut_api::{
    ExecutionPhase, RemediationApproval, RemediationWorkflow, ResourceExt, Staged, WorkflowExecution, WorkflowPhase,
    labels,
};
use kubernaut_testkit::app::Strategy;
use kubernaut_testkit::{Alert, App, Namespace, Operator, until};
use serde_json::{Value, json};

/// How long one workflow may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(3);

/// A workflow of this test: gone with it, unless `KEEP=1` is in the environment.
struct Made {
    operator: Operator,
    name: String,
}

impl Made {
    async fn workflow(&self) -> Result<WorkflowExecution> {
        Ok(self.operator.api::<WorkflowExecution>().get(&self.name).await?)
    }

    /// Waits until it is over.
    async fn ended(&self) -> Result<WorkflowExecution> {
        until(&format!("{} is over", self.name), LIMIT, || async {
            let workflow = self.workflow().await?;
            ensure!(workflow.phase().is_some_and(Phase::is_terminal), "so far: {:?}", workflow.status);
            Ok(workflow)
        })
        .await
    }

    async fn ended_as(&self, phase: WorkflowPhase, reason: &str) -> Result<WorkflowExecution> {
        let workflow = self.ended().await?;
        let status = workflow.status.clone().unwrap_or_default();
        let end = (status.phase, status.reason.as_deref());
        ensure!(end == (Some(phase), Some(reason)), "not {phase} {reason}: {status:#?}");
        ensure!(workflow.finalizers().iter().any(|held| held == labels::OUTBOX_FINALIZER), "its events are not held");
        Ok(workflow)
    }

    async fn executions(&self) -> Result<Vec<KubernetesExecution>> {
        let own = ListParams::default().labels(&format!("{}={}", labels::REQUEST, self.name));
        Ok(self.operator.api::<KubernetesExecution>().list(&own).await?.items)
    }

    async fn remove(self) -> Result<()> {
        self.operator.api::<WorkflowExecution>().delete(&self.name, &DeleteParams::background()).await?;
        Ok(())
    }
}

/// An example of the documentation by the name in it, about the application of this test, under a name of its own.
fn example(operator: &Operator, app: &App<'_>, name: &str) -> Result<Value> {
    let page = std::fs::read_to_string(operator.cluster.root.join("docs/workflows.md"))?;
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let found = blocks
        .map(|block| {
            serde_yaml_ng::from_str::<Value>(
                &block.replace("namespace: shop", &format!("namespace: {}", app.namespace.name)),
            )
        })
        .find(|object| object.as_ref().is_ok_and(|object| object["metadata"]["name"] == name));
    let mut object = found.with_context(|| format!("no example is called {name}"))??;
    object["metadata"]["namespace"] = json!(operator.namespace);
    object["metadata"]["name"] = json!(unique(name, app));
    Ok(object)
}

/// A name of this test only.
fn unique(name: &str, app: &App<'_>) -> String {
    let suffix = app.namespace.name.rsplit('-').next().unwrap_or_default();
    format!("{name}-{suffix}")
}

async fn apply(operator: &Operator, object: &Value) -> Result<()> {
    operator.cluster.kubectl_with(&object.to_string(), ["apply", "--validate=strict", "-f", "-"]).await?;
    Ok(())
}

async fn run(operator: &Operator, object: &Value) -> Result<Made> {
    apply(operator, object).await?;
    let name = object["metadata"]["name"].as_str().context("it has a name")?.to_owned();
    Ok(Made { operator: operator.clone(), name })
}

/// A workflow with these steps.
fn by_hand(operator: &Operator, app: &App<'_>, name: &str, steps: &Value) -> Value {
    json!({
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "WorkflowExecution",
        "metadata": { "name": unique(name, app), "namespace": operator.namespace },
        "spec": { "target": deployment(app), "steps": steps },
    })
}

fn deployment(app: &App<'_>) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "namespace": app.namespace.name, "name": app.name })
}

fn scale(app: &App<'_>, name: &str, replicas: i32, depends_on: &[&str]) -> Value {
    json!({
        "name": name,
        "action": "scale_deployment",
        "target": deployment(app),
        "parameters": { "replicas": replicas },
        "dependsOn": depends_on,
    })
}

async fn replicas(app: &App<'_>) -> Result<Option<i32>> {
    Ok(app.deployment().await?.spec.and_then(|spec| spec.replicas))
}

#[tokio::test]
async fn a_workflow_made_by_hand_runs_its_steps_one_after_the_other() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "hand").await?;
    let app = App::healthy(&namespace, "checkout", Strategy::Rolling).await?;
    let made = run(&operator, &example(&operator, &app, "more-workers")?).await?;
    let workflow = made.ended_as(WorkflowPhase::Completed, "StepsCompleted").await?;

    let status = workflow.status.clone().unwrap_or_default();
    ensure!(status.plan_hash.is_some_and(|hash| hash.len() == 64), "what ran is recorded");
    let steps: Vec<_> = status.steps.iter().map(|step| (step.name.as_str(), step.phase, step.effect)).collect();
    let done = (Some(ExecutionPhase::Completed), Some(Effect::Changed));
    assert_eq!(steps, [("scale", done.0, done.1), ("resources", done.0, done.1)]);
    assert_eq!(replicas(&app).await?, Some(2));
    assert_eq!(app.container().await?["resources"]["requests"]["memory"], "8Mi");

    let executions = made.executions().await?;
    let began = |step: &str| -> Result<(Timestamp, Timestamp)> {
        let execution = executions.iter().find(|one| one.spec.step == step).context("an execution")?;
        let at = |to: &str| execution.transitions().iter().find(|one| one.to == to).map(|one| one.at.0);
        Ok((at("Pending").context("it began")?, at("Completed").context("it ended")?))
    };
    ensure!(began("resources")?.0 >= began("scale")?.1, "the second one waits for the first");
    assert_eq!(executions.len(), 2);
    for execution in &executions {
        let owner = execution.owner_references().first().context("it has an owner")?;
        assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("WorkflowExecution", made.name.as_str()));
    }

    // Its own name is what its events have in common.
    until("its history is stored", LIMIT, || async {
        let history = operator.exec(&["timeline", &made.name]).await?;
        ensure!(history.contains("StepsCompleted"), "{history}");
        Ok(())
    })
    .await?;
    made.remove().await
}

#[tokio::test]
async fn a_workflow_whose_later_step_fails_undoes_the_first() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "undo").await?;
    let app = App::healthy(&namespace, "checkout", Strategy::Rolling).await?;
    let made = run(&operator, &example(&operator, &app, "all-or-nothing")?).await?;
    let workflow = made.ended_as(WorkflowPhase::Failed, "RolledBack").await?;

    assert_eq!(replicas(&app).await?, Some(1), "as it was before");
    let status = workflow.status.clone().unwrap_or_default();
    assert_eq!(status.steps[0].undo.as_ref().map(|undo| undo.state), Some(UndoState::Undone));
    assert_eq!(status.steps[1].undo, None, "it had changed nothing");
    let phases: Vec<_> = workflow.transitions().iter().map(|one| one.to.as_str()).collect();
    assert_eq!(phases, ["Pending", "Planning", "Validating", "Executing", "RollingBack", "Failed"]);
    let executions = made.executions().await?;
    let undoing: Vec<_> = executions.iter().filter(|one| one.spec.undoes.is_some()).collect();
    let [undoing] = undoing[..] else { bail!("one execution undoes, not {}", undoing.len()) };
    assert_eq!(undoing.name_any(), format!("kr-{}-scale", made.name));
    assert_eq!(undoing.spec.parameters.get("replicas"), Some(&json!(1)));
    made.remove().await
}

#[tokio::test]
async fn an_entry_of_the_catalogue_runs_with_its_parameters_and_refuses_others() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "catalogue").await?;
    let app = App::healthy(&namespace, "checkout", Strategy::Rolling).await?;
    let entry = example(&operator, &app, "scale-out")?;
    let entry_name = unique("scale-out", &app);
    apply(&operator, &entry).await?;
    let catalogue = operator.api::<RemediationWorkflow>();
    let ready = |expect: &'static str| {
        let (catalogue, name) = (catalogue.clone(), entry_name.clone());
        async move {
            until(&format!("{name} is Ready {expect}"), LIMIT, || async {
                let status = catalogue.get(&name).await?.status.unwrap_or_default();
                let ready = status.conditions.iter().find(|one| one.type_ == "Ready").context("no condition yet")?;
                ensure!(ready.status == expect, "{ready:?}");
                Ok(ready.message.clone())
            })
            .await
        }
    };
    ready("True").await?;

    let mut ask = example(&operator, &app, "scale-out-now")?;
    ask["spec"]["workflowRef"]["name"] = json!(entry_name);
    let made = run(&operator, &ask).await?;
    let workflow = made.ended_as(WorkflowPhase::Completed, "StepsCompleted").await?;
    assert_eq!(replicas(&app).await?, Some(3));
    let expanded = workflow.status.and_then(|status| status.expanded).context("the steps are taken down")?;
    assert_eq!((expanded.workflow.as_str(), expanded.hash.len()), (entry_name.as_str(), 64));
    assert_eq!(expanded.steps[0].parameters.get("replicas"), Some(&json!(3)), "a number, not a text");
    made.remove().await?;

    for (parameters, field) in [
        (json!({ "replicas": 6 }), "spec.workflowRef.parameters.replicas: must be an integer from 1 to 5"),
        (json!({ "replicas": "3" }), "spec.workflowRef.parameters.replicas: must be an integer"),
        (json!({ "colour": "red" }), "spec.workflowRef.parameters.colour: is not a parameter"),
    ] {
        ask["metadata"]["name"] = json!(unique("refused", &app));
        ask["spec"]["workflowRef"]["parameters"] = parameters;
        let made = run(&operator, &ask).await?;
        let workflow = made.ended_as(WorkflowPhase::Failed, "InvalidParameters").await?;
        let message = workflow.status.and_then(|status| status.message).unwrap_or_default();
        ensure!(message.contains(field), "{message:?} does not name {field:?}");
        ensure!(made.executions().await?.is_empty(), "nothing ran");
        let name = made.name.clone();
        made.remove().await?;
        until("its name is free again", LIMIT, || async {
            ensure!(operator.api::<WorkflowExecution>().get_opt(&name).await?.is_none(), "still there");
            Ok(())
        })
        .await?;
    }

    let broken = Patch::Merge(json!({ "spec": { "parameters": [{ "name": "workers", "type": "integer" }] } }));
    catalogue.patch(&entry_name, &PatchParams::default(), &broken).await?;
    let message = ready("False").await?;
    ensure!(message.contains("spec.steps[scale].parameters.replicas: there is no parameter replicas"), "{message}");
    catalogue.delete(&entry_name, &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_not_sound_or_not_in_scope_is_refused_and_the_field_named() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "refuse").await?;
    let app = App::healthy(&namespace, "checkout", Strategy::Rolling).await?;
    let beyond = Namespace::unmanaged(&operator.cluster, "beyond").await?;
    let outside =
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "namespace": beyond.name, "name": "checkout" });
    let mut elsewhere = scale(&app, "a", 2, &[]);
    elsewhere["target"] = outside;
    let circle = json!([scale(&app, "a", 2, &["b"]), scale(&app, "b", 2, &["a"])]);
    let command = format!("kubectl label namespace {} kubernaut.io/managed=true", beyond.name);
    for (name, steps, reason, expect) in [
        ("circle", circle, "InvalidPlan", "dependsOn goes in a circle among a, b"),
        (
            "dangling",
            json!([scale(&app, "a", 2, &["x"])]),
            "InvalidPlan",
            "spec.steps[a].dependsOn: there is no step x",
        ),
        ("parameter", json!([scale(&app, "a", -1, &[])]), "InvalidSteps", "parameters.replicas: must be an integer"),
        ("scope", json!([elsewhere]), "OutOfScope", command.as_str()),
    ] {
        let made = run(&operator, &by_hand(&operator, &app, name, &steps)).await?;
        let workflow = made.ended_as(WorkflowPhase::Failed, reason).await?;
        let message = workflow.status.and_then(|status| status.message).unwrap_or_default();
        ensure!(message.contains(expect), "{message:?} does not name {expect:?}");
        ensure!(made.executions().await?.is_empty(), "nothing ran");
        made.remove().await?;
    }
    assert_eq!(app.generation().await?, 1, "nothing was touched");
    Ok(())
}

#[tokio::test]
async fn a_workflow_of_high_risk_asks_and_one_that_is_cancelled_does_nothing_more() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "ask").await?;
    let app = App::healthy(&namespace, "checkout", Strategy::Rolling).await?;
    let pods = Api::<Pod>::namespaced(operator.cluster.client.clone(), &namespace.name);
    let pod = pods.list(&ListParams::default()).await?.items.pop().context("it has a pod")?;
    let target = json!({
        "apiVersion": "v1", "kind": "Pod", "namespace": namespace.name, "name": pod.name_any(), "uid": pod.uid(),
    });
    let steps = json!([{ "name": "delete", "action": "delete_pod", "target": target, "parameters": {} }]);

    let made = run(&operator, &by_hand(&operator, &app, "asks", &steps)).await?;
    let question = format!("rap-{}", made.name);
    let asked: RemediationApproval =
        until("a person is asked", LIMIT, || async { Ok(operator.api::<RemediationApproval>().get(&question).await?) })
            .await?;
    let workflow = made.workflow().await?;
    assert_eq!(workflow.phase(), Some(WorkflowPhase::Validating));
    assert_eq!(Some(&asked.spec.plan_hash), workflow.status.as_ref().and_then(|status| status.plan_hash.as_ref()));
    ensure!(made.executions().await?.is_empty(), "nothing is done before the answer");
    let cancel = Patch::Merge(json!({ "spec": { "cancelled": true } }));
    operator.api::<WorkflowExecution>().patch(&made.name, &PatchParams::default(), &cancel).await?;
    made.ended_as(WorkflowPhase::Cancelled, "CancelledByUser").await?;
    ensure!(made.executions().await?.is_empty(), "nothing was done");
    ensure!(pods.get(&pod.name_any()).await?.uid() == pod.uid(), "the pod is as it was");
    made.remove().await?;

    let made = run(&operator, &by_hand(&operator, &app, "approved", &steps)).await?;
    let question = format!("rap-{}", made.name);
    let who = operator.cluster.user().await?;
    until("a person is asked", LIMIT, || async {
        let yes = Patch::Merge(json!({ "status": { "decision": "Approved", "decidedBy": who } }));
        let approvals = operator.api::<RemediationApproval>();
        approvals.patch_status(&question, &PatchParams::default(), &yes).await.map(drop).map_err(Into::into)
    })
    .await?;
    made.ended_as(WorkflowPhase::Completed, "StepsCompleted").await?;
    let found = pods.get_opt(&pod.name_any()).await?;
    ensure!(found.is_none_or(|found| found.uid() != pod.uid() || found.metadata.deletion_timestamp.is_some()), "gone");
    made.remove().await
}

#[tokio::test]
async fn only_cancelled_can_be_changed_and_not_back() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::unmanaged(&operator.cluster, "immutable").await?;
    // In a namespace that the operator does not look at.
    let workflows = Api::<WorkflowExecution>::namespaced(operator.cluster.client.clone(), &namespace.name);
    let target = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "checkout" });
    let step = json!({ "name": "a", "action": "scale_deployment", "target": target, "parameters": { "replicas": 2 } });
    let object: WorkflowExecution = serde_json::from_value(json!({
        "apiVersion": "kubernaut.io/v1alpha1", "kind": "WorkflowExecution",
        "metadata": { "name": "by-hand" }, "spec": { "target": target, "steps": [step] },
    }))?;
    workflows.create(&PostParams::default(), &object).await?;
    let patch = |spec: Value| {
        let workflows = workflows.clone();
        let patch = Patch::Merge(json!({ "spec": spec }));
        async move { workflows.patch("by-hand", &PatchParams::default(), &patch).await }
    };
    for change in [
        json!({ "dryRun": true }),
        json!({ "parallelism": 1 }),
        json!({ "onFailure": "rollback" }),
        json!({ "timeout": "1h" }),
        json!({ "planHash": "0".repeat(64) }),
        json!({ "target": { "name": "other" } }),
        json!({ "steps": [] , "workflowRef": { "name": "x" } }),
    ] {
        let refused = patch(change.clone()).await.err().with_context(|| format!("{change} is accepted"))?;
        ensure!(refused.to_string().contains("spec is immutable"), "{change}: {refused}");
    }
    patch(json!({ "cancelled": true })).await?;
    let refused = patch(json!({ "cancelled": false })).await.err().context("it is taken back")?;
    ensure!(refused.to_string().contains("cannot be taken back"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_cause_that_no_action_mends_is_brought_before_a_person_with_an_entry_of_the_catalogue() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "propose").await?;
    // The first revision it has: there is none to go back to.
    let never_well = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "checkout", "namespace": namespace.name },
        "spec": {
            "selector": { "matchLabels": { "app": "checkout" } },
            "template": {
                "metadata": { "labels": { "app": "checkout" } },
                "spec": { "containers": [{ "name": "app", "image": "localhost/absent:2" }] },
            },
        },
    });
    apply(&operator, &never_well).await?;
    let entry = json!({
        "apiVersion": "kubernaut.io/v1alpha1", "kind": "RemediationWorkflow",
        "metadata": { "name": namespace.name, "namespace": operator.namespace },
        "spec": {
            "whenToUse": "An image never was there: take the load off the nodes until somebody has built it.",
            "match": { "causes": ["ImagePull"], "targetKinds": ["Deployment"] },
            "steps": [{ "name": "rest", "action": "scale_deployment", "parameters": { "replicas": 0 } }],
        },
    });
    apply(&operator, &entry).await?;
    let pods = Api::<Pod>::namespaced(operator.cluster.client.clone(), &namespace.name);
    let pod = until("its pod cannot pull its image", LIMIT, || async {
        let pod = pods.list(&ListParams::default()).await?.items.pop().context("no pod yet")?;
        let status = serde_json::to_value(&pod.status)?;
        let reason = &status["containerStatuses"][0]["state"]["waiting"]["reason"];
        ensure!(reason == "ErrImagePull" || reason == "ImagePullBackOff", "{reason}");
        Ok(pod.name_any())
    })
    .await?;

    let request = operator.alert(&[Alert::about_pod(&namespace.name, &pod)]).await?.created()?;
    let asked = until("a person is asked", LIMIT, || async {
        let remediation = operator.remediation(&request).await?;
        let history = remediation.history();
        remediation.approval.with_context(|| format!("no RemediationApproval:\n{history}"))
    })
    .await?;
    ensure!(asked.spec.steps.iter().any(|step| step.contains("to 0 replicas")), "{:?}", asked.spec);
    let deployments = Api::<Deployment>::namespaced(operator.cluster.client.clone(), &namespace.name);
    let replicas =
        || async { Ok::<_, anyhow::Error>(deployments.get("checkout").await?.spec.and_then(|spec| spec.replicas)) };
    assert_eq!(replicas().await?, Some(1), "it never runs by itself");
    let analysis = operator.remediation(&request).await?.analysis.and_then(|one| one.status).context("an analysis")?;
    let rationale = analysis.plan.map(|plan| plan.rationale).unwrap_or_default();
    ensure!(rationale.contains(&format!("RemediationWorkflow {}", namespace.name)), "{rationale}");

    let who = operator.cluster.user().await?;
    let yes = Patch::Merge(json!({ "status": { "decision": "Approved", "decidedBy": who } }));
    operator.api::<RemediationApproval>().patch_status(&asked.name_any(), &PatchParams::default(), &yes).await?;
    until("it is done", LIMIT, || async {
        ensure!(replicas().await? == Some(0), "{}", operator.remediation(&request).await?.history());
        Ok(())
    })
    .await?;
    operator.api::<RemediationWorkflow>().delete(&namespace.name, &DeleteParams::default()).await?;
    Ok(())
}
