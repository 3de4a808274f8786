//! An image cannot be had: go back when a new revision named it, else ask a person.
//!
//! Without a change of that container's image the registry, the credentials or the node is at fault,
//! and no rollback helps; the same when pods of the earlier revision cannot pull either.

use kubernaut_api::evidence::ContainerState;
use kubernaut_domain::diagnosis::Finding;
use kubernaut_domain::redact::bounded;

use super::facts::{Facts, Failure, cite};
use super::rollback::Rollback;
use super::{Diagnoser, rollback};

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "image pull",
    causes: &["ImagePull"],
    fits: "The image of a container cannot be had.",
    signals: &[
        ("the image of a container cannot be pulled", 0.35),
        ("the newest revision changed that image", 0.25),
        ("the earlier revision still serves", 0.12),
        ("no pod of the newest revision is well", 0.12),
        ("the newest revision was made within the last hour", 0.10),
        ("the registry says that there is no such image", 0.06),
    ],
    proposes: "`rollback_deployment` when a new revision named the image; else a person.",
    diagnose,
};

fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let pods = facts.current_pods();
    let mut failing = facts.failing(&pods);
    failing.retain(|failing| failing.failure == Failure::ImagePull);
    // A container whose image was changed says more than a victim of the same registry.
    failing.sort_by_key(|failing| !image_changed(facts, failing.container));
    let first = *failing.first()?;
    let changed = image_changed(facts, first.container);
    let way_back = rollback::find(facts).filter(|rollback| changed && (facts.fresh() || rollback.serves));
    let serves = way_back.is_some_and(|rollback| rollback.serves);
    let ill = pods.iter().filter(|pod| failing.iter().any(|failing| failing.pod.name == pod.name)).count();

    let ContainerState { name, image, reason, message, .. } = first.container;
    let mut evidence = vec![cite("Pod", &first.pod.name, format!("container {name}: {reason}: {message}"))];
    if let (true, Some(current)) = (changed, facts.current) {
        evidence.push(facts.cite_changes(current));
    }
    if let Some(rollback) = &way_back {
        let (number, ready) = (rollback.to.number, rollback.to.ready_replicas);
        evidence.push(facts.cite_revision(rollback.to, format!("revision {number} has {ready} ready replicas")));
    }
    evidence.push(facts.cite_workload());
    Some(Finding {
        cause: "ImagePull".into(),
        summary: format!("{} cannot pull image {:?} of container {name}.", facts.object(), bounded(image, 256)),
        evidence,
        contributing_factors: Vec::new(),
        signals: DIAGNOSER.signals(&[
            true,
            way_back.is_some(),
            serves,
            ill == pods.len(),
            facts.fresh(),
            does_not_exist(first.container),
        ]),
        steps: way_back.iter().map(|rollback| rollback.step(facts)).collect(),
        rationale: rationale(way_back.as_ref()),
    })
}

fn rationale(way_back: Option<&Rollback<'_>>) -> String {
    match way_back {
        Some(rollback) => format!("Revision {} names an image that could be pulled.", rollback.to.number),
        None => "The image was not changed by a revision that can be undone: registry, credentials or node have to be \
                 looked at by a person."
            .into(),
    }
}

fn image_changed(facts: &Facts<'_>, container: &ContainerState) -> bool {
    facts.changes_in(container).iter().any(|(path, _)| matches!(*path, "" | "image"))
}

/// What kubelet and container runtime write when trying again does not help.
fn does_not_exist(container: &ContainerState) -> bool {
    let message = container.message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    container.reason == "InvalidImageName"
        || says(&["not found", "manifest unknown", "does not exist", "pull access denied", "invalid reference"])
}
