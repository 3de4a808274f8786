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
