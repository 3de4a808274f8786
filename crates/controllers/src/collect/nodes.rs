//! Nodes as evidence: whether they are ready, what presses them, who may run there.

use k8s_openapi::api::core::v1::Node as KubeNode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kubernaut_api::evidence::{Node, PodEvidence};
use kubernaut_api::labels;
use kubernaut_domain::redact::bounded;

use super::configs::written;
use super::workload::{condition, reference};

/// Conditions that should not be true.
const TROUBLES: &[&str] = &["MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"];

/// A node.
pub fn node(object: &KubeNode) -> Node {
    let conditions = object.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let spec = object.spec.clone().unwrap_or_default();
    let ready = conditions.iter().find(|one| one.type_ == "Ready");
    let wrong = conditions.iter().filter(|one| {
        (one.type_ == "Ready" && one.status != "True")
            || (TROUBLES.contains(&one.type_.as_str()) && one.status == "True")
    });
    let (taints_changed_at, taints_changed_by) = taints_written(object).unzip();
    let taints = spec.taints.unwrap_or_default().into_iter().map(|taint| {
        let value = taint.value.filter(|value| !value.is_empty()).map_or_else(String::new, |value| format!("={value}"));
        bounded(&format!("{}{value}:{}", taint.key, taint.effect), 256)
    });
    Node {
        object: reference("v1", "Node", &object.metadata),
        ready: ready.is_some_and(|one| one.status == "True"),
        since: ready.and_then(|one| one.last_transition_time.as_ref()).map(|time| MicroTime(time.0)),
        managed: object
            .metadata
            .labels
            .as_ref()
            .is_some_and(|labels| labels.get(labels::MANAGED).is_some_and(|value| value == "true")),
        unschedulable: spec.unschedulable.unwrap_or_default(),
        conditions: wrong
            .map(|one| condition(&one.type_, &one.status, one.reason.clone(), one.message.clone()))
            .take(6)
            .collect(),
        taints: taints.take(8).collect(),
        taints_changed_at,
        taints_changed_by: taints_changed_by.unwrap_or_default(),
    }
}

fn taints_written(object: &KubeNode) -> Option<(MicroTime, String)> {
    let tainted = object.spec.as_ref().and_then(|spec| spec.taints.as_ref()).is_some_and(|taints| !taints.is_empty());
    written(&object.metadata, &["f:spec/f:taints"]).filter(|_| tainted)
}

/// Keys of the taints that keep pods away, by what the scheduler says of them.
pub fn untolerated<'a>(told: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for text in told {
        for rest in text.split("untolerated taint").skip(1) {
            // Newer schedulers say `untolerated taint(s)` and name none.
            let Some((taint, _)) =
                rest.trim_start_matches("(s)").trim_start().strip_prefix('{').and_then(|rest| rest.split_once('}'))
            else {
                continue;
            };
            let key = taint.split([':', '=']).next().unwrap_or_default().trim().to_owned();
            if !key.is_empty() && !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    keys
}

/// Whether a taint, as evidence has it, has this key.
pub fn has_key(taint: &str, key: &str) -> bool {
    taint.split(['=', ':']).next() == Some(key)
}

/// True when pods suffer there.
pub fn in_trouble(node: &Node) -> bool {
    !node.ready || !node.conditions.is_empty()
}

