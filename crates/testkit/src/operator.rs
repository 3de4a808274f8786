//! The operator under test: installed once with the chart, with times that suit tests.
//!
//! `KUBERNAUT_NAMESPACE` and `KUBERNAUT_RELEASE` put it elsewhere than users do; with `KUBERNAUT_INSTALLED=1`
//! the one that is there is taken as it is.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use axum::http::Request;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

use crate::alert::{Alert, payload};
use crate::cluster::{Cluster, run, tool};
use crate::{namespace, until};

/// How long after the end of a remediation its alert is held back.
pub const COOLDOWN: Duration = Duration::from_secs(20);
/// How often it is looked at whether what is held back may go on.
pub const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long a target has to stay well.
pub const STABILIZATION: Duration = Duration::from_secs(5);
/// How long a start may take on a busy machine.
const START: Duration = Duration::from_mins(2);

/// The operator, and where its gateway is reached.
#[derive(Clone)]
pub struct Operator {
    /// Where it is.
    pub cluster: Cluster,
    /// Its namespace, that of all its resources.
    pub namespace: String,
    /// Name of its Deployment, Service and ServiceAccount.
    pub name: String,
    installed: Installed,
    http: reqwest::Client,
}

/// What does not belong to the runtime of one test.
#[derive(Clone, Debug)]
struct Installed {
    gateway: String,
    token: String,
}

/// What the gateway answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// Its JSON.
    pub body: Value,
}

impl Answer {
    /// What became of the only alert.
    pub fn only(&self) -> Result<&Value> {
        let results = self.body["results"].as_array().with_context(|| format!("no results: {self:?}"))?;
        ensure!(results.len() == 1, "not one result: {results:?}");
        Ok(&results[0])
    }

    /// Name of the request that the only alert made; an error when it made none.
    pub fn created(&self) -> Result<String> {
        let result = self.only()?;
        ensure!(self.code == 201 && result["status"] == "created", "no request was made: {self:?}");
        result["request"].as_str().map(str::to_owned).context("the request has a name")
    }
}

impl Operator {
    /// The operator with times that suit tests; the first test of a process installs or upgrades it.
    pub async fn installed() -> Result<Self> {
        let config = json!({
            "verification": { "stabilizationWindow": format!("{}s", STABILIZATION.as_secs()) },
            "suppression": { "cooldown": cooldowns(), "lookAgain": format!("{}s", LOOK_AGAIN.as_secs()) },
            // All tests together do more than anybody would in an hour.
            "budgets": { "actionsPerHour": 1000 },
            "retention": "30m",
        });
        Self::configured(config).await
    }

    /// The operator with times that suit tests and these settings over them. A process has either this one or another.
    pub async fn installed_with(execution: Value) -> Result<Self> {
        let config = json!({
            "verification": { "stabilizationWindow": format!("{}s", STABILIZATION.as_secs()) },
            "retention": "30m",
            "execution": execution,
        });
        Self::configured(config).await
    }

    /// The operator as users have it, with default values. A process has either this one or the other.
    pub async fn with_default_values() -> Result<Self> {
        Self::configured(json!({})).await
    }

    async fn configured(config: Value) -> Result<Self> {
        static INSTALLED: OnceCell<Installed> = OnceCell::const_new();
        let cluster = Cluster::connect().await?;
        let namespace = std::env::var("KUBERNAUT_NAMESPACE").unwrap_or_else(|_| "kubernaut-system".into());
        let name = std::env::var("KUBERNAUT_RELEASE").unwrap_or_else(|_| "kubernaut".into());
        let installed = INSTALLED.get_or_try_init(|| install(&cluster, &namespace, &name, config)).await?.clone();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
        Ok(Self { cluster, namespace, name, installed, http })
    }

