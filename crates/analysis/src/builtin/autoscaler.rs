//! An autoscaler is at its maximum and wants more, and the workload is well: raise the maximum by half.
//!
//! Nothing is proposed above 100 replicas, or when one pod is not ready: then more pods would not help. A
//! revision of the last hour may itself have brought the load, and what Kubernaut raised before is
//! raised again only by a person's word.

use kubernaut_api::evidence::{Autoscaler, Metric};
use kubernaut_api::workflow::{OnFailure, Step};
use kubernaut_domain::catalogue::Quantity;
use kubernaut_domain::diagnosis::Finding;
use serde_json::json;

use super::Diagnoser;
use super::facts::{Facts, cite};

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "autoscaler",
    causes: &["AutoscalerAtMaximum"],
    fits: "An autoscaler is at its maximum and wants more, and every pod is ready.",
    signals: &[
        ("the autoscaler is at its maximum and limited by it", 0.36),
        ("what it measures is above its target", 0.24),
        ("every replica is ready", 0.16),
        ("no revision was made within the last hour", 0.12),
        ("Kubernaut has not changed it before", 0.12),
    ],
    proposes: "`update_hpa` to a maximum half as high again, up to 100.",
    diagnose,
};

/// No maximum is raised above it.
const CAP: i32 = 100;

fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let scaler = facts.evidence.autoscalers.iter().find(|one| is_pinned(one))?;
    let workload = facts.workload;
    let ready = workload.ready_replicas >= workload.replicas && workload.replicas >= scaler.max_replicas;
    let above: Vec<&Metric> = scaler.metrics.iter().filter(|metric| is_above(metric)).collect();
    // A second autoscaler over the same workload would fight with it.
    let alone = facts.evidence.autoscalers.len() == 1;
    let raised = raised(scaler.max_replicas).filter(|_| ready && alone && !above.is_empty() && !workload.paused);

    let name = &scaler.object.name;
    let measured = above.iter().map(|metric| {
        let current = metric.current.as_deref().unwrap_or_default();
        format!(", {} is {current} where {} is aimed at", metric.name, metric.target)
    });
    let told = format!(
        "{} of at most {} replicas{}",
        scaler.current_replicas,
        scaler.max_replicas,
        measured.collect::<String>()
    );
    Some(Finding {
        cause: "AutoscalerAtMaximum".into(),
        summary: format!(
            "{} cannot scale out: autoscaler {name} is at its maximum of {}.",
            facts.object(),
            scaler.max_replicas
        ),
        evidence: vec![cite(&scaler.object.kind, name, told), facts.cite_workload()],
        contributing_factors: if scaler.changed_before {
            vec!["Kubernaut has changed this autoscaler before.".into()]
        } else {
            vec![]
        },
        signals: DIAGNOSER.signals(&[true, !above.is_empty(), ready, !facts.fresh(), !scaler.changed_before]),
        rationale: match raised {
            Some(raised) => {
                format!("The pods are well and there are too few of them: up to {raised} may share the load.")
            }
            None => "More replicas are beyond what may be proposed, or would not help: a person has to look.".into(),
        },
        steps: raised.map(|raised| step(scaler, raised)).into_iter().collect(),
    })
}

/// At its maximum, and only that keeps it from more.
fn is_pinned(scaler: &Autoscaler) -> bool {
    let limited = |type_: &str, reason: &str| {
        scaler.conditions.iter().any(|one| one.type_ == type_ && one.status == "True" && one.reason == reason)
    };
    let max = scaler.max_replicas;
    scaler.current_replicas >= max && scaler.desired_replicas >= max && limited("ScalingLimited", "TooManyReplicas")
}

fn is_above(metric: &Metric) -> bool {
    let amount = |text: &str| Quantity::parse(text.trim_end_matches('%')).ok();
    let current = metric.current.as_deref().and_then(amount);
    current.is_some() && current > amount(&metric.target)
}

/// Half as many again; `None` above the cap.
fn raised(max: i32) -> Option<i32> {
    let raised = max.checked_add(max.checked_add(1)? / 2)?;
    (max > 0 && raised <= CAP).then_some(raised)
}

fn step(scaler: &Autoscaler, raised: i32) -> Step {
    Step {
        name: "raise-maximum".into(),
        action: "update_hpa".into(),
        target: scaler.object.clone(),
        parameters: [("maxReplicas".to_owned(), json!(raised))].into(),
        depends_on: Vec::new(),
        on_failure: OnFailure::Fail,
        ..Step::default()
    }
}

#[cfg(test)]
mod tests {
    use super::raised;

    #[test]
    fn a_maximum_is_raised_by_half_and_never_above_the_cap() {
        for (max, expected) in [
            (1, Some(2)),
            (3, Some(5)),
            (4, Some(6)),
            (66, Some(99)),
            (67, None),
            (100, None),
            (0, None),
            (i32::MAX, None),
        ] {
            assert_eq!(raised(max), expected, "{max}");
        }
    }
}
