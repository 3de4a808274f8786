//! Workflows that a person made by hand, with steps or the name of a RemediationWorkflow.

use kubernaut_api::approval::{Decision, SecondDecision};
use kubernaut_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kubernaut_api::remediation_workflow::{
    Match, ParameterDefinition, RemediationWorkflowSpec, StepTemplate, ValueType,
};
use kubernaut_api::workflow::{Step, WorkflowRef};
use kubernaut_api::{
    ExecutionPhase, RemediationApproval, RemediationApprovalStatus, RemediationWorkflow, ResourceExt, Staged,
    TargetRef, Time, WorkflowPhase,
};
use kubernaut_domain::stage::Next;
use kubernaut_domain::workflow::{Seen, decide, targets, template};
use serde_json::{Value, json};

use crate::given::{assert_owned_by_name, at, made, step, target};
use crate::steps::changed;
use crate::workflow::{advance, begun};

/// What is seen of a workflow that a person made with these steps.
pub fn by_hand(steps: Vec<Step>) -> Seen {
    let mut seen = begun(steps);
    let workflow = &mut seen.workflow;
    workflow.metadata.name = Some("by-hand".into());
    workflow.metadata.owner_references = None;
    (workflow.spec.request, workflow.spec.plan_hash) = (None, None);
    seen
}

/// A step of high risk: it asks.
fn risky() -> Step {
    let pod = TargetRef { api_version: "v1".into(), kind: "Pod".into(), uid: Some("u".into()), ..target() };
    Step { action: "delete_pod".into(), target: pod, parameters: [].into(), ..step("delete", &[]) }
}

fn last(trail: &[String]) -> Option<&str> {
    trail.last().map(String::as_str)
}

fn message(seen: &Seen) -> String {
    seen.workflow.status.as_ref().and_then(|status| status.message.clone()).unwrap_or_default()
}

#[test]
fn it_runs_like_any_other_and_its_own_name_is_what_names_derive_from() {
    let mut seen = by_hand(vec![step("a", &[]), step("b", &["a"])]);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(last(&trail), Some("Executing PlanValid"));
    let [child] = plan.children.as_slice() else { panic!("one execution, not {:?}", plan.children) };
    assert_eq!(child.name_any(), "ke-by-hand-a");
    assert_owned_by_name(child, &seen.workflow, "by-hand", &["kubernaut.io/outbox"]);
    assert_eq!(child.spec.request, "by-hand");
    assert_eq!(Some(&child.spec.plan_hash), plan.status.plan_hash.as_ref(), "the hash is computed and recorded");
    assert_eq!(seen.workflow.request_name(), "by-hand");
    for name in ["a", "b"] {
        changed(&mut seen, name);
        advance(&mut seen);
    }
    assert_eq!(seen.workflow.phase(), Some(WorkflowPhase::Completed));
}

#[test]
fn a_hash_that_is_given_has_to_be_that_of_the_steps() {
    let mut seen = by_hand(vec![step("a", &[])]);
    seen.workflow.spec.plan_hash = Some("0".repeat(64));
    assert_eq!(last(&advance(&mut seen).1), Some("Failed PlanChanged"));
}

#[test]
fn what_is_out_of_scope_is_refused_with_the_command_that_opts_in() {
    let mut seen = by_hand(vec![step("a", &[])]);
    seen.out_of_scope = vec!["Deployment/shop/web is not in scope: kubectl label …".into()];
    let (plan, trail) = advance(&mut seen);
    assert_eq!(last(&trail), Some("Failed OutOfScope"));
    assert!(plan.children.is_empty() && message(&seen).contains("kubectl label"));
}

#[test]
fn every_target_of_its_steps_is_one_whose_scope_is_looked_at() {
    let other = TargetRef { name: "other".into(), ..target() };
    let seen = by_hand(vec![step("a", &[]), Step { target: other.clone(), ..step("b", &[]) }]);
    assert_eq!(targets(&seen.workflow, None), [other, target()]);
}

#[test]
fn a_controlling_owner_is_refused_where_there_is_no_request() {
    let mut seen = by_hand(vec![step("a", &[])]);
    seen.workflow.metadata.owner_references = begun(vec![]).workflow.metadata.owner_references;
    assert_eq!(last(&advance(&mut seen).1), Some("Failed InvalidPlan"));
    assert!(message(&seen).starts_with("metadata.ownerReferences"));
}

