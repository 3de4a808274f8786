//! What differs between two pod templates, place by place, with secrets taken out.
//!
//! Containers, variables and volumes are matched by name, so that a new one in front does not shift the
//! rest. Values of variables with a secret's name are never shown; where a value comes from is. What
//! only Kubernaut or `kubectl rollout restart` wrote is no difference.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use kubernaut_api::GROUP;
use kubernaut_domain::redact::{HIDDEN, is_secret_name, redact};
use serde_json::{Map, Value};

/// One place that differs; the side where there is nothing is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Such as `containers[app].command`.
    pub path: String,
    /// Redacted.
    pub before: String,
    /// Redacted.
    pub after: String,
}

/// Every place that differs, by path.
pub fn differences(before: &PodTemplateSpec, after: &PodTemplateSpec) -> Vec<Difference> {
    let mut found = Vec::new();
    objects("", Some(&plain(before)), Some(&plain(after)), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The template with the pod's spec at the top, without what does not count.
fn plain(template: &PodTemplateSpec) -> Map<String, Value> {
    let Ok(Value::Object(mut template)) = serde_json::to_value(template) else { return Map::new() };
    let mut plain = match template.remove("spec") {
        Some(Value::Object(spec)) => spec,
        _ => Map::new(),
    };
    let mut metadata = template.remove("metadata").unwrap_or_default();
    let mut kept = Map::new();
    for (field, counts) in [("labels", label_counts as fn(&str) -> bool), ("annotations", annotation_counts)] {
        if let Some(Value::Object(mut map)) = metadata.get_mut(field).map(Value::take) {
            map.retain(|key, _| counts(key));
            kept.insert(field.to_owned(), Value::Object(map));
        }
    }
    plain.insert("metadata".to_owned(), Value::Object(kept));
    plain
}

fn label_counts(key: &str) -> bool {
    key != "pod-template-hash" && !is_ours(key)
}

fn annotation_counts(key: &str) -> bool {
    key != "kubectl.kubernetes.io/restartedAt" && !is_ours(key)
}

fn is_ours(key: &str) -> bool {
    key.split_once('/').is_some_and(|(prefix, _)| prefix == GROUP)
}

fn objects(
    path: &str,
    before: Option<&Map<String, Value>>,
    after: Option<&Map<String, Value>>,
    found: &mut Vec<Difference>,
) {
    let keys: BTreeSet<&String> = before.into_iter().chain(after).flat_map(Map::keys).collect();
    for key in keys {
        let sides = (before.and_then(|map| map.get(key)), after.and_then(|map| map.get(key)));
        let path = match path {
            "" => key.clone(),
            // Keys of labels and annotations hold dots themselves.
            "metadata.labels" | "metadata.annotations" => format!("{path}[{key}]"),
            _ => format!("{path}.{key}"),
        };
        values(&path, key, sides.0, sides.1, found);
    }
}

fn values(path: &str, key: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => objects(path, Some(before), Some(after), found),
        // An absent group of settings is an empty one: the setting itself is what changed.
        (None, Some(Value::Object(after))) if is_group(key) => objects(path, None, Some(after), found),
        (Some(Value::Object(before)), None) if is_group(key) => objects(path, Some(before), None, found),
        _ => match (named(key, before), named(key, after)) {
            (Some(before), Some(after)) => lists(path, key, &before, &after, found),
            _ => found.push(Difference {
                path: path.to_owned(),
                before: before.map(|value| shown(key, value)).unwrap_or_default(),
                after: after.map(|value| shown(key, value)).unwrap_or_default(),
            }),
        },
    }
}

fn is_group(key: &str) -> bool {
    matches!(key, "resources" | "limits" | "requests" | "labels" | "annotations")
}

/// Items of a list that is matched by a field; an absent list is an empty one. `None` for other lists.
fn named<'a>(key: &str, list: Option<&'a Value>) -> Option<Vec<(&'a str, &'a Value)>> {
    let by = match key {
        "containers" | "initContainers" | "env" | "volumes" => "name",
        "volumeMounts" => "mountPath",
        _ => return None,
    };
    let Some(list) = list else { return Some(Vec::new()) };
    let items: Vec<_> = list.as_array()?.iter().filter_map(|item| Some((item.get(by)?.as_str()?, item))).collect();
    let unique: BTreeSet<&str> = items.iter().map(|(name, _)| *name).collect();
    (unique.len() == items.len()).then_some(items)
}

