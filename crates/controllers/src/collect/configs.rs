//! ConfigMaps that a template names: by hash, with who wrote them last, and with what differs from what was declared.
//!
//! Each is read by its name, one after the other, so that one large ConfigMap is in memory at a time; never listed,
//! never kept. The only place where Kubernetes keeps an earlier content is the annotation that `kubectl apply` leaves:
//! a later edit or patch does not change it. A declared value is told only when it is short and redaction leaves
//! it as it is, because it may become the parameter of a step.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kubernaut_api::evidence::{Config, Drift, Evidence};
use kubernaut_domain::redact::{HIDDEN, bounded, is_secret_name, redact};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::hosts::{Host, IsHost, hosts};
use super::read::{Gap, Reader};
use super::workload::reference;

/// On what `kubectl apply` wrote: what it was told to write.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// ConfigMaps that are read at most.
const READ: usize = 8;
/// Keys that differ and are told at most.
const TOLD: usize = 8;
/// Longest value that is looked through for hosts, in bytes.
const LOOKED_THROUGH: usize = 32 * 1024;
/// Hosts of one ConfigMap that are told at most.
const NAMED: usize = 20;
/// Longest declared value that is told, in bytes.
const LONGEST: usize = 2048;

/// The ConfigMaps that the workload's template names, and the hosts that stand in them with where.
pub async fn configs(
    reader: &Reader<'_>,
    evidence: &Evidence,
    gaps: &mut Vec<Gap>,
) -> (Vec<Config>, Vec<(Host, String)>) {
    let (mut found, mut hosts) = (Vec::new(), Vec::new());
    let Some(workload) = &evidence.workload else { return (found, hosts) };
    let maps = workload.references.iter().filter(|reference| reference.kind == "ConfigMap");
    let names: BTreeSet<&str> = maps.map(|reference| reference.name.as_str()).collect();
    for name in names.into_iter().take(READ) {
        match reader.get::<ConfigMap>("configmaps", name).await {
            Ok(map) => {
                hosts.extend(named_in(&map));
                found.push(config(&map));
            }
            // That it is missing the kubelet says too, and better.
            Err(gap) if gap.not_found => {}
            Err(gap) => gaps.push(gap),
        }
    }
    (found, hosts)
}

/// Hosts that the values name, as far as these are short enough to be looked through.
fn named_in(map: &ConfigMap) -> Vec<(Host, String)> {
    let name = map.metadata.name.as_deref().unwrap_or_default();
    let entries = map.data.iter().flatten().filter(|(_, value)| value.len() <= LOOKED_THROUGH);
    let named = entries.flat_map(|(key, value)| {
        let place = format!("key {} of ConfigMap {name}", bounded(key, 64));
        // A whole file is no host by its name.
        let is_host = if value.contains('\n') { IsHost::Unknown } else { IsHost::of_variable(key) };
        hosts(value, is_host).into_iter().map(move |host| (host, place.clone()))
    });
    named.take(NAMED).collect()
}

fn config(map: &ConfigMap) -> Config {
    let (changed_at, changed_by) = written(&map.metadata, &["f:data", "f:binaryData"]).unzip();
    let declared = declared(&map.metadata);
    Config {
        object: reference("v1", "ConfigMap", &map.metadata),
        hash: hash(map),
        keys: i32::try_from(keys(map)).unwrap_or(i32::MAX),
        immutable: map.immutable.unwrap_or_default(),
        changed_at,
        changed_by: changed_by.unwrap_or_default(),
        declared: declared.is_some(),
        drift: declared.map(|declared| drift(&declared, map)).unwrap_or_default(),
    }
}

fn keys(map: &ConfigMap) -> usize {
    map.data.as_ref().map_or(0, BTreeMap::len) + map.binary_data.as_ref().map_or(0, BTreeMap::len)
}