#[test]
fn cancelled_in_any_phase_nothing_new_starts() {
    let cancel = |seen: &mut Seen| seen.workflow.spec.cancelled = true;
    let mut seen = by_hand(vec![step("a", &[]), step("b", &["a"])]);
    cancel(&mut seen);
    assert_eq!(advance(&mut seen).1, ["Pending Created", "Cancelled CancelledByUser"]);

    let mut seen = by_hand(vec![step("a", &[]), step("b", &["a"])]);
    advance(&mut seen);
    cancel(&mut seen);
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty() && plan.children.is_empty(), "a runs and is left to end");
    changed(&mut seen, "a");
    assert_eq!(advance(&mut seen).1, ["Cancelled CancelledByUser"]);

    let mut seen = by_hand(vec![risky()]);
    advance(&mut seen);
    cancel(&mut seen);
    assert_eq!(advance(&mut seen).1, ["Cancelled CancelledByUser"]);
}

fn asked(seen: &mut Seen) -> RemediationApproval {
    let (plan, trail) = advance(seen);
    assert_eq!(last(&trail), Some("Validating ApprovalRequired"));
    assert!(plan.children.is_empty());
    assert_eq!(plan.notices.len(), 1);
    assert_eq!(plan.next, Next::At(at(900)));
    made(*plan.question.expect("a question"))
}

/// Answered in the hundredth second.
fn decided(mut question: RemediationApproval, decision: Decision) -> RemediationApproval {
    question.metadata.managed_fields = Some(vec![ManagedFieldsEntry {
        subresource: Some("status".into()),
        time: Some(Time(at(100).0)),
        ..ManagedFieldsEntry::default()
    }]);
    question.status = Some(RemediationApprovalStatus {
        decision: Some(decision),
        decided_by: Some("ada".into()),
        ..RemediationApprovalStatus::default()
    });
    question
}

#[test]
fn a_step_of_high_risk_asks_a_person_first() {
    let mut seen = by_hand(vec![step("a", &[]), risky()]);
    let question = asked(&mut seen);
    assert_eq!(question.name_any(), "rap-by-hand");
    assert_owned_by_name(&question, &seen.workflow, "by-hand", &[]);
    assert_eq!(
        Some(&question.spec.plan_hash),
        seen.workflow.status.as_ref().and_then(|status| status.plan_hash.as_ref())
    );
    assert_eq!(question.spec.steps.len(), 2);
    assert!(decide(&seen).question.is_some(), "asked again as it is missing");

    seen.approval = Some(question.clone());
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty() && plan.question.is_none() && plan.children.is_empty());
    seen.approval = Some(decided(question, Decision::Approved));
    let (plan, trail) = advance(&mut seen);
    assert_eq!((trail, plan.children.len()), (vec!["Executing Approved".to_owned()], 2));
}

#[test]
fn a_no_or_no_answer_ends_it_without_a_step() {
    let mut seen = by_hand(vec![risky()]);
    let question = asked(&mut seen);
    seen.approval = Some(decided(question.clone(), Decision::Rejected));
    assert_eq!(advance(&mut seen.clone()).1, ["Failed RejectedByPerson"]);
    seen.approval = Some(question);
    seen.now = at(900);
    assert_eq!(advance(&mut seen).1, ["Failed ApprovalExpired"]);
}

#[test]
fn an_answer_about_another_plan_is_none() {
    let mut seen = by_hand(vec![risky()]);
    let mut question = decided(asked(&mut seen), Decision::Approved);
    question.spec.plan_hash = "0".repeat(64);
    seen.approval = Some(question);
    assert!(advance(&mut seen).1.is_empty());
}

#[test]
fn an_answer_given_in_time_counts_however_late_it_is_read() {
    let mut seen = by_hand(vec![risky()]);
    let question = asked(&mut seen);
    seen.approval = Some(decided(question, Decision::Approved));
    seen.now = at(5000);
    assert_eq!(advance(&mut seen).1, ["Executing Approved"]);
}

#[test]
fn who_made_it_cannot_approve_it_and_two_people_are_two() {
    let mut seen = by_hand(vec![risky()]);
    seen.settings.approvers = 2;
    seen.workflow.metadata.annotations = Some([("kubernaut.io/requested-by".to_owned(), "ada".to_owned())].into());
    let question = asked(&mut seen);
    assert_eq!((question.spec.requested_by.as_deref(), question.spec.approvers), (Some("ada"), 2));
    seen.approval = Some(decided(question.clone(), Decision::Approved));
    assert!(advance(&mut seen).1.is_empty(), "by ada, who asked for it");
    let mut by_others = decided(question, Decision::Approved);
    let status = by_others.status.get_or_insert_default();
    status.decided_by = Some("ben".into());
    seen.approval = Some(by_others.clone());
    assert!(advance(&mut seen).1.is_empty(), "by one of two");
    by_others.status.get_or_insert_default().second =
        Some(SecondDecision { decision: Decision::Approved, decided_by: "cleo".into(), comment: None });
    seen.approval = Some(by_others);
    assert_eq!(advance(&mut seen).1, ["Executing Approved"]);
}

