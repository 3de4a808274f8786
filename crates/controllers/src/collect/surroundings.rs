//! What stands around a target: autoscalers, budgets, quotas, claims and nodes, all read at once.
//!
//! Quotas are read only when replicas are missing, claims only of pods that are not ready, and other nodes
//! only when one of the target's is in trouble or a taint keeps pods away. What the target itself is stays in front.

use std::collections::BTreeSet;

use futures::future::join_all;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{Selector, SelectorExt};
use kubernaut_api::evidence::{Budget, Claim, Evidence, Node, PodEvidence, Quota, QuotaAmount};
use kubernaut_domain::redact::bounded;

use super::read::{Gap, Listed, Reader, take};
use super::{autoscaler, nodes, pods, uid};

/// Fills in what stands around; the uids of claims and autoscalers, whose Events matter too.
pub async fn surround(
    reader: &Reader<'_>,
    evidence: &mut Evidence,
    target_pods: &[Pod],
    gaps: &mut Vec<Gap>,
) -> BTreeSet<String> {
    let Some(workload) = evidence.workload.clone() else { return BTreeSet::new() };
    let short = workload.total_replicas < workload.replicas || workload.updated_replicas < workload.replicas;
    let shown = pods::evidence(target_pods);
    let names = nodes::names(&shown);
    let (scalers, budgets, quotas, claims, found) = futures::join!(
        reader.all::<HorizontalPodAutoscaler>("horizontalpodautoscalers"),
        reader.all::<PodDisruptionBudget>("poddisruptionbudgets"),
        async { if short { reader.all::<ResourceQuota>("resourcequotas").await } else { Ok((Vec::new(), None)) } },
        claims(reader, target_pods),
        join_all(names.iter().map(|name| reader.node(name))),
    );
    let mut uids = BTreeSet::new();
    let scalers: Vec<HorizontalPodAutoscaler> = take(scalers, gaps);
    evidence.autoscalers = autoscaler::autoscalers(&scalers, &workload.object);
    uids.extend(evidence.autoscalers.iter().filter_map(|one| one.object.uid.clone()));
    let budgets = budgets_of(&take(budgets, gaps), target_pods);
    evidence.budgets.extend(budgets);
    evidence.budgets.dedup_by(|one, first| one.name == first.name);
    evidence.budgets.truncate(4);
    evidence.quotas = take(quotas, gaps).iter().take(4).map(quota).collect();
    let (claims, claim_uids) = claims;
    uids.extend(claim_uids);
    let own = evidence.claims.first().map(|claim| claim.name.clone());
    evidence.claims.extend(take(claims, gaps).into_iter().filter(|claim| Some(&claim.name) != own.as_ref()));
    evidence.claims.truncate(8);
    evidence.nodes = found
        .into_iter()
        .filter_map(|node| node.map_err(|gap| gaps.push(gap)).ok())
        .map(|found| nodes::node(&found))
        .collect();
    evidence.nodes.sort_by_key(|node| !nodes::in_trouble(node));
    other_nodes(reader, evidence, gaps).await;
    tainted_nodes(reader, evidence, &shown, gaps).await;
    uids
}

/// How many other nodes could take over, when one is in trouble or cordoned.
pub async fn other_nodes(reader: &Reader<'_>, evidence: &mut Evidence, gaps: &mut Vec<Gap>) {
    if evidence.nodes.iter().any(|node| nodes::in_trouble(node) || node.unschedulable) {
        match reader.nodes().await {
            Ok(all) => evidence.other_nodes_ready = Some(nodes::others_ready(&all, &evidence.nodes)),
            Err(gap) => gaps.push(gap),
        }
    }
}

/// The nodes whose taint keeps pods away, by the word of the scheduler.
async fn tainted_nodes(reader: &Reader<'_>, evidence: &mut Evidence, shown: &[PodEvidence], gaps: &mut Vec<Gap>) {
    let keys = nodes::untolerated(shown.iter().filter_map(|pod| pod.unschedulable.as_deref()));
    if keys.is_empty() {
        return;
    }
    match reader.nodes().await {
        Ok(all) => {
            let known = |one: &Node| evidence.nodes.iter().any(|node| node.object.name == one.object.name);
            let mut barred: Vec<Node> = all.iter().map(nodes::node).filter(|one| !known(one)).collect();
            barred.retain(|one| one.taints.iter().any(|taint| keys.iter().any(|key| nodes::has_key(taint, key))));
            evidence.nodes.extend(barred);
            evidence.nodes.truncate(5);
        }
        Err(gap) => gaps.push(gap),
    }
}

/// Claims of pods that are not ready, unless they are bound; and their uids.
async fn claims(reader: &Reader<'_>, target_pods: &[Pod]) -> (Listed<Claim>, Vec<String>) {
    let ill = target_pods.iter().filter(|pod| !pods::is_ready(pod)).filter_map(|pod| pod.spec.as_ref());
    let volumes = ill.flat_map(|spec| spec.volumes.iter().flatten());
    let sources = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    let names: BTreeSet<&str> = sources.map(|source| source.claim_name.as_str()).take(8).collect();
    let read = names
        .into_iter()
        .map(|name| async move { (name, reader.get::<PersistentVolumeClaim>("persistentvolumeclaims", name).await) });
    let (mut found, mut uids, mut missed) = (Vec::new(), Vec::new(), None);
    for (name, read) in join_all(read).await {
        match read {
            Ok(object) => {
                uids.push(uid(&object.metadata));
                found.extend(Some(claim(&object)).filter(|claim| claim.phase != "Bound"));
            }
            Err(gap) if gap.not_found => {
                found.push(Claim { name: name.to_owned(), phase: "Missing".into(), ..Claim::default() });
            }
            Err(gap) => missed = Some(gap),
        }
    }
    (Ok((found, missed)), uids)
}

