//! The catalogue of actions: what each one is called, takes, risks, needs and can undo (R6.1).
//!
//! An action is one file here (its [`ActionSpec`] and typed parameters) and one of the same name in
//! `kubernaut-actions` (its effect). A new one is added to [`ALL`] and to the dispatch there.
//! Deliberately absent: effects, defaults for parameters, and any repair of a bad parameter: what does
//! not fit is refused with the name of the field (R4.3).

mod clear_cache;
mod cordon_node;
mod delete_pod;
mod drain_node;
mod input;
mod parameter;
mod quantity;
mod remove_taint;
mod restart_pod;
mod restart_service;
mod rollback_deployment;
mod run_script;
mod scale_deployment;
mod uncordon_node;
mod update_config;
mod update_hpa;
mod update_resources;

use std::collections::BTreeMap;

use kubernaut_api::analysis::Risk;
use kubernaut_api::meta::TargetRef;
use kubernaut_api::workflow::Step;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use clear_cache::{CLEAR_CACHE, CLEAR_CACHE_PORT};
pub use delete_pod::DeletePod;
pub use drain_node::DrainNode;
pub use input::{ACT_INPUT_ENV, ActInput};
pub use parameter::{Parameter, ParameterType};
pub(crate) use parameter::{is_argument, is_digest};
pub use quantity::{Quantity, QuantityError};
pub use remove_taint::RemoveTaint;
pub use restart_pod::RestartPod;
pub use rollback_deployment::RollbackDeployment;
pub use run_script::RunScript;
pub use scale_deployment::ScaleDeployment;
pub use update_config::UpdateConfig;
pub use update_hpa::UpdateHpa;
pub use update_resources::UpdateResources;

/// Parameters of a step, or a recorded state before it: names to values.
pub type Values = BTreeMap<String, Value>;

/// On a changed workload, beside [`kubernaut_api::labels::CHANGED_BY`]: the state before, as JSON.
/// Written in the same request, so that the inverse is known even if the runner never reported.
pub const CHANGED_FROM: &str = "kubernaut.io/changed-from";

/// On the pod template of a restarted workload: the KubernetesExecution that restarted it last.
pub const RESTARTED_BY: &str = "kubernaut.io/restarted-by";

/// One action: everything that is known about it without running it.
#[derive(Debug)]
pub struct ActionSpec {
    /// Name, such as `rollback_deployment`.
    pub name: &'static str,
    /// One sentence for a person who has to choose.
    pub summary: &'static str,
    /// How much it can break.
    pub risk: Risk,
    /// Kinds that it can be pointed at.
    pub target_kinds: &'static [&'static str],
    /// What it takes.
    pub parameters: &'static [Parameter],
    /// What must hold, or nothing is done.
    pub precondition: &'static str,
    /// What it changes.
    pub effect: &'static str,
    /// What shows afterwards that it worked.
    pub verification: &'static str,
    /// How it is undone; `None` when it cannot be.
    pub inverse: Option<&'static str>,
    /// The permissions that it needs and no others.
    pub rules: &'static [PolicyRule],
    /// What it would do to this target with these parameters, as a person reads it: one sentence, without a full
    /// stop. The parameters are sound.
    sentence: fn(&TargetRef, &Values) -> String,
    /// Checks over more than one field, run when each field by itself is sound.
    check: fn(&TargetRef, &Values) -> Vec<Problem>,
    /// The action and parameters that restore a recorded state.
    undo: fn(&Values) -> Option<Undo>,
}

/// What restores a recorded state, on the same target.
#[derive(Clone, Debug, PartialEq)]
pub struct Undo {
    /// Action of the catalogue; not always the one that is undone.
    pub action: &'static str,
    /// Its parameters.
    pub parameters: Values,
}

/// Parameters of an action that takes none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParameters {}

impl ActionSpec {
    /// The JSON Schema (draft 2020-12) of the parameters.
    pub fn schema(&self) -> Value {
        parameter::schema(self.parameters)
    }

    /// Everything that is wrong with these parameters on this target.
    pub fn problems(&self, target: &TargetRef, parameters: &Values) -> Vec<Problem> {
        let mut problems = target_problems(self, target);
        problems.extend(parameter::problems(self.parameters, parameters));
        if problems.is_empty() {
            problems.extend((self.check)(target, parameters));
        }
        problems
    }

    /// What it would do to this target with these parameters, in one sentence. Parameters that are not sound are
    /// told as they are.
    pub fn sentence(&self, target: &TargetRef, parameters: &Values) -> String {
        if self.problems(target, parameters).is_empty() {
            (self.sentence)(target, parameters)
        } else {
            format!("{} on {target} with {}", self.name, Value::Object(parameters.clone().into_iter().collect()))
        }
    }

    /// What restores the state `before` (as [`kubernaut_api::execution::ActionResult`] recorded it); `None` when
    /// there is no inverse, nothing to restore, or the record does not suffice.
    pub fn undo(&self, before: &Values) -> Option<Undo> {
        (self.undo)(before)
    }
}

/// One rule of a Kubernetes role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// API groups; the empty string is the core group.
    pub api_groups: &'static [&'static str],
    /// Resources in plural.
    pub resources: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
}

