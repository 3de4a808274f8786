//! A PodDisruptionBudget that never allows an eviction, while a node of the pods is being emptied: a person has to look.
//!
//! A budget that asks for as many healthy pods as there should be stops every drain, however well the
//! pods are. That alone is no trouble, so it is a finding only while a node of the pods is cordoned.
//!
//! | Signal | Weight |
//! |---|---|
//! | The budget asks for every pod, so it never allows an eviction | 0.50 |
//! | A node of the pods is cordoned | 0.30 |
//! | Every pod is healthy, so waiting does not help | 0.20 |

use kubernaut_domain::diagnosis::Finding;

use super::facts::{Facts, cite};
use super::signal;

pub fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let node = facts.evidence.nodes.iter().find(|node| node.unschedulable)?;
    let stuck = |one: &&kubernaut_api::evidence::Budget| {
        one.disruptions_allowed == 0 && one.expected_pods > 0 && one.desired_healthy >= one.expected_pods
    };
    let budget = facts.evidence.budgets.iter().find(stuck)?;
    let healthy = budget.current_healthy >= budget.expected_pods;
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
        signals: vec![
            signal("the budget asks for every pod, so it never allows an eviction", 0.50, true),
            signal("a node of the pods is cordoned", 0.30, true),
            signal("every pod is healthy, so waiting does not help", 0.20, healthy),
        ],
        steps: Vec::new(),
        rationale: "Budgets are promises: a person has to allow one disruption, or add a replica.".into(),
    })
}
