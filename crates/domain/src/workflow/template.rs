//! RemediationWorkflows: are they sound, and what steps do they give for a target and parameters?
//!
//! A string that is exactly `$(params.NAME)` or `$(target.FIELD)` becomes that value, with its type. Nothing is
//! ever put into a larger text, and what was put in is not looked at again: a value cannot become a command, a
//! name of another field, or another value. Text that contains `$(` otherwise is refused; `$$(` stands for it.

use std::collections::{BTreeMap, BTreeSet};

use kubernaut_api::remediation_workflow::{ParameterDefinition, RemediationWorkflowSpec, StepTemplate, ValueType};
use kubernaut_api::workflow::Step;
use kubernaut_api::{RemediationWorkflow, TargetRef};
use regex::RegexBuilder;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::check;
use crate::catalogue::{self, ParameterType, Values};
use crate::plan::hex;

/// Longest text that a parameter may hold, in characters.
const MAX_TEXT: usize = 1024;

/// SHA-256 over the spec, in 64 hex digits.
pub fn hash(spec: &RemediationWorkflowSpec) -> String {
    hex(&Sha256::digest(serde_json::to_vec(spec).unwrap_or_default()))
}

/// Everything for which a workflow could never be run, each with its field.
pub fn problems(spec: &RemediationWorkflowSpec) -> Vec<String> {
    let mut problems = vec![];
    let mut names = BTreeSet::new();
    for definition in &spec.parameters {
        let field = format!("spec.parameters[{}]", definition.name);
        if !names.insert(definition.name.as_str()) {
            problems.push(format!("{field}: the name stands twice"));
        }
        problems.extend(definition_problems(definition).into_iter().map(|problem| format!("{field}.{problem}")));
    }
    // The holes: with what might stand in them, all else is as in any plan.
    let steps: Vec<Step> = spec.steps.iter().map(bare).collect();
    problems.extend(check::graph(&steps).err());
    for template in &spec.steps {
        let field = format!("spec.steps[{}]", template.name);
        problems.extend(step_problems(template, &names).into_iter().map(|problem| format!("{field}.{problem}")));
    }
    problems
}

/// True when a workflow is meant for such trouble, and needs nothing that only a person knows.
pub fn fits(workflow: &RemediationWorkflow, alert: &str, cause: Option<&str>, target: &TargetRef) -> bool {
    let spec = &workflow.spec;
    let Some(matches) = &spec.matches else { return false };
    let trouble = matches.alerts.iter().any(|name| name == alert)
        || cause.is_some_and(|cause| matches.causes.iter().any(|name| name == cause));
    let complete = spec.parameters.iter().all(|definition| !definition.required || definition.default.is_some());
    trouble && complete && matches.target_kinds.contains(&target.kind) && problems(spec).is_empty()
}

/// The steps for a target and parameters; what is wrong with these, each with its field.
pub fn expand(spec: &RemediationWorkflowSpec, target: &TargetRef, given: &Values) -> Result<Vec<Step>, Vec<String>> {
    let mut problems = vec![];
    let mut values = BTreeMap::new();
    for definition in &spec.parameters {
        match given.get(&definition.name).or(definition.default.as_ref()) {
            Some(value) => match accepts(definition, value) {
                Ok(()) => drop(values.insert(definition.name.clone(), value.clone())),
                Err(expected) => {
                    problems.push(format!("spec.workflowRef.parameters.{}: {expected}", definition.name));
                }
            },
            None if definition.required => {
                problems.push(format!("spec.workflowRef.parameters.{}: is required", definition.name));
            }
            None => {}
        }
    }
    for name in given.keys().filter(|name| !spec.parameters.iter().any(|definition| definition.name == **name)) {
        problems.push(format!("spec.workflowRef.parameters.{name}: is not a parameter of this workflow"));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let fill = Fill { values: &values, target };
    spec.steps
        .iter()
        .map(|template| fill.step(template).map_err(|problem| vec![format!("spec.steps[{}].{problem}", template.name)]))
        .collect()
}

/// What can stand in a hole.
struct Fill<'a> {
    values: &'a Values,
    target: &'a TargetRef,
}

