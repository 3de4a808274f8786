//! A pod waits for a ConfigMap, Secret or claim that does not exist, or for a key that is not in it.
//!
//! Go back when the current revision began to name it; where it was named before, somebody deleted it,
//! no rollback brings it back, and a person has to. What is missing is taken from the kubelet's or the
//! scheduler's words, and only when the template names it: no other text can bring up a name.
//!
//! Every single doubt asks a person.

use kubernaut_api::analysis::Citation;
use kubernaut_api::evidence::{Change, PodEvidence, Reference};
use kubernaut_domain::diagnosis::Finding;
use kubernaut_domain::redact::bounded;

use super::facts::{Facts, cite, cite_event};
use super::{Diagnoser, rollback};

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "configuration",
    causes: &["MissingConfiguration"],
    fits: "A pod waits for a ConfigMap, Secret, claim or key that the template names and that does not exist.",
    signals: &[
        ("pods wait for what does not exist, and the template names it", 0.40),
        ("the newest revision began to name it", 0.26),
        ("the newest revision was made within the last hour", 0.12),
        ("no pod of the newest revision is well", 0.12),
        ("the earlier revision still serves", 0.10),
    ],
    proposes: "`rollback_deployment` when a new revision began to name it; else a person.",
    diagnose,
};

/// What is missing, by whose word.
struct Missing<'a> {
    pod: &'a PodEvidence,
    reference: &'a Reference,
    key: Option<String>,
    told: Citation,
}

fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let pods = facts.current_pods();
    let missing: Vec<Missing<'_>> = pods.iter().filter_map(|pod| missing(facts, pod)).collect();
    let first = missing.first()?;
    let newly = facts.changes().any(|change| names_anew(change, first));
    let way_back = rollback::find(facts).filter(|rollback| newly && (facts.fresh() || rollback.serves));

    let Reference { kind, name, .. } = first.reference;
    let what = first.key.as_ref().map_or_else(
        || format!("{kind} {name}, which does not exist"),
        |key| format!("key {} of {kind} {name}, which is not in it", bounded(key, 128)),
    );
    let mut evidence = vec![first.told.clone()];
    if let (true, Some(current)) = (newly, facts.current) {
        evidence.push(facts.cite_changes(current));
    }
    evidence.extend(way_back.map(|to| facts.cite_revision(to.to, format!("{} ready replicas", to.to.ready_replicas))));
    evidence.push(facts.cite_workload());
    Some(Finding {
        cause: "MissingConfiguration".into(),
        summary: format!("Pod {} of {} waits for {what}.", first.pod.name, facts.object()),
        evidence,
        contributing_factors: Vec::new(),
        signals: DIAGNOSER.signals(&[
            true,
            newly,
            facts.fresh(),
            missing.len() == pods.len(),
            way_back.is_some_and(|rollback| rollback.serves),
        ]),
        rationale: match &way_back {
            Some(rollback) => format!("Revision {} does not name it.", rollback.to.number),
            None => {
                format!("No revision that can be undone began to name it: a person has to bring {kind} {name} back.")
            }
        },
        steps: way_back.iter().map(|rollback| rollback.step(facts)).collect(),
    })
}

/// What one pod waits for, if it is that.
fn missing<'a>(facts: &Facts<'a>, pod: &'a PodEvidence) -> Option<Missing<'a>> {
    if pod.ready {
        return None;
    }
    let refused = pod.containers.iter().filter(|one| one.reason == "CreateContainerConfigError").map(|one| {
        (
            one.message.as_str(),
            cite("Pod", &pod.name, format!("container {}: {}: {}", one.name, one.reason, one.message)),
        )
    });
    let unplaced = pod.unschedulable.iter().map(|text| (text.as_str(), cite("Pod", &pod.name, text)));
    let begun = pod.containers.iter().any(|one| one.state != "Waiting");
    let mounts = facts.warnings("Pod", &pod.name).filter(|event| !begun && event.reason == "FailedMount");
    let mounts = mounts.map(|event| (event.message.as_str(), cite_event(event)));
    refused.chain(unplaced).chain(mounts).find_map(|(text, told)| {
        let (reference, key) = named(text, &facts.workload.references)?;
        Some(Missing { pod, reference, key, told })
    })
}

/// The reference that a message of Kubernetes says is missing, and the key if it is only that.
fn named<'a>(text: &str, references: &'a [Reference]) -> Option<(&'a Reference, Option<String>)> {
    let of = |kind: &str, name: &str| references.iter().find(|one| one.kind == kind && one.name == name);
    let whole =
        [("ConfigMap", "configmap \""), ("Secret", "secret \""), ("PersistentVolumeClaim", "persistentvolumeclaim \"")];
    for (kind, begin) in whole {
        let Some((name, rest)) = text.split_once(begin).and_then(|(_, rest)| rest.split_once('"')) else { continue };
        if rest.trim_start().starts_with("not found") {
            return Some((of(kind, name)?, None));
        }
    }
    if let Some((key, rest)) = text.split_once("couldn't find key ").and_then(|(_, rest)| rest.split_once(" in ")) {
        let (kind, rest) = rest.split_once(' ')?;
        let name = rest.rsplit('/').next()?.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        return Some((of(kind, name)?, Some(key.to_owned())));
    }
    let (_, key) = text.split_once("references non-existent ")?.1.split_once("key: ")?;
    let (volume, _) = text.split_once("for volume \"")?.1.split_once('"')?;
    let path = format!("volumes[{volume}]");
    Some((references.iter().find(|one| one.path == path)?, Some(key.trim().to_owned())))
}

/// Whether a change began to name what is missing.
fn names_anew(change: &Change, missing: &Missing<'_>) -> bool {
    let Reference { name, path, .. } = missing.reference;
    let wanted = missing.key.as_deref().unwrap_or(name);
    let there =
        change.path.starts_with(path.as_str()) && has_word(&change.after, wanted) && !has_word(&change.before, wanted);
    // A container or volume that is new as a whole.
    let new = change.before.is_empty() && path.starts_with(change.path.as_str());
    there || new
}

/// Whether a name stands in a text, not as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.split(|c: char| !part(c)).any(|one| one == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_template_names_is_taken_from_a_message() {
        let one =
            |kind: &str, name: &str, path: &str| Reference { kind: kind.into(), name: name.into(), path: path.into() };
        let references = [
            one("ConfigMap", "web", "volumes[config]"),
            one("Secret", "db", "containers[app].env"),
            one("PersistentVolumeClaim", "data", "volumes[data]"),
        ];
        for (text, expected) in [
            ("configmap \"web\" not found", Some("web")),
            ("MountVolume.SetUp failed for volume \"config\" : configmap \"web\" not found", Some("web")),
            ("secret \"db\" not found", Some("db")),
            ("couldn't find key pw in Secret shop/db", Some("db: pw")),
            (
                "MountVolume.SetUp failed for volume \"config\" : configmap references non-existent config key: a.yaml",
                Some("web: a.yaml"),
            ),
            ("0/1 nodes are available: persistentvolumeclaim \"data\" not found. not found", Some("data")),
            ("configmap \"other\" not found", None),
            ("secret \"web\" not found", None),
            ("configmap \"web\" was updated", None),
            ("couldn't find key pw in Secret other", None),
            ("couldn't find key", None),
            ("configmap \"", None),
            ("object \"shop\"/\"web\" not registered", None),
        ] {
            let found = named(text, &references).map(|(reference, key)| {
                key.map_or_else(|| reference.name.clone(), |key| format!("{}: {key}", reference.name))
            });
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
