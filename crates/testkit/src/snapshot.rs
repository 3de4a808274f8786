//! Everything that a remediation could have touched, at one moment, and what differs between two moments.
//!
//! Status is left out, and so is what Kubernetes' own controllers note in annotations: only what somebody
//! wanted counts. Generations are in, so that a change which is taken back is seen too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::{Result, bail};
use kube::Api;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kubernaut_api::labels;
use serde_json::{Map, Value, json};

use crate::Cluster;
use crate::namespace::PREFIX;
use crate::objects::{KINDS, NODE, resource};

/// Annotations that Kubernetes' own controllers write.
const CONTROLLERS: &[&str] = &[
    "deployment.kubernetes.io/",
    "deprecated.daemonset.template.generation",
    "pv.kubernetes.io/",
    "volume.kubernetes.io/",
];

/// Where an action notes what was before.
const CHANGED_FROM: &str = "kubernaut.io/changed-from";

/// What is wanted of every object, by `Kind/name`, or `Kind/ALIAS/name` in a namespace with an alias.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    objects: BTreeMap<String, Seen>,
}

/// One object.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    owner: Option<String>,
    wanted: Value,
}

/// What may differ: the fields of one object under these paths, such as `spec.template`. The pods and
/// ReplicaSets that follow from it may differ too; with the path "", the object itself may come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The object, named as in [`Snapshot`].
    pub object: &'static str,
    /// The fields.
    pub paths: &'static [&'static str],
}

/// One difference: an object and the path of a field; "" when it came or went.
pub type Difference = (String, String);

impl Snapshot {
    /// Looks at namespaces, given with their aliases ("" for the one whose objects need none), and at all nodes but
    /// those that other tests have made.
    pub async fn take(cluster: &Cluster, namespaces: &[(&str, &str)], own_nodes: &[&str]) -> Result<Self> {
        let mut objects = BTreeMap::new();
        let everything = ListParams::default();
        for (alias, namespace) in namespaces {
            for kind in KINDS {
                let api = Api::<DynamicObject>::namespaced_with(cluster.client.clone(), namespace, &resource(*kind));
                for object in api.list(&everything).await?.items {
                    let value = serde_json::to_value(&object)?;
                    let owner = owner(&value).map(|(kind, name)| key(kind, alias, name));
                    let name = object.metadata.name.unwrap_or_default();
                    objects.insert(key(kind.1, alias, &name), Seen { owner, wanted: wanted(kind.1, &value) });
                }
            }
        }
        let api = Api::<DynamicObject>::all_with(cluster.client.clone(), &resource(NODE));
        for node in api.list(&everything).await?.items {
            let name = node.metadata.name.clone().unwrap_or_default();
            if own_nodes.contains(&name.as_str()) || !name.starts_with(PREFIX) {
                let wanted = wanted_of_node(&serde_json::to_value(&node)?);
                // The name of a test's own node differs from run to run.
                let shown = if own_nodes.contains(&name.as_str()) { "spare" } else { &name };
                objects.insert(key("Node", "", shown), Seen { owner: None, wanted });
            }
        }
        Ok(Self { objects })
    }

    /// What is wanted of one object: its `spec`.
    pub fn spec(&self, object: &str) -> Option<&Value> {
        self.objects.get(object).map(|seen| &seen.wanted["spec"])
    }

    /// Every difference from this snapshot to a later one.
    pub fn differences(&self, later: &Self) -> Vec<Difference> {
        let mut found = vec![];
        let names: BTreeSet<&String> = self.objects.keys().chain(later.objects.keys()).collect();
        for name in names {
            match (self.objects.get(name), later.objects.get(name)) {
                (Some(before), Some(after)) => {
                    let mut paths = vec![];
                    differ(&before.wanted, &after.wanted, "", &mut paths);
                    found.extend(paths.into_iter().map(|path| (name.clone(), path)));
                }
                _ => found.push((name.clone(), String::new())),
            }
        }
        found
    }

    /// Whom an object belongs to in the end: itself, when nobody owns it.
    fn top<'a>(&'a self, object: &'a str) -> &'a str {
        let mut top = object;
        // A chain of owners is short; one that goes round must not hang the test.
        for _ in 0..8 {
            match self.objects.get(top).and_then(|seen| seen.owner.as_deref()) {
                Some(owner) => top = owner,
                None => break,
            }
        }
        top
    }
}

