//! Revisions of a Deployment from its ReplicaSets, and what the current one changed.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kubernaut_api::evidence::{Change, Revision};
use kubernaut_domain::redact::bounded;

use super::changes::differences;
use super::workload::revision;

/// Revisions, newest first, at most 10; and what differs between the current one and the newest earlier
/// one that differs at all. Revisions in between have the current template: somebody only restarted.
pub fn revisions(deployment: &Deployment, holders: &[ReplicaSet]) -> (Vec<Revision>, Vec<Change>) {
    let mut holders: Vec<(i64, &ReplicaSet)> =
        holders.iter().filter_map(|holder| Some((revision(&holder.metadata)?, holder))).collect();
    holders.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let current = current(deployment, &holders);
    let revisions = holders.iter().take(10).map(|(number, holder)| shown(*number, holder, current)).collect();
    let changes = current.map(|number| changes(number, &holders)).unwrap_or_default();
    (revisions, changes)
}

/// The revision whose template is the Deployment's own; else the newest, if the controller has seen the
/// newest template.
fn current(deployment: &Deployment, holders: &[(i64, &ReplicaSet)]) -> Option<i64> {
    let wanted = stripped(deployment.spec.as_ref().map(|spec| &spec.template)?);
    let equal = holders.iter().find(|(_, holder)| template(holder).is_some_and(|one| stripped(one) == wanted));
    let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
    let settled = observed.is_some() && observed == deployment.metadata.generation;
    equal.or_else(|| holders.first().filter(|_| settled)).map(|(number, _)| *number)
}

fn changes(current: i64, holders: &[(i64, &ReplicaSet)]) -> Vec<Change> {
    let at = |number| holders.iter().find(|(one, _)| *one == number).and_then(|(_, holder)| template(holder));
    let Some(after) = at(current) else { return Vec::new() };
    let earlier = holders.iter().filter(|(number, _)| *number < current);
    for (number, holder) in earlier {
        let Some(before) = template(holder) else { continue };
        let differences = differences(before, after);
        if !differences.is_empty() {
            return differences
                .into_iter()
                .take(32)
                .map(|difference| Change {
                    from_revision: *number,
                    to_revision: current,
                    path: bounded(&difference.path, 256),
                    before: bounded(&difference.before, 512),
                    after: bounded(&difference.after, 512),
                })
                .collect();
        }
    }
    Vec::new()
}

fn shown(number: i64, holder: &ReplicaSet, current: Option<i64>) -> Revision {
    let status = holder.status.as_ref();
    Revision {
        number,
        holder: holder.metadata.name.clone().unwrap_or_default(),
        created_at: holder.metadata.creation_timestamp.as_ref().map(|time| MicroTime(time.0)),
        replicas: status.map_or(0, |status| status.replicas),
        ready_replicas: status.and_then(|status| status.ready_replicas).unwrap_or_default(),
        current: current == Some(number),
    }
}

fn template(holder: &ReplicaSet) -> Option<&PodTemplateSpec> {
    holder.spec.as_ref().and_then(|spec| spec.template.as_ref())
}

/// The template without the label that only tells ReplicaSets apart.
fn stripped(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|metadata| metadata.labels.as_mut()) {
        labels.remove("pod-template-hash");
    }
    template
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Container;

    use super::*;

    fn fixtures() -> (Deployment, Vec<ReplicaSet>) {
        let deployment = serde_yaml_ng::from_str(include_str!("fixtures/deployment.yaml")).unwrap();
        let holders: kube::core::ObjectList<ReplicaSet> =
            serde_yaml_ng::from_str(include_str!("fixtures/replicasets.yaml")).unwrap();
        (deployment, holders.items)
    }

    fn change(holder: &mut ReplicaSet, change: impl FnOnce(&mut Container)) {
        let template = holder.spec.as_mut().and_then(|spec| spec.template.as_mut()).unwrap();
        change(&mut template.spec.as_mut().unwrap().containers[0]);
    }

    fn number(holder: &mut ReplicaSet, number: i64) {
        let annotations = holder.metadata.annotations.get_or_insert_default();
        annotations.insert(super::super::workload::REVISION.into(), number.to_string());
    }

    #[test]
    fn revisions_come_newest_first_with_the_current_one_marked() {
        let (deployment, holders) = fixtures();
        let (revisions, changes) = revisions(&deployment, &holders);
        let told: Vec<_> =
            revisions.iter().map(|one| (one.number, one.current, one.replicas, one.ready_replicas)).collect();
        assert_eq!(told, [(2, true, 1, 0), (1, false, 2, 2)]);
        assert_eq!(revisions[0].holder, "web-5b7667fbd");
        let paths: Vec<_> = changes.iter().map(|one| (one.from_revision, one.to_revision, one.path.as_str())).collect();
        assert_eq!(paths, [(1, 2, "containers[app].command"), (1, 2, "containers[app].env[DB_PASSWORD]")]);
        assert!(!format!("{changes:?}").contains("c4n4ry"));
    }

    #[test]
    fn a_mere_restart_is_skipped_in_search_of_a_difference() {
        let (deployment, mut holders) = fixtures();
        let newest = holders.iter_mut().find(|one| one.metadata.name.as_deref() == Some("web-5b7667fbd")).unwrap();
        let mut restarted = newest.clone();
        number(&mut restarted, 3);
        let template = restarted.spec.as_mut().and_then(|spec| spec.template.as_mut()).unwrap();
        let annotations = template.metadata.get_or_insert_default().annotations.get_or_insert_default();
        annotations.insert("kubectl.kubernetes.io/restartedAt".into(), "2026-11-21T05:20:00Z".into());
        let mut deployment = deployment;
        deployment.spec.as_mut().unwrap().template = template.clone();
        holders.push(restarted);
        let (revisions, changes) = revisions(&deployment, &holders);
        assert_eq!(revisions.iter().find(|one| one.current).map(|one| one.number), Some(3));
        assert!(changes.iter().all(|one| (one.from_revision, one.to_revision) == (1, 3)));
        assert_eq!(changes.len(), 2);
    }

    #[test]
    fn after_a_return_the_older_template_is_the_current_one() {
        let (mut deployment, mut holders) = fixtures();
        let first = holders.iter_mut().find(|one| one.metadata.name.as_deref() == Some("web-5f7666d5db")).unwrap();
        number(first, 3);
        deployment.spec.as_mut().unwrap().template = template(first).unwrap().clone();
        let (revisions, changes) = revisions(&deployment, &holders);
        assert_eq!(
            (revisions[0].number, revisions[0].current, revisions[0].holder.as_str()),
            (3, true, "web-5f7666d5db")
        );
        assert_eq!((changes[0].from_revision, changes[0].to_revision), (2, 3));
    }

    #[test]
    fn while_the_controller_has_not_seen_the_newest_template_none_is_current() {
        let (mut deployment, holders) = fixtures();
        deployment.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].image = Some("new".into());
        deployment.metadata.generation = Some(9);
        let (revisions, changes) = revisions(&deployment, &holders);
        assert!(revisions.iter().all(|one| !one.current) && changes.is_empty());
    }

    #[test]
    fn a_holder_without_a_number_is_no_revision() {
        let (deployment, mut holders) = fixtures();
        for holder in &mut holders {
            change(holder, |container| container.image = Some("x".into()));
            holder.metadata.annotations = None;
        }
        assert_eq!(revisions(&deployment, &holders), (vec![], vec![]));
    }
}
