//! A PodDisruptionBudget that never allows an eviction, while a node of the pods is being emptied.
//!
//! A budget that asks for as many healthy pods as there should be stops every drain, however well the
//! pods are. That alone is no trouble, so it is a finding only while a node of the pods is cordoned. One more replica ends the deadlock where the
//! budget asks for a number of pods and another node can take it; else a person has to look.

use kubernaut_api::evidence::Budget;
use kubernaut_api::workflow::{OnFailure, Step};
use kubernaut_domain::diagnosis::Finding;
use serde_json::json;

use super::Diagnoser;
use super::facts::{Facts, cite};

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "budget",
    causes: &["BudgetDeadlock"],
    fits: "A PodDisruptionBudget asks for every pod, and a node of the pods is being emptied.",
    signals: &[
        ("the budget asks for every pod, so it never allows an eviction", 0.40),
        ("a node of the pods is cordoned", 0.25),
        ("every pod is healthy, so waiting does not help", 0.15),
        ("one more replica would allow an eviction, and another node can take it", 0.20),
    ],
    proposes: "`scale_deployment` by one, for a Deployment without autoscaler whose budget names a number of pods; else a person.",
    diagnose,
};

/// Nothing is scaled above it.
const CAP: i32 = 100;

fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let node = facts.evidence.nodes.iter().find(|node| node.unschedulable)?;
    let stuck = |one: &&Budget| {
        one.disruptions_allowed == 0 && one.expected_pods > 0 && one.desired_healthy >= one.expected_pods
    };
    let budget = facts.evidence.budgets.iter().find(stuck)?;
    let healthy = budget.current_healthy >= budget.expected_pods;
    let replicas = one_more(facts, budget).filter(|_| healthy);
    let (name, node) = (&budget.name, &node.object.name);
    Some(Finding {
        cause: "BudgetDeadlock".into(),
        summary: format!(
            "Node {node} cannot be emptied: PodDisruptionBudget {name} ({}) never allows to evict a pod of {}.",
            budget.rule,
            facts.object()
        ),
        evidence: vec![
            cite(
                "PodDisruptionBudget",
                name,
                format!(
                    "{} of {} pods must be healthy, 0 may be evicted",
                    budget.desired_healthy, budget.expected_pods
                ),
            ),
            cite("Node", node, "is cordoned"),
            facts.cite_workload(),
        ],
        contributing_factors: Vec::new(),
        signals: DIAGNOSER.signals(&[true, true, healthy, replicas.is_some()]),
        rationale: match replicas {
            Some(replicas) => format!("With {replicas} replicas the budget keeps its promise and allows one eviction."),
            None => "Budgets are promises: a person has to allow one disruption, or add a replica.".into(),
        },
        steps: replicas.map(|replicas| step(facts, replicas)).into_iter().collect(),
    })
}

/// How many replicas would end the deadlock.
fn one_more(facts: &Facts<'_>, budget: &Budget) -> Option<i32> {
    let workload = facts.workload;
    let number = budget.rule.strip_prefix("minAvailable ").is_some_and(|rule| rule.parse::<u32>().is_ok());
    let alone = budget.expected_pods == workload.replicas && facts.evidence.budgets.len() == 1;
    let free = facts.evidence.autoscalers.is_empty() && !workload.paused && workload.replicas < CAP;
    let elsewhere = facts.evidence.other_nodes_ready.is_some_and(|others| others > 0);
    (facts.object().kind == "Deployment" && number && alone && free && elsewhere).then_some(workload.replicas + 1)
}

fn step(facts: &Facts<'_>, replicas: i32) -> Step {
    Step {
        name: "add-replica".into(),
        action: "scale_deployment".into(),
        target: facts.object().clone(),
        parameters: [("replicas".to_owned(), json!(replicas))].into(),
        depends_on: Vec::new(),
        on_failure: OnFailure::Fail,
        ..Step::default()
    }
}
