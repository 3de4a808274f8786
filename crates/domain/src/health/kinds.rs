//! Health of what is no workload, by its own status: what it does not say is not taken for well.

use kubernaut_api::k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kubernaut_api::k8s_openapi::api::batch::v1::{CronJob, Job};
use kubernaut_api::k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kubernaut_api::k8s_openapi::api::discovery::v1::EndpointSlice;

use super::Health;

fn unhealthy(why: impl Into<String>) -> Health {
    Health::Unhealthy(why.into())
}

/// A node is well when its kubelet says that it is ready and under no pressure. Being cordoned is no illness.
pub fn of_node(node: &Node) -> Health {
    let conditions = node.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    let mut ready = false;
    for condition in conditions {
        let is = condition.status.as_str();
        let why = condition.message.as_deref().unwrap_or_default();
        match condition.type_.as_str() {
            "Ready" if is == "True" => ready = true,
            "Ready" => return unhealthy(format!("it is not ready: {why}")),
            "MemoryPressure" | "DiskPressure" | "PIDPressure" | "NetworkUnavailable" if is == "True" => {
                return unhealthy(format!("{}: {why}", condition.type_));
            }
            _ => {}
        }
    }
    if ready { Health::Healthy } else { unhealthy("its kubelet has not reported") }
}

/// A pod is well when it is ready, or has succeeded.
pub fn of_pod(pod: &Pod) -> Health {
    if pod.metadata.deletion_timestamp.is_some() {
        return unhealthy("it is ending");
    }
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    let ready = status.conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
    match phase.as_str() {
        "Succeeded" => Health::Healthy,
        "Failed" => unhealthy("it has failed"),
        _ if ready => Health::Healthy,
        _ => unhealthy(format!("it is not ready (phase {})", if phase.is_empty() { "unknown" } else { &phase })),
    }
}

/// A Job is well when it is complete.
pub fn of_job(job: &Job) -> Health {
    let conditions = job.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    for condition in conditions.filter(|condition| condition.status == "True") {
        match condition.type_.as_str() {
            "Complete" => return Health::Healthy,
            "Failed" => {
                let why = condition.message.as_deref().unwrap_or_default();
                return unhealthy(format!("it has failed: {why}"));
            }
            _ => {}
        }
    }
    unhealthy("it has not completed yet")
}

/// A `CronJob` is well when its newest run that was scheduled has succeeded. While it is suspended, nobody can say.
pub fn of_cron_job(cron: &CronJob) -> Health {
    if cron.spec.suspend == Some(true) {
        return Health::NotApplicable;
    }
    let status = cron.status.clone().unwrap_or_default();
    match (status.last_schedule_time, status.last_successful_time) {
        (None, _) => unhealthy("it has not been scheduled yet"),
        (Some(scheduled), Some(succeeded)) if succeeded.0 >= scheduled.0 => Health::Healthy,
        (Some(_), _) => unhealthy("its newest run has not succeeded"),
    }
}

/// A claim is well when it is bound.
pub fn of_claim(claim: &PersistentVolumeClaim) -> Health {
    match claim.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Bound") => Health::Healthy,
        phase => unhealthy(format!("it is not bound (phase {})", phase.unwrap_or("unknown"))),
    }
}