    /// Resources of its namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.cluster.client.clone(), &self.namespace)
    }

    /// Sends alerts as Alertmanager does.
    pub async fn alert(&self, alerts: &[Alert]) -> Result<Answer> {
        self.post(&self.installed.gateway, Some(&self.installed.token), alerts).await
    }

    /// Sends alerts to the gateway of another process, which has no authentication.
    pub async fn alert_at(&self, gateway: &str, alerts: &[Alert]) -> Result<Answer> {
        self.post(gateway, None, alerts).await
    }

    /// Sends alerts with this token.
    pub async fn alert_as(&self, token: Option<&str>, alerts: &[Alert]) -> Result<Answer> {
        self.post(&self.installed.gateway, token, alerts).await
    }

    async fn post(&self, gateway: &str, token: Option<&str>, alerts: &[Alert]) -> Result<Answer> {
        let mut request = self.http.post(format!("{gateway}/api/v1/signals/alertmanager"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let body = serde_json::to_string(&payload(alerts))?;
        let response = request.header("content-type", "application/json").body(body).send().await?;
        let code = response.status().as_u16();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).with_context(|| format!("{code} without JSON: {text}"))?;
        Ok(Answer { code, body })
    }

    /// Its pods that are not being deleted.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        let own = ListParams::default().labels(&format!("app.kubernetes.io/instance={}", self.name));
        let pods = self.api::<Pod>().list(&own).await?.items;
        Ok(pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
    }

    /// Name of the pod that leads, by its lease.
    pub async fn leader(&self) -> Result<String> {
        let lease = self.api::<Lease>().get("kubernaut-leader").await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).filter(|holder| !holder.is_empty());
        holder.context("nobody leads")
    }

    /// Waits until this many pods are ready and one of them leads.
    pub async fn is_ready(&self, replicas: usize) -> Result<()> {
        until("the operator is ready and leads", START, || async {
            let pods = self.pods().await?;
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            ensure!(pods.len() == replicas && ready == replicas, "{ready} of {} pods are ready", pods.len());
            let leader = self.leader().await?;
            ensure!(pods.iter().any(|pod| pod.name_any() == leader), "{leader} still leads");
            Ok(())
        })
        .await
    }

    /// Sends a signal to the process of a pod. On a foreign cluster its node cannot be reached: the pod is
    /// deleted without grace instead.
    pub async fn signal(&self, pod: &str, signal: &str) -> Result<()> {
        if !self.cluster.is_local() {
            self.cluster.kubectl(["delete", "pod", "--force", "--grace-period=0", "-n", &self.namespace, pod]).await?;
            return Ok(());
        }
        // It may be between two runs, after an earlier signal.
        until(&format!("{pod} gets {signal}"), START, || async {
            let found = self.api::<Pod>().get(pod).await?;
            let containers = found.status.and_then(|status| status.container_statuses).unwrap_or_default();
            let container =
                containers.first().filter(|one| one.state.as_ref().is_some_and(|state| state.running.is_some()));
            let id = container.and_then(|one| one.container_id.as_deref()?.strip_prefix("containerd://"));
            let mut command = self.cluster.tool("bash");
            let script = ". tests/cluster/env.sh && ctr task kill --signal \"$1\" \"$2\"";
            command.args(["-euc", script, "signal", signal, id.context("it does not run")?]);
            run(command, "").await
        })
        .await?;
        Ok(())
    }

    /// What the program prints when it is called in the operator's pod.
    pub async fn exec(&self, arguments: &[&str]) -> Result<String> {
        let deployment = format!("deployment/{}", self.name);
        let call = ["exec", "-n", &self.namespace, &deployment, "--", "/usr/local/bin/kubernaut"];
        self.cluster.kubectl(call.iter().chain(arguments)).await
    }
}

/// [`COOLDOWN`] after every end.
fn cooldowns() -> Value {
    let ends = [
        "remediated",
        "noActionRequired",
        "manualReviewRequired",
        "inconclusive",
        "rolledBack",
        "dryRun",
        "failed",
        "timedOut",
        "cancelled",
    ];
    ends.into_iter().map(|end| (end.to_owned(), json!(format!("{}s", COOLDOWN.as_secs())))).collect()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn install(cluster: &Cluster, namespace: &str, name: &str, config: Value) -> Result<Installed> {
    if std::env::var_os("KUBERNAUT_INSTALLED").is_none() {
        upgrade(cluster, namespace, name, config).await.context("the operator could not be installed")?;
    }
    silence(cluster).await;
    let service = Api::<Service>::namespaced(cluster.client.clone(), namespace).get(name).await?;
    let gateway = gateway(cluster, namespace, name, &service).await?;
    let secrets = Api::<Secret>::namespaced(cluster.client.clone(), namespace);
    let secret = secrets.get(&format!("{name}-gateway-token")).await?;
    let token = secret.data.and_then(|mut data| data.remove("token")).context("the Secret has a token")?;
    Ok(Installed { gateway, token: String::from_utf8(token.0)? })
}

async fn upgrade(cluster: &Cluster, namespace: &str, name: &str, config: Value) -> Result<()> {
    let mut values = json!({
        "image": image(cluster)?,
        "crds": { "install": owns_crds(cluster, namespace, name).await? },
        "resources": { "requests": { "cpu": "10m" } },
    });
    values["config"] = config;
    // Tests run operators beside the installed one, and make by hand what only Kubernaut makes.
    values["admission"] = json!({ "writers": [cluster.user().await?] });
    let mut helm = cluster.tool("helm");
    helm.args(["upgrade", "--install", name]).arg(cluster.root.join("charts/kubernaut"));
    helm.args(["--namespace", namespace, "--create-namespace", "--values", "-", "--wait"]);
    helm.arg("--timeout").arg(format!("{}s", START.as_secs()));
    run(helm, &values.to_string()).await?;
    Ok(())
}

/// The image as the chart's values name it: `IMAGE`, else the one that was loaded last.
fn image(cluster: &Cluster) -> Result<Value> {
    let file = cluster.root.join(".local/image");
    let name = match std::env::var("IMAGE") {
        Ok(name) => name,
        Err(_) => std::fs::read_to_string(&file).with_context(|| {
            let remedy = "IMAGE names an image that the cluster can pull; `make image` makes one for the local cluster";
            format!("there is no {}: {remedy}", file.display())
        })?,
    };
    let name = name.trim();
    if let Some((repository, digest)) = name.split_once('@') {
        return Ok(json!({ "repository": repository, "digest": digest }));
    }
    // A colon before the last slash is a port.
    Ok(match name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((repository, tag)) => json!({ "repository": repository, "tag": tag }),
        None => json!({ "repository": name, "tag": "latest" }),
    })
}

