//! What a status write counts: encoded as Prometheus reads it.

use kubernaut_api::{AIAnalysis, KubernetesExecution, RemediationProcessing, RemediationRequest, WorkflowExecution};
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

/// Transitions one second apart: phase and reason of each.
fn transitions(steps: &[(&str, &str)]) -> Value {
    let all = steps.iter().enumerate().map(|(index, (to, reason))| {
        let from = index.checked_sub(1).map(|before| steps[before].0);
        json!({"seq": index + 1, "from": from, "to": to, "reason": reason,
               "at": format!("2026-01-01T00:00:{index:02}.000000Z")})
    });
    all.collect()
}

fn object<K: DeserializeOwned>(spec: &Value, mut status: Value, steps: &[(&str, &str)]) -> K {
    status["phase"] = json!(steps.last().unwrap().0);
    status["transitions"] = transitions(steps);
    serde_json::from_value(json!({
        "apiVersion": "kubernaut.io/v1alpha1", "kind": "X",
        "metadata": {"name": "x", "namespace": "ns", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec, "status": status,
    }))
    .unwrap()
}

/// What stands in Prometheus after the object's transitions from `recorded` on were counted.
fn check<K: Measured>(object: &K, recorded: usize, expect: &[&str]) {
    let mut registry = Registry::default();
    Metrics::new(&mut registry).record(object, recorded);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in expect {
        assert!(text.lines().any(|seen| seen == *line), "no {line} in\n{text}");
    }
}

fn target() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"})
}

fn signal() -> Value {
    json!({"source": "alertmanager", "name": "Down", "fingerprint": "0".repeat(64)})
}

#[test]
fn a_request_counts_its_blocks_and_its_end() {
    let spec = json!({"signal": signal(), "target": target()});
    let steps = [("Pending", "Received"), ("Blocked", "Cooldown"), ("Processing", "X"), ("Completed", "AlertResolved")];
    let request: RemediationRequest = object(&spec, json!({"outcome": "Remediated"}), &steps);
    check(
        &request,
        0,
        &[
            r#"kubernaut_remediations_total{outcome="Remediated"} 1"#,
            r#"kubernaut_remediation_duration_seconds_sum{outcome="Remediated"} 3.0"#,
            r#"kubernaut_remediations_blocked_total{reason="Cooldown"} 1"#,
            r#"kubernaut_phase_transitions_total{kind="remediation",phase="Blocked"} 1"#,
            r#"kubernaut_phase_duration_seconds_sum{kind="remediation",phase="Blocked"} 1.0"#,
        ],
    );
}

