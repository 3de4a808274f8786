//! Was the target changed by somebody else after our effect? Then what follows proves nothing about it (R8.6).
//!
//! The generation counts every change of a spec, so an equal one is proof. A higher one is looked at closer: an
//! autoscaler that does its work changes `spec.replicas` and nothing else. Kinds without a generation (ConfigMap,
//! Service, Pod) are told by the action's own check instead.

use std::fmt::Write as _;

use kubernaut_api::execution::TargetMark;
use kubernaut_api::labels::CHANGED_BY;
use kubernaut_api::{KubernetesExecution, ResourceExt, TargetRef, names};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Reason of an end in which it cannot be told whether the effect helped.
pub const DRIFTED: &str = "TargetDrifted";

/// What is kept of an object, given as the API server holds it.
pub fn mark(object: &Value) -> TargetMark {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let by = object.pointer("/metadata/annotations").and_then(|annotations| annotations.get(CHANGED_BY));
    TargetMark {
        generation: object.pointer("/metadata/generation").and_then(Value::as_i64),
        resource_version: text("/metadata/resourceVersion"),
        spec_hash: object.get("spec").map(spec_hash),
        changed_by: by.and_then(Value::as_str).map(str::to_owned),
    }
}

fn spec_hash(spec: &Value) -> String {
    let mut spec = spec.clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("replicas");
    }
    // The API server writes fields in the order of its types and maps sorted: equal specs are equal texts.
    let digest = Sha256::digest(spec.to_string());
    digest.iter().take(8).fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// How the target differs from what the effect left, in words; `None` while nothing shows that it does.
///
/// Where the effect was the number of replicas, the action's own check looks at that.
pub fn between(left: &TargetMark, now: &TargetMark) -> Option<String> {
    let (was, is) = (left.generation?, now.generation?);
    if was == is || left.spec_hash == now.spec_hash {
        return None;
    }
    Some(match &now.changed_by {
        Some(by) if left.changed_by.as_ref() != Some(by) => {
            format!("{by} has changed the target since (generation {was} → {is})")
        }
        _ => format!("somebody else has changed the target since (generation {was} → {is})"),
    })
}

/// How the target of a request differs from what its last execution on it left, in words.
///
/// A change by another execution of the same request is none: whoever restarts the readers of a ConfigMap changes
/// them too.
pub fn of_request(executions: &[KubernetesExecution], target: &TargetRef, now: &TargetMark) -> Option<String> {
    let is_target = |other: &TargetRef| {
        (&other.kind, &other.namespace, &other.name) == (&target.kind, &target.namespace, &target.name)
    };
    let left = |execution: &KubernetesExecution| {
        let result = execution.status.as_ref()?.result.as_ref()?;
        result.target.clone().filter(|_| is_target(&execution.spec.target))
    };
    let by = now.changed_by.as_deref();
    let own = executions.iter().find(|execution| {
        let undone = names::rollback(&execution.spec.request, &execution.spec.step);
        by == Some(execution.name_any().as_str()) || by == Some(undone.as_str())
    });
    let last = match own {
        Some(own) => left(own)?,
        None => executions.iter().filter_map(left).max_by_key(|mark| mark.generation)?,
    };
    between(&last, now)
}

/// True when nothing was written to the target between the two moments, or nothing of its spec.
pub fn is_untouched(before: &TargetMark, now: &TargetMark) -> bool {
    match (before.generation, now.generation) {
        (Some(before), Some(now)) => before == now,
        _ => before.resource_version.is_some() && before.resource_version == now.resource_version,
    }
}
