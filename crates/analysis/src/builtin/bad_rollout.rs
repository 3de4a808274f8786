//! A new revision crashes, or does not start, where the one before ran: go back.
//!
//! Fits when at least half of the current revision's pods fail, an earlier revision with another
//! template can be returned to (see `rollback`), and the revision is fresh or never replaced the earlier
//! one. Kills for want of memory count only when a fresh revision changed that container other than by
//! raising its limit. A missing configuration counts only when the revision changed what it refers to.
//!
//! Only the case without any doubt is above 0.9; every single doubt asks a person. That the earlier revision
//! does not serve any more is none if it is known to have run well: what has neither a readiness probe nor
//! `minReadySeconds` counts as available between two crashes, and takes over.

use jiff::SignedDuration;
use kubernaut_api::evidence::EventRecord;
use kubernaut_domain::catalogue::Quantity;
use kubernaut_domain::diagnosis::Finding;

use super::facts::{Facts, Failing, Failure, ends};
use super::{Diagnoser, rollback};

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "bad rollout",
    causes: &["BadRollout"],
    fits: "At least half of the pods of a new revision crash or do not start, and an earlier revision has another template.",
    signals: &[
        ("pods of the newest revision crash or do not start", 0.34),
        ("an earlier revision has another template", 0.20),
        ("the newest revision was made within the last hour", 0.15),
        ("it failed more than once, or cannot start at all", 0.11),
        ("the earlier revision still serves", 0.05),
        ("the earlier revision serves, or ran ten minutes and more without a warning about its pods", 0.05),
        ("no pod of the newest revision is well", 0.10),
    ],
    proposes: "`rollback_deployment`.",
    diagnose,
};

/// A revision that ran for so long was no passing mistake.
const WHILE: SignedDuration = SignedDuration::from_mins(10);
/// Failed probes of a pod that are no accident.
const PROBES: i32 = 3;

fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let current = facts.current?;
    let pods = facts.current_pods();
    let mut failing = facts.failing(&pods);
    failing.retain(|failing| caused_by_the_template(facts, failing));
    let first = *failing.first()?;
    let ill = pods.iter().filter(|pod| failing.iter().any(|failing| failing.pod.name == pod.name)).count();
    let rollback = rollback::find(facts)?;
    if ill * 2 < pods.len() || !(facts.fresh() || rollback.serves) {
        return None;
    }

    let ends = ends(&failing);
    let cannot_start = failing.iter().any(|failing| failing.failure == Failure::Start);
    let (object, container) = (facts.object(), &first.container.name);
    let (from, to) = (current.number, rollback.to.number);
    let how = match first.failure {
        Failure::Start => format!("container {container} cannot start ({})", first.container.reason),
        Failure::OutOfMemory => format!("container {container} runs out of memory"),
        _ => format!("container {container} keeps crashing"),
    };
    let serves = if rollback.serves { "still serves" } else { "ran before it" };
    Some(Finding {
        cause: "BadRollout".into(),
        summary: format!("Revision {from} of {object} is broken: {how}. Revision {to} {serves}."),
        evidence: vec![
            facts.cite_changes(current),
            first.cite(),
            facts
                .cite_revision(rollback.to, format!("revision {to} has {} ready replicas", rollback.to.ready_replicas)),
            facts.cite_workload(),
        ],
        contributing_factors: Vec::new(),
        signals: DIAGNOSER.signals(&[
            true,
            true,
            facts.fresh(),
            ends >= 2 || cannot_start,
            rollback.serves,
            rollback.serves || ran_well(facts, &rollback),
            ill == pods.len(),
        ]),
        steps: vec![rollback.step(facts)],
        rationale: format!("The failure came with revision {from}; returning to revision {to} undoes what it changed."),
    })
}

/// Whether the earlier revision ran for a while and nothing bad is known of its pods, by Events that were seen.
fn ran_well(facts: &Facts<'_>, rollback: &rollback::Rollback<'_>) -> bool {
    let (Some(current), Some(made)) = (facts.current, rollback.to.created_at.as_ref()) else { return false };
    let replaced = current.created_at.as_ref().map(|at| at.0);
    let long = replaced.is_some_and(|replaced| replaced.duration_since(made.0) >= WHILE);
    let of = |event: &EventRecord, holder: &str| {
        event
            .object
            .strip_prefix("Pod/")
            .and_then(|pod| pod.strip_prefix(holder))
            .is_some_and(|rest| rest.starts_with('-'))
    };
    // Without Events about the pods that fail now nobody knows whether there were any about those before.
    let seen = facts.evidence.events.iter().any(|event| event.type_ == "Warning" && of(event, &current.holder));
    let warned = facts.evidence.events.iter().any(|event| {
        let bad = event.type_ == "Warning" && (event.reason != "Unhealthy" || event.count >= PROBES);
        bad && of(event, &rollback.to.holder)
    });
    long && seen && !warned
}

/// Whether a change of the template can have made this container fail.
fn caused_by_the_template(facts: &Facts<'_>, failing: &Failing<'_>) -> bool {
    match failing.failure {
        // Told apart by `image_pull`.
        Failure::ImagePull => false,
        Failure::Start if failing.container.reason == "CreateContainerConfigError" => {
            let refers = |path: &str| ["env", "volumes", "securityContext"].iter().any(|word| path.contains(word));
            facts.changes().any(|change| refers(&change.path))
        }
        Failure::Crash | Failure::Start => true,
        Failure::OutOfMemory => facts.fresh() && memory_changed(facts, failing),
    }
}

/// Whether the container was changed in what takes or limits memory, other than by raising the limit.
fn memory_changed(facts: &Facts<'_>, failing: &Failing<'_>) -> bool {
    facts.changes_in(failing.container).iter().any(|(path, change)| {
        if *path == "resources.limits.memory" {
            let amount = |text: &str| Quantity::parse(text).ok();
            change.before.is_empty() || amount(&change.after) < amount(&change.before)
        } else {
            ["image", "command", "args", "env"].iter().any(|word| path.starts_with(word))
        }
    })
}
