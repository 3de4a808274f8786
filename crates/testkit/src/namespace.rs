//! A namespace of one test, removed with all it holds when the test is over.

use std::process::Stdio;

use anyhow::Result;
use k8s_openapi::api::core::v1::Namespace as KubeNamespace;
use kube::Api;
use kube::api::PostParams;
use kubernaut_api::{ObjectMeta, labels};
use uuid::Uuid;

use crate::cluster::{Cluster, tool};

/// What the names of all namespaces of tests begin with.
pub const PREFIX: &str = "it-";

/// A namespace; dropping it deletes it, unless `KEEP=1` is in the environment.
pub struct Namespace {
    /// Where it is.
    pub cluster: Cluster,
    /// Its name.
    pub name: String,
}

impl Namespace {
    /// One that Kubernaut may act in.
    pub async fn managed(cluster: &Cluster, purpose: &str) -> Result<Self> {
        Self::named(cluster, format!("{PREFIX}{purpose}-{}", suffix()), true).await
    }

    /// One that Kubernaut may not act in.
    pub async fn unmanaged(cluster: &Cluster, purpose: &str) -> Result<Self> {
        Self::named(cluster, format!("{PREFIX}{purpose}-{}", suffix()), false).await
    }

    /// One that Kubernaut may act in and whose alerts Alertmanager is not kept from sending.
    pub async fn heard(cluster: &Cluster, purpose: &str) -> Result<Self> {
        Self::named(cluster, format!("{purpose}-{}", suffix()), true).await
    }

    async fn named(cluster: &Cluster, name: String, managed: bool) -> Result<Self> {
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            labels: managed.then(|| [(labels::MANAGED.to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        };
        let namespace = KubeNamespace { metadata, ..KubeNamespace::default() };
        Api::all(cluster.client.clone()).create(&PostParams::default(), &namespace).await?;
        Ok(Self { cluster: cluster.clone(), name })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::env::var_os("KEEP").is_some() {
            eprintln!("kept: namespace {}", self.name);
            return;
        }
        // Also after a panic, and when the test's runtime is gone.
        let mut command = tool(&self.cluster.root, &self.cluster.kubeconfig, "kubectl");
        let command = command.args(["delete", "namespace", "--wait=false", &self.name]).stdout(Stdio::null());
        if let Err(error) = command.status() {
            eprintln!("namespace {} stays: {error}", self.name);
        }
    }
}

fn suffix() -> String {
    Uuid::new_v4().simple().to_string()[..6].to_owned()
}