/// Nodes of these pods, those of the unhealthy first, at most 5.
pub fn names(pods: &[PodEvidence]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for name in pods.iter().filter(|pod| !pod.terminating || !pod.ready).filter_map(|pod| pod.node.as_deref()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.truncate(5);
    names
}

/// How many of these nodes are ready and take pods, besides the ones told about already.
pub fn others_ready(all: &[KubeNode], told: &[Node]) -> i32 {
    let other = |one: &Node| told.iter().all(|told| told.object.name != one.object.name);
    let takes = |one: &Node| {
        let barred = one.taints.iter().any(|taint| taint.ends_with(":NoSchedule") || taint.ends_with(":NoExecute"));
        !in_trouble(one) && !one.unschedulable && !barred
    };
    let count = all.iter().map(node).filter(|one| other(one) && takes(one)).count()
        + told.iter().filter(|one| takes(one)).count();
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> KubeNode {
        serde_yaml_ng::from_str(yaml).unwrap()
    }

    const DEAD: &str = "{metadata: {name: n1, uid: u1}, spec: {taints: [{key: node.kubernetes.io/unreachable, effect: NoExecute}, {key: a, value: b, effect: NoSchedule}]}, \
        status: {conditions: [{type: MemoryPressure, status: Unknown}, {type: Ready, status: Unknown, reason: NodeStatusUnknown, lastTransitionTime: '2026-11-21T05:00:00Z'}]}}";
    const WELL: &str = "{metadata: {name: n2}, status: {conditions: [{type: MemoryPressure, status: 'False'}, {type: Ready, status: 'True'}]}}";
    const FULL: &str = "{metadata: {name: n3}, spec: {unschedulable: true}, status: {conditions: [{type: DiskPressure, status: 'True'}, {type: Ready, status: 'True'}]}}";

    #[test]
    fn only_what_is_wrong_with_a_node_is_told() {
        let dead = node(&parse(DEAD));
        assert!(!dead.ready && in_trouble(&dead) && dead.since.is_some());
        assert_eq!(dead.conditions.len(), 1);
        assert_eq!(dead.taints, ["node.kubernetes.io/unreachable:NoExecute", "a=b:NoSchedule"]);
        let well = node(&parse(WELL));
        assert!(well.ready && !in_trouble(&well) && well.conditions.is_empty());
        let full = node(&parse(FULL));
        assert!(full.ready && in_trouble(&full) && full.unschedulable);
        assert_eq!(full.conditions[0].type_, "DiskPressure");
    }

    #[test]
    fn who_tainted_a_node_is_told_and_which_taints_keep_pods_away() {
        let tainted = node(&parse(
            "{metadata: {name: n1, managedFields: [{manager: kubectl-taint, operation: Update, time: '2026-11-21T11:58:00Z', fieldsType: FieldsV1, \
              fieldsV1: {'f:spec': {'f:taints': {}}}}]}, spec: {taints: [{key: drill, value: 'on', effect: NoSchedule}]}}",
        ));
        assert_eq!((tainted.taints_changed_by.as_str(), tainted.taints_changed_at.is_some()), ("kubectl-taint", true));
        assert!(has_key(&tainted.taints[0], "drill") && !has_key(&tainted.taints[0], "dri"));
        let told = "0/2 nodes are available: 1 node(s) had untolerated taint {drill: on}, 1 node(s) had untolerated taint {a/b: }.";
        assert_eq!(untolerated([told].into_iter()), ["drill", "a/b"]);
        assert!(untolerated(["1 node(s) had untolerated taint(s)", "Insufficient cpu"].into_iter()).is_empty());
    }

    #[test]
    fn only_nodes_that_would_take_the_pods_count_as_others() {
        let all = [parse(DEAD), parse(WELL), parse(FULL)];
        assert_eq!(others_ready(&all, &[node(&parse(DEAD))]), 1);
        assert_eq!(others_ready(&all, &[node(&parse(DEAD)), node(&parse(WELL))]), 1);
        assert_eq!(others_ready(&[parse(DEAD)], &[node(&parse(DEAD))]), 0);
    }

    #[test]
    fn nodes_are_named_once_and_few() {
        let pod = |node: Option<&str>| PodEvidence { node: node.map(Into::into), ..PodEvidence::default() };
        let pods: Vec<_> =
            [Some("a"), None, Some("b"), Some("a"), Some("c"), Some("d"), Some("e"), Some("f")].map(pod).into();
        assert_eq!(names(&pods), ["a", "b", "c", "d", "e"]);
    }
}
