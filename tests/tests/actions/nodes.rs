//! The actions on nodes. The nodes exist in the API alone, and so do the pods on them: a kubelet that is not there
//! cannot end a pod, so theirs have a grace period of nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use kubernaut_api::execution::Effect;
use kubernaut_testkit::{Namespace, SpareNode, objects, until};
use serde_json::json;

use crate::{Run, operator, target, value};

#[tokio::test]
async fn cordon_node_and_uncordon_node_take_each_other_back() -> Result<()> {
    let operator = operator().await?;
    let node = SpareNode::make(&operator.cluster, "cordon", None, &[]).await?;
    let target = target(&operator, "Node", None, &node.name).await?;
    let cordon = Run::new(&operator, "cordon_node", target.clone(), &json!({}));
    cordon.is_forbidden_to("clear_cache").await?;
    let result = cordon.changes().await?;
    assert_eq!(value(&operator, &target, "{.spec.unschedulable}").await?, "true");
    let undo = cordon.inverse(&result)?;
    assert_eq!(undo.action, "uncordon_node");
    let uncordon = Run { operator: &operator, input: cordon.undoing(undo) };
    uncordon.is_forbidden_to("clear_cache").await?;
    let result = uncordon.changes().await?;
    assert_eq!(value(&operator, &target, "{.spec.unschedulable}").await?, "");
    assert_eq!(uncordon.inverse(&result)?.action, "cordon_node");
    Ok(())
}

#[tokio::test]
async fn remove_taint_takes_what_was_meant_and_leaves_the_others() -> Result<()> {
    let operator = operator().await?;
    let left_there = json!({ "key": "maintenance", "value": "disk", "effect": "NoSchedule" });
    let node = SpareNode::make(&operator.cluster, "taint", None, &[left_there]).await?;
    let target = target(&operator, "Node", None, &node.name).await?;
    let run =
        Run::new(&operator, "remove_taint", target.clone(), &json!({ "key": "maintenance", "effect": "NoSchedule" }));
    run.is_forbidden_to("clear_cache").await?;
    run.changes().await?;
    let keys = value(&operator, &target, "{.spec.taints[*].key}").await?;
    assert!(!keys.contains("maintenance") && keys.contains(kubernaut_testkit::spare_node::ONLY), "{keys}");
    let guarded = json!({ "key": "node-role.kubernetes.io/control-plane" });
    let refused = Run::new(&operator, "remove_taint", target, &guarded).under("remove_taint").await?;
    assert_eq!((refused.effect, refused.error.as_deref()), (Effect::None, Some("Invalid")));
    Ok(())
}

#[tokio::test]
async fn drain_node_evicts_by_uid_keeps_to_budgets_and_leaves_what_belongs_there() -> Result<()> {
    let operator = operator().await?;
    let namespace = Namespace::managed(&operator.cluster, "drain").await?;
    let node = SpareNode::make(&operator.cluster, "drain", None, &[]).await?;
    let pods = Api::<Pod>::namespaced(operator.cluster.client.clone(), &namespace.name);
    for (name, finished) in [("free", false), ("guarded", false), ("finished", true)] {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "is": name } },
            "spec": {
                "nodeName": node.name, "terminationGracePeriodSeconds": 0,
                "tolerations": [{ "operator": "Exists" }],
                "containers": [{ "name": "app", "image": objects::image() }],
            },
        });
        objects::create(&operator.cluster, &namespace.name, &pod).await?;
        let phase = if finished { "Succeeded" } else { "Running" };
        let ready = json!([{ "type": "Ready", "status": if finished { "False" } else { "True" } }]);
        let status = json!({ "status": { "phase": phase, "conditions": ready } });
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
    }
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "guarded" },
        "spec": { "maxUnavailable": 0, "selector": { "matchLabels": { "is": "guarded" } } },
    });
    objects::create(&operator.cluster, &namespace.name, &budget).await?;
    let target = target(&operator, "Node", None, &node.name).await?;

    let careful = Run::new(&operator, "drain_node", target.clone(), &json!({ "timeoutSeconds": 10 }));
    careful.is_forbidden_to("cordon_node").await?;
    let refused = careful.under("drain_node").await?;
    assert_eq!(
        (refused.effect, refused.error.as_deref()),
        (Effect::None, Some("PodsWouldBeLost")),
        "nothing makes them anew"
    );
    assert_eq!(value(&operator, &target, "{.spec.unschedulable}").await?, "", "refused before the node is touched");

    let parameters = json!({ "timeoutSeconds": 10, "deleteBarePods": true });
    let run = Run::new(&operator, "drain_node", target.clone(), &parameters);
    let partly = run.under("drain_node").await?;
    assert_eq!((partly.effect, partly.error.as_deref()), (Effect::Unknown, Some("Incomplete")), "{}", partly.message);
    assert!(partly.message.contains("guarded"), "{}", partly.message);
    assert_eq!(value(&operator, &target, "{.spec.unschedulable}").await?, "true");
    let left: Vec<_> =
        pods.list(&ListParams::default()).await?.items.into_iter().filter_map(|pod| pod.metadata.name).collect();
    assert_eq!(left, ["finished", "guarded"], "the budget holds one, a finished one holds nothing");
    let own = crate::client(&operator, "drain_node").await?;
    let check = kubernaut_actions::check(own, &run.input).await;
    assert!(matches!(&check, kubernaut_actions::Check::NotYet(why) if why.contains("guarded")), "{check:?}");

    operator.cluster.kubectl(["delete", "pdb", "guarded", "-n", &namespace.name]).await?;
    run.changes().await?;
    until("the node is empty", Duration::from_secs(20), || async {
        let left = pods.list(&ListParams::default().labels("is=guarded")).await?.items;
        ensure!(left.is_empty(), "{} are left", left.len());
        Ok(())
    })
    .await?;
    let undo = run.inverse(&partly)?;
    assert_eq!(undo.action, "uncordon_node");
    Run { operator: &operator, input: run.undoing(undo) }.changes().await?;
    assert_eq!(value(&operator, &target, "{.spec.unschedulable}").await?, "");
    Ok(())
}
