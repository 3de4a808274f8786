//! Autoscalers as evidence: their bounds, what they ask for and what they measure.

use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
};
use kubernaut_api::evidence::{Autoscaler, Metric};
use kubernaut_api::labels;
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::redact::bounded;

use super::workload::{condition, reference};

/// The autoscalers of one workload, at most 4.
pub fn autoscalers(all: &[HorizontalPodAutoscaler], workload: &TargetRef) -> Vec<Autoscaler> {
    let scales = |one: &&HorizontalPodAutoscaler| {
        let target = &one.spec.scale_target_ref;
        target.kind == workload.kind && target.name == workload.name
    };
    all.iter().filter(scales).take(4).map(autoscaler).collect()
}

/// One autoscaler.
pub fn autoscaler(object: &HorizontalPodAutoscaler) -> Autoscaler {
    let spec = &object.spec;
    let status = object.status.clone().unwrap_or_default();
    let annotations = object.metadata.annotations.as_ref();
    let now = status.current_metrics.unwrap_or_default();
    let metrics = spec.metrics.iter().flatten().filter_map(|wanted| {
        let (name, target) = wanted_metric(wanted)?;
        let current = now.iter().find_map(|one| measured(one, wanted).and_then(|value| shown(value, target)));
        Some(Metric { name: bounded(name, 253), current, target: aim(target)? })
    });
    Autoscaler {
        object: reference("autoscaling/v2", "HorizontalPodAutoscaler", &object.metadata),
        min_replicas: spec.min_replicas.unwrap_or(1),
        max_replicas: spec.max_replicas,
        current_replicas: status.current_replicas.unwrap_or_default(),
        desired_replicas: status.desired_replicas,
        changed_before: annotations.is_some_and(|annotations| annotations.contains_key(labels::CHANGED_BY)),
        conditions: (status.conditions.unwrap_or_default().into_iter())
            .map(|one| condition(&one.type_, &one.status, one.reason, one.message))
            .take(4)
            .collect(),
        metrics: metrics.take(4).collect(),
    }
}

fn wanted_metric(metric: &MetricSpec) -> Option<(&str, &MetricTarget)> {
    let resource = metric.resource.as_ref().map(|one| (one.name.as_str(), &one.target));
    let container = || metric.container_resource.as_ref().map(|one| (one.name.as_str(), &one.target));
    let pods = || metric.pods.as_ref().map(|one| (one.metric.name.as_str(), &one.target));
    let object = || metric.object.as_ref().map(|one| (one.metric.name.as_str(), &one.target));
    let external = || metric.external.as_ref().map(|one| (one.metric.name.as_str(), &one.target));
    resource.or_else(container).or_else(pods).or_else(object).or_else(external)
}

/// What is measured of the same metric.
fn measured<'a>(metric: &'a MetricStatus, wanted: &MetricSpec) -> Option<&'a MetricValueStatus> {
    if metric.type_ != wanted.type_ {
        return None;
    }
    let (name, _) = wanted_metric(wanted)?;
    let resource = metric.resource.as_ref().map(|one| (one.name.as_str(), &one.current));
    let container = || metric.container_resource.as_ref().map(|one| (one.name.as_str(), &one.current));
    let pods = || metric.pods.as_ref().map(|one| (one.metric.name.as_str(), &one.current));
    let object = || metric.object.as_ref().map(|one| (one.metric.name.as_str(), &one.current));
    let external = || metric.external.as_ref().map(|one| (one.metric.name.as_str(), &one.current));
    let (measured, value) = resource.or_else(container).or_else(pods).or_else(object).or_else(external)?;
    (measured == name).then_some(value)
}

fn aim(target: &MetricTarget) -> Option<String> {
    let share = target.average_utilization.map(|share| format!("{share}%"));
    share.or_else(|| target.average_value.as_ref().or(target.value.as_ref()).map(|one| bounded(&one.0, 32)))
}

/// In the unit of the target.
fn shown(value: &MetricValueStatus, target: &MetricTarget) -> Option<String> {
    if target.average_utilization.is_some() {
        return value.average_utilization.map(|share| format!("{share}%"));
    }
    let amount = if target.average_value.is_some() { &value.average_value } else { &value.value };
    amount.as_ref().map(|one| bounded(&one.0, 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITED: &str = "{metadata: {name: web, namespace: shop, uid: h1, annotations: {kubernaut.io/changed-by: ke-1}}, \
        spec: {minReplicas: 2, maxReplicas: 4, scaleTargetRef: {kind: Deployment, name: web}, metrics: [\
          {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}, \
          {type: Pods, pods: {metric: {name: rps}, target: {type: AverageValue, averageValue: '100'}}}]}, \
        status: {currentReplicas: 4, desiredReplicas: 4, currentMetrics: [\
          {type: Resource, resource: {name: cpu, current: {averageUtilization: 190, averageValue: 380m}}}], \
          conditions: [{type: ScalingLimited, status: 'True', reason: TooManyReplicas, message: m}]}}";

    #[test]
    fn bounds_wishes_and_measurements_are_told() {
        let all: Vec<HorizontalPodAutoscaler> = vec![
            serde_yaml_ng::from_str(LIMITED).unwrap(),
            serde_yaml_ng::from_str(&LIMITED.replace("kind: Deployment", "kind: StatefulSet")).unwrap(),
        ];
        let workload = TargetRef { kind: "Deployment".into(), name: "web".into(), ..TargetRef::default() };
        let found = autoscalers(&all, &workload);
        assert_eq!(found.len(), 1);
        let one = &found[0];
        assert_eq!((one.min_replicas, one.max_replicas, one.current_replicas, one.desired_replicas), (2, 4, 4, 4));
        assert_eq!((one.changed_before, one.object.uid.as_deref()), (true, Some("h1")));
        assert_eq!(one.conditions[0].reason, "TooManyReplicas");
        let metrics: Vec<_> =
            one.metrics.iter().map(|one| (one.name.as_str(), one.current.as_deref(), one.target.as_str())).collect();
        assert_eq!(metrics, [("cpu", Some("190%"), "80%"), ("rps", None, "100")]);
    }
}