/// An autoscaler is well when it can scale, is not held at its greatest number, and has what it wants.
pub fn of_autoscaler(autoscaler: &HorizontalPodAutoscaler) -> Health {
    let status = autoscaler.status.clone().unwrap_or_default();
    // The autoscaler's controller does not always write it; where it does, an older one says that it has not looked.
    let seen = status.observed_generation.zip(autoscaler.metadata.generation);
    if seen.is_some_and(|(observed, generation)| observed < generation) {
        return unhealthy("its controller has not seen the change yet");
    }
    let conditions = status.conditions.unwrap_or_default();
    let find = |type_: &str| conditions.iter().find(|condition| condition.type_ == type_);
    for type_ in ["AbleToScale", "ScalingActive"] {
        match find(type_) {
            None => return unhealthy(format!("its condition {type_} is not known")),
            Some(condition) if condition.status != "True" => {
                let why = condition.message.as_deref().unwrap_or_default();
                return unhealthy(format!("{type_} is {}: {why}", condition.status));
            }
            Some(_) => {}
        }
    }
    let limited = find("ScalingLimited").filter(|condition| condition.status == "True");
    // At its least number it is limited too, and well.
    if limited.is_some_and(|condition| condition.reason.as_deref() == Some("TooManyReplicas")) {
        return unhealthy("it is held at its greatest number of replicas");
    }
    match (status.current_replicas, status.desired_replicas) {
        (Some(current), desired) if current != desired => {
            unhealthy(format!("{current} of {desired} replicas are there"))
        }
        _ => Health::Healthy,
    }
}