impl Fill<'_> {
    fn step(&self, template: &StepTemplate) -> Result<Step, String> {
        let target = template.target.as_ref().map_or_else(|| Ok(self.target.clone()), |target| self.target(target))?;
        let mut parameters = Values::new();
        for (name, value) in &template.parameters {
            // A parameter that is left out is one that the step is not given.
            if let Some(value) = self.value(value).map_err(|problem| format!("parameters.{name}: {problem}"))? {
                parameters.insert(name.clone(), value);
            }
        }
        Ok(Step { target, parameters, ..bare(template) })
    }

    fn target(&self, template: &TargetRef) -> Result<TargetRef, String> {
        let text = |field: &str, text: &str| {
            let refused = |problem: String| format!("target.{field}: {problem}");
            match self.value(&Value::String(text.to_owned())).map_err(refused)? {
                None => Ok(None),
                Some(Value::String(text)) => Ok(Some(text)),
                Some(_) => Err(refused("must be a text".into())),
            }
        };
        let required = |field: &str, value: &str| {
            text(field, value)?.ok_or_else(|| format!("target.{field}: {value} has no value here"))
        };
        Ok(TargetRef {
            api_version: required("apiVersion", &template.api_version)?,
            kind: required("kind", &template.kind)?,
            namespace: template.namespace.as_deref().map_or(Ok(None), |value| text("namespace", value))?,
            name: required("name", &template.name)?,
            uid: template.uid.as_deref().map_or(Ok(None), |value| text("uid", value))?,
        })
    }

    /// A value with its holes filled; `None` for a hole that has no value.
    fn value(&self, value: &Value) -> Result<Option<Value>, String> {
        Ok(match value {
            Value::String(text) => match piece(text)? {
                Piece::Text(text) => Some(Value::String(text)),
                Piece::Parameter(name) => self.values.get(name).cloned(),
                Piece::Target(field) => target_field(self.target, field).map(Value::String),
            },
            Value::Array(values) => {
                let filled: Result<Vec<_>, _> = values.iter().map(|value| self.value(value)).collect();
                Some(Value::Array(filled?.into_iter().flatten().collect()))
            }
            Value::Object(fields) => {
                let mut filled = serde_json::Map::new();
                for (name, value) in fields {
                    if let Some(value) = self.value(value)? {
                        filled.insert(name.clone(), value);
                    }
                }
                Some(Value::Object(filled))
            }
            other => Some(other.clone()),
        })
    }
}

/// What one string of a template is.
enum Piece<'a> {
    Text(String),
    Parameter(&'a str),
    Target(&'a str),
}

fn piece(text: &str) -> Result<Piece<'_>, String> {
    if let Some(reference) = text.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')')) {
        return match reference.split_once('.') {
            Some(("params", name)) if is_word(name) => Ok(Piece::Parameter(name)),
            Some(("target", field)) if TARGET_FIELDS.contains(&field) => Ok(Piece::Target(field)),
            _ => Err(format!(
                "{text} is neither $(params.NAME) nor $(target.FIELD), FIELD being {}",
                TARGET_FIELDS.join(", ")
            )),
        };
    }
    let plain = text.replace("$$(", "");
    if plain.contains("$(") {
        return Err("$( stands within a larger text, where nothing is put in; $$( stands for itself".into());
    }
    Ok(Piece::Text(text.replace("$$(", "$(")))
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

const TARGET_FIELDS: &[&str] = &["name", "namespace", "kind", "apiVersion", "uid"];

fn target_field(target: &TargetRef, field: &str) -> Option<String> {
    match field {
        "name" => Some(target.name.clone()),
        "namespace" => target.namespace.clone(),
        "kind" => Some(target.kind.clone()),
        "apiVersion" => Some(target.api_version.clone()),
        "uid" => target.uid.clone(),
        _ => None,
    }
}

/// The step without what depends on target and parameters.
fn bare(template: &StepTemplate) -> Step {
    Step {
        name: template.name.clone(),
        action: template.action.clone(),
        target: TargetRef::default(),
        parameters: Values::new(),
        depends_on: template.depends_on.clone(),
        on_failure: template.on_failure,
        timeout: template.timeout,
        retries: template.retries,
        condition: template.condition.clone(),
    }
}

fn definition_problems(definition: &ParameterDefinition) -> Vec<String> {
    let mut problems = vec![];
    let bounded = definition.min.is_some() || definition.max.is_some();
    if bounded && definition.type_ != ValueType::Integer {
        problems.push("min: only an integer has bounds".into());
    }
    if definition.min.zip(definition.max).is_some_and(|(min, max)| min > max) {
        problems.push("min: is greater than max".into());
    }
    if (definition.pattern.is_some() || !definition.one_of.is_empty()) && !is_text(definition.type_) {
        problems.push("pattern: only a text has a pattern or an enum".into());
    }
    if let Some(Err(error)) = definition.pattern.as_deref().map(whole) {
        problems.push(format!("pattern: {error}"));
    }
    if problems.is_empty()
        && let Some(Err(expected)) = definition.default.as_ref().map(|default| accepts(definition, default))
    {
        problems.push(format!("default: {expected}"));
    }
    problems
}

