//! The node of the failing pods is not ready or under pressure: cordon it, and drain it if others can take its pods.
//!
//! For a workload it fits only when every pod that is not well, and one at least, is on such a node: a
//! pod that fails on a good node has another cause. Under pressure, as opposed to silence, a node is the
//! cause only of evictions, and of pods that show no failure of their own where none beside them is well. Draining is of high risk, so a
//! person is always asked; without another node that takes pods nothing is drained.

use jiff::{SignedDuration, Timestamp};
use kubernaut_api::evidence::{Evidence, Node, PodEvidence};
use kubernaut_api::workflow::{OnFailure, Step};
use kubernaut_domain::diagnosis::{Diagnosis, Finding};

use super::Diagnoser;
use super::facts::{Facts, cite};
use crate::provider::Question;

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "node",
    causes: &["NodeNotReady", "NodeUnderPressure"],
    fits: "The node of every pod that is not well is not ready or under pressure; or the node itself is the target.",
    signals: &[
        ("a node is not ready or under pressure", 0.36),
        ("every pod that is not well is there, or the node itself is what was reported", 0.24),
        ("it is not ready", 0.12),
        ("it has been so for five minutes", 0.14),
        ("another node is ready and takes pods", 0.14),
    ],
    proposes: "`cordon_node`, and `drain_node` after it when another node takes pods.",
    diagnose,
};

/// A node that is silent for so long does not come back by itself.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// For a workload.
fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let ill: Vec<&PodEvidence> =
        facts.evidence.pods.iter().filter(|pod| !pod.ready && pod.phase != "Succeeded").collect();
    let node_of = |pod: &PodEvidence| {
        let name = pod.node.as_deref()?;
        facts.evidence.nodes.iter().find(|node| node.object.name == name && is_ill(node))
    };
    let first = *ill.iter().find(|pod| node_of(pod).is_some_and(|node| suffers(facts, pod, node)))?;
    let node = node_of(first)?;
    // A pod that moved off and waits for a place is a victim too; one that fails by itself is not.
    let explained = |pod: &&PodEvidence| match node_of(pod) {
        Some(node) => suffers(facts, pod, node),
        None => pod.terminating || (pod.node.is_none() && pod.phase == "Pending"),
    };
    if !ill.iter().all(explained) {
        return None;
    }
    let there = ill.iter().filter(|pod| pod.node.as_deref() == Some(node.object.name.as_str())).count();
    let mut finding =
        finding(node, facts.evidence, facts.now, &format!("{there} pods of {} are not ready there", facts.object()));
    finding.evidence.push(cite("Pod", &first.name, format!("is not ready on node {}", node.object.name)));
    finding.evidence.push(facts.cite_workload());
    Some(finding)
}

/// For a node that is itself the target.
pub fn diagnose_target(question: &Question<'_>) -> Option<Diagnosis> {
    let is_target = |node: &&Node| question.target.kind == "Node" && node.object.name == question.target.name;
    let node = question.evidence.nodes.iter().find(is_target).filter(|node| is_ill(node))?;
    let finding = finding(node, question.evidence, question.now, "it is what was reported");
    Some(Diagnosis::Found(Box::new(finding)))
}

fn is_ill(node: &Node) -> bool {
    !node.ready || !node.conditions.is_empty()
}

/// Whether the node can be why this pod is not ready.
fn suffers(facts: &Facts<'_>, pod: &PodEvidence, node: &Node) -> bool {
    let mut beside = facts.evidence.pods.iter().filter(|one| one.node.as_deref() == Some(node.object.name.as_str()));
    !node.ready || pod.reason == "Evicted" || (facts.failing(&[pod]).is_empty() && !beside.any(|one| one.ready))
}

fn finding(node: &Node, evidence: &Evidence, now: Timestamp, there: &str) -> Finding {
    let name = &node.object.name;
    let since = node.since.as_ref().filter(|_| !node.ready).is_some_and(|at| now.duration_since(at.0) >= PATIENCE);
    let others = evidence.other_nodes_ready.unwrap_or_default();
    let mut wrong: Vec<String> =
        node.conditions.iter().map(|one| one.type_.clone()).filter(|one| one != "Ready").collect();
    if !node.ready {
        wrong.insert(0, "not ready".into());
    }
    let reasons: Vec<String> =
        node.conditions.iter().map(|one| format!("{} is {} ({})", one.type_, one.status, one.reason)).collect();
    let cause = if node.ready { "NodeUnderPressure" } else { "NodeNotReady" };
    let mut steps = vec![step("cordon", "cordon_node", node, &[])];
    if node.unschedulable {
        steps.clear();
    }
    if others > 0 {
        let after: Vec<String> = steps.iter().map(|step| step.name.clone()).collect();
        steps.push(step("drain", "drain_node", node, &after));
    }
    Finding {
        cause: cause.into(),
        summary: format!("Node {name} is in trouble ({}), and {there}.", wrong.join(", ")),
        evidence: vec![cite("Node", name, reasons.join(", "))],
        contributing_factors: if node.unschedulable { vec!["The node is cordoned already.".into()] } else { vec![] },
        signals: DIAGNOSER.signals(&[true, true, !node.ready, since, others > 0]),
        steps,
        rationale: if others > 0 {
            format!("No new pods should get there, and {others} other nodes can take those that are there.")
        } else {
            "No new pods should get there; no other node is known to take those that are there.".into()
        },
    }
}

fn step(name: &str, action: &str, node: &Node, after: &[String]) -> Step {
    Step {
        name: name.into(),
        action: action.into(),
        target: node.object.clone(),
        parameters: std::collections::BTreeMap::new(),
        depends_on: after.to_vec(),
        on_failure: OnFailure::Fail,
        ..Step::default()
    }
}
