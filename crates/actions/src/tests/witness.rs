//! What the target bears witness of: never a write, whatever is found.

use kubernaut_api::execution::TargetMark;
use kubernaut_domain::catalogue::RESTARTED_BY;
use kubernaut_domain::execution::Trace;

use super::nodes::{NODE, node};
use super::*;
use crate::witness::{Check, check, trace};

const CONFIG: &str = "/api/v1/namespaces/shop/configmaps/settings";

async fn traced(input: &ActInput, script: Vec<(String, Answer)>) -> Result<Trace, String> {
    let (client, script, log) = scripted(script);
    let trace = trace(client, input).await;
    assert!(script.lock().unwrap().is_empty(), "requests that were never sent");
    assert!(log.lock().unwrap().iter().all(|seen| seen.line.starts_with("GET ")));
    trace
}

async fn checked(input: &ActInput, script: Vec<(String, Answer)>) -> Check {
    let (client, script, log) = scripted(script);
    let check = check(client, input).await;
    assert!(script.lock().unwrap().is_empty(), "requests that were never sent");
    assert!(log.lock().unwrap().iter().all(|seen| seen.line.starts_with("GET ")));
    check
}

#[tokio::test]
async fn a_mark_of_this_execution_shows_the_effect_and_how_to_undo_it() {
    let Ok(Trace::Done(result)) = traced(&scale(), vec![get(DEPLOYMENT, changed_by_us())]).await else {
        panic!("not done");
    };
    assert_eq!((result.effect, &result.before["replicas"]), (Effect::Changed, &json!(3)));
    assert_eq!(result.target.and_then(|mark| mark.generation), Some(2));
}

#[tokio::test]
async fn without_the_mark_the_target_is_told_as_it_is() {
    let other = deployment_with("/metadata/annotations", json!({CHANGED_BY: "ke-other"}));
    for (live, by) in [(deployment(), None), (other, Some("ke-other"))] {
        let found = traced(&scale(), vec![get(DEPLOYMENT, live)]).await;
        let Ok(Trace::Unmarked(TargetMark { generation, resource_version, changed_by, .. })) = found else {
            panic!("{found:?}");
        };
        assert_eq!((generation, resource_version.as_deref(), changed_by.as_deref()), (Some(2), Some("7"), by));
    }
}

#[tokio::test]
async fn a_target_that_is_gone_or_another_one_cannot_tell() {
    for answer in [failure(404, "NotFound"), Json(200, deployment_with("/metadata/uid", "uid-2".into()))] {
        let found = traced(&scale(), vec![(format!("GET {DEPLOYMENT}"), answer)]).await;
        assert!(matches!(found, Ok(Trace::Unclear(_))), "{found:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_now_is_no_answer() {
    let found = traced(&scale(), vec![(format!("GET {DEPLOYMENT}"), failure(500, "InternalError"))]).await;
    assert!(found.is_err());
    let found = checked(&scale(), vec![(format!("GET {DEPLOYMENT}"), failure(500, "InternalError"))]).await;
    assert!(matches!(found, Check::Unread(_)), "{found:?}");
}

#[tokio::test]
async fn a_pod_that_was_to_go_tells_by_being_gone() {
    let restart = input("restart_pod", "Pod", "web-1", &json!({}));
    for (answer, done) in [
        (failure(404, "NotFound"), true),
        (Json(200, pod(&json!({"uid": "another"}))), true),
        (Json(200, pod(&json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}))), true),
        (Json(200, pod(&json!({}))), false),
    ] {
        let found = traced(&restart, vec![(format!("GET {POD}"), answer)]).await;
        assert_eq!(matches!(found, Ok(Trace::Done(_))), done, "{found:?}");
        assert_eq!(matches!(found, Ok(Trace::Untouched)), !done, "{found:?}");
    }
}

