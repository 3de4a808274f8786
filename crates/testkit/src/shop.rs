//! A small application set in a namespace of its own, well but for one part that nobody needs, and ways to break it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::{Alert, Cluster, Namespace, Operator, Snapshot, SpareNode, objects, pods, until};

/// What it consists of.
const MANIFESTS: &str = include_str!("shop.yaml");
/// How long a rollout or a few crashes may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(3);
/// What the operator waits for before it takes a pod for never becoming ready, or a StatefulSet for stuck; and a little more.
pub const SETTLED: Duration = Duration::from_secs(125);

/// `web`, which asks `db`; `cart`, which is well; `reports`, which is broken and which nothing depends on.
pub struct Shop {
    /// The operator under test.
    pub operator: Operator,
    /// Where it is.
    pub namespace: Namespace,
    /// Other namespaces that belong to it, with their aliases.
    pub beside: Vec<(&'static str, Namespace)>,
    /// Nodes that were made for it.
    pub nodes: Vec<SpareNode>,
    /// How everything was when it was well.
    pub good: Snapshot,
}

impl Shop {
    /// Opens one in a namespace that is managed, and waits until everything is as it is to be.
    pub async fn open(operator: &Operator, purpose: &str) -> Result<Self> {
        Self::open_in(operator, Namespace::managed(&operator.cluster, purpose).await?).await
    }

    /// Opens one in a namespace that Kubernaut may not act in.
    pub async fn open_unmanaged(operator: &Operator, purpose: &str) -> Result<Self> {
        Self::open_in(operator, Namespace::unmanaged(&operator.cluster, purpose).await?).await
    }

    async fn open_in(operator: &Operator, namespace: Namespace) -> Result<Self> {
        let mut shop =
            Self { operator: operator.clone(), namespace, beside: vec![], nodes: vec![], good: Snapshot::default() };
        let (mut first, mut web) = (vec![], vec![]);
        for manifest in objects::documents(MANIFESTS)? {
            if manifest["metadata"]["name"] == "web" { web.push(manifest) } else { first.push(manifest) }
        }
        for manifest in first {
            shop.create(&manifest).await?;
        }
        // Whoever asks for `db` before it answers has failed once, and is not well then.
        shop.is_healthy("Deployment", "db").await?;
        for manifest in web {
            shop.create(&manifest).await?;
        }
        shop.is_healthy("Deployment", "web").await?;
        shop.is_healthy("Deployment", "cart").await?;
        shop.pod("reports", "cannot pull its image", |pod| pods::waits(pod, &["ErrImagePull", "ImagePullBackOff"]))
            .await?;
        shop.is_good().await?;
        Ok(shop)
    }

    /// From now on this is how everything is to be; called again by whoever added to it.
    pub async fn is_good(&mut self) -> Result<()> {
        self.good = self.snapshot().await?;
        Ok(())
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.operator.cluster
    }

    /// Makes an object beside those that are there.
    pub async fn create(&self, manifest: &Value) -> Result<()> {
        objects::create(self.cluster(), &self.namespace.name, manifest).await?;
        Ok(())
    }

    /// Makes every object of a YAML text, with the image of the tests for `IMAGE`.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        for manifest in objects::documents(yaml)? {
            self.create(&manifest).await?;
        }
        Ok(())
    }

    /// Lays a change over an object.
    pub async fn change(&self, kind: &str, name: &str, change: &Value) -> Result<()> {
        objects::patch(self.cluster(), &self.namespace.name, kind, name, change).await
    }

    /// A new revision of a Deployment: a change laid over the spec of its pods.
    pub async fn roll_out(&self, name: &str, change: &Value) -> Result<()> {
        self.change("Deployment", name, &json!({ "spec": { "template": { "spec": change } } })).await
    }

    /// A new revision of the container of a Deployment that bears its name.
    pub async fn roll_out_container(&self, name: &str, change: &Value) -> Result<()> {
        let mut container = change.clone();
        container["name"] = json!(name);
        self.roll_out(name, &json!({ "containers": [container] })).await
    }

    /// Deletes an object.
    pub async fn delete(&self, kind: &str, name: &str) -> Result<()> {
        objects::api(self.cluster(), &self.namespace.name, kind)?.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// A pod with this label `app` once it is so.
    pub async fn pod(&self, app: &str, what: &str, is_so: impl Fn(&Pod) -> bool) -> Result<Pod> {
        pods::pod_where(&self.namespace, app, what, PATIENCE, is_so).await
    }

    /// The alert about a pod that crashes again and again, as soon as one does.
    pub async fn crashing(&self, app: &str) -> Result<Alert> {
        let pod = self.pod(app, "crashes again and again", pods::crashes).await?;
        Ok(Alert::about_pod(&self.namespace.name, &pod.name_any()))
    }

    /// The alert about a pod whose container waits for one of these reasons.
    pub async fn waiting(&self, app: &str, reasons: &[&str]) -> Result<Alert> {
        let pod = self.pod(app, &format!("waits: {reasons:?}"), |pod| pods::waits(pod, reasons)).await?;
        Ok(Alert::about_pod(&self.namespace.name, &pod.name_any()))
    }

    /// The alert about a pod that the scheduler finds no node for.
    pub async fn unplaced(&self, app: &str) -> Result<Alert> {
        let pod = self.pod(app, "has no node", pods::unplaced).await?;
        Ok(Alert::about_pod(&self.namespace.name, &pod.name_any()))
    }

    /// Waits until the replicas of a workload are as its newest spec wants them.
    pub async fn is_healthy(&self, kind: &str, name: &str) -> Result<()> {
        let (client, namespace) = (&self.cluster().client, &self.namespace.name);
        until(&format!("{kind} {name} is healthy"), PATIENCE, || async {
            let (is_so, shown) = match kind {
                "StatefulSet" => {
                    let set = Api::<StatefulSet>::namespaced(client.clone(), namespace).get(name).await?;
                    let wanted = set.spec.and_then(|spec| spec.replicas);
                    let status = set.status.unwrap_or_default();
                    let seen = status.observed_generation == set.metadata.generation;
                    let counts = [status.updated_replicas, status.available_replicas];
                    (
                        seen && counts == [wanted; 2] && status.current_revision == status.update_revision,
                        format!("{status:?}"),
                    )
                }
                "DaemonSet" => {
                    let set = Api::<DaemonSet>::namespaced(client.clone(), namespace).get(name).await?;
                    let status = set.status.unwrap_or_default();
                    let wanted = Some(status.desired_number_scheduled);
                    let counts = [status.updated_number_scheduled, status.number_available];
                    (
                        status.observed_generation == set.metadata.generation && counts == [wanted; 2],
                        format!("{status:?}"),
                    )
                }
                _ => {
                    let deployment = Api::<Deployment>::namespaced(client.clone(), namespace).get(name).await?;
                    let wanted = deployment.spec.and_then(|spec| spec.replicas);
                    let status = deployment.status.unwrap_or_default();
                    let counts = [status.replicas, status.updated_replicas, status.available_replicas];
                    (
                        status.observed_generation == deployment.metadata.generation && counts == [wanted; 3],
                        format!("{status:?}"),
                    )
                }
            };
            ensure!(is_so, "{shown}");
            Ok(())
        })
        .await
        .with_context(|| format!("in namespace {namespace}"))
    }

    /// What is wanted of everything in it now.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let mut namespaces = vec![("", self.namespace.name.as_str())];
        namespaces.extend(self.beside.iter().map(|(alias, beside)| (*alias, beside.name.as_str())));
        let nodes: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        Snapshot::take(self.cluster(), &namespaces, &nodes).await
    }
}
