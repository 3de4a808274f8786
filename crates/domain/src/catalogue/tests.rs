//! The catalogue, by table: what each action takes and refuses, and what undoes it.

use kubernaut_api::workflow::OnFailure;
use serde_json::json;

use super::*;

fn target(kind: &str) -> TargetRef {
    TargetRef {
        api_version: api_version(kind).into(),
        kind: kind.into(),
        namespace: is_namespaced(kind).then(|| "shop".into()),
        name: "web".into(),
        uid: Some("6f1c1b8e-0000-4000-8000-000000000001".into()),
    }
}

fn step(action: &str, target: TargetRef, parameters: &Value) -> Step {
    Step {
        name: "act".into(),
        action: action.into(),
        target,
        parameters: values(parameters),
        depends_on: vec![],
        on_failure: OnFailure::Fail,
        ..Step::default()
    }
}

fn values(object: &Value) -> Values {
    object.as_object().cloned().unwrap_or_default().into_iter().collect()
}

/// Checks a step and compares everything that is wrong with it, one line per problem.
fn expect(action: &str, kind: &str, parameters: &Value, problems: &[&str]) {
    let found = check(&step(action, target(kind), parameters)).err().unwrap_or_default();
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, problems, "{action} on {kind} with {parameters}");
}

#[test]
fn sound_steps_pass() {
    for (action, kind, parameters) in [
        ("rollback_deployment", "Deployment", json!({"toRevision": 3})),
        ("rollback_deployment", "Deployment", json!({"toRevision": 3, "fromRevision": 4})),
        ("scale_deployment", "Deployment", json!({"replicas": 0})),
        ("scale_deployment", "Deployment", json!({"replicas": 1000})),
        ("restart_pod", "Pod", json!({})),
        ("restart_pod", "StatefulSet", json!({"pod": "web-0", "uid": "abc-1"})),
        ("update_resources", "Deployment", json!({"container": "app", "memoryLimit": "256Mi"})),
        ("cordon_node", "Node", json!({})),
        ("uncordon_node", "Node", json!({})),
        ("remove_taint", "Node", json!({"key": "example.com/Dedicated", "effect": "NoExecute", "value": ""})),
        ("remove_taint", "Node", json!({"key": "maintenance"})),
        ("delete_pod", "Pod", json!({})),
        ("delete_pod", "Pod", json!({"force": true})),
        ("drain_node", "Node", json!({"deleteEmptyDirData": true, "deleteBarePods": false, "timeoutSeconds": 10})),
        ("update_hpa", "HorizontalPodAutoscaler", json!({"minReplicas": 3, "maxReplicas": 3})),
        ("restart_service", "Service", json!({})),
        ("clear_cache", "Service", json!({})),
        ("update_config", "ConfigMap", json!({"data": {"app.yaml": "a: b\n", "_KEY-1": null}})),
        ("update_resources", "DaemonSet", json!({"container": "app", "memoryLimit": "1Gi", "memoryRequest": "1024Mi"})),
    ] {
        expect(action, kind, &parameters, &[]);
    }
}