#[test]
fn a_dry_run_asks_nobody() {
    let mut seen = by_hand(vec![risky()]);
    seen.workflow.spec.dry_run = true;
    let (plan, trail) = advance(&mut seen);
    assert_eq!(last(&trail), Some("Executing PlanValid"));
    assert!(plan.question.is_none() && plan.children[0].spec.dry_run);
}

// Of the catalogue.

pub fn scaling() -> RemediationWorkflowSpec {
    RemediationWorkflowSpec {
        when_to_use: "the queue grows".into(),
        matches: Some(Match {
            alerts: vec!["QueueGrows".into()],
            causes: vec!["Overload".into()],
            target_kinds: vec!["Deployment".into()],
        }),
        parameters: vec![ParameterDefinition {
            name: "replicas".into(),
            type_: ValueType::Integer,
            min: Some(1),
            max: Some(5),
            default: Some(json!(2)),
            ..ParameterDefinition::default()
        }],
        steps: vec![StepTemplate {
            name: "scale".into(),
            action: "scale_deployment".into(),
            parameters: [("replicas".to_owned(), json!("$(params.replicas)"))].into(),
            ..StepTemplate::default()
        }],
    }
}

pub fn entry(spec: RemediationWorkflowSpec) -> RemediationWorkflow {
    made(RemediationWorkflow::new("scale-out", spec))
}

/// A workflow that names the entry, with these parameters.
fn named(parameters: &Value, spec: RemediationWorkflowSpec) -> Seen {
    let mut seen = by_hand(vec![]);
    let parameters = parameters.as_object().cloned().unwrap_or_default().into_iter().collect();
    seen.workflow.spec.workflow_ref = Some(WorkflowRef { name: "scale-out".into(), parameters });
    seen.template = Some(entry(spec));
    seen
}

#[test]
fn an_entry_is_filled_in_taken_down_and_run() {
    let mut seen = named(&json!({"replicas": 3}), scaling());
    let (plan, trail) = advance(&mut seen);
    assert_eq!(last(&trail), Some("Executing PlanValid"));
    assert_eq!(plan.children[0].spec.parameters.get("replicas"), Some(&json!(3)), "a number stays one");
    assert_eq!(plan.children[0].spec.target, target());
    let expanded = plan.status.expanded.clone().expect("taken down");
    assert_eq!((expanded.workflow.as_str(), expanded.hash), ("scale-out", template::hash(&scaling())));

    // What becomes of the entry does not matter any more.
    let mut other = scaling();
    other.steps[0].action = "drain_node".into();
    seen.template = Some(entry(other));
    changed(&mut seen, "scale");
    assert_eq!(last(&advance(&mut seen).1), Some("Completed StepsCompleted"));
}

#[test]
fn a_default_stands_for_what_is_not_given() {
    let (plan, _) = advance(&mut named(&json!({}), scaling()));
    assert_eq!(plan.children[0].spec.parameters.get("replicas"), Some(&json!(2)));
}

#[test]
fn an_entry_that_is_not_there_is_refused() {
    let mut seen = named(&json!({}), scaling());
    seen.template = None;
    assert_eq!(last(&advance(&mut seen).1), Some("Failed WorkflowNotFound"));
    assert!(message(&seen).starts_with("spec.workflowRef.name"));
}

#[test]
fn parameters_that_do_not_fit_are_refused_with_their_field() {
    for (parameters, why) in [
        (json!({"replicas": 6}), "spec.workflowRef.parameters.replicas: must be an integer from 1 to 5"),
        (json!({"replicas": 0}), "replicas: must be an integer from 1 to 5"),
        (json!({"replicas": "3"}), "replicas: must be an integer from 1 to 5"),
        (json!({"replicas": 2.5}), "replicas: must be an integer from 1 to 5"),
        (json!({"colour": "red"}), "spec.workflowRef.parameters.colour: is not a parameter"),
    ] {
        let mut seen = named(&parameters, scaling());
        let (plan, trail) = advance(&mut seen);
        assert_eq!(last(&trail), Some("Failed InvalidParameters"), "{parameters}");
        assert!(plan.children.is_empty() && message(&seen).contains(why), "{:?}", message(&seen));
    }
}

