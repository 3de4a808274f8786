//! The cluster under test: `KUBECONFIG`, else the local one under `.local/`.

use std::ffi::OsStr;
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What to do when there is no cluster.
const REMEDY: &str = "`make cluster-up` starts one; KUBECONFIG in the environment names another";

/// A cluster and the tools to talk to it.
#[derive(Clone)]
pub struct Cluster {
    /// A client of it. It belongs to the runtime of the test that made it.
    pub client: Client,
    /// Folder of the workspace.
    pub root: PathBuf,
    /// Its kubeconfig.
    pub kubeconfig: PathBuf,
}

impl Cluster {
    /// Connects, or fails with the remedy.
    pub async fn connect() -> Result<Self> {
        // A second test of the same process finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = root()?;
        let local = root.join(".local/cluster/kubeconfig");
        let kubeconfig = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()).map_or(local, PathBuf::from);
        ensure!(kubeconfig.exists(), "there is no cluster: {} does not exist. {REMEDY}", kubeconfig.display());
        let file = Kubeconfig::read_from(&kubeconfig)?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        client.apiserver_version().await.with_context(|| format!("the cluster does not answer. {REMEDY}"))?;
        Ok(Self { client, root, kubeconfig })
    }

    /// As whom the API server knows whoever the kubeconfig names.
    pub async fn user(&self) -> Result<String> {
        let reviews = Api::<SelfSubjectReview>::all(self.client.clone());
        let own = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
        own.status.and_then(|status| status.user_info?.username).context("the API server knows who asks")
    }

    /// Whether it is the one that `make cluster-up` starts.
    pub fn is_local(&self) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        real(&self.kubeconfig).is_some_and(|path| Some(path) == real(&self.root.join(".local/cluster/kubeconfig")))
    }

    /// A tool that speaks to it, such as `kubectl`; the workspace's own before that of `PATH`.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::from(tool(&self.root, &self.kubeconfig, name));
        command.kill_on_drop(true);
        command
    }

    /// What kubectl prints; its error when it fails.
    pub async fn kubectl<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<String> {
        self.kubectl_with("", arguments).await
    }

    /// As [`Self::kubectl`], with something to read.
    pub async fn kubectl_with<S: AsRef<OsStr>>(
        &self,
        input: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<String> {
        let mut command = self.tool("kubectl");
        command.args(arguments);
        run(command, input).await
    }

    /// Address under which pods reach this process: the node's, where the node is this machine, else `EVENT_HOST`.
    pub async fn own_address(&self) -> Result<IpAddr> {
        if let Ok(host) = std::env::var("EVENT_HOST") {
            return host.parse().context("EVENT_HOST is no IP address");
        }
        let nodes = Api::<Node>::all(self.client.clone()).list(&ListParams::default()).await?;
        let addresses = nodes.items.into_iter().filter_map(|node| node.status?.addresses).flatten();
        addresses
            .filter(|address| address.type_ == "InternalIP")
            .filter_map(|address| address.address.parse::<IpAddr>().ok())
            .find(|address| TcpListener::bind((*address, 0)).is_ok())
            .context("no node is this machine: set EVENT_HOST to an address of it that pods reach")
    }
}

/// Runs a command to its end: what it printed, or its error.
pub async fn run(mut command: Command, input: &str) -> Result<String> {
    let shown = format!("{:?}", command.as_std());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {shown}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read closes its side first.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        bail!("{shown}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// As [`Cluster::tool`], for where nothing can be awaited.
pub(crate) fn tool(root: &Path, kubeconfig: &Path, name: &str) -> std::process::Command {
    let own = root.join(".local/bin").join(name);
    let mut command = std::process::Command::new(if own.exists() { own } else { name.into() });
    command.env("KUBECONFIG", kubeconfig).current_dir(root);
    command
}

fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map(Path::to_owned).context("this crate lies in crates/ of the workspace")
}