/// Helm refuses to touch what another release has made.
async fn owns_crds(cluster: &Cluster, namespace: &str, name: &str) -> Result<bool> {
    let crds = Api::<CustomResourceDefinition>::all(cluster.client.clone());
    let Some(crd) = crds.get_opt("remediationrequests.kubernaut.io").await? else { return Ok(true) };
    let is = |annotation: &str, value: &str| crd.annotations().get(annotation).is_some_and(|found| found == value);
    Ok(is("meta.helm.sh/release-name", name) && is("meta.helm.sh/release-namespace", namespace))
}

/// Keeps an Alertmanager of `tests/cluster/monitoring` from telling of the namespaces in which tests play it.
async fn silence(cluster: &Cluster) {
    let now = Timestamp::now();
    let silence = json!({
        "matchers": [{ "name": "namespace", "value": format!("{}.*", namespace::PREFIX), "isRegex": true, "isEqual": true }],
        "startsAt": now,
        "endsAt": now + SignedDuration::from_mins(30),
        "createdBy": "kubernaut-tests",
        "comment": "tests send these alerts themselves",
    });
    let path = "/api/v1/namespaces/monitoring/services/alertmanager:9093/proxy/api/v2/silences";
    let request = Request::post(path).header("content-type", "application/json").body(silence.to_string().into_bytes());
    let Ok(request) = request else { return };
    // The client repeats a 503 for minutes.
    match timeout(Duration::from_secs(5), cluster.client.request_text(request)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => eprintln!("no Alertmanager was silenced, there is probably none: {error}"),
        Err(_) => eprintln!("no Alertmanager was silenced: it does not answer"),
    }
}

/// Whether something listens there. A Service refuses for a moment, until kube-proxy knows the new pod.
async fn answers(address: SocketAddr) -> bool {
    for _ in 0..40 {
        match timeout(Duration::from_secs(2), TcpStream::connect(address)).await {
            Ok(Ok(_)) => return true,
            Ok(Err(refused)) if refused.kind() == ErrorKind::ConnectionRefused => {
                sleep(Duration::from_millis(250)).await;
            }
            Ok(Err(_)) | Err(_) => return false,
        }
    }
    false
}

/// `GATEWAY_URL`, else the Service where its address can be reached from here, else a forwarded port.
async fn gateway(cluster: &Cluster, namespace: &str, name: &str, service: &Service) -> Result<String> {
    if let Ok(url) = std::env::var("GATEWAY_URL") {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    let address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()).and_then(|ip| ip.parse().ok());
    if let Some(address) = address.map(|ip| SocketAddr::new(ip, 8080))
        && answers(address).await
    {
        return Ok(format!("http://{address}"));
    }
    let mut forward = tool(&cluster.root, &cluster.kubeconfig, "kubectl");
    let target = format!("service/{name}");
    forward.args(["port-forward", "-n", namespace, &target, ":8080"]).stdout(Stdio::piped());
    // It ends with this process: its output has no reader then.
    let mut child = forward.spawn().context("cannot run kubectl port-forward")?;
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().context("stdout is piped")?);
    output.read_line(&mut line)?;
    // It prints more, and would die of a reader that has gone while it is needed.
    std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    match line.split_whitespace().find(|word| word.starts_with("127.0.0.1:")) {
        Some(address) => Ok(format!("http://{address}")),
        None => bail!("kubectl port-forward says {line:?}"),
    }
}