/// An entry whose only parameter is so, and what is wrong with a value for it.
#[allow(clippy::needless_pass_by_value)] // a table
fn check_value(definition: ParameterDefinition, value: Value, expect: Option<&str>) {
    let mut spec = scaling();
    spec.parameters.push(ParameterDefinition { name: "other".into(), ..definition.clone() });
    let given = [("other".to_owned(), value.clone())].into();
    let problems = template::expand(&spec, &target(), &given).err().unwrap_or_default().join("; ");
    match expect {
        None => assert_eq!(problems, "", "{definition:?} takes {value}"),
        Some(why) => assert!(problems.contains(why), "{definition:?} and {value}: {problems:?} names {why:?}"),
    }
}

#[test]
fn each_type_takes_what_it_says() {
    let of = |type_: ValueType| ParameterDefinition { type_, ..ParameterDefinition::default() };
    check_value(of(ValueType::Boolean), json!(true), None);
    check_value(of(ValueType::Boolean), json!("true"), Some("must be true or false"));
    check_value(of(ValueType::Name), json!("web.shop"), None);
    check_value(of(ValueType::Name), json!("../kube-system"), Some("must be the name"));
    check_value(of(ValueType::Quantity), json!("256Mi"), None);
    check_value(of(ValueType::Quantity), json!("-1"), Some("must be a quantity"));
    check_value(of(ValueType::String), json!("any text; $(id)"), None);
    check_value(of(ValueType::String), json!(1), Some("must be a text"));
    check_value(of(ValueType::String), json!("x".repeat(1025)), Some("at most 1024"));
    let pattern = ParameterDefinition { pattern: Some("a|b+".into()), ..of(ValueType::String) };
    check_value(pattern.clone(), json!("bbb"), None);
    check_value(pattern.clone(), json!("bbbx"), Some("as a whole"));
    check_value(pattern, json!("xa"), Some("as a whole"));
    let words = ParameterDefinition { one_of: vec!["soft".into(), "hard".into()], ..of(ValueType::String) };
    check_value(words.clone(), json!("soft"), None);
    check_value(words, json!("firm"), Some("must be soft or hard"));
}

#[test]
fn a_value_is_never_read_as_a_hole_nor_put_into_a_larger_text() {
    let mut spec = scaling();
    spec.parameters = vec![ParameterDefinition { name: "text".into(), ..ParameterDefinition::default() }];
    spec.steps[0].parameters = [("settings".to_owned(), json!({"a": "$(params.text)", "b": "$$(params.text)"}))].into();
    let given = [("text".to_owned(), json!("$(target.name) $(id)"))].into();
    let steps = template::expand(&spec, &target(), &given).expect("steps");
    assert_eq!(steps[0].parameters["settings"], json!({"a": "$(target.name) $(id)", "b": "$(params.text)"}));
}

#[test]
fn holes_of_the_target_and_those_without_a_value() {
    let mut spec = scaling();
    spec.parameters.push(ParameterDefinition { name: "gone".into(), ..ParameterDefinition::default() });
    spec.steps[0].target = Some(TargetRef {
        api_version: "v1".into(),
        kind: "Service".into(),
        namespace: Some("$(target.namespace)".into()),
        name: "$(target.name)".into(),
        uid: Some("$(params.gone)".into()),
    });
    spec.steps[0].parameters.insert("extra".into(), json!("$(params.gone)"));
    let steps = template::expand(&spec, &target(), &[].into()).expect("steps");
    let service = TargetRef { api_version: "v1".into(), kind: "Service".into(), uid: None, ..target() };
    assert_eq!(steps[0].target, service);
    assert!(!steps[0].parameters.contains_key("extra"), "what has no value is left out");
}

/// An entry that is not sound, for this reason.
fn check_unsound(change: impl FnOnce(&mut RemediationWorkflowSpec), why: &str) {
    let mut spec = scaling();
    change(&mut spec);
    let problems = template::problems(&spec).join("; ");
    assert!(problems.contains(why), "{problems:?} names {why:?}");
    let mut seen = named(&json!({}), spec);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(last(&trail), Some("Failed WorkflowInvalid"));
    assert!(plan.children.is_empty());
}

