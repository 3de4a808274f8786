//! A RemediationWorkflow is proposed where an analysis has no plan, and never runs by itself.

use kubernaut_api::{AnalysisPhase, RemediationWorkflow, Staged, TargetRef};
use kubernaut_domain::diagnosis::{Diagnosis, Finding};
use kubernaut_domain::proposal::{Trouble, consider, is_due};
use kubernaut_domain::settings::Settings;
use serde_json::json;

use crate::analysis::{advance, begun};
use crate::by_hand::{entry, scaling};
use crate::given::{finding, made, settings, target};

fn unknown() -> Diagnosis {
    Diagnosis::Unknown { summary: "nothing stands out".into() }
}

/// A finding for which no action is known.
fn without_steps(cause: &str) -> Diagnosis {
    Diagnosis::Found(Box::new(Finding { cause: cause.into(), steps: vec![], ..finding(95) }))
}

fn considered(diagnosis: Diagnosis, alert: &str, workflows: &[RemediationWorkflow], settings: &Settings) -> Diagnosis {
    consider(diagnosis, workflows, Trouble { alert, target: &target() }, settings)
}

/// How an analysis with this diagnosis goes on.
fn ends(diagnosis: Diagnosis, settings: Settings) -> (Option<AnalysisPhase>, Option<f64>) {
    let mut seen = begun(Some(diagnosis));
    seen.settings = settings;
    let (plan, _) = advance(&mut seen);
    assert_eq!(plan.child.is_some(), seen.analysis.phase() == Some(AnalysisPhase::Approval));
    (seen.analysis.phase(), plan.status.confidence)
}

#[test]
fn where_no_cause_was_found_or_no_action_fits_a_person_is_asked_about_the_entry() {
    for diagnosis in [unknown(), without_steps("BadRollout"), without_steps("Overload")] {
        let proposed = considered(diagnosis, "QueueGrows", &[entry(scaling())], &settings());
        let Diagnosis::Found(found) = &proposed else { panic!("a finding, not {proposed:?}") };
        assert_eq!(found.steps[0].parameters.get("replicas"), Some(&json!(2)));
        assert!(found.rationale.contains("scale-out is meant for it: the queue grows"), "{}", found.rationale);
        assert_eq!(ends(proposed, settings()), (Some(AnalysisPhase::Approval), Some(0.7)));
    }
}

#[test]
fn an_entry_that_is_meant_for_the_cause_is_proposed_whatever_the_alert() {
    let proposed = considered(without_steps("Overload"), "Other", &[entry(scaling())], &settings());
    assert_eq!(ends(proposed, settings()).0, Some(AnalysisPhase::Approval));
}

#[test]
fn a_plan_and_a_healthy_target_are_left_alone() {
    let healthy = Diagnosis::NothingWrong { evidence: vec![] };
    for diagnosis in [Diagnosis::Found(Box::new(finding(95))), healthy] {
        assert!(!is_due(&diagnosis));
        assert_eq!(considered(diagnosis.clone(), "QueueGrows", &[entry(scaling())], &settings()), diagnosis);
    }
}

#[test]
fn what_fits_nothing_stays_as_it_is() {
    assert_eq!(considered(unknown(), "Other", &[entry(scaling())], &settings()), unknown());
    assert_eq!(considered(unknown(), "QueueGrows", &[], &settings()), unknown());
    assert_eq!(ends(unknown(), settings()).0, Some(AnalysisPhase::Rejected));
}

#[test]
fn of_several_the_first_by_name_is_taken_in_whatever_order_they_come() {
    let named = |name: &str, replicas: i32| {
        let mut spec = scaling();
        spec.parameters[0].default = Some(json!(replicas));
        made(RemediationWorkflow::new(name, spec))
    };
    for workflows in [[named("b", 4), named("a", 3)], [named("a", 3), named("b", 4)]] {
        let Diagnosis::Found(found) = considered(unknown(), "QueueGrows", &workflows, &settings()) else {
            panic!("a finding")
        };
        assert_eq!(found.steps[0].parameters.get("replicas"), Some(&json!(3)));
    }
}

#[test]
fn it_never_runs_by_itself_whatever_the_thresholds_are() {
    for (reject_below, approve_above) in
        [(0.7, 0.9), (0.0, 0.0), (0.704, 0.704), (0.9, 0.9), (1.0, 1.0), (0.5, 0.504), (0.0, 1.0), (0.999, 0.999)]
    {
        let settings = Settings { approve_above, reject_below, ..settings() };
        let proposed = considered(unknown(), "QueueGrows", &[entry(scaling())], &settings);
        let (phase, _) = ends(proposed, settings);
        assert!(
            matches!(phase, Some(AnalysisPhase::Approval | AnalysisPhase::Rejected)),
            "{reject_below} {approve_above}: {phase:?}"
        );
    }
}

#[test]
fn its_steps_may_touch_the_target_and_what_the_evidence_names_and_nothing_else() {
    let mut spec = scaling();
    spec.steps[0].target =
        Some(TargetRef { namespace: Some("kube-system".into()), name: "coredns".into(), ..target() });
    let proposed = considered(unknown(), "QueueGrows", &[entry(spec)], &settings());
    let mut seen = begun(Some(proposed));
    let (plan, _) = advance(&mut seen);
    assert_eq!(seen.analysis.phase(), Some(AnalysisPhase::Rejected));
    assert_eq!(plan.status.reason.as_deref(), Some("InvalidPlan"));
}
