//! A second operator, run as a process of this machine beside the installed one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{Operator, until};

/// The process; dropping it kills it.
pub struct Process {
    /// Where its gateway listens; it has no authentication.
    pub gateway: String,
    admin: SocketAddr,
    command: Command,
    child: Child,
    folder: TempDir,
}

impl Process {
    /// Starts one with the installed operator's configuration, but for ports, store and election: it always leads.
    pub async fn start(operator: &Operator) -> Result<Self> {
        Self::through(operator, &operator.cluster.kubeconfig).await
    }

    /// As [`Self::start`], talking to the API server that this kubeconfig names.
    pub async fn through(operator: &Operator, kubeconfig: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let map = operator.api::<ConfigMap>().get(&operator.name).await?;
        let text = map.data.and_then(|mut data| data.remove("config.yaml")).context("the ConfigMap has config.yaml")?;
        let mut config: Value = serde_yaml_ng::from_str(&text)?;
        let (gateway, admin) = (free_port()?, free_port()?);
        config["gateway"]["listen"] = json!(gateway);
        config["gateway"]["authentication"] = json!({ "mode": "none" });
        config["admin"] = json!({ "listen": admin });
        config["leaderElection"] = json!({ "enabled": false });
        config["store"] = json!({ "path": folder.path().join("kubernaut.db") });
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, serde_yaml_ng::to_string(&config)?)?;

        let log = std::fs::File::options().create(true).append(true).open(folder.path().join("log"))?;
        let mut command = Command::new(binary(operator)?);
        command.arg("run").arg("--config").arg(file);
        command.env("KUBECONFIG", kubeconfig).env("KUBERNAUT_IMAGE", image(operator).await?);
        command.env("POD_NAMESPACE", &operator.namespace).env("POD_NAME", "second");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let child = command.spawn()?;
        let mut process = Self { gateway: format!("http://{gateway}"), admin, command, child, folder };
        process.is_ready().await?;
        Ok(process)
    }

    /// Kills it without warning and starts it again, with the same configuration and store.
    pub async fn crash(&mut self) -> Result<()> {
        self.child.kill().await?;
        self.child = self.command.spawn()?;
        self.is_ready().await
    }

    async fn is_ready(&mut self) -> Result<()> {
        let admin = self.admin;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
        let result = until("the second operator is ready", Duration::from_secs(30), || async {
            let code = http.get(format!("http://{admin}/readyz")).send().await?.status();
            ensure!(code.is_success(), "readyz says {code}");
            Ok(())
        })
        .await;
        result.with_context(|| self.log())?;
        match self.child.try_wait()? {
            Some(status) => bail!("the second operator ended, {status}: {}", self.log()),
            None => Ok(()),
        }
    }

    /// Everything that it wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The program of the image, as far as it is known here.
fn binary(operator: &Operator) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("KUBERNAUT_BIN") {
        return Ok(path.into());
    }
    let places = [".local/bin/kubernaut", "target/release/kubernaut", "target/debug/kubernaut"];
    let found = places.iter().map(|place| operator.cluster.root.join(place)).find(|path| path.exists());
    found.context("there is no program here: KUBERNAUT_BIN names one, `cargo build -p kubernaut` makes one")
}

async fn image(operator: &Operator) -> Result<String> {
    let deployment = operator.api::<Deployment>().get(&operator.name).await?;
    let pod = deployment.spec.and_then(|spec| spec.template.spec);
    let container = pod.and_then(|pod| pod.containers.into_iter().next());
    container.and_then(|container| container.image).context("the operator has an image")
}
