//! Pods are refused before they exist: a quota is used up, or admission forbids them. A person has to look.
//!
//! Raising a quota is a decision about somebody's budget, and what admission forbids is forbidden on
//! purpose, so nothing is proposed.
//!
//! | Signal | Weight |
//! |---|---|
//! | Creating a pod was refused | 0.50 |
//! | Replicas are missing | 0.30 |
//! | The quota of that name is used up | 0.20 |

use kubernaut_api::evidence::Quota;
use kubernaut_domain::diagnosis::Finding;
use kubernaut_domain::redact::bounded;

use super::facts::{Facts, cite, cite_event};
use super::signal;

pub fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let workload = facts.workload;
    let missing = workload.total_replicas < workload.replicas || workload.updated_replicas < workload.replicas;
    let object = facts.object();
    let holder = facts.current.map(|revision| (facts.evidence.holder_kind(), revision.holder.as_str()));
    let own = (object.kind.as_str(), object.name.as_str());
    let mut refusals = holder.into_iter().chain([own]).flat_map(|(kind, name)| facts.warnings(kind, name));
    let event = refusals.find(|event| event.reason == "FailedCreate" && event.message.contains("forbidden"));
    let failure = workload.conditions.iter().find(|one| one.type_ == "ReplicaFailure" && one.status == "True");
    let (told, said) = match (failure, event) {
        (Some(failure), _) => (failure.message.as_str(), cite(&object.kind, &object.name, &failure.message)),
        (None, Some(event)) => (event.message.as_str(), cite_event(event)),
        (None, None) => return None,
    };
    if !missing {
        return None;
    }
    let quota = told.split_once("exceeded quota: ").map(|(_, rest)| rest.split([',', ' ']).next().unwrap_or_default());
    let known = facts.evidence.quotas.iter().find(|one| Some(one.name.as_str()) == quota);
    let mut evidence = vec![said, facts.cite_workload()];
    evidence.extend(known.map(|quota| cite("ResourceQuota", &quota.name, amounts(quota))));
    let (cause, why) = match quota {
        Some(quota) => ("QuotaExhausted", format!("quota {} of its namespace is used up", bounded(quota, 253))),
        None => ("PodsRefused", "the API server refuses them".to_owned()),
    };
    Some(Finding {
        cause: cause.into(),
        summary: format!("Pods of {object} cannot be created: {why}."),
        evidence,
        contributing_factors: Vec::new(),
        signals: vec![
            signal("creating a pod was refused", 0.50, true),
            signal("replicas are missing", 0.30, missing),
            signal("the quota of that name is used up", 0.20, known.is_some()),
        ],
        steps: Vec::new(),
        rationale:
            "What may be used is a person's decision: raise the quota, ask for less, or free what is not needed.".into(),
    })
}

fn amounts(quota: &Quota) -> String {
    let amounts = quota.amounts.iter().map(|one| format!("{} of {} {} used", one.used, one.hard, one.resource));
    amounts.collect::<Vec<_>>().join(", ")
}