/// Fails when anything differs besides what may.
pub fn assert_only_changed(before: &Snapshot, after: &Snapshot, allowed: &[Allowed]) -> Result<()> {
    let mut differences = before.differences(after);
    differences.retain(|(object, path)| !allowed.iter().any(|one| allows(one, object, path, before, after)));
    if differences.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for (object, path) in &differences {
        let value = |snapshot: &Snapshot| match snapshot.objects.get(object) {
            None => "nothing".to_owned(),
            Some(_) if path.is_empty() => "an object".to_owned(),
            Some(seen) => path.split('.').fold(&seen.wanted, step).to_string(),
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {object} {path}: {} became {}", value(before), value(after));
    }
    bail!("changed besides what may be ({allowed:?}):{text}")
}

fn allows(allowed: &Allowed, object: &str, path: &str, before: &Snapshot, after: &Snapshot) -> bool {
    if object == allowed.object {
        // That an action changed it shows in its generation, and in the annotations that make the action idempotent.
        let annotation = path.strip_prefix("metadata.annotations.");
        let marked = annotation.is_some_and(|name| [labels::CHANGED_BY, CHANGED_FROM].contains(&name));
        return marked || path == "metadata.generation" || allowed.paths.iter().any(|one| is_under(path, one));
    }
    before.top(object) == allowed.object || after.top(object) == allowed.object
}

fn is_under(path: &str, above: &str) -> bool {
    above.is_empty() || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn differ(before: &Value, after: &Value, path: &str, found: &mut Vec<String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                let of = |map: &Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                differ(&of(before), &of(after), &below(name), found);
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                differ(before, after, &below(&index.to_string()), found);
            }
        }
        _ if before != after => found.push(path.to_owned()),
        _ => {}
    }
}

/// The value under one word of a path. Annotations with dots in their names are shown by what is above them.
fn step<'a>(value: &'a Value, word: &str) -> &'a Value {
    let below = match value {
        Value::Object(map) => map.get(word),
        Value::Array(list) => word.parse().ok().and_then(|index: usize| list.get(index)),
        _ => None,
    };
    below.unwrap_or(value)
}

fn key(kind: &str, alias: &str, name: &str) -> String {
    if alias.is_empty() { format!("{kind}/{name}") } else { format!("{kind}/{alias}/{name}") }
}

/// Kind and name of the object that controls this one.
fn owner(object: &Value) -> Option<(&str, &str)> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    Some((owner["kind"].as_str()?, owner["name"].as_str()?))
}

fn wanted(kind: &str, object: &Value) -> Value {
    let mut wanted = object.clone();
    let Some(fields) = wanted.as_object_mut() else { return Value::Null };
    fields.remove("status");
    fields.insert("metadata".into(), metadata(&object["metadata"]));
    if kind == "Secret" {
        let mut hasher = DefaultHasher::new();
        object["data"].to_string().hash(&mut hasher);
        // No value of a Secret is to be found in what a failed test prints.
        fields.insert("data".into(), json!(format!("{:016x}", hasher.finish())));
    }
    if kind == "Pod"
        && let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.remove("nodeName");
    }
    wanted
}

/// Cordons, taints and labels; the taints that follow from conditions and cordons are the controllers' own.
fn wanted_of_node(node: &Value) -> Value {
    let mut metadata = metadata(&node["metadata"]);
    metadata["annotations"] = Value::Null;
    let own = |taint: &&Value| !taint["key"].as_str().is_some_and(|key| key.starts_with("node.kubernetes.io/"));
    let taints: Vec<&Value> = node["spec"]["taints"].as_array().into_iter().flatten().filter(own).collect();
    json!({ "metadata": metadata, "spec": { "unschedulable": node["spec"]["unschedulable"], "taints": taints } })
}