#[test]
fn each_problem_names_its_field() {
    let at_least_1 = "parameters.toRevision: must be an integer ≥ 1";
    let replicas = "parameters.replicas: must be an integer from 0 to 1000";
    let quantity = "parameters.memoryLimit: must be a quantity above zero, such as 256Mi or 500m";
    for (action, kind, parameters, problems) in [
        (
            "rm_rf",
            "Deployment",
            json!({}),
            &["action: is not one of clear_cache, cordon_node, delete_pod, drain_node, remove_taint, restart_pod, \
               restart_service, rollback_deployment, run_script, scale_deployment, uncordon_node, update_config, update_hpa, \
               update_resources"][..],
        ),
        ("rollback_deployment", "StatefulSet", json!({"toRevision": 1}), &["target.kind: must be Deployment"]),
        (
            "rollback_deployment",
            "Deployment",
            json!({}),
            &["parameters.toRevision: is required; must be an integer ≥ 1"],
        ),
        ("rollback_deployment", "Deployment", json!({"toRevision": 0}), &[at_least_1]),
        ("rollback_deployment", "Deployment", json!({"toRevision": "3"}), &[at_least_1]),
        ("rollback_deployment", "Deployment", json!({"toRevision": 1.5}), &[at_least_1]),
        ("rollback_deployment", "Deployment", json!({"toRevision": null}), &[at_least_1]),
        (
            "rollback_deployment",
            "Deployment",
            json!({"toRevision": -1, "force": true}),
            &[at_least_1, "parameters.force: is not a parameter of this action"],
        ),
        ("scale_deployment", "Deployment", json!({"replicas": 1001}), &[replicas]),
        ("scale_deployment", "Deployment", json!({"replicas": -1}), &[replicas]),
        ("scale_deployment", "Deployment", json!({"replicas": 4_294_967_297_i64}), &[replicas]),
        (
            "restart_pod",
            "Pod",
            json!({"pod": "x"}),
            &["parameters.pod: must be absent when the target is the pod itself"],
        ),
        (
            "restart_pod",
            "Deployment",
            json!({"pod": "web-1"}),
            &["parameters.uid: is required when the target is a Deployment"],
        ),
        (
            "restart_pod",
            "Deployment",
            json!({"pod": "../x", "uid": "1"}),
            &["parameters.pod: must be the name of an object"],
        ),
        (
            "update_resources",
            "Deployment",
            json!({"container": "app"}),
            &["parameters: must set at least one of memoryLimit, memoryRequest, cpuLimit, cpuRequest"],
        ),
        ("update_resources", "Deployment", json!({"container": "app", "memoryLimit": "-1Mi"}), &[quantity]),
        ("update_resources", "Deployment", json!({"container": "app", "memoryLimit": "0"}), &[quantity]),
        ("update_resources", "Deployment", json!({"container": "app", "memoryLimit": 5}), &[quantity]),
        (
            "update_resources",
            "Deployment",
            json!({"container": "app", "memoryLimit": "1Gi", "memoryRequest": "2Gi"}),
            &["parameters.memoryRequest: must not exceed memoryLimit"],
        ),
        (
            "update_resources",
            "Deployment",
            json!({"container": "A$(id)", "cpuLimit": "1"}),
            &["parameters.container: must be a name of at most 63 lower-case letters, digits and '-'"],
        ),
    ] {
        expect(action, kind, &parameters, problems);
    }
}

#[test]
fn each_problem_of_nodes_and_configuration_names_its_field() {
    let kept = "parameters.key: must not be a taint that Kubernetes keeps or that guards the control plane";
    let settings = "parameters.data: must be an object of keys (letters, digits, '-', '_', '.') to strings or null";
    for (action, kind, parameters, problems) in [
        (
            "cordon_node",
            "Node",
            json!({"unschedulable": true}),
            &["parameters.unschedulable: is not a parameter of this action"][..],
        ),
        ("cordon_node", "Pod", json!({}), &["target.kind: must be Node"]),
        (
            "drain_node",
            "Node",
            json!({"timeoutSeconds": 9}),
            &["parameters.timeoutSeconds: must be an integer from 10 to 3600"],
        ),
        (
            "update_hpa",
            "HorizontalPodAutoscaler",
            json!({}),
            &["parameters: must set at least one of minReplicas, maxReplicas"],
        ),
        (
            "update_hpa",
            "HorizontalPodAutoscaler",
            json!({"minReplicas": 4, "maxReplicas": 3}),
            &["parameters.minReplicas: must not exceed maxReplicas"],
        ),
        (
            "update_hpa",
            "HorizontalPodAutoscaler",
            json!({"minReplicas": 0}),
            &["parameters.minReplicas: must be an integer from 1 to 1000"],
        ),
        ("delete_pod", "Pod", json!({"force": "yes"}), &["parameters.force: must be true or false"]),
        (
            "remove_taint",
            "Node",
            json!({"key": "/x", "effect": "Never", "value": "a b"}),
            &[
                "parameters.key: must be a key such as example.com/name",
                "parameters.effect: must be NoSchedule or PreferNoSchedule or NoExecute",
                "parameters.value: must be at most 63 letters, digits, '-', '_' and '.', or empty",
            ],
        ),
        ("remove_taint", "Node", json!({"key": "node.kubernetes.io/not-ready"}), &[kept]),
        ("remove_taint", "Node", json!({"key": "node-role.kubernetes.io/control-plane"}), &[kept]),
        (
            "update_config",
            "ConfigMap",
            json!({"data": {"a": "x".repeat(64 * 1024)}}),
            &["parameters.data: must not exceed 64 KiB as JSON"],
        ),
        ("update_config", "ConfigMap", json!({"data": {}}), &[settings]),
        ("update_config", "ConfigMap", json!({"data": {"../a": "1"}}), &[settings]),
        ("update_config", "ConfigMap", json!({"data": {"a": 1}}), &[settings]),
        ("restart_service", "Deployment", json!({}), &["target.kind: must be Service"]),
        (
            "clear_cache",
            "Service",
            json!({"url": "http://evil.example"}),
            &["parameters.url: is not a parameter of this action"],
        ),
    ] {
        expect(action, kind, &parameters, problems);
    }
}