#[tokio::test]
async fn a_pod_named_by_the_parameters_is_the_one_that_is_looked_at() {
    let restart = input("restart_pod", "Deployment", "web", &json!({"pod": "web-1", "uid": "pod-uid"}));
    let ending = pod(&json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
    assert_eq!(checked(&restart, vec![get(POD, ending)]).await, Check::NotYet("the pod is still there".into()));
    assert_eq!(checked(&restart, vec![get(POD, pod(&json!({"uid": "another"})))]).await, Check::Holds);
}

#[tokio::test]
async fn what_leaves_no_mark_is_never_guessed() {
    let clear = input("clear_cache", "Service", "web", &json!({}));
    assert!(matches!(traced(&clear, vec![]).await, Ok(Trace::Unclear(_))));
    assert_eq!(checked(&clear, vec![]).await, Check::Nothing);
    assert_eq!(checked(&rollback(), vec![]).await, Check::Nothing);
}

#[tokio::test]
async fn a_check_holds_while_the_target_is_as_the_action_left_it() {
    let scaled = deployment_with("/spec/replicas", 5.into());
    assert_eq!(checked(&scale(), vec![get(DEPLOYMENT, scaled), get(AUTOSCALERS, list_of(&[]))]).await, Check::Holds);
    // The mark says that it was changed, and somebody has changed it back since.
    let back = vec![get(DEPLOYMENT, changed_by_us()), get(AUTOSCALERS, list_of(&[]))];
    let Check::NotYet(why) = checked(&scale(), back).await else { panic!("it does not hold") };
    assert!(why.contains("from 3 to 5"), "{why}");
    let cordon = input("cordon_node", "Node", "n1", &json!({}));
    let cordoned = node(&json!({"unschedulable": true}), &json!({}));
    assert_eq!(checked(&cordon, vec![get(NODE, cordoned)]).await, Check::Holds);
    let open = checked(&cordon, vec![get(NODE, node(&json!({}), &json!({})))]).await;
    assert!(matches!(open, Check::NotYet(_)), "{open:?}");
}

#[tokio::test]
async fn configuration_holds_when_its_keys_stand_and_its_readers_were_restarted() {
    let update = input("update_config", "ConfigMap", "settings", &json!({"data": {"level": "debug"}}));
    let config = |level: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"level": level},
            "metadata": {"name": "settings", "namespace": "shop", "uid": "uid-1", "resourceVersion": "7"},
        })
    };
    let reader = |restarted: &str| {
        let mut reader = deployment_with(
            "/spec/template/spec",
            json!({"containers": [{"name": "app", "envFrom": [{"configMapRef": {"name": "settings"}}]}]}),
        );
        reader["spec"]["template"]["metadata"]["annotations"] = json!({RESTARTED_BY: restarted});
        reader
    };
    let looks = |config: Value, reader: Value| {
        let kinds = ["deployments", "statefulsets", "daemonsets"];
        let mut script = vec![get(CONFIG, config.clone())];
        for (kind, found) in kinds.iter().zip([vec![reader], vec![], vec![]]) {
            script.push(get(&format!("/apis/apps/v1/namespaces/shop/{kind}"), list_of(&found)));
        }
        script.push(get(CONFIG, config));
        script
    };
    let read_again = |reader: Value| get(DEPLOYMENT, reader);
    let mut script = looks(config("debug"), reader("ke-rr-1-act"));
    script.push(read_again(reader("ke-rr-1-act")));
    assert_eq!(checked(&update, script).await, Check::Holds);
    let mut script = looks(config("debug"), reader("ke-older"));
    script.push(read_again(reader("ke-older")));
    let Check::NotYet(why) = checked(&update, script).await else { panic!("a reader has the old value") };
    assert!(why.contains("were not restarted"), "{why}");
    let changed_back = checked(&update, looks(config("info"), reader("ke-rr-1-act"))).await;
    assert!(matches!(changed_back, Check::NotYet(_)), "{changed_back:?}");
}

#[tokio::test]
async fn a_drain_holds_when_only_what_may_stay_is_left() {
    let drain = input("drain_node", "Node", "n1", &json!({}));
    let cordoned = || get(NODE, node(&json!({"unschedulable": true}), &json!({})));
    let on_node = |kind: &str| {
        json!({
            "metadata": {"name": "p", "namespace": "shop", "uid": "p",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "o", "controller": true}]},
            "status": {"phase": "Running"},
        })
    };
    let pods = |kind: &str| get("/api/v1/pods", list_of(&[on_node(kind)]));
    assert_eq!(checked(&drain, vec![cordoned(), pods("DaemonSet")]).await, Check::Holds);
    let Check::NotYet(why) = checked(&drain, vec![cordoned(), pods("ReplicaSet")]).await else { panic!("one is left") };
    assert!(why.contains("shop/p"), "{why}");
    let open = checked(&drain, vec![get(NODE, node(&json!({}), &json!({})))]).await;
    assert_eq!(open, Check::NotYet("Node/n1 is schedulable".into()));
}
