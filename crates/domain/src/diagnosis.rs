//! What a provider answers: a finding with its evidence, that nothing is wrong, or that it does not know.

use std::collections::BTreeSet;

use kubernaut_api::Evidence;
use kubernaut_api::analysis::{Citation, ConfidenceSignal};
use kubernaut_api::workflow::Step;

/// Answer of one provider to one body of evidence.
#[derive(Clone, Debug, PartialEq)]
pub enum Diagnosis {
    /// A cause was found.
    Found(Box<Finding>),
    /// The target is healthy and nothing in the evidence contradicts it.
    NothingWrong {
        /// What shows it.
        evidence: Vec<Citation>,
    },
    /// No cause was found; a person has to look.
    Unknown {
        /// What was looked at, in one sentence.
        summary: String,
    },
}

/// A cause with what it rests on and what would mend it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Kind of cause as a CamelCase word, such as `BadRollout`.
    pub cause: String,
    /// One sentence for the person on call.
    pub summary: String,
    /// What it rests on; at least one citation.
    pub evidence: Vec<Citation>,
    /// What made it worse.
    pub contributing_factors: Vec<String>,
    /// What the confidence is computed from; the weights sum up to 1.
    pub signals: Vec<ConfidenceSignal>,
    /// What to do; empty when no action of the catalogue helps and a person is needed.
    pub steps: Vec<Step>,
    /// Why these steps.
    pub rationale: String,
}

impl Finding {
    /// Sum of the weights of the signals that were met, 0 to 1, rounded to two digits.
    pub fn confidence(&self) -> f64 {
        let sum: f64 = self.signals.iter().filter(|signal| signal.met).map(|signal| signal.weight).sum();
        (sum.clamp(0.0, 1.0) * 100.0).round() / 100.0
    }
}

/// Every object that a diagnosis may cite, as `Kind/name`: a citation of another one voids the claim (R4.2).
pub fn citable(evidence: &Evidence) -> BTreeSet<String> {
    let mut objects = BTreeSet::new();
    let mut add = |kind: &str, name: &str| objects.insert(format!("{kind}/{name}"));
    for object in evidence.owner_chain.iter().chain(evidence.workload.iter().map(|workload| &workload.object)) {
        add(&object.kind, &object.name);
    }
    for revision in &evidence.revisions {
        add(holder_kind(evidence), &revision.holder);
    }
    for pod in &evidence.pods {
        add("Pod", &pod.name);
        if let Some(node) = &pod.node {
            add("Node", node);
        }
    }
    objects.extend(evidence.events.iter().map(|event| event.object.clone()));
    objects
}

/// Kind of the objects that hold the workload's revisions.
pub fn holder_kind(evidence: &Evidence) -> &'static str {
    match &evidence.workload {
        Some(workload) if workload.object.kind != "Deployment" => "ControllerRevision",
        _ => "ReplicaSet",
    }
}
