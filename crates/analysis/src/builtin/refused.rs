//! Pods are refused before they exist: a quota is used up, or admission forbids them. A person has to look.
//!
//! Raising a quota is a decision about somebody's budget, and what admission forbids is forbidden on
//! purpose, so nothing is proposed.

use kubernaut_api::evidence::{Quota, QuotaAmount};
use kubernaut_domain::catalogue::Quantity;
use kubernaut_domain::diagnosis::{Diagnosis, Finding};
use kubernaut_domain::redact::bounded;

use super::Diagnoser;
use super::facts::{FRESH, Facts, cite, cite_event};
use crate::provider::Question;

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "refused",
    causes: &["QuotaExhausted", "PodsRefused"],
    fits: "Pods are refused before they exist: a quota is used up, or admission forbids them; or the quota is the target and used up.",
    signals: &[
        ("creating a pod was refused, or the quota itself is the target", 0.50),
        ("replicas are missing", 0.30),
        ("the quota of that name is used up", 0.20),
    ],
    proposes: "Nothing: what may be used, and what is forbidden, is a person's decision.",
    diagnose,
};

const RATIONALE: &str =
    "What may be used is a person's decision: raise the quota, ask for less, or free what is not needed.";

fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
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
        signals: DIAGNOSER.signals(&[true, missing, known.is_some()]),
        steps: Vec::new(),
        rationale: RATIONALE.into(),
    })
}

fn amounts(quota: &Quota) -> String {
    let amounts = quota.amounts.iter().map(|one| format!("{} of {} {} used", one.used, one.hard, one.resource));
    amounts.collect::<Vec<_>>().join(", ")
}

/// For a quota that is itself the target.
pub fn diagnose_target(question: &Question<'_>) -> Option<Diagnosis> {
    let is_target = |quota: &&Quota| question.target.kind == "ResourceQuota" && quota.name == question.target.name;
    let quota = question.evidence.quotas.iter().find(is_target)?;
    let said = format!("exceeded quota: {},", quota.name);
    let stopped = question.evidence.events.iter().find(|event| {
        let late = event.last_seen.as_ref().is_none_or(|at| question.now.duration_since(at.0) <= FRESH);
        late && event.type_ == "Warning" && event.message.contains(&said)
    });
    let full = |one: &&QuotaAmount| {
        let amount = |text: &str| Quantity::parse(text).ok();
        amount(&one.used).is_some() && amount(&one.used) >= amount(&one.hard) && amount(&one.hard) > amount("0")
    };
    let used_up: Vec<String> = quota.amounts.iter().filter(full).map(|one| bounded(&one.resource, 64)).collect();
    let mut evidence = vec![cite("ResourceQuota", &quota.name, amounts(quota))];
    if used_up.is_empty() && stopped.is_none() {
        return Some(Diagnosis::NothingWrong { evidence });
    }
    evidence.extend(stopped.map(cite_event));
    Some(Diagnosis::Found(Box::new(Finding {
        cause: "QuotaExhausted".into(),
        summary: match used_up.as_slice() {
            [] => format!("{} refuses what is asked of it.", question.target),
            used_up => format!("{} is used up: {}.", question.target, used_up.join(", ")),
        },
        evidence,
        contributing_factors: Vec::new(),
        signals: DIAGNOSER.signals(&[true, stopped.is_some(), !used_up.is_empty()]),
        steps: Vec::new(),
        rationale: RATIONALE.into(),
    })))
}
