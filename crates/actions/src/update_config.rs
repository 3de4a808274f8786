//! update_config: writes keys of a ConfigMap, then restarts the workloads that read them.
//!
//! The ConfigMap is written first and marked; a run that was cut short before the restarts finds the mark and goes on
//! with them. Values stand in no message; the state before stands in the ConfigMap's own annotation, where who may
//! read the values could read them before, and in the report as far as it fits.
//! The permission reaches further than the effect: it covers every ConfigMap, also those that configure the
//! cluster itself, and the templates of workloads (see [`crate::restart`]).

use std::collections::BTreeSet;

use kube::api::DynamicObject;
use kube::core::Selector;
use kubernaut_api::execution::{ActionResult, Effect};
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::catalogue::{UpdateConfig, Values};
use serde_json::{Map, Value, json};

use crate::call::{Call, Failure};
use crate::workload::{Decision, change, escape};
use crate::{changed, incomplete, restart};

pub async fn run(call: &Call<'_>, wanted: UpdateConfig) -> Result<ActionResult, Failure> {
    let target = &call.input.target;
    call.target().await?;
    let keys: BTreeSet<&str> = wanted.data.keys().map(String::as_str).collect();
    let consumers = consumers(call, &keys).await?;
    let wanted = &wanted;
    let mut written = change(call, |live| async move { decide(target, &live, wanted) }).await?;
    if call.only_looks() && written.effect == Effect::Changed {
        return Ok(written);
    }
    if written.effect != Effect::Changed && !call.only_looks() {
        return Ok(written);
    }
    let (restarted, failure) = restart::all(call, &consumers).await;
    if call.only_looks() && !restarted.is_empty() {
        let message = format!("{} were not restarted for it", restarted.join(", "));
        return Ok(changed(message, written.before));
    }
    if !restarted.is_empty() {
        written.message.push_str(" and restarted ");
        written.message.push_str(&restarted.join(", "));
    }
    match failure {
        Some(failure) if call.input.dry_run => Err(failure),
        Some(failure) => Ok(incomplete(format!("{}; then: {failure}", written.message), written.before)),
        None => Ok(written),
    }
}

fn decide(target: &TargetRef, live: &DynamicObject, wanted: &UpdateConfig) -> Result<Decision, Failure> {
    let has_binary = |key: &str| live.data.pointer(&format!("/binaryData/{}", escape(key))).is_some();
    let mut operations = Vec::new();
    let mut before = Map::new();
    for (key, value) in &wanted.data {
        if has_binary(key) {
            return Err(Failure::refused("Invalid", format!("key {key} of {target} is binary")));
        }
        let path = format!("/data/{}", escape(key));
        let now = live.data.pointer(&path).and_then(Value::as_str);
        if now == value.as_deref() {
            continue;
        }
        before.insert(key.clone(), now.into());
        operations.push(match value {
            Some(value) => json!({"op": "add", "path": path, "value": value}),
            None => json!({"op": "remove", "path": path}),
        });
    }
    if operations.is_empty() {
        return Ok(Decision::Keep(format!("{target} already has these values")));
    }
    if live.data.get("immutable") == Some(&Value::Bool(true)) {
        return Err(Failure::refused("Immutable", format!("{target} is immutable")));
    }
    let keys: Vec<&str> = before.keys().map(String::as_str).collect();
    let message = format!("changed {} of {target}", keys.join(", "));
    if live.data.get("data").is_none_or(Value::is_null) {
        operations.insert(0, json!({"op": "add", "path": "/data", "value": {}}));
    }
    let before: Values = [("data".to_owned(), Value::Object(before))].into();
    if before["data"].to_string().len() > UpdateConfig::MAX_BYTES {
        let message = format!("what stands in these keys of {target} is too large to be recorded");
        return Err(Failure::refused("TooLarge", message));
    }
    Ok(Decision::Change { operations, before, message })
}

/// The workloads of the namespace that read one of the keys, all of them fit for a restart.
async fn consumers(call: &Call<'_>, keys: &BTreeSet<&str>) -> Result<Vec<TargetRef>, Failure> {
    let name = &call.input.target.name;
    let mut found = Vec::new();
    for kind in restart::KINDS {
        let reads = |workload: &DynamicObject| {
            workload.data.pointer("/spec/template/spec").is_some_and(|spec| reads(spec, name, keys))
        };
        let workloads = call.list_where(kind, &Selector::default(), reads).await?;
        found.extend(workloads.into_iter().map(|workload| (restart::reference(call, kind, &workload), workload)));
    }
    restart::check(&found)?;
    Ok(found.into_iter().map(|(workload, _)| workload).collect())
}

/// Whether a pod with this spec gets one of the keys, as a file or in its environment.
pub fn reads(spec: &Value, name: &str, keys: &BTreeSet<&str>) -> bool {
    let all = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
    let is_read = |key: &Value| key.as_str().is_some_and(|key| keys.contains(key));
    // Without a list of items, every key becomes a file.
    let mounts = |source: &Value| {
        let items = all(source, "items");
        source["name"] == name && (items.is_empty() || items.iter().any(|item| is_read(&item["key"])))
    };
    let in_volume = all(spec, "volumes").iter().any(|volume| {
        mounts(&volume["configMap"])
            || all(&volume["projected"], "sources").iter().any(|source| mounts(&source["configMap"]))
    });
    let in_environment = ["containers", "initContainers"].iter().flat_map(|field| all(spec, field)).any(|container| {
        all(&container, "envFrom").iter().any(|source| source["configMapRef"]["name"] == name)
            || all(&container, "env")
                .iter()
                .map(|variable| &variable["valueFrom"]["configMapKeyRef"])
                .any(|reference| reference["name"] == name && is_read(&reference["key"]))
    });
    in_volume || in_environment
}