#[test]
fn an_entry_that_could_never_run_is_not_sound() {
    fn replicas(spec: &mut RemediationWorkflowSpec, value: Value) {
        spec.steps[0].parameters.insert("replicas".into(), value);
    }
    assert_eq!(template::problems(&scaling()), [] as [String; 0]);
    check_unsound(
        |spec| replicas(spec, json!("$(params.x)")),
        "spec.steps[scale].parameters.replicas: there is no parameter x",
    );
    check_unsound(|spec| replicas(spec, json!("$(params)")), "is neither $(params.NAME)");
    check_unsound(|spec| replicas(spec, json!("$(env.HOME)")), "is neither $(params.NAME)");
    check_unsound(|spec| replicas(spec, json!("$(target.secret)")), "is neither $(params.NAME)");
    check_unsound(|spec| replicas(spec, json!("n=$(params.replicas)")), "stands within a larger text");
    check_unsound(|spec| replicas(spec, json!(-1)), "parameters.replicas: must be an integer");
    check_unsound(|spec| spec.steps[0].parameters.clear(), "parameters.replicas: is required");
    check_unsound(|spec| spec.steps[0].action = "drop_database".into(), "action: is not one of");
    check_unsound(|spec| spec.steps[0].depends_on = vec!["x".into()], "dependsOn: there is no step x");
    check_unsound(|spec| spec.steps[0].depends_on = vec!["scale".into()], "goes in a circle");
    check_unsound(|spec| spec.steps[0].condition = Some("steps.".into()), "condition: is no CEL expression");
    check_unsound(|spec| spec.steps.push(spec.steps[0].clone()), "the name scale stands twice");
    check_unsound(
        |spec| spec.parameters.push(spec.parameters[0].clone()),
        "spec.parameters[replicas]: the name stands twice",
    );
    check_unsound(
        |spec| spec.parameters[0].default = Some(json!(9)),
        "spec.parameters[replicas].default: must be an integer",
    );
    check_unsound(|spec| spec.parameters[0].min = Some(7), "min: is greater than max");
    check_unsound(|spec| spec.parameters[0].pattern = Some("a".into()), "only a text has a pattern");
    let text = |pattern: &str| ParameterDefinition {
        name: "t".into(),
        pattern: Some(pattern.into()),
        ..ParameterDefinition::default()
    };
    check_unsound(|spec| spec.parameters.push(text("(")), "spec.parameters[t].pattern: ");
    check_unsound(|spec| spec.parameters.push(text("a)|(b")), "spec.parameters[t].pattern: ");
    check_unsound(|spec| spec.parameters.push(text("((((a{99}){99}){99}){99})")), "spec.parameters[t].pattern: ");
}

#[test]
fn an_entry_fits_by_alert_or_cause_and_kind_when_nothing_has_to_be_given() {
    let fits = |change: fn(&mut RemediationWorkflowSpec), alert: &str, cause: Option<&str>, kind: &str| {
        let mut spec = scaling();
        change(&mut spec);
        template::fits(&entry(spec), alert, cause, &TargetRef { kind: kind.into(), ..target() })
    };
    let same: fn(&mut RemediationWorkflowSpec) = |_| {};
    assert!(fits(same, "QueueGrows", None, "Deployment"));
    assert!(fits(same, "Other", Some("Overload"), "Deployment"));
    assert!(!fits(same, "Other", Some("BadRollout"), "Deployment"));
    assert!(!fits(same, "QueueGrows", None, "Node"));
    assert!(!fits(|spec| spec.matches = None, "QueueGrows", None, "Deployment"));
    let required: fn(&mut RemediationWorkflowSpec) = |spec| {
        spec.parameters[0].default = None;
        spec.parameters[0].required = true;
    };
    assert!(!fits(required, "QueueGrows", None, "Deployment"));
    assert!(!fits(|spec| spec.steps[0].action = "x".into(), "QueueGrows", None, "Deployment"));
}

#[test]
fn a_workflow_of_the_catalogue_is_decided_alike_a_day_later() {
    let mut seen = named(&json!({"replicas": 3}), scaling());
    seen.workflow.spec.timeout = std::time::Duration::from_hours(1000).into();
    advance(&mut seen);
    seen.template = None;
    let first = decide(&seen);
    seen.now = crate::given::later(&seen.now, 86_400);
    assert_eq!(decide(&seen), first);
    assert_eq!(seen.workflow.status.as_ref().map(|status| status.steps[0].phase), Some(Some(ExecutionPhase::Pending)));
}
