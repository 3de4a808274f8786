//! What is refused before anything runs: a graph that is none, conditions that cannot be judged, steps that the
//! catalogue does not know, a plan that is not the one that was approved, targets out of scope (R5.1, R5.2).

use kubernaut_api::workflow::Step;

use super::Seen;
use super::condition::Condition;
use super::graph::Graph;
use crate::stage::Why;
use crate::{catalogue, plan};

/// Most attempts after the first.
const MAX_RETRIES: u8 = 5;

/// Refuses a workflow whose plan could not be run as a whole; the text begins with the field.
pub(super) fn plan(steps: &[Step], seen: &Seen) -> Result<(), String> {
    let owner = seen.workflow.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let from_analysis = owner.is_some_and(|owner| owner.kind == "AIAnalysis");
    if !seen.by_hand() && !from_analysis {
        return Err("spec.request: only Kubernaut makes a workflow for a request: leave it out".into());
    }
    if seen.by_hand() && owner.is_some() {
        return Err("metadata.ownerReferences: a workflow without a request has no controlling owner".into());
    }
    graph(steps)
}

/// Refuses what is no graph, and conditions and retries that are none.
pub(super) fn graph(steps: &[Step]) -> Result<(), String> {
    let graph = Graph::of(steps)?;
    for step in steps {
        let field = format!("spec.steps[{}]", step.name);
        if step.retries > MAX_RETRIES {
            return Err(format!("{field}.retries: must be 0 to {MAX_RETRIES}"));
        }
        let Some(text) = &step.condition else { continue };
        let condition = Condition::parse(text).map_err(|problem| format!("{field}.condition: {problem}"))?;
        let before = graph.before(&step.name);
        if let Some(name) = condition.steps.iter().find(|name| !before.contains(name.as_str())) {
            let what = if steps.iter().any(|other| other.name == *name) { "no step before it" } else { "no step" };
            return Err(format!("{field}.condition: {name} is {what}: it may name what it depends on"));
        }
    }
    Ok(())
}

/// Refuses steps that do not match the hash, that the catalogue refuses, or whose targets are out of scope.
pub(super) fn steps(steps: &[Step], hash: &str, seen: &Seen) -> Result<(), Why> {
    if let Some(approved) = seen.workflow.spec.plan_hash.as_deref().filter(|approved| *approved != hash) {
        return Err(Why::new("PlanChanged", format!("spec.planHash is {approved}, the steps hash to {hash}")));
    }
    let problems: Vec<_> = steps
        .iter()
        .filter_map(|step| catalogue::check(step).err().map(|found| (step, found)))
        .flat_map(|(step, found)| found.into_iter().map(move |problem| format!("step {}: {problem}", step.name)))
        .collect();
    if !problems.is_empty() {
        return Err(Why::new("InvalidSteps", problems.join("; ")));
    }
    if seen.by_hand() && !seen.out_of_scope.is_empty() {
        return Err(Why::new("OutOfScope", seen.out_of_scope.join("; ")));
    }
    if seen.workflow.spec.plan_hash.is_none() && !seen.by_hand() {
        return Err(Why::new("PlanChanged", "spec.planHash: is required where spec.request is given"));
    }
    debug_assert_eq!(plan::hash(steps), hash);
    Ok(())
}