#[test]
fn a_target_must_be_addressable() {
    let bare = TargetRef { api_version: "example.com/v1".into(), namespace: None, ..target("Deployment") };
    let problems = check(&step("scale_deployment", bare, &json!({"replicas": 1}))).unwrap_err();
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, ["target.apiVersion: must be apps/v1", "target.namespace: is required"]);
}

#[test]
fn a_target_is_named_by_what_can_be_part_of_a_url_alone() {
    for name in ["web#", "web?dryRun=", "a/b", "..", "we b", "Web", "web%23", "web\n"] {
        let named = TargetRef { name: name.into(), ..target("Deployment") };
        let problems = check(&step("scale_deployment", named, &json!({"replicas": 1}))).unwrap_err();
        assert_eq!(problems[0].field, "target.name", "{name}");
    }
    let elsewhere = TargetRef { namespace: Some("kube-system/configmaps/x#".into()), ..target("Deployment") };
    let problems = check(&step("scale_deployment", elsewhere, &json!({"replicas": 1}))).unwrap_err();
    assert_eq!(problems[0].field, "target.namespace");
    let uid = TargetRef { uid: Some("1#".into()), ..target("Deployment") };
    assert_eq!(check(&step("scale_deployment", uid, &json!({"replicas": 1}))).unwrap_err()[0].field, "target.uid");
    let dotted = TargetRef { name: "web.v2".into(), ..target("Deployment") };
    assert_eq!(check(&step("scale_deployment", dotted, &json!({"replicas": 1}))), Ok(()));
}

#[test]
fn a_node_has_no_namespace() {
    let namespaced = TargetRef { namespace: Some("shop".into()), ..target("Node") };
    let problems = check(&step("cordon_node", namespaced, &json!({}))).unwrap_err();
    assert_eq!(problems[0].to_string(), "target.namespace: must be absent: a Node has none");
}

#[test]
fn what_is_deleted_is_never_named_by_name_alone() {
    for (action, kind) in [("restart_pod", "Pod"), ("delete_pod", "Pod"), ("drain_node", "Node")] {
        let nameless = TargetRef { uid: None, ..target(kind) };
        let problems = check(&step(action, nameless, &json!({}))).unwrap_err();
        assert_eq!(problems[0].field, "target.uid", "{action}");
    }
}

#[test]
fn sound_parameters_have_a_type() {
    let parsed: RollbackDeployment = parse(&values(&json!({"toRevision": 7}))).unwrap();
    assert_eq!(parsed, RollbackDeployment { to_revision: 7, from_revision: None });
    let parsed: UpdateResources = parse(&values(&json!({"container": "app", "cpuRequest": "100m"}))).unwrap();
    assert_eq!(
        parsed,
        UpdateResources { container: "app".into(), cpu_request: Some("100m".into()), ..UpdateResources::default() }
    );
    assert!(parse::<ScaleDeployment>(&values(&json!({"replicas": 1, "more": 2}))).is_err());
}

