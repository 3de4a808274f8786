//! A node that exists in the API only: no kubelet runs there, so what is bound to it never starts. It serves the
//! faults that are about nodes, because the real one carries everybody's pods.

use std::process::Stdio;

use anyhow::Result;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kubernaut_api::labels;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cluster::{Cluster, tool};
use crate::namespace::PREFIX;

/// Taint that keeps the pods of other tests away, and the label of the same name to select the node by.
pub const ONLY: &str = "kubernaut-tests/only";

/// The node; dropping it deletes it.
pub struct SpareNode {
    /// Where it is.
    pub cluster: Cluster,
    /// Its name, also the value of its label and taint [`ONLY`].
    pub name: String,
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
        Ok(Self { cluster: cluster.clone(), name })
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
        Ok(())
    }
}

impl Drop for SpareNode {
    fn drop(&mut self) {
        let mut command = tool(&self.cluster.root, &self.cluster.kubeconfig, "kubectl");
        let command = command.args(["delete", "node", "--wait=false", &self.name]).stdout(Stdio::null());
        if let Err(error) = command.status() {
            eprintln!("node {} stays: {error}", self.name);
        }
    }
}
