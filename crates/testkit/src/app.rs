//! An application of one replica, well at first, and the ways to break it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::{Namespace, objects, pods, until};

/// Name of its only container.
pub const CONTAINER: &str = "app";
/// How long a rollout or a few crashes may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How a new revision replaces the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The old pod serves until the new one is ready.
    Rolling,
    /// The old pod goes first.
    Recreate,
}

/// A Deployment of one replica.
pub struct App<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// Its name.
    pub name: String,
    api: Api<Deployment>,
}

impl<'a> App<'a> {
    /// Makes one that is well, and waits until it is.
    pub async fn healthy(namespace: &'a Namespace, name: &str, strategy: Strategy) -> Result<Self> {
        let app = Self::make(namespace, name, strategy, json!(["sleep", "86400"]), &json!({})).await?;
        app.is_healthy(PATIENCE).await?;
        Ok(app)
    }

    /// Makes one that wants more memory than its limit, 16Mi, and no more than twice as much.
    pub async fn out_of_memory(namespace: &'a Namespace, name: &str) -> Result<Self> {
        // The interpreter itself holds the text, so that it is the first process that is killed.
        let program = r#"BEGIN { text = sprintf("%20000000s", ""); while (1) system("sleep 60") }"#;
        let command = json!(["busybox", "awk", program]);
        let limits = json!({ "limits": { "memory": "16Mi" } });
        Self::make(namespace, name, Strategy::Rolling, command, &limits).await
    }

    async fn make(
        namespace: &'a Namespace,
        name: &str,
        strategy: Strategy,
        command: Value,
        limits: &Value,
    ) -> Result<Self> {
        let mut resources = json!({ "requests": { "cpu": "1m", "memory": "4Mi" } });
        if let Some(limits) = limits.get("limits") {
            resources["limits"] = limits.clone();
        }
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": {
                "replicas": 1,
                // What ends at once must not count as available.
                "minReadySeconds": 2,
                "strategy": { "type": if strategy == Strategy::Rolling { "RollingUpdate" } else { "Recreate" } },
                "selector": { "matchLabels": { "app": name } },
                "template": {
                    "metadata": { "labels": { "app": name } },
                    "spec": {
                        "terminationGracePeriodSeconds": 1,
                        "containers": [
                            { "name": CONTAINER, "image": objects::image(), "command": command, "resources": resources },
                        ],
                    },
                },
            },
        }))?;
        let api = Api::namespaced(namespace.cluster.client.clone(), &namespace.name);
        api.create(&PostParams::default(), &deployment).await?;
        Ok(Self { namespace, name: name.into(), api })
    }

    /// A new revision that ends at once.
    pub async fn break_command(&self) -> Result<()> {
        self.roll_out(&json!({ "command": ["sh", "-c", "echo cannot reach the database >&2; exit 1"] })).await
    }

    /// A new revision whose image does not exist. Nothing listens where it is asked for.
    pub async fn break_image(&self) -> Result<()> {
        self.roll_out(&json!({ "image": "localhost/absent:2" })).await
    }

    /// A new revision of the container.
    pub async fn roll_out(&self, change: &Value) -> Result<()> {
        let mut container = change.clone();
        container["name"] = json!(CONTAINER);
        let patch = json!({ "spec": { "template": { "spec": { "containers": [container] } } } });
        self.api.patch(&self.name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        Ok(())
    }

    /// The Deployment as it is now.
    pub async fn deployment(&self) -> Result<Deployment> {
        Ok(self.api.get(&self.name).await?)
    }

    /// What its container is to be now, as JSON.
    pub async fn container(&self) -> Result<Value> {
        let deployment = serde_json::to_value(self.deployment().await?)?;
        Ok(deployment["spec"]["template"]["spec"]["containers"][0].clone())
    }

    /// How often its spec was changed, its creation included.
    pub async fn generation(&self) -> Result<i64> {
        self.deployment().await?.metadata.generation.context("a Deployment has a generation")
    }

    /// Waits until its only pod is of the newest revision and ready.
    pub async fn is_healthy(&self, limit: Duration) -> Result<()> {
        until(&format!("{} is healthy", self.name), limit, || async {
            let deployment = self.deployment().await?;
            let status = deployment.status.unwrap_or_default();
            ensure!(
                status.observed_generation == deployment.metadata.generation
                    && [status.replicas, status.updated_replicas, status.available_replicas] == [Some(1); 3],
                "{status:?}"
            );
            Ok(())
        })
        .await
    }

    /// Name of its pod once that has ended at least twice and is not running.
    pub async fn crashing_pod(&self) -> Result<String> {
        let pod =
            pods::pod_where(self.namespace, &self.name, "crashes again and again", PATIENCE, pods::crashes).await?;
        Ok(pod.name_any())
    }

    /// Name of its pod once that cannot pull its image.
    pub async fn pod_without_image(&self) -> Result<String> {
        let cannot_pull = |pod: &Pod| pods::waits(pod, &["ErrImagePull", "ImagePullBackOff"]);
        let pod = pods::pod_where(self.namespace, &self.name, "cannot pull its image", PATIENCE, cannot_pull).await?;
        Ok(pod.name_any())
    }
}
