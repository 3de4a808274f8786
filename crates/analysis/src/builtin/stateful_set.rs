//! A StatefulSet is stuck: it waits for a pod of an older revision that fails, and does not replace it.
//!
//! Kubernetes goes on with an update only when every pod is well, so a pod that the mended template would
//! heal is never made anew (its documents call it forced rollback). Restarting that one pod makes it of
//! the newest revision; its volumes stay. Fits for one failing pod only, two minutes after the newest
//! revision was made: before, the controller may still be at it; and not while the update is held back.
//!
//! Every single doubt asks a person.

use jiff::SignedDuration;
use kubernaut_api::workflow::{OnFailure, Step};
use kubernaut_domain::diagnosis::Finding;
use serde_json::json;

use super::Diagnoser;
use super::facts::{Facts, Failure, ends};

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "stateful set",
    causes: &["StatefulSetStuck"],
    fits: "A StatefulSet waits for one failing pod of an older revision, which it does not replace by itself.",
    signals: &[
        ("a pod fails and is not of the revision that is asked for", 0.40),
        ("the newest revision was made within the last hour", 0.20),
        ("every other pod is ready", 0.20),
        ("it failed more than once, or cannot start at all", 0.20),
    ],
    proposes: "`restart_pod` of that pod.",
    diagnose,
};

/// The controller has so long to replace it.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);

fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let current = facts.current?;
    let object = facts.object();
    let waited = current.created_at.as_ref().is_some_and(|at| facts.now.duration_since(at.0) >= PATIENCE);
    if object.kind != "StatefulSet"
        || facts.workload.paused
        || !waited
        || facts.workload.updated_replicas >= facts.workload.replicas
    {
        return None;
    }
    let pods = facts.current_pods();
    let failing = facts.failing(&pods);
    let first = *failing.iter().find(|one| !one.pod.ready)?;
    let pod = first.pod;
    let outdated = pod.revision.as_ref().is_some_and(|revision| *revision != current.holder);
    if !outdated || pod.uid.is_empty() || failing.iter().any(|one| one.pod.name != pod.name) {
        return None;
    }
    let others = pods.iter().all(|one| one.ready || one.name == pod.name);
    let cannot_start = matches!(first.failure, Failure::Start | Failure::ImagePull);
    Some(Finding {
        cause: "StatefulSetStuck".into(),
        summary: format!(
            "{object} waits for pod {} of an older revision, which fails; revision {} is not rolled out to it.",
            pod.name, current.number
        ),
        evidence: vec![
            first.cite(),
            facts.cite_revision(current, format!("revision {} is asked for, and the pod is not of it", current.number)),
            facts.cite_workload(),
        ],
        contributing_factors: Vec::new(),
        signals: DIAGNOSER.signals(&[true, facts.fresh(), others, ends(&failing) >= 2 || cannot_start]),
        steps: vec![Step {
            name: "restart-pod".into(),
            action: "restart_pod".into(),
            target: object.clone(),
            parameters: [("pod".to_owned(), json!(pod.name)), ("uid".to_owned(), json!(pod.uid))].into(),
            depends_on: Vec::new(),
            on_failure: OnFailure::Fail,
            ..Step::default()
        }],
        rationale: "Made anew, the pod is of the newest revision; nothing else replaces it.".into(),
    })
}
