//! The whole path with nothing played: real metrics, real Prometheus, real Alertmanager, an app that really breaks.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::ListParams;
use kube::{Client, ResourceExt};
use kubernaut_api::{Outcome, RemediationRequest, RequestPhase};
use kubernaut_testkit::app::Strategy;
use kubernaut_testkit::cluster::run;
use kubernaut_testkit::http::Request;
use kubernaut_testkit::{App, Namespace, Operator, until};
use serde_json::Value;

/// From the break to the request: scrape, rule, notification.
const NOTICED: Duration = Duration::from_mins(2);
/// From the alert to the outcome, and from the fix to the end of the alert.
const LIMIT: Duration = Duration::from_mins(2);

/// Alerts about a namespace that Alertmanager holds active.
async fn active_alerts(client: &Client, namespace: &str) -> Result<Vec<String>> {
    let path = format!(
        "/api/v1/namespaces/monitoring/services/alertmanager:9093/proxy/api/v2/alerts?filter=namespace%3D%22{namespace}%22"
    );
    let alerts: Vec<Value> = client.request(Request::get(path).body(vec![])?).await?;
    Ok(alerts.iter().map(|alert| alert["labels"]["alertname"].to_string()).collect())
}

#[tokio::test]
async fn a_broken_release_is_noticed_by_prometheus_and_healed_and_the_alert_ends() -> Result<()> {
    let operator = Operator::with_default_values().await?;
    ensure!(operator.namespace == "kubernaut-system" && operator.name == "kubernaut", "Alertmanager sends there only");
    let mut install = operator.cluster.tool("bash");
    install.arg("tests/cluster/monitoring/install");
    run(install, "").await.context("the monitoring is not ready")?;

    let namespace = Namespace::heard(&operator.cluster, "e2e").await?;
    let app = App::healthy(&namespace, "shop", Strategy::Rolling).await?;
    let good = app.container().await?;
    app.break_command().await?;

    let request = until("Alertmanager has reported it", NOTICED, || async {
        let requests = operator.api::<RemediationRequest>().list(&ListParams::default()).await?.items;
        let target = |request: &RemediationRequest| request.spec.target.as_ref()?.namespace.clone();
        let found = requests.into_iter().find(|request| target(request).as_ref() == Some(&namespace.name));
        found.with_context(|| "no request yet")
    })
    .await?;
    assert_eq!(
        (request.spec.signal.source.as_str(), request.spec.signal.name.as_str()),
        ("alertmanager", "KubePodCrashLooping")
    );

    let remediation = operator.ended(&request.name_any(), LIMIT).await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
    remediation.check()?;
    let reason = remediation.request.status.as_ref().and_then(|status| status.reason.as_deref());
    assert_eq!(reason, Some("AlertResolved"), "the alert's end proves it, long before the time of unbroken health");
    assert_eq!(app.container().await?, good);
    app.is_healthy(Duration::from_secs(10)).await?;
    until("the alert is over", LIMIT, || async {
        let active = active_alerts(&operator.cluster.client, &namespace.name).await?;
        ensure!(active.is_empty(), "still active: {active:?}");
        Ok(())
    })
    .await
}
