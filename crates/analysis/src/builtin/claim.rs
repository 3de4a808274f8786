//! Pods wait for a PersistentVolumeClaim that is not bound. A person has to look.
//!
//! A claim that waits for its first consumer is unbound as long as the pod has no node for other
//! reasons: so the scheduler has to name the claim, or a warning has to be about it.

use kubernaut_api::evidence::Claim;
use kubernaut_domain::diagnosis::{Diagnosis, Finding};

use super::Diagnoser;
use super::facts::{Facts, cite, cite_event};
use crate::provider::Question;

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "claim",
    causes: &["ClaimNotBound"],
    fits: "A pod waits for a PersistentVolumeClaim that is not bound.",
    signals: &[
        ("a claim of a waiting pod is not bound", 0.50),
        ("the scheduler waits for it", 0.30),
        ("a warning says why it is not bound", 0.20),
    ],
    proposes: "Nothing: a person has to provide a volume. A claim that no pod uses is no trouble, and left alone.",
    diagnose,
};

fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let pods = facts.current_pods();
    let pod = pods.iter().find(|pod| !pod.ready && pod.phase == "Pending")?;
    let told = pod.unschedulable.as_deref().filter(|told| told.to_lowercase().contains("persistentvolumeclaim"));
    let unbound = || facts.evidence.claims.iter().filter(|claim| !matches!(claim.phase.as_str(), "Missing" | "Bound"));
    let warned =
        unbound().find_map(|claim| Some((claim, facts.warnings("PersistentVolumeClaim", &claim.name).next()?)));
    let claim = warned.map(|(claim, _)| claim).or_else(|| unbound().next())?;
    let warning = warned.map(|(_, event)| event);
    if told.is_none() && warning.is_none() {
        return None;
    }
    let class =
        claim.storage_class.as_ref().map_or("no storage class".to_owned(), |class| format!("storage class {class}"));
    let size = claim.requested.as_deref().unwrap_or("an unknown size");
    let mut evidence = vec![cite("PersistentVolumeClaim", &claim.name, format!("{}, {size} of {class}", claim.phase))];
    evidence.extend(told.map(|told| cite("Pod", &pod.name, told)));
    evidence.extend(warning.map(cite_event));
    evidence.push(facts.cite_workload());
    Some(Finding {
        cause: "ClaimNotBound".into(),
        summary: format!(
            "Pod {} of {} waits for PersistentVolumeClaim {}, which is {}.",
            pod.name,
            facts.object(),
            claim.name,
            claim.phase
        ),
        evidence,
        contributing_factors: Vec::new(),
        signals: DIAGNOSER.signals(&[true, told.is_some(), warning.is_some()]),
        steps: Vec::new(),
        rationale: "No action touches storage: a person has to provide a volume or mend the storage class.".into(),
    })
}

/// For a claim that is itself the target: one that no pod uses is no trouble. Whether the volume of one that is
/// used fills up cannot be seen from here, so nothing else is said of it.
pub fn diagnose_target(question: &Question<'_>) -> Option<Diagnosis> {
    let is_target =
        |claim: &&Claim| question.target.kind == "PersistentVolumeClaim" && claim.name == question.target.name;
    let claim = question.evidence.claims.iter().find(is_target)?;
    Some(match (claim.consumers, claim.phase.as_str()) {
        (Some(0), phase) if phase != "Lost" => Diagnosis::NothingWrong {
            evidence: vec![cite("PersistentVolumeClaim", &claim.name, format!("is {phase}, and no pod uses it"))],
        },
        (consumers, phase) => Diagnosis::Unknown {
            summary: format!(
                "{} is {phase} and used by {} pods; what is on its volume cannot be seen from here.",
                question.target,
                consumers.map_or("an unknown number of".to_owned(), |count| count.to_string()),
            ),
        },
    })
}
