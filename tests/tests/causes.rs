//! Causes that lie outside of what the alert is about: they are mended where they are, and their victims are not touched.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kubernaut_api::{Outcome, RemediationApproval, RequestPhase};
use kubernaut_testkit::app::Strategy;
use kubernaut_testkit::{Alert, App, Namespace, Operator, Remediation, until};
use serde_json::{Value, json};

/// How long one remediation may take on a busy machine; a victim that crashes is started again within minutes.
const LIMIT: Duration = Duration::from_mins(4);

async fn apply(namespace: &Namespace, manifest: &str) -> Result<()> {
    let image = std::env::var("BUSYBOX_IMAGE").unwrap_or_else(|_| "localhost/busybox:1".into());
    let manifest = manifest.replace("IMAGE", &image);
    namespace.cluster.kubectl_with(&manifest, ["apply", "-n", &namespace.name, "-f", "-"]).await.map(|_| ())
}

async fn kubectl(namespace: &Namespace, call: &[&str]) -> Result<String> {
    namespace.cluster.kubectl(["-n", &namespace.name].iter().chain(call)).await
}

async fn generation(namespace: &Namespace, name: &str) -> Result<Option<i64>> {
    let deployments = Api::<Deployment>::namespaced(namespace.cluster.client.clone(), &namespace.name);
    Ok(deployments.get(name).await?.metadata.generation)
}

/// Waits for the question that a person is asked, and says yes.
async fn allow(operator: &Operator, request: &str) -> Result<RemediationApproval> {
    let asked = until("a person is asked", LIMIT, || async {
        let remediation = operator.remediation(request).await?;
        remediation.approval.clone().with_context(|| remediation.history())
    })
    .await?;
    operator.approve(&asked).await?;
    Ok(asked)
}

fn cause(remediation: &Remediation) -> Option<&str> {
    let status = remediation.analysis.as_ref()?.status.as_ref()?;
    Some(status.root_cause.as_ref()?.cause.as_str())
}

/// The only step, as action, target and parameters.
fn step(remediation: &Remediation) -> Result<(String, String, Value)> {
    let [execution] = &remediation.executions[..] else {
        anyhow::bail!("not one execution:\n{}", remediation.history())
    };
    let spec = &execution.spec;
    Ok((spec.action.clone(), spec.target.to_string(), json!(spec.parameters)))
}

/// Ends when `db` answers; else says so and fails.
const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  minReadySeconds: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: app
          image: IMAGE
          env: [{name: DB_HOST, value: db.NAMESPACE.svc}]
          command:
            - sh
            - -c
            - 'while nc -w 2 "$DB_HOST" 5432 </dev/null; do sleep 1; done; echo "cannot connect to $DB_HOST:5432: connection refused" >&2; exit 1'
"#;

#[tokio::test]
async fn a_dependency_in_another_namespace_is_mended_there_and_its_victim_recovers() -> Result<()> {
    let operator = Operator::installed().await?;
    let data = Namespace::managed(&operator.cluster, "data").await?;
    let shop = Namespace::managed(&operator.cluster, "victim").await?;
    let db = App::healthy(&data, "db", Strategy::Recreate).await?;
    db.roll_out(&json!({ "command": ["sh", "-c", "while true; do nc -l -p 5432 </dev/null; done"] })).await?;
    db.is_healthy(LIMIT).await?;
    let good = db.container().await?;
    apply(
        &data,
        "{apiVersion: v1, kind: Service, metadata: {name: db}, spec: {selector: {app: db}, ports: [{port: 5432}]}}",
    )
    .await?;
    apply(&shop, &WEB.replace("NAMESPACE", &data.name)).await?;
    kubectl(&shop, &["rollout", "status", "deployment/web", "--timeout=90s"]).await?;
    let untouched = generation(&shop, "web").await?;

    db.break_command().await?;
    db.crashing_pod().await?;
    let pod = until("web crashes", LIMIT, || async {
        let path = "jsonpath={.items[?(@.status.containerStatuses[0].restartCount>1)].metadata.name}";
        let found = kubectl(&shop, &["get", "pods", "-l", "app=web", "-o", path]).await?;
        found.split_whitespace().next().map(str::to_owned).context("it does not yet")
    })
    .await?;
    let request = operator.alert(&[Alert::about_pod(&shop.name, &pod)]).await?.created()?;
    let asked = allow(&operator, &request).await?;
    ensure!(asked.spec.summary.contains("Deployment"), "{}", asked.spec.summary);
    let remediation = operator.ended(&request, LIMIT).await?;

    remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
    assert_eq!(cause(&remediation), Some("DependencyBroken"));
    let (action, target, _) = step(&remediation)?;
    assert_eq!((action.as_str(), target), ("rollback_deployment", format!("Deployment/{}/db", data.name)));
    assert_eq!(db.container().await?, good, "what worked is back");
    assert_eq!(generation(&shop, "web").await?, untouched, "the victim was not touched");
    Ok(())
}

const CONFIGURED: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {mode: good, other: same}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  minReadySeconds: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: app
          image: IMAGE
          envFrom: [{configMapRef: {name: settings}}]
          command: [sh, -c, 'test "$mode" = good || exit 1; sleep 86400']
"#;

#[tokio::test]
async fn a_config_map_that_breaks_its_consumers_is_restored_to_what_was_declared() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "changed").await?;
    apply(&namespace, CONFIGURED).await?;
    kubectl(&namespace, &["rollout", "status", "deployment/app", "--timeout=90s"]).await?;
    kubectl(&namespace, &["patch", "configmap", "settings", "-p", r#"{"data":{"mode":"bad","more":"x"}}"#]).await?;
    kubectl(&namespace, &["rollout", "restart", "deployment/app"]).await?;
    let pod = until("a pod crashes", LIMIT, || async {
        let path = "jsonpath={.items[?(@.status.containerStatuses[0].restartCount>1)].metadata.name}";
        let found = kubectl(&namespace, &["get", "pods", "-l", "app=app", "-o", path]).await?;
        found.split_whitespace().next().map(str::to_owned).context("it does not yet")
    })
    .await?;
    let request = operator.alert(&[Alert::about_pod(&namespace.name, &pod)]).await?.created()?;
    allow(&operator, &request).await?;
    let remediation = operator.ended(&request, LIMIT).await?;

    remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
    assert_eq!(cause(&remediation), Some("ConfigurationChanged"));
    let (action, _, parameters) = step(&remediation)?;
    assert_eq!(action, "update_config");
    assert_eq!(parameters, json!({ "data": { "mode": "good", "more": null } }));
    let maps = Api::<ConfigMap>::namespaced(operator.cluster.client.clone(), &namespace.name);
    let data = maps.get("settings").await?.data.unwrap_or_default();
    assert_eq!(json!(data), json!({ "mode": "good", "other": "same" }));
    Ok(())
}
