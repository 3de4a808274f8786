//! Revisions of a StatefulSet from its ControllerRevisions, and what the one it asks for changed.

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kubernaut_api::evidence::{Change, PodEvidence, Revision};
use kubernaut_domain::redact::bounded;

use super::changes::differences;

/// Revisions, newest first, at most 10; and what differs between the one that is asked for and the newest
/// earlier one. Whose pods are whose is told by the label that the controller sets.
pub fn revisions(
    set: &StatefulSet,
    holders: &[ControllerRevision],
    pods: &[PodEvidence],
) -> (Vec<Revision>, Vec<Change>) {
    let mut holders: Vec<&ControllerRevision> = holders.iter().collect();
    holders.sort_by_key(|holder| std::cmp::Reverse(holder.revision));
    let wanted = set.status.as_ref().and_then(|status| status.update_revision.as_deref());
    let settled = set.status.as_ref().and_then(|status| status.observed_generation) == set.metadata.generation;
    let is_wanted =
        |holder: &ControllerRevision| settled && wanted.is_some() && holder.metadata.name.as_deref() == wanted;
    let revisions = holders.iter().take(10).map(|holder| {
        let name = holder.metadata.name.clone().unwrap_or_default();
        let own = || pods.iter().filter(|pod| pod.revision.as_deref() == Some(name.as_str()) && !pod.terminating);
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        Revision {
            number: holder.revision,
            created_at: holder.metadata.creation_timestamp.as_ref().map(|time| MicroTime(time.0)),
            replicas: count(own().count()),
            ready_replicas: count(own().filter(|pod| pod.ready).count()),
            current: is_wanted(holder),
            holder: name,
        }
    });
    let revisions = revisions.collect();
    (revisions, changes(&holders, is_wanted))
}

fn changes(holders: &[&ControllerRevision], is_wanted: impl Fn(&ControllerRevision) -> bool) -> Vec<Change> {
    let Some(at) = holders.iter().position(|holder| is_wanted(holder)) else { return Vec::new() };
    let (Some(current), Some(before)) = (holders.get(at), holders.get(at + 1)) else { return Vec::new() };
    let (Some(new), Some(old)) = (template(current), template(before)) else { return Vec::new() };
    let change = |one: super::changes::Difference| Change {
        from_revision: before.revision,
        to_revision: current.revision,
        path: bounded(&one.path, 256),
        before: bounded(&one.before, 512),
        after: bounded(&one.after, 512),
    };
    differences(&old, &new).into_iter().take(32).map(change).collect()
}

/// The template that a revision holds, as a patch of the StatefulSet.
fn template(holder: &ControllerRevision) -> Option<PodTemplateSpec> {
    serde_json::from_value(holder.data.as_ref()?.0.pointer("/spec/template")?.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_that_is_asked_for_is_told_with_its_pods_and_changes() {
        let set: StatefulSet = serde_yaml_ng::from_str(
            "{metadata: {name: db, generation: 2}, status: {replicas: 2, observedGeneration: 2, updateRevision: db-b}}",
        )
        .unwrap();
        let holder = |name: &str, number: i64, image: &str| -> ControllerRevision {
            serde_yaml_ng::from_str(&format!(
                "{{metadata: {{name: {name}}}, revision: {number}, data: {{spec: {{template: {{$patch: replace, spec: {{containers: [{{name: db, image: '{image}'}}]}}}}}}}}}}"
            ))
            .unwrap()
        };
        let pod =
            |revision: &str, ready| PodEvidence { revision: Some(revision.into()), ready, ..PodEvidence::default() };
        let (revisions, changes) = revisions(
            &set,
            &[holder("db-a", 1, "db:1"), holder("db-b", 2, "db:2")],
            &[pod("db-a", true), pod("db-b", false)],
        );
        let told: Vec<_> =
            revisions.iter().map(|one| (one.holder.as_str(), one.current, one.replicas, one.ready_replicas)).collect();
        assert_eq!(told, [("db-b", true, 1, 0), ("db-a", false, 1, 1)]);
        let changes: Vec<_> =
            changes.iter().map(|one| (one.path.as_str(), one.before.as_str(), one.after.as_str())).collect();
        assert_eq!(changes, [("containers[db].image", "db:1", "db:2")]);
    }
}