fn metadata(metadata: &Value) -> Value {
    let mut annotations = metadata["annotations"].as_object().cloned().unwrap_or_default();
    annotations.retain(|name, _| !CONTROLLERS.iter().any(|prefix| name.starts_with(prefix)));
    json!({
        "uid": metadata["uid"],
        "generation": metadata["generation"],
        "labels": metadata["labels"],
        "annotations": annotations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(objects: &[(&str, Option<&str>, Value)]) -> Snapshot {
        let seen = |(name, owner, wanted): &(&str, Option<&str>, Value)| {
            ((*name).to_owned(), Seen { owner: owner.map(str::to_owned), wanted: wanted.clone() })
        };
        Snapshot { objects: objects.iter().map(seen).collect() }
    }

    fn deployment(image: &str, generation: i64) -> Value {
        json!({ "metadata": { "generation": generation, "annotations": {} }, "spec": { "template": { "image": image }, "replicas": 1 } })
    }

    #[track_caller]
    fn check(before: &Snapshot, after: &Snapshot, allowed: &[Allowed], expected: Option<&str>) {
        let said = assert_only_changed(before, after, allowed).err().map(|error| error.to_string());
        match (said, expected) {
            (None, None) => {}
            (Some(said), Some(expected)) => assert!(said.contains(expected), "no {expected:?} in {said}"),
            (said, expected) => panic!("{said:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn only_the_allowed_fields_of_the_allowed_object_may_differ() {
        let template = Allowed { object: "Deployment/web", paths: &["spec.template"] };
        let before =
            snapshot(&[("Deployment/web", None, deployment("bad", 2)), ("Deployment/db", None, deployment("good", 1))]);
        check(&before, &before, &[], None);
        let mut after = before.clone();
        after.objects.insert("Deployment/web".into(), Seen { owner: None, wanted: deployment("good", 3) });
        check(&before, &after, &[template], None);
        check(&before, &after, &[], Some(r#"Deployment/web spec.template.image: "bad" became "good""#));
        // Changed and changed back: the generation tells.
        after.objects.insert("Deployment/db".into(), Seen { owner: None, wanted: deployment("good", 3) });
        check(&before, &after, &[template], Some("Deployment/db metadata.generation: 1 became 3"));
        let mut scaled = before.clone();
        scaled.objects.get_mut("Deployment/web").unwrap().wanted["spec"]["replicas"] = json!(0);
        check(&before, &scaled, &[template], Some("Deployment/web spec.replicas: 1 became 0"));
        let mut prefix = before.clone();
        prefix.objects.get_mut("Deployment/web").unwrap().wanted["spec"]["templates"] = json!(1);
        check(&before, &prefix, &[template], Some("Deployment/web spec.templates"));
    }

    #[test]
    fn what_follows_from_an_allowed_object_may_come_and_go_and_nothing_else() {
        let template = Allowed { object: "Deployment/web", paths: &["spec.template"] };
        let pods = |web: &str, db: &str| {
            snapshot(&[
                ("ReplicaSet/web-1", Some("Deployment/web"), json!({})),
                ("ReplicaSet/db-1", Some("Deployment/db"), json!({})),
                (web, Some("ReplicaSet/web-1"), json!({})),
                (db, Some("ReplicaSet/db-1"), json!({})),
            ])
        };
        check(&pods("Pod/web-1-a", "Pod/db-1-a"), &pods("Pod/web-1-b", "Pod/db-1-a"), &[template], None);
        let before = pods("Pod/web-1-a", "Pod/db-1-a");
        check(&before, &pods("Pod/web-1-a", "Pod/db-1-b"), &[template], Some("Pod/db-1-a : an object became nothing"));
        let anew = Allowed { object: "Pod/db-1-a", paths: &[""] };
        check(&before, &pods("Pod/web-1-a", "Pod/db-1-b"), &[anew], Some("Pod/db-1-b"));
    }

    #[test]
    fn a_secret_is_told_apart_without_its_values() {
        let secret = |value: &str| wanted("Secret", &json!({ "metadata": {}, "data": { "password": value } }));
        assert_ne!(secret("one"), secret("two"));
        assert_eq!(secret("one"), secret("one"));
        assert!(!secret("canary").to_string().contains("canary"));
    }

    #[test]
    fn what_controllers_note_does_not_count() {
        let noted = json!({ "metadata": { "annotations": { "deployment.kubernetes.io/revision": "3" } }, "status": { "replicas": 1 } });
        assert_eq!(wanted("Deployment", &noted), wanted("Deployment", &json!({ "metadata": {} })));
        let node = |taint: &str| wanted_of_node(&json!({ "metadata": {}, "spec": { "taints": [{ "key": taint }] } }));
        assert_eq!(node("node.kubernetes.io/not-ready"), node("node.kubernetes.io/unschedulable"));
        assert_ne!(node("dedicated"), node("node.kubernetes.io/not-ready"));
    }
}
