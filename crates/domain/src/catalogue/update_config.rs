//! update_config: named keys of a ConfigMap, and new pods for whoever reads them.

use std::collections::BTreeMap;

use kubernaut_api::analysis::Risk;
use kubernaut_api::meta::TargetRef;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ActionSpec, Parameter, ParameterType, PolicyRule, Problem, Undo, Values, called};

/// Parameters of update_config.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateConfig {
    /// Keys to the values to have; `None` removes the key.
    pub data: BTreeMap<String, Option<String>>,
}

impl UpdateConfig {
    /// Most that may be written, or recorded as the state before: bytes of the keys and values as JSON.
    pub const MAX_BYTES: usize = 64 * 1024;
}

pub(super) static SPEC: ActionSpec = ActionSpec {
    name: "update_config",
    summary: "Sets or removes keys of a ConfigMap and restarts the workloads that read them.",
    // What a value means is known to the application alone, and all its pods take it.
    risk: Risk::High,
    target_kinds: &["ConfigMap"],
    parameters: &[Parameter {
        name: "data",
        holds: ParameterType::Settings,
        required: true,
        description: "Keys to the values to have, at most 64 KiB as JSON; null removes a key. Other keys stay.",
    }],
    precondition: "The ConfigMap is not immutable, at most 10 workloads read these keys, none of them is paused or \
                   updates on delete, and what stands there now is small enough to be recorded.",
    effect: "Sets the keys, then restarts the Deployments, StatefulSets and DaemonSets that mount them or read them \
             as environment, each by its own rolling update.",
    verification: "The keys have these values, and the workloads were restarted for them and are ready.",
    inverse: Some("update_config to the values before"),
    rules: &[
        PolicyRule { api_groups: &[""], resources: &["configmaps"], verbs: &["get", "patch"] },
        PolicyRule {
            api_groups: &["apps"],
            resources: &["deployments", "statefulsets", "daemonsets"],
            verbs: &["get", "list", "patch"],
        },
    ],
    sentence: |target, parameters| {
        let data = parameters.get("data").and_then(Value::as_object);
        let keys = |removed: bool| {
            let of = |(key, value): (&String, &Value)| (value.is_null() == removed).then(|| key.clone());
            data.into_iter().flatten().filter_map(of).collect::<Vec<_>>().join(", ")
        };
        let parts = [("set", keys(false)), ("remove", keys(true))];
        let parts: Vec<_> =
            parts.iter().filter(|(_, keys)| !keys.is_empty()).map(|(verb, keys)| format!("{verb} {keys}")).collect();
        format!("Change {}: {}; then restart the workloads that read it", called(target), parts.join(" and "))
    },
    check,
    undo,
};

fn check(_: &TargetRef, values: &Values) -> Vec<Problem> {
    let size = values.get("data").map_or(0, |data| data.to_string().len());
    let problem = || Problem::new("parameters.data", "must not exceed 64 KiB as JSON");
    (size > UpdateConfig::MAX_BYTES).then(problem).into_iter().collect()
}

/// The record has the shape of the parameters: null for a key that was not there.
fn undo(before: &Values) -> Option<Undo> {
    let data = before.get("data")?.as_object().filter(|data| !data.is_empty())?;
    let parameters = [("data".to_owned(), Value::Object(data.clone()))].into();
    Some(Undo { action: SPEC.name, parameters })
}
