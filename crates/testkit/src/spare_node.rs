//! A node that exists in the API only: no kubelet runs there, so what is bound to it never starts. It serves the
//! faults that are about nodes, because the real one carries everybody's pods. Of a kubelet's duties the test does
//! two: it reports, and it lets go of pods that are to end.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use kubernaut_api::labels;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::cluster::{Cluster, tool};
use crate::namespace::PREFIX;
use crate::until;

/// Taint that keeps the pods of other tests away, and the label of the same name to select the node by.
pub const ONLY: &str = "kubernaut-tests/only";

/// The node; dropping it deletes it.
pub struct SpareNode {
    /// Where it is.
    pub cluster: Cluster,
    /// Its name, also the value of its label and taint [`ONLY`].
    pub name: String,
    kubelet: JoinHandle<()>,
}

impl SpareNode {
    /// Makes one that Kubernaut may touch, with this in its spec besides (taints come on top of its own).
    pub async fn make(cluster: &Cluster, purpose: &str, unschedulable: Option<bool>, taints: &[Value]) -> Result<Self> {
        let name = format!("{PREFIX}{purpose}-{}", &Uuid::new_v4().simple().to_string()[..6]);
        let mut all = vec![json!({ "key": ONLY, "value": name, "effect": "NoSchedule" })];
        all.extend(taints.iter().cloned());
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { ONLY: name, "kubernetes.io/hostname": name, labels::MANAGED: "true" } },
            "spec": { "unschedulable": unschedulable, "taints": all },
        }))?;
        Api::all(cluster.client.clone()).create(&PostParams::default(), &node).await?;
        let kubelet = tokio::spawn(let_go(cluster.clone(), name.clone()));
        Ok(Self { cluster: cluster.clone(), name, kubelet })
    }

    /// Says in the kubelet's place that it has room, and whether it is ready.
    pub async fn report(&self, ready: &str, reason: &str) -> Result<()> {
        let now = jiff::Timestamp::now();
        let room = json!({ "cpu": "1", "memory": "1Gi", "pods": "10" });
        let status = json!({ "status": {
            "capacity": room,
            "allocatable": room,
            "conditions": [{
                "type": "Ready", "status": ready, "reason": reason, "message": "said by a test",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            }],
        } });
        let nodes = Api::<Node>::all(self.cluster.client.clone());
        nodes.patch_status(&self.name, &PatchParams::default(), &Patch::Merge(status)).await?;
        // Its controller turns the conditions into taints, which the scheduler goes by.
        until(&format!("{} has the taints of {reason}", self.name), Duration::from_mins(1), || async {
            let taints = nodes.get(&self.name).await?.spec.and_then(|spec| spec.taints).unwrap_or_default();
            let barred = taints.iter().any(|taint| taint.key == "node.kubernetes.io/not-ready");
            ensure!(barred == (ready != "True"), "{taints:?}");
            Ok(())
        })
        .await
    }
}

/// Removes the pods of a node that are to end, as its kubelet does when their containers have ended.
async fn let_go(cluster: Cluster, node: String) {
    let of_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    loop {
        let pods =
            Api::<Pod>::all(cluster.client.clone()).list(&of_node).await.map(|list| list.items).unwrap_or_default();
        for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()) {
            let api = Api::<Pod>::namespaced(cluster.client.clone(), &pod.namespace().unwrap_or_default());
            // It may have gone by itself.
            let _ = api.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

impl Drop for SpareNode {
    fn drop(&mut self) {
        self.kubelet.abort();
        let mut command = tool(&self.cluster.root, &self.cluster.kubeconfig, "kubectl");
        let command = command.args(["delete", "node", "--wait=false", &self.name]).stdout(Stdio::null());
        if let Err(error) = command.status() {
            eprintln!("node {} stays: {error}", self.name);
        }
    }
}