fn hash(map: &ConfigMap) -> String {
    let mut hash = Sha256::new();
    let mut add = |key: &str, value: &[u8]| {
        for part in [key.as_bytes(), value] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
    };
    map.data.iter().flatten().for_each(|(key, value)| add(key, value.as_bytes()));
    map.binary_data.iter().flatten().for_each(|(key, value)| add(key, &value.0));
    hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// When and by which field manager one of these fields, such as `f:data`, was written last.
pub fn written(metadata: &ObjectMeta, fields: &[&str]) -> Option<(MicroTime, String)> {
    let entries = metadata.managed_fields.iter().flatten().filter(|entry| {
        let own = entry.fields_v1.as_ref().map(|own| &own.0);
        entry.subresource.as_deref().unwrap_or_default().is_empty()
            && own.is_some_and(|own| fields.iter().any(|field| own.pointer(&format!("/{field}")).is_some()))
    });
    let last = entries.filter_map(|entry| Some((entry.time.as_ref()?.0, entry))).max_by_key(|(time, _)| *time)?;
    Some((MicroTime(last.0), bounded(&redact(last.1.manager.as_deref().unwrap_or_default()), 128)))
}

/// The keys and values that were applied; `None` when it was not made by `kubectl apply`.
fn declared(metadata: &ObjectMeta) -> Option<BTreeMap<String, String>> {
    let applied: Value = serde_json::from_str(metadata.annotations.as_ref()?.get(APPLIED)?).ok()?;
    match applied.get("data") {
        Some(data) => serde_json::from_value(data.clone()).ok(),
        None => Some(BTreeMap::new()),
    }
}

fn drift(declared: &BTreeMap<String, String>, map: &ConfigMap) -> Vec<Drift> {
    let empty = BTreeMap::new();
    let now = map.data.as_ref().unwrap_or(&empty);
    let keys: BTreeSet<&String> = declared.keys().chain(now.keys()).collect();
    let different: Vec<&String> = keys.into_iter().filter(|key| declared.get(*key) != now.get(*key)).collect();
    // Half of what has to be restored helps nobody.
    let all = different.len() <= TOLD;
    let shown = |key: &str, value: &String| {
        if is_secret_name(key) { HIDDEN.to_owned() } else { bounded(&redact(value), 256) }
    };
    let told = |key: &str, value: &&String| all && is_harmless(key, value);
    different
        .iter()
        .take(TOLD)
        .map(|key| Drift {
            key: bounded(key, 253),
            declared: declared.get(*key).filter(|value| told(key, value)).cloned(),
            hidden: !all || declared.get(*key).is_some_and(|value| !is_harmless(key, value)),
            now: now.get(*key).map(|value| shown(key, value)),
        })
        .collect()
}

fn is_harmless(key: &str, value: &str) -> bool {
    value.len() <= LONGEST && !is_secret_name(key) && redact(value) == value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(data: &str, applied: Option<&str>) -> ConfigMap {
        let mut map: ConfigMap = serde_yaml_ng::from_str(&format!(
            "{{metadata: {{name: web, namespace: shop, uid: m1, managedFields: [\
              {{manager: kubectl-client-side-apply, operation: Update, time: '2026-11-20T08:00:00Z', fieldsType: FieldsV1, fieldsV1: {{'f:data': {{'f:a': {{}}}}}}}}, \
              {{manager: kubectl-edit, operation: Update, time: '2026-11-21T11:58:00Z', fieldsType: FieldsV1, fieldsV1: {{'f:data': {{'f:a': {{}}}}}}}}, \
              {{manager: labeller, operation: Update, time: '2026-11-21T12:30:00Z', fieldsType: FieldsV1, fieldsV1: {{'f:metadata': {{'f:labels': {{}}}}}}}}]}}, data: {data}}}"
        ))
        .unwrap();
        let applied = applied.map(|data| format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","data":{data}}}"#));
        map.metadata.annotations = applied.map(|applied| [(APPLIED.to_owned(), applied)].into());
        map
    }

    #[track_caller]
    fn check(data: &str, applied: &str, expected: &[(&str, Option<&str>, bool, Option<&str>)]) {
        let told = config(&parse(data, Some(applied)));
        let found: Vec<_> = (told.drift.iter())
            .map(|one| (one.key.as_str(), one.declared.as_deref(), one.hidden, one.now.as_deref()))
            .collect();
        assert_eq!(found, expected);
        assert!(told.declared);
    }

    #[test]
    fn who_wrote_the_keys_last_is_told_and_not_who_wrote_a_label() {
        let told = config(&parse("{a: '1'}", None));
        assert_eq!((told.changed_by.as_str(), told.keys, told.declared), ("kubectl-edit", 1, false));
        assert_eq!(told.changed_at.map(|at| at.0.to_string()).as_deref(), Some("2026-11-21T11:58:00Z"));
        assert_eq!(told.hash.len(), 64);
        assert_ne!(told.hash, config(&parse("{a: '2'}", None)).hash);
        assert_ne!(config(&parse("{ab: c}", None)).hash, config(&parse("{a: bc}", None)).hash);
    }

    #[test]
    fn keys_that_are_not_as_declared_are_told_with_both_values() {
        check("{a: '1', same: x}", r#"{"a":"1","same":"x"}"#, &[]);
        check(
            "{a: '2', more: y, same: x}",
            r#"{"a":"1","less":"z","same":"x"}"#,
            &[("a", Some("1"), false, Some("2")), ("less", Some("z"), false, None), ("more", None, false, Some("y"))],
        );
    }

    #[test]
    fn no_secret_is_told_and_no_long_value() {
        check(
            "{password: c4n4ry2, url: 'pg://u:c4n4ry2@db', text: short, a: token=c4n4ry2}",
            &format!(
                r#"{{"password":"c4n4ry1","url":"pg://u:c4n4ry1@db","text":"{}","a":"-----BEGIN PRIVATE KEY-----c4n4ry1"}}"#,
                "x".repeat(3000)
            ),
            &[
                ("a", None, true, Some("token=[redacted]")),
                ("password", None, true, Some("[redacted]")),
                ("text", None, true, Some("short")),
                ("url", None, true, Some("pg://[redacted]@db")),
            ],
        );
    }

    #[test]
    fn hosts_that_stand_in_its_values_are_named_and_no_password_is() {
        let map = parse(
            r#"{DB_HOST: db, app.yaml: "db:\n  url: postgres://u:c4n4ry@pg.data.svc:5432/x\n  mode: fast\n", MODE: db, note: plain words}"#,
            None,
        );
        let found: Vec<String> =
            named_in(&map).iter().map(|(host, place)| format!("{} in {place}", host.written)).collect();
        assert_eq!(found, ["db in key DB_HOST of ConfigMap web", "pg.data.svc in key app.yaml of ConfigMap web"]);
        let large = parse(&format!("{{DB_URL: '{}http://db/'}}", " ".repeat(40_000)), None);
        assert!(named_in(&large).is_empty(), "what is too large is not looked through");
    }

    #[test]
    fn of_many_keys_none_can_be_restored() {
        let many: BTreeMap<String, String> = (0..20).map(|n| (format!("k{n}"), "old".to_owned())).collect();
        let told = config(&parse("{a: '1'}", Some(&serde_json::to_string(&many).unwrap())));
        assert!(told.drift.len() == TOLD && told.drift.iter().all(|one| one.hidden && one.declared.is_none()));
    }

    #[test]
    fn an_annotation_that_is_no_declaration_declares_nothing() {
        for bad in ["{", "[]", r#"{"a": 1}"#] {
            assert!(!config(&parse("{a: '1'}", Some(bad))).declared, "{bad}");
        }
    }
}
