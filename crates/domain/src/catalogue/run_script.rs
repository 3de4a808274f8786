//! run_script: a script that an administrator has registered. Who may run what stands in [`crate::script`].

use std::collections::BTreeMap;

use kubernaut_api::analysis::Risk;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ActionSpec, Parameter, ParameterType, Undo, Values, called, nothing_more, said};

/// Parameters of run_script.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunScript {
    /// Name of the ConfigMap that holds the script.
    pub script: String,
    /// SHA-256 of the script's text that the plan was made on.
    pub digest: String,
    /// Values of the parameters that the registration declares.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, String>,
}

pub(super) static SPEC: ActionSpec = ActionSpec {
    name: "run_script",
    summary: "Runs a script that an administrator has registered as a ConfigMap of the operator's namespace.",
    // What it does is known to who registered it alone.
    risk: Risk::High,
    target_kinds: &[
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "Pod",
        "Service",
        "ConfigMap",
        "PersistentVolumeClaim",
        "HorizontalPodAutoscaler",
        "Job",
        "CronJob",
        "Node",
    ],
    parameters: &[
        Parameter {
            name: "script",
            holds: ParameterType::Name,
            required: true,
            description: "Name of the ConfigMap, labelled kubernaut.io/script: \"true\".",
        },
        Parameter {
            name: "digest",
            holds: ParameterType::Digest,
            required: true,
            description: "SHA-256 of the script's text: another text is refused.",
        },
        Parameter {
            name: "arguments",
            holds: ParameterType::Arguments,
            required: false,
            description: "Values of the parameters that the registration declares, all of them and no others; each \
                          is seen by the script as the environment variable PARAM_<NAME>.",
        },
    ],
    precondition: "The ConfigMap is registered, its text has that digest, each argument fits its pattern as a whole, \
                   and image and ServiceAccount are in execution.scripts.",
    effect: "Runs the text by /bin/sh in the registered image as the registered ServiceAccount. It cannot be \
             rehearsed: before it runs only digest and arguments are checked.",
    verification: "It ended with exit code 0, and the target is healthy where its health can be told.",
    inverse: Some("the script that the registration names as its inverse, with the same arguments"),
    // What it may do is for its own ServiceAccount to say; none is made for it.
    rules: &[],
    sentence: |target, parameters| {
        let arguments = parameters.get("arguments").and_then(Value::as_object).into_iter().flatten();
        let arguments: Vec<_> =
            arguments.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
        let with = if arguments.is_empty() { String::new() } else { format!(" with {}", arguments.join(", ")) };
        format!(
            "Run the registered script {} for {}{with}",
            said(parameters, "script").unwrap_or_default(),
            called(target)
        )
    },
    check: nothing_more,
    undo,
};

/// The record has the shape of the parameters; a script without an inverse leaves none.
fn undo(before: &Values) -> Option<Undo> {
    let complete = before.contains_key("script") && before.contains_key("digest");
    complete.then(|| Undo { action: SPEC.name, parameters: before.clone() })
}
