//! The pods of a new revision run and never become ready, while the earlier revision serves: go back.
//!
//! Fits when at least half of the current revision's pods run without any failure for two minutes and
//! are not ready, their probes fail or the rollout has exceeded its progress deadline, and an earlier
//! revision with another template serves. Without one that serves what the pods depend on may be the
//! cause, and a person has to look. A probe that kills its container ends in `bad_rollout`.
//!
//! What starts slowly looks the same for a while: without the fifth signal a person is asked.

use jiff::SignedDuration;
use kubernaut_api::evidence::{EventRecord, PodEvidence};
use kubernaut_domain::diagnosis::Finding;

use super::facts::{Facts, cite, cite_event};
use super::{Diagnoser, rollback};

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "never ready",
    causes: &["BadRollout"],
    fits: "The pods of a new revision run and never become ready, while the earlier revision serves.",
    signals: &[
        ("pods of the newest revision run and do not become ready", 0.30),
        ("an earlier revision with another template serves", 0.23),
        ("the newest revision was made within the last hour", 0.12),
        ("their probes fail", 0.13),
        ("the rollout exceeded its progress deadline, or the revision changed a probe", 0.12),
        ("no pod of the newest revision is ready", 0.10),
    ],
    proposes: "`rollback_deployment`.",
    diagnose,
};

/// A pod has so long to become ready.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);
/// Failed probes of a pod that are no accident.
const PROBES: i32 = 3;

fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let current = facts.current?;
    let pods = facts.current_pods();
    let unready: Vec<&PodEvidence> = pods.iter().copied().filter(|pod| runs_unready(facts, pod)).collect();
    let first = *unready.first()?;
    let rollback = rollback::find(facts).filter(|rollback| rollback.serves)?;
    let late = deadline_exceeded(facts);
    let probed = unready.iter().filter_map(|pod| failed_probe(facts, pod)).max_by_key(|event| event.count);
    let probes_fail = probed.is_some_and(|event| event.count >= PROBES);
    if unready.len() * 2 < pods.len() || !(late || probes_fail) {
        return None;
    }

    let (object, from, to) = (facts.object(), current.number, rollback.to.number);
    let why = if probed.is_some() { "its probes fail" } else { "the rollout exceeded its deadline" };
    let mut evidence = vec![facts.cite_changes(current)];
    evidence.push(match probed {
        Some(event) => cite_event(event),
        None => cite("Pod", &first.name, "runs without a failure and is not ready"),
    });
    let serving = format!("revision {to} has {} ready replicas", rollback.to.ready_replicas);
    evidence.extend([facts.cite_revision(rollback.to, serving), facts.cite_workload()]);
    Some(Finding {
        cause: "BadRollout".into(),
        summary: format!("Revision {from} of {object} never becomes ready: {why}. Revision {to} still serves."),
        evidence,
        contributing_factors: Vec::new(),
        signals: DIAGNOSER.signals(&[
            true,
            true,
            facts.fresh(),
            probes_fail,
            late || facts.changes().any(|change| change.path.contains("Probe")),
            unready.len() == pods.len(),
        ]),
        steps: vec![rollback.step(facts)],
        rationale: format!(
            "The pods of revision {to} are ready and those of revision {from} are not; going back undoes what it changed."
        ),
    })
}

/// Every container runs and none failed, and yet the pod is not ready after a while.
fn runs_unready(facts: &Facts<'_>, pod: &PodEvidence) -> bool {
    let old = pod.created_at.as_ref().is_some_and(|at| facts.now.duration_since(at.0) >= PATIENCE);
    let mut main = pod.containers.iter().filter(|container| !container.init).peekable();
    !pod.ready
        && old
        && main.peek().is_some()
        && main.all(|container| container.state == "Running")
        && facts.failing(&[pod]).is_empty()
}

fn deadline_exceeded(facts: &Facts<'_>) -> bool {
    let mut conditions = facts.workload.conditions.iter();
    conditions.any(|one| one.type_ == "Progressing" && one.reason == "ProgressDeadlineExceeded")
}

fn failed_probe<'a>(facts: &Facts<'a>, pod: &PodEvidence) -> Option<&'a EventRecord> {
    facts.warnings("Pod", &pod.name).filter(|event| event.reason == "Unhealthy").max_by_key(|event| event.count)
}