impl PolicyRule {
    /// The rule as a role has it in its manifest.
    pub fn manifest(&self) -> Value {
        json!({"apiGroups": self.api_groups, "resources": self.resources, "verbs": self.verbs})
    }
}

/// One reason why a step is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Problem {
    /// Path of the field within the step, such as `parameters.toRevision`.
    pub field: String,
    /// What is wrong with it, such as `must be an integer ≥ 1`.
    pub message: String,
}

impl Problem {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Every action, by name.
pub static ALL: &[&ActionSpec] = &[
    &clear_cache::SPEC,
    &cordon_node::SPEC,
    &delete_pod::SPEC,
    &drain_node::SPEC,
    &remove_taint::SPEC,
    &restart_pod::SPEC,
    &restart_service::SPEC,
    &rollback_deployment::SPEC,
    &run_script::SPEC,
    &scale_deployment::SPEC,
    &uncordon_node::SPEC,
    &update_config::SPEC,
    &update_hpa::SPEC,
    &update_resources::SPEC,
];

/// The action of that name.
pub fn find(name: &str) -> Option<&'static ActionSpec> {
    ALL.iter().copied().find(|spec| spec.name == name)
}

/// Checks a step against the catalogue: its action, its target's kind and its parameters.
///
/// # Errors
/// Everything that is wrong, each with the field's path; nothing is ever clamped or filled in.
pub fn check(step: &Step) -> Result<(), Vec<Problem>> {
    check_parts(&step.action, &step.target, &step.parameters)
}

/// As [`check`], for what is no [`Step`], such as the input of a Job.
///
/// # Errors
/// As [`check`].
pub fn check_parts(action: &str, target: &TargetRef, parameters: &Values) -> Result<(), Vec<Problem>> {
    let Some(spec) = find(action) else {
        let names: Vec<&str> = ALL.iter().map(|spec| spec.name).collect();
        return Err(vec![Problem::new("action", format!("is not one of {}", names.join(", ")))]);
    };
    let problems = spec.problems(target, parameters);
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Parameters that were found sound, as the action's own type.
///
/// # Errors
/// A single problem, on `parameters`, when they do not fit the type.
pub fn parse<T: DeserializeOwned>(parameters: &Values) -> Result<T, Problem> {
    let object = Value::Object(parameters.clone().into_iter().collect());
    serde_json::from_value(object).map_err(|error| Problem::new("parameters", error.to_string()))
}

/// API version in which actions address a kind.
pub fn api_version(kind: &str) -> &'static str {
    match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => "apps/v1",
        "HorizontalPodAutoscaler" => "autoscaling/v2",
        "Job" | "CronJob" => "batch/v1",
        _ => "v1",
    }
}

/// Whether objects of this kind, as far as actions know it, live in a namespace.
pub fn is_namespaced(kind: &str) -> bool {
    kind != "Node"
}

fn target_problems(spec: &ActionSpec, target: &TargetRef) -> Vec<Problem> {
    if !spec.target_kinds.contains(&target.kind.as_str()) {
        return vec![Problem::new("target.kind", format!("must be {}", spec.target_kinds.join(" or ")))];
    }
    let mut problems = Vec::new();
    let expected = api_version(&target.kind);
    if target.api_version != expected {
        problems.push(Problem::new("target.apiVersion", format!("must be {expected}")));
    }
    match (is_namespaced(&target.kind), target.namespace.as_deref()) {
        (true, None | Some("")) => problems.push(Problem::new("target.namespace", "is required")),
        (false, Some(_)) => {
            problems.push(Problem::new("target.namespace", format!("must be absent: a {} has none", target.kind)));
        }
        _ => {}
    }
    if target.name.is_empty() {
        problems.push(Problem::new("target.name", "is required"));
    }
    // They become part of a URL: a `#` or `?` in one would cut off what follows, `dryRun=All` too.
    let accepts = |type_: ParameterType, text: &str| type_.accepts(&Value::from(text));
    if !target.name.is_empty() && !accepts(ParameterType::Name, &target.name) {
        problems.push(Problem::new("target.name", "must be the name of an object: a DNS subdomain in lower case"));
    }
    let namespace = target.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    if namespace.is_some_and(|namespace| !accepts(ParameterType::Label, namespace)) {
        problems.push(Problem::new("target.namespace", "must be the name of a namespace: a DNS label"));
    }
    if target.uid.as_deref().is_some_and(|uid| !accepts(ParameterType::Uid, uid)) {
        problems.push(Problem::new("target.uid", "must be the uid of an object"));
    }
    problems
}

/// A target as a sentence names it, such as `Deployment shop/web`.
fn called(target: &TargetRef) -> String {
    match &target.namespace {
        Some(namespace) => format!("{} {namespace}/{}", target.kind, target.name),
        None => format!("{} {}", target.kind, target.name),
    }
}

/// A parameter as a sentence names it.
fn said(parameters: &Values, name: &str) -> Option<String> {
    match parameters.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn nothing_more(_: &TargetRef, _: &Values) -> Vec<Problem> {
    Vec::new()
}

fn uid_required(target: &TargetRef, _: &Values) -> Vec<Problem> {
    let missing = target.uid.is_none();
    let problem = || Problem::new("target.uid", "is required: one made anew under the same name is another one");
    missing.then(problem).into_iter().collect()
}

#[cfg(test)]
mod tests;
