//! A taint that was set a short while ago keeps pods from the nodes where they ran: take it off one node.
//!
//! Taints are set on purpose, so most of them are left to a person: those that Kubernetes itself keeps or that
//! guard the control plane, those that are older than an hour or than the template, and those that are not all that
//! the scheduler has against the pods. Only a node that is itself labelled as managed is changed without asking.

use kubernaut_api::evidence::{Node, PodEvidence};
use kubernaut_api::workflow::{OnFailure, Step};
use kubernaut_domain::catalogue;
use kubernaut_domain::diagnosis::Finding;
use serde_json::json;

use super::Diagnoser;
use super::facts::{FRESH, Facts, cite};

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "taint",
    causes: &["NodeTainted"],
    fits: "The scheduler finds no node for pods because of a taint that was set within the last hour, after their template.",
    signals: &[
        ("a taint of the last hour keeps pods away, and they had a place before", 0.40),
        ("it is all that the scheduler has against every node", 0.25),
        ("a pod of the workload still runs on that node", 0.15),
        ("somebody has put the node into Kubernaut's hands by its label", 0.20),
    ],
    proposes: "`remove_taint` on one node; nothing for taints that Kubernetes keeps.",
    diagnose,
};

/// One taint of a node, as evidence has it.
struct Taint<'a> {
    key: &'a str,
    value: Option<&'a str>,
    effect: &'a str,
}

fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let pods = facts.current_pods();
    let waiting: Vec<(&PodEvidence, &str)> =
        pods.iter().filter_map(|pod| Some((*pod, pod.unschedulable.as_deref()?))).collect();
    let (pod, told) = *waiting.first()?;
    // A toleration that a revision took away is brought back by a rollback.
    if facts.changes().any(|change| change.path.starts_with("tolerations")) {
        return None;
    }
    let mut barred: Vec<(&Node, Taint<'_>)> =
        facts.evidence.nodes.iter().filter_map(|node| barred(facts, node, told)).collect();
    barred.sort_by_key(|(node, _)| (!runs_there(facts, node), node.object.name.clone()));
    let (node, taint) = barred.into_iter().next()?;
    let step = step(node, &taint);
    if catalogue::check(&step).is_err() {
        return None;
    }
    let only = is_all(told, taint.key);
    let (name, key) = (&node.object.name, taint.key);
    let by = if node.taints_changed_by.is_empty() { "somebody" } else { &node.taints_changed_by };
    Some(Finding {
        cause: "NodeTainted".into(),
        summary: format!(
            "{} of {} pods of {} have no node: {by} set taint {key} on {name} a short while ago.",
            waiting.len(),
            pods.len(),
            facts.object()
        ),
        evidence: vec![
            cite("Pod", &pod.name, told),
            cite("Node", name, format!("has taint {key}:{}, set within the last hour by {by}", taint.effect)),
            facts.cite_workload(),
        ],
        contributing_factors: Vec::new(),
        signals: DIAGNOSER.signals(&[true, only, runs_there(facts, node), node.managed]),
        rationale: if only {
            format!("Without the taint the pods can be placed on {name}, as they were before it was set.")
        } else {
            "The taint is not all that keeps the pods away: nodes and requests have to be looked at by a person.".into()
        },
        steps: if only { vec![step] } else { Vec::new() },
    })
}

/// The taint of a node that the scheduler speaks of, when it was set lately.
fn barred<'a>(facts: &Facts<'_>, node: &'a Node, told: &str) -> Option<(&'a Node, Taint<'a>)> {
    let at = node.taints_changed_at.as_ref().map(|at| at.0)?;
    let lately =
        at <= facts.now && facts.now.duration_since(at) <= FRESH && facts.template_made().is_none_or(|made| at > made);
    let taint = node
        .taints
        .iter()
        .filter_map(|taint| parse(taint))
        .find(|taint| taint.effect != "PreferNoSchedule" && names(told, taint.key))?;
    (lately && node.ready && !node.unschedulable).then_some((node, taint))
}

fn parse(taint: &str) -> Option<Taint<'_>> {
    let (rest, effect) = taint.rsplit_once(':')?;
    let (key, value) = rest.split_once('=').map_or((rest, None), |(key, value)| (key, Some(value)));
    Some(Taint { key, value, effect })
}

/// Whether the scheduler names a taint with this very key.
fn names(told: &str, key: &str) -> bool {
    told.split("untolerated taint {")
        .skip(1)
        .any(|rest| rest.strip_prefix(key).is_some_and(|rest| rest.starts_with([':', '}', '='])))
}

/// Whether the scheduler names this taint for every node that there is.
fn is_all(told: &str, key: &str) -> bool {
    let told = told.split(" preemption:").next().unwrap_or(told);
    let nodes = told.strip_prefix("0/").and_then(|rest| rest.split_once(' ')).map(|(count, _)| count);
    nodes.is_some_and(|count| {
        [
            format!(" {count} node(s) had untolerated taint {{{key}: "),
            format!(" {count} node(s) had untolerated taint {{{key}}}"),
        ]
        .iter()
        .any(|whole| told.contains(whole))
    })
}

fn runs_there(facts: &Facts<'_>, node: &Node) -> bool {
    facts
        .evidence
        .pods
        .iter()
        .any(|pod| pod.phase == "Running" && pod.node.as_deref() == Some(node.object.name.as_str()))
}

fn step(node: &Node, taint: &Taint<'_>) -> Step {
    let mut parameters = vec![("key".to_owned(), json!(taint.key)), ("effect".to_owned(), json!(taint.effect))];
    parameters.extend(taint.value.map(|value| ("value".to_owned(), json!(value))));
    Step {
        name: "remove-taint".into(),
        action: "remove_taint".into(),
        target: node.object.clone(),
        parameters: parameters.into_iter().collect(),
        depends_on: Vec::new(),
        on_failure: OnFailure::Fail,
        ..Step::default()
    }
}
