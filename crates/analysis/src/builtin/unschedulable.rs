//! The scheduler finds no node for pods: go back when the current revision asked for what no node has.
//!
//! The reason is taken from the pods' own status, which only the scheduler writes. A rollback fits when a
//! revision that still serves asked for less: smaller requests where a resource is short, another
//! selector or affinity where that does not match, other tolerations where a taint keeps them away. Else
//! the cluster is too small, cordoned or tainted, and a person has to look.

use kubernaut_api::evidence::{Change, PodEvidence};
use kubernaut_domain::catalogue::Quantity;
use kubernaut_domain::diagnosis::Finding;

use super::facts::{Facts, cite};
use super::{Diagnoser, rollback};

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "unschedulable",
    causes: &["Unschedulable"],
    fits: "The scheduler finds no node for pods: too little is left, no node matches, a taint or a cordon keeps them away.",
    signals: &[
        ("the scheduler finds no node for a pod", 0.35),
        ("the newest revision changed what the scheduler refuses", 0.25),
        ("the earlier revision still serves", 0.15),
        ("the newest revision was made within the last hour", 0.15),
        ("no pod of the newest revision is placed", 0.10),
    ],
    proposes: "`rollback_deployment` when a new revision asked for what no node has; else a person.",
    diagnose,
};

/// What the scheduler has against the nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Against {
    /// Too little of a resource is left.
    Capacity,
    /// A selector or an affinity of the pod does not match.
    Selector,
    /// A taint is not tolerated.
    Taint,
    /// The node is cordoned.
    Cordon,
}

fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let pods = facts.current_pods();
    let unplaced: Vec<(&PodEvidence, &str)> =
        pods.iter().filter_map(|pod| Some((*pod, pod.unschedulable.as_deref()?))).collect();
    let (pod, told) = *unplaced.first()?;
    let against = against(told);
    let asked_more = facts.changes().any(|change| against.iter().any(|one| asks_for_more(*one, change)));
    let way_back = rollback::find(facts).filter(|rollback| asked_more && rollback.serves);

    let mut evidence = vec![cite("Pod", &pod.name, told)];
    if let (true, Some(current)) = (asked_more, facts.current) {
        evidence.push(facts.cite_changes(current));
    }
    evidence.extend(way_back.map(|to| facts.cite_revision(to.to, format!("{} ready replicas", to.to.ready_replicas))));
    evidence.push(facts.cite_workload());
    Some(Finding {
        cause: "Unschedulable".into(),
        summary: format!("{} of {} pods of {} have no node: {}.", unplaced.len(), pods.len(), facts.object(), words(&against)),
        evidence,
        contributing_factors: Vec::new(),
        signals: DIAGNOSER.signals(&[true, asked_more, way_back.is_some(), facts.fresh(), unplaced.len() == pods.len()]),
        rationale: match &way_back {
            Some(rollback) => format!("The pods of revision {} asked for less and have their nodes.", rollback.to.number),
            None => "No revision that can be undone asked for it: nodes, taints or requests have to be looked at by a person."
                .into(),
        },
        steps: way_back.iter().map(|rollback| rollback.step(facts)).collect(),
    })
}

fn against(told: &str) -> Vec<Against> {
    // What would come of preempting other pods repeats the words.
    let told = told.split(" preemption:").next().unwrap_or(told);
    let mut found = Vec::new();
    let mut add = |words: &[&str], one: Against| {
        if words.iter().any(|word| told.contains(word)) {
            found.push(one);
        }
    };
    add(&["Insufficient ", "Too many pods"], Against::Capacity);
    add(&["node affinity/selector", "affinity rules", "topology spread"], Against::Selector);
    add(&["were unschedulable", "node.kubernetes.io/unschedulable"], Against::Cordon);
    if told.replace("{node.kubernetes.io/unschedulable", "").contains("untolerated taint {") {
        found.push(Against::Taint);
    }
    found
}

fn words(against: &[Against]) -> String {
    let words: Vec<&str> = against
        .iter()
        .map(|one| match one {
            Against::Capacity => "too little is left on the nodes",
            Against::Selector => "no node matches what the pods ask for",
            Against::Taint => "a taint keeps them away",
            Against::Cordon => "nodes are cordoned",
        })
        .collect();
    if words.is_empty() { "the scheduler refuses every node".to_owned() } else { words.join(", ") }
}

fn asks_for_more(against: Against, change: &Change) -> bool {
    let path = change.path.as_str();
    match against {
        Against::Capacity => {
            let asks = path.contains("].resources.requests.") || path.contains("].resources.limits.");
            let (before, after) = (Quantity::parse(&change.before).ok(), Quantity::parse(&change.after).ok());
            asks && after.is_some() && (before.is_none() || after > before)
        }
        Against::Selector => {
            ["nodeSelector", "affinity", "topologySpreadConstraints"].iter().any(|one| path.starts_with(one))
        }
        Against::Taint => path.starts_with("tolerations"),
        Against::Cordon => false,
    }
}
