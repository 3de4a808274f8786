//! update_hpa.

use super::*;

const HPA: &str = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/web";

fn autoscaler(spec: &Value) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "shop", "uid": "uid-1", "resourceVersion": "7"},
        "spec": spec,
    })
}

fn bounds(parameters: &Value) -> ActInput {
    input("update_hpa", "HorizontalPodAutoscaler", "web", parameters)
}

#[tokio::test]
async fn bounds_are_absolute_and_only_what_changed_is_recorded() {
    for (parameters, operations, before) in [
        (
            json!({"maxReplicas": 10}),
            json!([{"op": "add", "path": "/spec/maxReplicas", "value": 10}]),
            json!({"maxReplicas": 5}),
        ),
        (
            json!({"minReplicas": 3, "maxReplicas": 5}),
            json!([{"op": "add", "path": "/spec/minReplicas", "value": 3}]),
            json!({"minReplicas": 1}),
        ),
    ] {
        let live = autoscaler(&json!({"maxReplicas": 5}));
        let script = vec![get(HPA, live.clone()), (format!("PATCH {HPA}"), Json(200, live))];
        let (result, seen) = play(&bounds(&parameters), script).await;
        assert_eq!(outcome(&result), (Effect::Changed, None), "{}", result.message);
        // The object had no annotations: behind resourceVersion, an empty map and the two marks.
        assert_eq!(seen[1].body.as_array().unwrap()[4..], operations.as_array().unwrap()[..]);
        let undo = catalogue::find("update_hpa").unwrap().undo(&result.before).unwrap();
        assert_eq!((undo.action, json!(undo.parameters)), ("update_hpa", before));
    }
}

#[tokio::test]
async fn bounds_that_cannot_be_are_refused_and_those_that_are_kept() {
    for (parameters, outcome_wanted) in [
        (json!({"minReplicas": 6}), (Effect::None, Some("Invalid"))),
        (json!({"maxReplicas": 1}), (Effect::None, Some("Invalid"))),
        (json!({"minReplicas": 2, "maxReplicas": 5}), (Effect::Unchanged, None)),
    ] {
        let script = vec![get(HPA, autoscaler(&json!({"minReplicas": 2, "maxReplicas": 5})))];
        assert_eq!(outcome(&play(&bounds(&parameters), script).await.0), outcome_wanted, "{parameters}");
    }
}

#[tokio::test]
async fn a_refused_or_rehearsed_change_of_bounds_changes_nothing() {
    let live = || autoscaler(&json!({"maxReplicas": 5}));
    let input = bounds(&json!({"maxReplicas": 7}));
    let script = vec![get(HPA, live()), (format!("PATCH {HPA}"), failure(403, "Forbidden"))];
    assert_eq!(outcome(&play(&input, script).await.0), (Effect::None, Some("Forbidden")));
    let script = vec![get(HPA, live()), (format!("PATCH {HPA}"), Json(200, live()))];
    let (result, seen) = play(&ActInput { dry_run: true, ..input }, script).await;
    assert!(seen[1].query.contains("dryRun=All"), "{}", seen[1].query);
    assert_eq!(result.message, "dry run: set HorizontalPodAutoscaler/shop/web from 1–5 to 1–7 replicas");
}