fn step_problems(template: &StepTemplate, names: &BTreeSet<&str>) -> Vec<String> {
    let mut problems = vec![];
    let mut holes = BTreeSet::new();
    let mut look = |field: String, value: &Value| {
        let mut found = vec![];
        collect(value, &mut found);
        for piece in found {
            match piece {
                Ok(Piece::Text(_)) => {}
                Ok(Piece::Target(_)) => drop(holes.insert(field.clone())),
                Ok(Piece::Parameter(name)) => {
                    holes.insert(field.clone());
                    if !names.contains(name) {
                        problems.push(format!("{field}: there is no parameter {name}"));
                    }
                }
                Err(problem) => problems.push(format!("{field}: {problem}")),
            }
        }
    };
    for (name, value) in &template.parameters {
        look(format!("parameters.{name}"), value);
    }
    if let Some(target) = &template.target {
        let optional = [("namespace", &target.namespace), ("uid", &target.uid)];
        let required = [("apiVersion", &target.api_version), ("kind", &target.kind), ("name", &target.name)];
        let all = optional.into_iter().filter_map(|(field, text)| Some((field, text.as_ref()?))).chain(required);
        for (field, text) in all {
            look(format!("target.{field}"), &Value::String(text.clone()));
        }
    }
    let target = template.target.clone().unwrap_or_default();
    // Of what is filled in later, only that it is there can be said.
    let known = |problem: &catalogue::Problem| {
        let about_target = problem.field.starts_with("target.");
        !(about_target && (template.target.is_none() || holes.iter().any(|hole| hole.starts_with("target."))))
            && !holes.contains(&problem.field)
    };
    if let Err(found) = catalogue::check_parts(&template.action, &target, &template.parameters) {
        problems.extend(found.into_iter().filter(known).map(|problem| problem.to_string()));
    }
    problems
}

/// Every string within a value, as the piece that it is.
fn collect<'a>(value: &'a Value, found: &mut Vec<Result<Piece<'a>, String>>) {
    match value {
        Value::String(text) => found.push(piece(text)),
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, found)),
        _ => {}
    }
}

fn is_text(type_: ValueType) -> bool {
    !matches!(type_, ValueType::Integer | ValueType::Boolean)
}

/// A pattern that the whole of a text has to match.
fn whole(pattern: &str) -> Result<regex::Regex, String> {
    let anchored = format!("^(?:{pattern})$");
    // Alone it has to be one too: what closes the group early would not be anchored.
    let sound = RegexBuilder::new(pattern).size_limit(1 << 16).build().map_err(|error| error.to_string());
    sound.and_then(|_| RegexBuilder::new(&anchored).size_limit(1 << 16).build().map_err(|error| error.to_string()))
}

/// Whether a value is what a parameter may hold; if not, what is expected.
fn accepts(definition: &ParameterDefinition, value: &Value) -> Result<(), String> {
    let type_ = match definition.type_ {
        ValueType::String => None,
        ValueType::Integer => Some(ParameterType::Integer {
            min: definition.min.unwrap_or(i64::MIN),
            max: definition.max.unwrap_or(i64::MAX),
        }),
        ValueType::Boolean => Some(ParameterType::Boolean),
        ValueType::Name => Some(ParameterType::Name),
        ValueType::Label => Some(ParameterType::Label),
        ValueType::Quantity => Some(ParameterType::Quantity),
        ValueType::LabelKey => Some(ParameterType::LabelKey),
        ValueType::LabelValue => Some(ParameterType::LabelValue),
    };
    match (type_, value.as_str()) {
        (Some(type_), _) if !type_.accepts(value) => return Err(type_.expectation()),
        (Some(_), None) => return Ok(()),
        (None, None) => return Err("must be a text".into()),
        (_, Some(text)) if text.chars().count() > MAX_TEXT => {
            return Err(format!("must be a text of at most {MAX_TEXT} characters"));
        }
        (_, Some(_)) => {}
    }
    let text = value.as_str().unwrap_or_default();
    if !definition.one_of.is_empty() && !definition.one_of.iter().any(|word| word == text) {
        return Err(format!("must be {}", definition.one_of.join(" or ")));
    }
    match definition.pattern.as_deref().map(whole) {
        Some(Ok(pattern)) if !pattern.is_match(text) => Err(format!("must match {} as a whole", pattern.as_str())),
        Some(Err(error)) => Err(error),
        _ => Ok(()),
    }
}