#[test]
fn only_what_is_new_is_counted() {
    let spec = json!({"signal": signal(), "target": target()});
    let request: RemediationRequest =
        object(&spec, json!({}), &[("Pending", "Received"), ("Blocked", "Cooldown"), ("Cancelled", "CancelledByUser")]);
    let mut registry = Registry::default();
    Metrics::new(&mut registry).record(&request, 2);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(!text.contains(r#"phase="Pending""#) && !text.contains(r#"reason="Cooldown""#), "{text}");
    assert!(text.contains(r#"kubernaut_remediations_total{outcome="Cancelled"} 1"#), "{text}");
}

#[test]
fn a_processing_counts_its_class_and_what_is_missing() {
    let spec = json!({"request": "rr-1", "signal": signal(), "target": target(), "timeout": "5m"});
    let status = json!({
        "evidence": {}, "degraded": ["logs: forbidden", "events: forbidden"],
        "classification": {"severity": "critical", "priority": "P1", "environment": "staging",
                           "signalType": "CrashLoop", "resourceType": "Deployment"},
    });
    let steps = [("Pending", "Created"), ("Enriching", "Collecting"), ("Completed", "Classified")];
    check(
        &object::<RemediationProcessing>(&spec, status, &steps),
        0,
        &[
            r#"kubernaut_processing_ended_total{result="Completed"} 1"#,
            r#"kubernaut_processing_classifications_total{severity="critical",priority="P1",environment="staging"} 1"#,
            r#"kubernaut_processing_signals_total{signal_type="CrashLoop",resource_type="Deployment"} 1"#,
            "kubernaut_processing_degraded_total 1",
            "kubernaut_processing_missing_total 2",
            "kubernaut_processing_evidence_bytes_count 1",
        ],
    );
    let steps = [("Pending", "Created"), ("Failed", "TargetNotFound")];
    let gone = object::<RemediationProcessing>(&spec, json!({}), &steps);
    check(&gone, 0, &["kubernaut_processing_targets_not_found_total 1"]);
}

#[test]
fn an_analysis_counts_cause_plan_and_decision() {
    let spec = json!({"request": "rr-1", "processing": "rp-rr-1", "signal": signal(), "target": target(),
                      "timeout": "10m", "approvalTimeout": "15m"});
    let status = json!({
        "provider": "builtin", "confidence": 0.8, "rootCause": {"cause": "BadRollout", "summary": "x"},
        "plan": {"hash": "0".repeat(64), "rationale": "x", "risk": "Medium",
                 "steps": [{"name": "a", "action": "rollback_deployment", "target": target()}]},
    });
    let steps = [
        ("Pending", "Created"),
        ("Generating", "BadRollout"),
        ("Approval", "ApprovalRequired"),
        ("Completed", "Approved"),
    ];
    check(
        &object::<AIAnalysis>(&spec, status, &steps),
        0,
        &[
            r#"kubernaut_analysis_causes_total{cause="BadRollout",provider="builtin"} 1"#,
            r#"kubernaut_analysis_plans_total{risk="Medium"} 1"#,
            r#"kubernaut_analysis_planned_steps_total{action="rollback_deployment"} 1"#,
            "kubernaut_analysis_approvals_requested_total 1",
            r#"kubernaut_analysis_approvals_decided_total{decision="approved"} 1"#,
            r#"kubernaut_analysis_approval_wait_seconds_sum{decision="approved"} 1.0"#,
        ],
    );
}

#[test]
fn a_workflow_counts_its_steps_and_why_it_failed() {
    let step = |name: &str, action: &str| json!({"name": name, "action": action, "target": target()});
    let spec = json!({"request": "rr-1", "target": target(), "planHash": "0".repeat(64), "timeout": "30m",
                      "steps": [step("a", "restart_pod"), step("b", "made_up"), step("c", "restart_pod"),
                                step("d", "restart_pod")]});
    let status = json!({"steps": [{"name": "a", "phase": "Completed"}, {"name": "b", "phase": "Failed", "retried": 2}, {"name": "c"},
                                  {"name": "d", "skipped": true, "phase": "Completed"}]});
    let steps = [("Pending", "Created"), ("Executing", "PlanValid"), ("RollingBack", "X"), ("Failed", "RolledBack")];
    check(
        &object::<WorkflowExecution>(&spec, status.clone(), &steps),
        0,
        &[
            "kubernaut_workflow_begun_total 1",
            "kubernaut_workflow_planned_steps_sum 4.0",
            "kubernaut_workflow_step_retries_total 2",
            "kubernaut_workflow_steps_skipped_total 1",
            r#"kubernaut_workflow_steps_total{action="restart_pod",result="Completed"} 1"#,
            r#"kubernaut_workflow_steps_total{action="unknown",result="Failed"} 1"#,
            "kubernaut_workflow_steps_not_started_total 1",
            r#"kubernaut_workflow_failures_total{reason="RolledBack"} 1"#,
            r#"kubernaut_workflow_undone_total{result="RolledBack"} 1"#,
            "kubernaut_workflow_undo_duration_seconds_sum 1.0",
        ],
    );
    let refused = [("Pending", "Created"), ("Failed", "InvalidPlan")];
    let refused = object::<WorkflowExecution>(&spec, status, &refused);
    check(&refused, 0, &[r#"kubernaut_workflow_refused_total{reason="InvalidPlan"} 1"#]);
}

#[test]
fn an_action_counts_each_of_its_phases_once_over_several_writes() {
    let spec = json!({"request": "rr-1", "step": "a", "action": "restart_pod", "target": target(),
                      "planHash": "0".repeat(64), "timeout": "5m", "verificationTimeout": "5m"});
    let status = json!({"result": {"effect": "Changed", "message": "x"},
                        "blastRadius": {"pods": 3, "replicas": 3, "workloads": 1, "services": 1, "nodes": 0}});
    let steps = [
        ("Pending", "Created"),
        ("Validating", "Rehearsing"),
        ("Executing", "RehearsalPassed"),
        ("Verifying", "ActionDone"),
        ("RollingBack", "VerifyingTimedOut"),
        ("Failed", "RolledBack"),
    ];
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    for (recorded, written) in [(0, 3), (3, 4), (4, 6)] {
        metrics.record(&object::<KubernetesExecution>(&spec, status.clone(), &steps[..written]), recorded);
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"kubernaut_action_ended_total{action="restart_pod",result="Failed"} 1"#,
        r#"kubernaut_action_rehearsals_total{action="restart_pod",result="passed"} 1"#,
        r#"kubernaut_action_effects_total{action="restart_pod",result="Changed"} 1"#,
        r#"kubernaut_action_blast_radius_sum{action="restart_pod",object="pods"} 3.0"#,
        r#"kubernaut_action_job_duration_seconds_count{action="restart_pod"} 1"#,
        r#"kubernaut_action_verification_duration_seconds_count{action="restart_pod"} 1"#,
        r#"kubernaut_action_undone_total{action="restart_pod",result="RolledBack"} 1"#,
        r#"kubernaut_action_failures_total{action="restart_pod",reason="RolledBack"} 1"#,
    ] {
        assert!(text.lines().any(|seen| seen == line), "no {line} in\n{text}");
    }
}

#[test]
fn each_stage_has_as_many_metrics_as_the_contract_asks() {
    let mut registry = Registry::default();
    Metrics::new(&mut registry).sample();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    // R3.4, R4.8, R5.7, R6.7
    for (stage, least) in [("processing", 8), ("analysis", 10), ("workflow", 12), ("action", 10)] {
        let count = text.lines().filter(|line| line.starts_with(&format!("# TYPE kubernaut_{stage}_"))).count();
        assert!(count >= least, "{stage}: {count}");
    }
}
