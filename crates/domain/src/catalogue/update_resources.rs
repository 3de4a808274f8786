//! update_resources: requests and limits of one container.

use kubernaut_api::analysis::Risk;
use kubernaut_api::meta::TargetRef;
use serde::{Deserialize, Serialize};

use super::{ActionSpec, Parameter, ParameterType, PolicyRule, Problem, Quantity, Undo, Values, called, said};

/// Parameters of update_resources: what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateResources {
    /// Name of the container.
    pub container: String,
    /// `limits.memory`, a quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<String>,
    /// `requests.memory`, a quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_request: Option<String>,
    /// `limits.cpu`, a quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<String>,
    /// `requests.cpu`, a quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_request: Option<String>,
}

impl UpdateResources {
    /// The four settings as (parameter, `requests` or `limits`, resource, value).
    pub fn settings(&self) -> [(&'static str, &'static str, &'static str, Option<&str>); 4] {
        [
            ("memoryLimit", "limits", "memory", self.memory_limit.as_deref()),
            ("memoryRequest", "requests", "memory", self.memory_request.as_deref()),
            ("cpuLimit", "limits", "cpu", self.cpu_limit.as_deref()),
            ("cpuRequest", "requests", "cpu", self.cpu_request.as_deref()),
        ]
    }
}

const fn quantity(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, holds: ParameterType::Quantity, required: false, description }
}

pub(super) static SPEC: ActionSpec = ActionSpec {
    name: "update_resources",
    summary: "Sets requests and limits of one container of a workload.",
    risk: Risk::Medium,
    target_kinds: &["Deployment", "StatefulSet", "DaemonSet"],
    parameters: &[
        Parameter {
            name: "container",
            holds: ParameterType::Label,
            required: true,
            description: "Name of the container in the pod template.",
        },
        quantity("memoryLimit", "limits.memory to have."),
        quantity("memoryRequest", "requests.memory to have."),
        quantity("cpuLimit", "limits.cpu to have."),
        quantity("cpuRequest", "requests.cpu to have."),
    ],
    precondition: "The workload is not paused, has the container, and no request ends up above its limit.",
    effect: "Changes the pod template; the workload's own strategy rolls the pods over.",
    verification: "The rollout completes with these quantities and no container is restarted again.",
    inverse: Some("update_resources to the quantities before; what was not set before stays set"),
    rules: &[PolicyRule {
        api_groups: &["apps"],
        resources: &["deployments", "statefulsets", "daemonsets"],
        verbs: &["get", "patch"],
    }],
    sentence: |target, parameters| {
        let settings = [
            ("memoryLimit", "memory limit"),
            ("memoryRequest", "memory request"),
            ("cpuLimit", "CPU limit"),
            ("cpuRequest", "CPU request"),
        ];
        let settings: Vec<_> = settings
            .iter()
            .filter_map(|(name, words)| said(parameters, name).map(|amount| format!("{words} {amount}")))
            .collect();
        let container = said(parameters, "container").unwrap_or_default();
        format!("Give container {container} of {} {}", called(target), settings.join(", "))
    },
    check,
    undo,
};

fn check(_: &TargetRef, values: &Values) -> Vec<Problem> {
    if values.len() == 1 {
        return vec![Problem::new(
            "parameters",
            "must set at least one of memoryLimit, memoryRequest, cpuLimit, cpuRequest",
        )];
    }
    let amount =
        |name: &str| values.get(name).and_then(|value| value.as_str()).and_then(|text| Quantity::parse(text).ok());
    [("memoryRequest", "memoryLimit"), ("cpuRequest", "cpuLimit")]
        .into_iter()
        .filter(|(request, limit)| matches!((amount(request), amount(limit)), (Some(request), Some(limit)) if request > limit))
        .map(|(request, limit)| Problem::new(format!("parameters.{request}"), format!("must not exceed {limit}")))
        .collect()
}

/// The record has the shape of the parameters; a setting that was absent has no entry in it.
fn undo(before: &Values) -> Option<Undo> {
    let complete = before.len() > 1 && before.contains_key("container");
    complete.then(|| Undo { action: SPEC.name, parameters: before.clone() })
}