/// A Service is well when it has endpoints and all of those that are not ending are ready.
pub fn of_service(slices: &[EndpointSlice]) -> Health {
    let endpoints = || slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let state = |endpoint: &kubernaut_api::k8s_openapi::api::discovery::v1::Endpoint| {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        // An absent `ready` means ready, an absent `terminating` means not.
        (conditions.ready.unwrap_or(true), conditions.terminating.unwrap_or(false))
    };
    let wanted = endpoints().filter(|endpoint| !state(endpoint).1).count();
    let ready = endpoints().filter(|endpoint| state(endpoint) == (true, false)).count();
    match (ready, wanted) {
        (0, _) => unhealthy("it has no ready endpoints"),
        (ready, wanted) if ready < wanted => unhealthy(format!("{ready} of {wanted} endpoints are ready")),
        _ => Health::Healthy,
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn check<K: DeserializeOwned>(of: fn(&K) -> Health, object: &Value, well: Option<&str>) {
        let health = of(&serde_json::from_value(object.clone()).expect("an object"));
        match (well, &health) {
            (None, Health::Healthy) => {}
            (Some(part), Health::Unhealthy(why)) if why.contains(part) => {}
            _ => panic!("{object} is {health:?}, not {well:?}"),
        }
    }

    fn with(conditions: &Value) -> Value {
        json!({"metadata": {}, "status": {"conditions": conditions}})
    }

    #[test]
    fn a_node_is_well_when_ready_and_under_no_pressure() {
        let node = |ready: &str, disk: &str| {
            with(&json!([{"type": "DiskPressure", "status": disk}, {"type": "Ready", "status": ready}]))
        };
        check(of_node, &node("True", "False"), None);
        check(of_node, &node("False", "False"), Some("not ready"));
        check(of_node, &node("Unknown", "False"), Some("not ready"));
        check(of_node, &node("True", "True"), Some("DiskPressure"));
        check(of_node, &json!({"metadata": {}}), Some("not reported"));
        let mut cordoned = node("True", "False");
        cordoned["spec"] = json!({"unschedulable": true});
        check(of_node, &cordoned, None);
    }

    #[test]
    fn a_pod_is_well_when_ready_or_done() {
        let pod = |phase: &str, ready: &str| json!({"metadata": {}, "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
        check(of_pod, &pod("Running", "True"), None);
        check(of_pod, &pod("Succeeded", "False"), None);
        check(of_pod, &pod("Running", "False"), Some("not ready"));
        check(of_pod, &pod("Failed", "False"), Some("failed"));
        check(of_pod, &json!({"metadata": {}}), Some("unknown"));
        let mut ending = pod("Running", "True");
        ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        check(of_pod, &ending, Some("ending"));
    }

    #[test]
    fn a_job_is_well_when_it_is_complete() {
        check(of_job, &with(&json!([{"type": "Complete", "status": "True"}])), None);
        check(of_job, &with(&json!([{"type": "Failed", "status": "True", "message": "no"}])), Some("failed: no"));
        check(of_job, &with(&json!([{"type": "Failed", "status": "False"}])), Some("not completed"));
        check(of_job, &json!({"metadata": {}}), Some("not completed"));
    }

    #[test]
    fn a_cron_job_is_well_when_its_newest_run_succeeded() {
        let cron = |scheduled: &str, succeeded: Option<&str>| {
            json!({"metadata": {}, "spec": {"schedule": "* * * * *", "jobTemplate": {}},
                "status": {"lastScheduleTime": scheduled, "lastSuccessfulTime": succeeded}})
        };
        check(of_cron_job, &cron("2026-01-01T00:00:00Z", Some("2026-01-01T00:00:09Z")), None);
        check(of_cron_job, &cron("2026-01-01T00:01:00Z", Some("2026-01-01T00:00:09Z")), Some("newest run"));
        check(of_cron_job, &cron("2026-01-01T00:01:00Z", None), Some("newest run"));
        let mut paused = cron("2026-01-01T00:01:00Z", None);
        paused["spec"]["suspend"] = json!(true);
        assert_eq!(of_cron_job(&serde_json::from_value(paused).expect("one")), Health::NotApplicable);
    }

    #[test]
    fn a_claim_is_well_when_it_is_bound() {
        check(of_claim, &json!({"metadata": {}, "status": {"phase": "Bound"}}), None);
        check(of_claim, &json!({"metadata": {}, "status": {"phase": "Pending"}}), Some("Pending"));
        check(of_claim, &json!({"metadata": {}}), Some("unknown"));
    }

    #[test]
    fn an_autoscaler_is_well_when_it_can_do_what_it_wants() {
        let autoscaler = |able: &str, limited: &str, current: i32| {
            json!({"metadata": {"generation": 2}, "status": {"currentReplicas": current, "desiredReplicas": 3, "conditions": [
                {"type": "AbleToScale", "status": able}, {"type": "ScalingActive", "status": "True"},
                {"type": "ScalingLimited", "status": "True", "reason": limited},
            ]}})
        };
        check(of_autoscaler, &autoscaler("True", "TooFewReplicas", 3), None);
        check(of_autoscaler, &autoscaler("True", "TooManyReplicas", 3), Some("greatest number"));
        check(of_autoscaler, &autoscaler("False", "TooFewReplicas", 3), Some("AbleToScale"));
        check(of_autoscaler, &autoscaler("True", "TooFewReplicas", 2), Some("2 of 3"));
        check(of_autoscaler, &json!({"metadata": {}}), Some("not known"));
        let mut stale = autoscaler("True", "TooFewReplicas", 3);
        stale["status"]["observedGeneration"] = json!(1);
        check(of_autoscaler, &stale, Some("not seen"));
    }

    #[test]
    fn a_service_is_well_when_its_endpoints_are_ready() {
        let slices = |endpoints: Value| -> Vec<EndpointSlice> {
            let slice = json!({"metadata": {}, "addressType": "IPv4", "endpoints": endpoints});
            vec![serde_json::from_value(slice).expect("a slice")]
        };
        let endpoint = |ready: bool, ending: bool| json!({"addresses": ["10.0.0.1"], "conditions": {"ready": ready, "terminating": ending}});
        assert_eq!(of_service(&slices(json!([endpoint(true, false), endpoint(false, true)]))), Health::Healthy);
        assert_eq!(of_service(&slices(json!([{"addresses": ["10.0.0.1"]}]))), Health::Healthy);
        assert!(matches!(
            of_service(&slices(json!([endpoint(true, false), endpoint(false, false)]))),
            Health::Unhealthy(_)
        ));
        assert!(matches!(of_service(&slices(json!([endpoint(false, true)]))), Health::Unhealthy(_)));
        assert!(matches!(of_service(&[]), Health::Unhealthy(_)));
    }
}
