//! cordon_node, uncordon_node and remove_taint.

use super::*;

pub(super) const NODE: &str = "/api/v1/nodes/n1";

pub(super) fn node(spec: &Value, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n1", "uid": "uid-1", "resourceVersion": "7", "annotations": annotations},
        "spec": spec,
    })
}

fn on_node(action: &str, parameters: &Value) -> ActInput {
    input(action, "Node", "n1", parameters)
}

async fn written(action: &str, parameters: &Value, spec: &Value) -> (ActionResult, Value) {
    let live = node(spec, &json!({}));
    let script = vec![get(NODE, live.clone()), (format!("PATCH {NODE}"), Json(200, live))];
    let (result, seen) = play(&on_node(action, parameters), script).await;
    assert_eq!(seen[1].body[0]["value"], "7", "the patch carries the resourceVersion");
    assert_eq!(seen[1].body[1]["value"], "ke-rr-1-act", "the node is marked");
    let operations = seen[1].body.as_array().unwrap()[3..].to_vec();
    (result, operations.into())
}

#[tokio::test]
async fn a_cordon_and_its_inverse_are_absolute_and_recorded() {
    let (result, operations) = written("cordon_node", &json!({}), &json!({"podCIDR": "10.0.0.0/24"})).await;
    let target = result.target.clone();
    assert_eq!(target.as_ref().and_then(|mark| mark.resource_version.as_deref()), Some("7"));
    let expect = changed("cordoned Node/n1".into(), [("unschedulable".into(), false.into())].into());
    assert_eq!(result, ActionResult { target, ..expect });
    assert_eq!(operations, json!([{"op": "add", "path": "/spec/unschedulable", "value": true}]));
    let undo = catalogue::find("cordon_node").unwrap().undo(&result.before).unwrap();
    let (result, operations) = written(undo.action, &json!(undo.parameters), &json!({"unschedulable": true})).await;
    assert_eq!(operations, json!([{"op": "remove", "path": "/spec/unschedulable"}]));
    let again = catalogue::find(undo.action).unwrap().undo(&result.before).unwrap();
    assert_eq!(again.action, "cordon_node");
}

#[tokio::test]
async fn a_node_that_is_as_wanted_stays_untouched() {
    for (action, parameters, spec) in [
        ("cordon_node", json!({}), json!({"unschedulable": true})),
        ("uncordon_node", json!({}), json!({})),
        ("remove_taint", json!({"key": "a"}), json!({"taints": [{"key": "b", "effect": "NoSchedule"}]})),
        ("remove_taint", json!({"key": "a"}), json!({})),
    ] {
        let script = vec![get(NODE, node(&spec, &json!({})))];
        assert_eq!(outcome(&play(&on_node(action, &parameters), script).await.0), (Effect::Unchanged, None));
    }
}

#[tokio::test]
async fn a_node_that_is_being_removed_stays_cordoned() {
    let spec =
        json!({"unschedulable": true, "taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]});
    let (result, _) = play(&on_node("uncordon_node", &json!({})), vec![get(NODE, node(&spec, &json!({})))]).await;
    assert_eq!(outcome(&result), (Effect::None, Some("NodeLeaving")));
}

#[tokio::test]
async fn only_matching_taints_go_and_they_are_recorded() {
    let taint = |key: &str, value: &str, effect: &str| json!({"key": key, "value": value, "effect": effect});
    let bare = json!({"key": "a", "effect": "NoSchedule"});
    let spec = json!({"taints": [taint("a", "x", "NoSchedule"), taint("a", "x", "NoExecute"), bare, taint("b", "x", "NoSchedule")]});
    let taints = spec["taints"].as_array().unwrap();
    for (parameters, gone) in [
        (json!({"key": "a"}), vec![0, 1, 2]),
        (json!({"key": "a", "effect": "NoSchedule"}), vec![0, 2]),
        (json!({"key": "a", "value": "x"}), vec![0, 1]),
        (json!({"key": "a", "value": ""}), vec![2]),
        (json!({"key": "a", "value": "x", "effect": "NoExecute"}), vec![1]),
    ] {
        let (result, operations) = written("remove_taint", &parameters, &spec).await;
        let pick = |goes: bool| -> Vec<_> {
            (0..4).filter(|index| gone.contains(index) == goes).map(|index| taints[index].clone()).collect()
        };
        assert_eq!(operations, json!([{"op": "replace", "path": "/spec/taints", "value": pick(false)}]));
        assert_eq!(result.before["taints"], Value::from(pick(true)));
    }
    let (result, operations) = written("remove_taint", &json!({"key": "b"}), &json!({"taints": [taints[3]]})).await;
    assert_eq!(operations, json!([{"op": "remove", "path": "/spec/taints"}]));
    assert_eq!(result.message, "removed from Node/n1 the taint b=x:NoSchedule");
}

#[tokio::test]
async fn nodes_are_changed_by_the_same_rules_as_workloads() {
    let live = || node(&json!({}), &json!({}));
    let input = on_node("cordon_node", &json!({}));
    let earlier = json!({CHANGED_BY: "ke-rr-1-act", CHANGED_FROM: r#"{"unschedulable":false}"#});
    let (result, _) = play(&input, vec![get(NODE, node(&json!({"unschedulable": true}), &earlier))]).await;
    assert_eq!((result.effect, &result.before["unschedulable"]), (Effect::Changed, &json!(false)));

    let script = vec![get(NODE, live()), (format!("PATCH {NODE}"), failure(403, "Forbidden"))];
    assert_eq!(outcome(&play(&input, script).await.0), (Effect::None, Some("Forbidden")));

    let mut another = live();
    another["metadata"]["uid"] = "uid-2".into();
    assert_eq!(outcome(&play(&input, vec![get(NODE, another)]).await.0), (Effect::None, Some("TargetReplaced")));

    let rehearsal = ActInput { dry_run: true, ..input };
    let script = vec![get(NODE, live()), (format!("PATCH {NODE}"), Json(200, live()))];
    let (result, seen) = play(&rehearsal, script).await;
    assert_eq!(result.message, "dry run: cordoned Node/n1");
    assert!(seen[1].query.contains("dryRun=All"), "{}", seen[1].query);
}