/// A claim, without who uses it.
pub fn claim(object: &PersistentVolumeClaim) -> Claim {
    let phase = object.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_else(|| "Pending".into());
    let spec = object.spec.clone().unwrap_or_default();
    let requests = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
    Claim {
        name: object.metadata.name.clone().unwrap_or_default(),
        phase: bounded(&phase, 16),
        storage_class: spec.storage_class_name.filter(|class| !class.is_empty()),
        requested: requests.get("storage").map(|amount| bounded(&amount.0, 32)),
        consumers: None,
    }
}

/// A quota with what is used of it.
pub fn quota(object: &ResourceQuota) -> Quota {
    let status = object.status.clone().unwrap_or_default();
    let (used, hard) = (status.used.unwrap_or_default(), status.hard.unwrap_or_default());
    let amounts = hard.into_iter().take(16).map(|(resource, hard)| QuotaAmount {
        used: used.get(&resource).map_or_else(|| "0".into(), |amount| bounded(&amount.0, 32)),
        hard: bounded(&hard.0, 32),
        resource: bounded(&resource, 253),
    });
    Quota { name: object.metadata.name.clone().unwrap_or_default(), amounts: amounts.collect() }
}

/// Budgets whose selector takes a pod of the target.
fn budgets_of(all: &[PodDisruptionBudget], target_pods: &[Pod]) -> Vec<Budget> {
    let over = |budget: &&PodDisruptionBudget| {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
        let Some(selector) = selector.and_then(|selector| Selector::try_from(selector).ok()) else { return false };
        let empty = std::collections::BTreeMap::new();
        target_pods.iter().any(|pod| selector.matches(pod.metadata.labels.as_ref().unwrap_or(&empty)))
    };
    all.iter().filter(over).take(4).map(budget).collect()
}

/// A budget as its controller sees it.
pub fn budget(object: &PodDisruptionBudget) -> Budget {
    let spec = object.spec.clone().unwrap_or_default();
    let status = object.status.clone().unwrap_or_default();
    let shown = |value: &IntOrString| match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => bounded(text, 32),
    };
    let least = spec.min_available.as_ref().map(|value| format!("minAvailable {}", shown(value)));
    let most = || spec.max_unavailable.as_ref().map(|value| format!("maxUnavailable {}", shown(value)));
    Budget {
        name: object.metadata.name.clone().unwrap_or_default(),
        rule: least.or_else(most).unwrap_or_default(),
        disruptions_allowed: status.disruptions_allowed.unwrap_or_default(),
        current_healthy: status.current_healthy.unwrap_or_default(),
        desired_healthy: status.desired_healthy.unwrap_or_default(),
        expected_pods: status.expected_pods.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_budgets_over_the_targets_pods_are_told() {
        let parse = |yaml: &str| serde_yaml_ng::from_str::<PodDisruptionBudget>(yaml).unwrap();
        let all = [
            parse(
                "{metadata: {name: web}, spec: {minAvailable: 100%, selector: {matchLabels: {app: web}}}, status: {expectedPods: 2, desiredHealthy: 2, currentHealthy: 2, disruptionsAllowed: 0}}",
            ),
            parse("{metadata: {name: other}, spec: {maxUnavailable: 0, selector: {matchLabels: {app: other}}}}"),
        ];
        let pod: Pod = serde_yaml_ng::from_str("{metadata: {name: p, labels: {app: web}}}").unwrap();
        let found = budgets_of(&all, &[pod]);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].rule.as_str(), found[0].desired_healthy, found[0].disruptions_allowed),
            ("minAvailable 100%", 2, 0)
        );
    }

    #[test]
    fn a_claim_tells_its_phase_class_and_size() {
        let parse = |yaml: &str| serde_yaml_ng::from_str::<PersistentVolumeClaim>(yaml).unwrap();
        assert_eq!(claim(&parse("{metadata: {name: a}, status: {phase: Bound}}")).phase, "Bound");
        let waiting = parse(
            "{metadata: {name: a}, spec: {storageClassName: fast, resources: {requests: {storage: 1Gi}}}, status: {phase: Pending}}",
        );
        let told = claim(&waiting);
        assert_eq!(
            (told.phase.as_str(), told.storage_class.as_deref(), told.requested.as_deref()),
            ("Pending", Some("fast"), Some("1Gi"))
        );
    }

    #[test]
    fn a_quota_tells_what_is_used_of_what_may_be() {
        let object: ResourceQuota = serde_yaml_ng::from_str(
            "{metadata: {name: q}, status: {hard: {pods: '2', requests.cpu: '1'}, used: {pods: '2'}}}",
        )
        .unwrap();
        let amounts: Vec<String> =
            quota(&object).amounts.iter().map(|one| format!("{} {}/{}", one.resource, one.used, one.hard)).collect();
        assert_eq!(amounts, ["pods 2/2", "requests.cpu 0/1"]);
    }
}