fn lists(path: &str, key: &str, before: &[(&str, &Value)], after: &[(&str, &Value)], found: &mut Vec<Difference>) {
    let names: BTreeSet<&str> = before.iter().chain(after).map(|(name, _)| *name).collect();
    let count = found.len();
    for name in names {
        let at = |side: &[(&str, &Value)]| side.iter().find(|(one, _)| *one == name).map(|(_, item)| (*item).clone());
        let (before, after) = (at(before), at(after));
        let path = format!("{path}[{name}]");
        match (&before, &after) {
            _ if before == after => {}
            (Some(Value::Object(before)), Some(Value::Object(after))) if key.ends_with("ontainers") => {
                objects(&path, Some(before), Some(after), found);
            }
            _ => found.push(Difference {
                path,
                before: before.map(|item| item_shown(key, name, &item)).unwrap_or_default(),
                after: after.map(|item| item_shown(key, name, &item)).unwrap_or_default(),
            }),
        }
    }
    if found.len() == count {
        // The same items in another order: it matters for variables that build on one another.
        let order = |items: &[(&str, &Value)]| items.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
        found.push(Difference { path: path.to_owned(), before: order(before), after: order(after) });
    }
}

/// One item of a list that is matched by name.
fn item_shown(key: &str, name: &str, item: &Value) -> String {
    let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str);
    match key {
        "env" => {
            let reference = |kind: &str, field: &str| {
                let from = text(&format!("/valueFrom/{field}/name"))?;
                Some(format!("{kind} {from}, key {}", text(&format!("/valueFrom/{field}/key")).unwrap_or_default()))
            };
            let from = reference("Secret", "secretKeyRef").or_else(|| reference("ConfigMap", "configMapKeyRef"));
            from.unwrap_or_else(|| match text("/value") {
                Some(value) if !value.is_empty() && is_secret_name(name) => HIDDEN.to_owned(),
                Some(value) => redact(value),
                None => item.get("valueFrom").map(compact).unwrap_or_default(),
            })
        }
        "containers" | "initContainers" => redact(text("/image").unwrap_or_default()),
        "volumes" => {
            let named = [("ConfigMap", "/configMap/name"), ("Secret", "/secret/secretName")];
            let claim = ("PersistentVolumeClaim", "/persistentVolumeClaim/claimName");
            let source = named.into_iter().chain([claim]).find_map(|(kind, at)| Some(format!("{kind} {}", text(at)?)));
            source.unwrap_or_else(|| compact(item))
        }
        _ => compact(item),
    }
}

/// A single value, by the key it stands under.
fn shown(key: &str, value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && is_secret_name(key) && !is_reference(key) => HIDDEN.to_owned(),
        Value::String(text) => redact(text),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            redact(&words.join(" "))
        }
        Value::Array(items) if key == "envFrom" => {
            let reference = |item: &Value| {
                let name = |at: &str| item.pointer(at).and_then(Value::as_str).map(ToOwned::to_owned);
                let map = name("/configMapRef/name").map(|name| format!("ConfigMap {name}"));
                map.or_else(|| name("/secretRef/name").map(|name| format!("Secret {name}")))
            };
            items.iter().filter_map(reference).collect::<Vec<_>>().join(", ")
        }
        Value::Null => String::new(),
        other => compact(other),
    }
}

/// Fields of Kubernetes that name a Secret or say what to do with one, and hold none.
fn is_reference(key: &str) -> bool {
    matches!(key, "secretName" | "automountServiceAccountToken" | "terminationMessagePath")
}

