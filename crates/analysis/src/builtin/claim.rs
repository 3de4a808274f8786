//! Pods wait for a PersistentVolumeClaim that is not bound. A person has to look.
//!
//! A claim that waits for its first consumer is unbound as long as the pod has no node for other
//! reasons: so the scheduler has to name the claim, or a warning has to be about it.
//!
//! | Signal | Weight |
//! |---|---|
//! | A claim of a waiting pod is not bound | 0.50 |
//! | The scheduler waits for it | 0.30 |
//! | A warning says why it is not bound | 0.20 |

use kubernaut_domain::diagnosis::Finding;

use super::facts::{Facts, cite, cite_event};
use super::signal;

pub fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let pods = facts.current_pods();
    let pod = pods.iter().find(|pod| !pod.ready && pod.phase == "Pending")?;
    let told = pod.unschedulable.as_deref().filter(|told| told.to_lowercase().contains("persistentvolumeclaim"));
    let unbound = || facts.evidence.claims.iter().filter(|claim| claim.phase != "Missing");
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
        signals: vec![
            signal("a claim of a waiting pod is not bound", 0.50, true),
            signal("the scheduler waits for it", 0.30, told.is_some()),
            signal("a warning says why it is not bound", 0.20, warning.is_some()),
        ],
        steps: Vec::new(),
        rationale: "No action touches storage: a person has to provide a volume or mend the storage class.".into(),
    })
}