#[test]
fn the_inverse_passes_the_same_check() {
    let container = json!({"container": "app", "memoryLimit": "64Mi"});
    for (action, before, inverse) in [
        (
            "rollback_deployment",
            json!({"revision": 4, "replicaSet": "web-1"}),
            Some(("rollback_deployment", json!({"toRevision": 4}))),
        ),
        ("rollback_deployment", json!({}), None),
        ("scale_deployment", json!({"replicas": 2}), Some(("scale_deployment", json!({"replicas": 2})))),
        ("scale_deployment", json!({"replicas": 5000}), None),
        ("restart_pod", json!({"pod": "web-0"}), None),
        ("update_resources", container.clone(), Some(("update_resources", container))),
        ("update_resources", json!({"container": "app"}), None),
        ("cordon_node", json!({"unschedulable": false}), Some(("uncordon_node", json!({})))),
        ("cordon_node", json!({"unschedulable": true}), None),
        ("uncordon_node", json!({"unschedulable": true}), Some(("cordon_node", json!({})))),
        ("uncordon_node", json!({}), None),
        ("remove_taint", json!({"taints": [{"key": "a", "effect": "NoSchedule"}]}), None),
        ("delete_pod", json!({"pod": "web-0", "uid": "1"}), None),
        ("drain_node", json!({"unschedulable": false}), Some(("uncordon_node", json!({})))),
        ("drain_node", json!({"unschedulable": true}), None),
        ("update_hpa", json!({"maxReplicas": 3}), Some(("update_hpa", json!({"maxReplicas": 3})))),
        ("update_hpa", json!({}), None),
        ("restart_service", json!({}), None),
        ("clear_cache", json!({}), None),
        (
            "update_config",
            json!({"data": {"a": "1", "b": null}}),
            Some(("update_config", json!({"data": {"a": "1", "b": null}}))),
        ),
        ("update_config", json!({"data": {}}), None),
    ] {
        let undo = find(action).unwrap().undo(&values(&before));
        let wanted = inverse.as_ref().map(|(action, parameters)| Undo { action, parameters: values(parameters) });
        assert_eq!(undo, wanted, "{action} {before}");
        if let Some((inverse, parameters)) = inverse {
            expect(inverse, find(action).unwrap().target_kinds[0], &parameters, &[]);
        }
    }
}

#[test]
fn an_action_that_promises_an_inverse_has_one() {
    let before = json!({
        "container": "app", "memoryLimit": "64Mi", "replicas": 2, "revision": 4, "unschedulable": false, "maxReplicas": 5,
        "data": {"a": null}, "script": "undo", "digest": "sha256:0",
    });
    let uncordoned = json!({"unschedulable": true});
    for spec in ALL {
        let before = if spec.name == "uncordon_node" { &uncordoned } else { &before };
        assert_eq!(spec.undo(&values(before)).is_some(), spec.inverse.is_some(), "{}", spec.name);
    }
}

#[test]
fn the_schema_says_what_the_check_does() {
    let schema = find("scale_deployment").unwrap().schema();
    assert_eq!(
        schema,
        json!({
            "type": "object",
            "properties": {"replicas": {
                "type": "integer", "minimum": 0, "maximum": 1000,
                "description": "Number of replicas to have: absolute, never an increment.",
            }},
            "required": ["replicas"],
            "additionalProperties": false,
        })
    );
}

#[test]
fn the_catalogue_is_sorted_and_asks_for_no_wildcard() {
    assert!(ALL.is_sorted_by(|left, right| left.name < right.name));
    for spec in ALL {
        for rule in spec.rules {
            let words = rule.api_groups.iter().chain(rule.resources).chain(rule.verbs);
            assert!(words.into_iter().all(|word| !word.contains('*')), "{}", spec.name);
        }
    }
}

#[test]
fn the_input_of_a_job_survives_the_environment() {
    let input = ActInput {
        execution: "ke-rr-1-act".into(),
        action: "scale_deployment".into(),
        target: target("Deployment"),
        parameters: values(&json!({"replicas": 3})),
        dry_run: true,
        plan_hash: "0".repeat(64),
        start_before: None,
    };
    let json = serde_json::to_string(&input).unwrap();
    assert!(json.contains(r#""dryRun":true"#), "{json}");
    assert_eq!(serde_json::from_str::<ActInput>(&json).unwrap(), input);
}