fn compact(value: &Value) -> String {
    redact(&value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(yaml: &str) -> PodTemplateSpec {
        serde_yaml_ng::from_str(yaml).unwrap()
    }

    /// The differences as `path: before -> after`.
    #[track_caller]
    fn check(before: &str, after: &str, expected: &[&str]) {
        let found = differences(&template(before), &template(after));
        let found: Vec<String> =
            found.iter().map(|one| format!("{}: {} -> {}", one.path, one.before, one.after)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn image_command_and_arguments_are_told_apart() {
        check(
            "spec: {containers: [{name: app, image: 'app:1', command: [serve], args: [--port, '80']}]}",
            "spec: {containers: [{name: app, image: 'app:2', command: [sh, -c, exit 1]}]}",
            &[
                "containers[app].args: --port 80 -> ",
                "containers[app].command: serve -> sh -c exit 1",
                "containers[app].image: app:1 -> app:2",
            ],
        );
    }

    #[test]
    fn variables_are_told_by_name_and_their_origin_is_shown() {
        check(
            "spec: {containers: [{name: app, env: [{name: A, value: '1'}, {name: GONE, value: x}, {name: M, value: inline}]}]}",
            "spec: {containers: [{name: app, env: [{name: NEW, value: y}, {name: A, value: '2'}, \
              {name: M, valueFrom: {configMapKeyRef: {name: web, key: mode}}}, {name: P, valueFrom: {secretKeyRef: {name: db, key: pw}}}]}]}",
            &[
                "containers[app].env[A]: 1 -> 2",
                "containers[app].env[GONE]: x -> ",
                "containers[app].env[M]: inline -> ConfigMap web, key mode",
                "containers[app].env[NEW]:  -> y",
                "containers[app].env[P]:  -> Secret db, key pw",
            ],
        );
    }

    #[test]
    fn no_secret_is_shown_and_that_it_changed_is() {
        check(
            "spec: {containers: [{name: app, args: [--token, c4n4ry], env: [{name: DB_PASSWORD, value: c4n4ry1}, {name: URL, value: 'pg://u:c4n4ry@db'}]}]}",
            "spec: {containers: [{name: app, args: [--token, c4n4rz], env: [{name: DB_PASSWORD, value: c4n4ry2}, {name: URL, value: 'pg://u:c4n4rz@db2'}]}]}",
            &[
                "containers[app].args: --token [redacted] -> --token [redacted]",
                "containers[app].env[DB_PASSWORD]: [redacted] -> [redacted]",
                "containers[app].env[URL]: pg://[redacted]@db -> pg://[redacted]@db2",
            ],
        );
    }

    #[test]
    fn a_limit_is_named_whole_even_where_there_was_none() {
        check(
            "spec: {containers: [{name: app, resources: {}}, {name: old}]}",
            "spec: {containers: [{name: app, resources: {limits: {memory: 64Mi}}}, {name: old, resources: {requests: {cpu: 10m}}}]}",
            &["containers[app].resources.limits.memory:  -> 64Mi", "containers[old].resources.requests.cpu:  -> 10m"],
        );
        check(
            "spec: {containers: [{name: app, resources: {limits: {memory: 128Mi, cpu: '1'}}}]}",
            "spec: {containers: [{name: app, resources: {limits: {memory: 64Mi, cpu: '1'}}}]}",
            &["containers[app].resources.limits.memory: 128Mi -> 64Mi"],
        );
    }

    #[test]
    fn probes_volumes_and_references_are_found() {
        check(
            "spec: {volumes: [{name: v, configMap: {name: a}}, {name: s, secret: {secretName: s1}}], containers: [{name: app, readinessProbe: {httpGet: {path: /a, port: 80}}, envFrom: [{configMapRef: {name: a}}]}]}",
            "spec: {volumes: [{name: v, configMap: {name: b}}, {name: s, secret: {secretName: s2}}], containers: [{name: app, readinessProbe: {httpGet: {path: /b, port: 80}}, envFrom: [{configMapRef: {name: b}}, {secretRef: {name: c}}]}]}",
            &[
                "containers[app].envFrom: ConfigMap a -> ConfigMap b, Secret c",
                "containers[app].readinessProbe.httpGet.path: /a -> /b",
                "volumes[s]: Secret s1 -> Secret s2",
                "volumes[v]: ConfigMap a -> ConfigMap b",
            ],
        );
    }

    #[test]
    fn containers_that_come_and_go_are_told_by_their_image() {
        check(
            "spec: {containers: [{name: app, image: 'a:1'}], initContainers: [{name: wait, image: 'w:1'}]}",
            "spec: {containers: [{name: log, image: 'l:1'}, {name: app, image: 'a:1'}]}",
            &["containers[log]:  -> l:1", "initContainers[wait]: w:1 -> "],
        );
    }

    #[test]
    fn what_kubernetes_and_kubernaut_write_is_no_difference() {
        check(
            "{metadata: {creationTimestamp: null, labels: {app: web, pod-template-hash: a}}, spec: {containers: [{name: app}]}}",
            "{metadata: {labels: {app: web, pod-template-hash: b}, annotations: {kubectl.kubernetes.io/restartedAt: now, kubernaut.io/changed-by: ke-1}}, spec: {containers: [{name: app}]}}",
            &[],
        );
        check(
            "{metadata: {annotations: {checksum/config: a}}, spec: {containers: [{name: app}]}}",
            "{metadata: {annotations: {checksum/config: b}}, spec: {containers: [{name: app}]}}",
            &["metadata.annotations[checksum/config]: a -> b"],
        );
    }

    #[test]
    fn another_order_of_variables_is_a_difference() {
        check(
            "spec: {containers: [{name: app, env: [{name: A, value: '1'}, {name: B, value: $(A)}]}]}",
            "spec: {containers: [{name: app, env: [{name: B, value: $(A)}, {name: A, value: '1'}]}]}",
            &["containers[app].env: A B -> B A"],
        );
    }
}
