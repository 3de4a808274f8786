//! The decision about an AIAnalysis.

use kubernaut_api::analysis::{Citation, Risk};
use kubernaut_api::approval::Decision;
use kubernaut_api::evidence::{Upstream, Workload};
use kubernaut_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kubernaut_api::workflow::Step;
use kubernaut_api::{
    AIAnalysis, AnalysisPhase, Evidence, MicroTime, RemediationApproval, RemediationApprovalStatus, RequestPhase,
    ResourceExt, TargetRef, Time,
};
use kubernaut_domain::analysis::{Plan, Seen, decide};
use kubernaut_domain::diagnosis::{Diagnosis, Finding};
use kubernaut_domain::plan;
use kubernaut_domain::stage::Next;
use serde_json::json;

use crate::given::{
    REQUEST, allowed, assert_owned, assert_sound, at, evidence, finding, made, settings, step, target, trail,
};
use crate::request;

fn analysis() -> AIAnalysis {
    request::walk(request::begun(), RequestPhase::Analyzing).analysis.expect("an analysis")
}

/// What is seen of a new analysis whose provider answers with this.
pub fn begun(diagnosis: Option<Diagnosis>) -> Seen {
    Seen {
        analysis: analysis(),
        request_over: false,
        evidence: Some(evidence()),
        answer: diagnosis.map(|diagnosis| ("builtin".to_owned(), diagnosis)),
        policy: Some(allowed()),
        requested_by: None,
        approval: None,
        settings: settings(),
        now: at(0),
    }
}

pub fn found(hundredths: u32) -> Diagnosis {
    Diagnosis::Found(Box::new(finding(hundredths)))
}

pub fn advance(seen: &mut Seen) -> (Plan, Vec<String>) {
    let plan = decide(seen);
    let after = assert_sound(&seen.analysis, &plan.status, &seen.now, &plan.next);
    let trail = trail(&seen.analysis, &after);
    seen.analysis = after;
    if let Some(child) = &plan.child {
        seen.approval = Some(made(child.as_ref().clone()));
    }
    (plan, trail)
}

const ANALYZING: [&str; 2] = ["Pending Created", "Analyzing Analyzing"];

/// A new analysis and this answer: after the first two phases, these transitions.
fn check(diagnosis: Option<Diagnosis>, expect: &[&str]) -> Plan {
    let mut seen = begun(diagnosis);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail[..2], ANALYZING);
    assert_eq!(trail[2..], *expect);
    plan
}

/// A finding that is sound but for one thing: it is rejected, and the message says why.
fn check_refused(change: impl Fn(&mut Finding), why: &str) {
    let mut bad = finding(95);
    change(&mut bad);
    let plan = check(Some(Diagnosis::Found(Box::new(bad))), &["Generating BadRollout", "Rejected InvalidPlan"]);
    let message = plan.status.message.clone().unwrap_or_default();
    assert!(message.contains(why), "{message:?} names {why:?}");
    assert_eq!(plan.status.plan, None, "what is refused is no plan");
    assert_eq!(plan.child, None);
}

/// An analysis that asked a person at second 0.
pub fn asked() -> Seen {
    let mut seen = begun(Some(found(80)));
    advance(&mut seen);
    seen.answer = None;
    seen
}

pub fn say(seen: &mut Seen, decision: Decision) {
    if let Some(approval) = &mut seen.approval {
        taken(approval, &at(30));
        approval.status = Some(RemediationApprovalStatus {
            decision: Some(decision),
            decided_by: Some("ada".into()),
            comment: Some("looks right".into()),
            ..RemediationApprovalStatus::default()
        });
    }
}

/// The API server's record of when the status was written.
pub fn taken(approval: &mut RemediationApproval, when: &MicroTime) {
    let write = ManagedFieldsEntry {
        manager: Some("kubectl-patch".into()),
        subresource: Some("status".into()),
        time: Some(Time(when.0)),
        ..ManagedFieldsEntry::default()
    };
    approval.metadata.managed_fields = Some(vec![write]);
}

#[test]
fn a_sure_finding_becomes_a_plan_that_runs_by_itself() {
    let plan = check(Some(found(95)), &["Generating BadRollout", "Completed BadRollout"]);
    let status = plan.status;
    assert_eq!(status.provider.as_deref(), Some("builtin"));
    assert_eq!(status.confidence, Some(0.95));
    let chosen = status.plan.expect("a plan");
    assert_eq!(chosen.steps, [step("rollback", &[])]);
    assert_eq!(chosen.hash, plan::hash(&chosen.steps));
    assert_eq!(chosen.risk, Some(Risk::Medium));
    assert_eq!(status.root_cause.map(|cause| cause.cause).as_deref(), Some("BadRollout"));
    assert_eq!((plan.child, plan.next), (None, Next::OnChange));
}

#[test]
fn the_thresholds_themselves_ask_a_person() {
    let table = [
        (100, "Completed BadRollout"),
        (91, "Completed BadRollout"),
        (90, "Approval ApprovalRequired"),
        (80, "Approval ApprovalRequired"),
        (70, "Approval ApprovalRequired"),
        (69, "Rejected LowConfidence"),
        (0, "Rejected LowConfidence"),
    ];
    for (hundredths, expect) in table {
        check(Some(found(hundredths)), &["Generating BadRollout", expect]);
    }
}

#[test]
fn a_question_names_the_plan_its_risk_and_when_it_lapses() {
    let mut seen = begun(Some(found(80)));
    let (plan, _) = advance(&mut seen);
    let question = plan.child.expect("a question");
    assert_eq!(question.name_any(), format!("rap-{REQUEST}"));
    assert_eq!(plan.status.approval_name, question.metadata.name);
    assert_owned(question.as_ref(), &seen.analysis, &[]);
    assert_eq!(Some(&question.spec.plan_hash), plan.status.plan.as_ref().map(|plan| &plan.hash));
    assert_eq!(question.spec.steps, ["Roll back Deployment shop/web to revision 3"]);
    assert_eq!((question.spec.risk, question.spec.expires_at), (Risk::Medium, at(900)));
    assert_eq!(plan.next, Next::At(at(600)), "to announce that it is about to lapse");
    assert_eq!(plan.notices.len(), 1);
    assert!(advance(&mut seen).0.notices.is_empty(), "it is announced once");
}

#[test]
fn a_question_that_is_missing_is_asked_again_under_the_same_name_with_the_same_end() {
    let mut seen = asked();
    let first = seen.approval.take().expect("a question");
    seen.now = at(60);
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty());
    assert_eq!(plan.child.map(|again| made(*again)), Some(first));
}

#[test]
fn an_unknown_action_counts_as_high_risk() {
    let unknown = Step { action: "drop_database".into(), ..step("x", &[]) };
    assert_eq!(plan::risk(&[step("rollback", &[]), unknown]), Some(Risk::High));
    assert_eq!(plan::risk(&[step("rollback", &[])]), Some(Risk::Medium));
    assert_eq!(plan::risk(&[]), None);
}

#[test]
fn nothing_wrong_is_completed_without_a_plan() {
    let evidence = vec![Citation { object: "Pod/web-new-1".into(), observation: "2 of 2 ready".into() }];
    let plan = check(Some(Diagnosis::NothingWrong { evidence }), &["Completed NothingWrong"]);
    assert_eq!((plan.status.plan, plan.status.message.as_deref()), (None, Some("2 of 2 ready")));
}

#[test]
fn an_unknown_cause_is_rejected() {
    check(Some(Diagnosis::Unknown { summary: "looked at 3 pods".into() }), &["Rejected NoCauseFound"]);
}

#[test]
fn a_cause_that_no_action_mends_is_rejected() {
    let none = Finding { steps: vec![], ..finding(95) };
    let plan = check(Some(Diagnosis::Found(Box::new(none))), &["Generating BadRollout", "Rejected NoActionFits"]);
    assert_eq!(plan.status.plan, None);
}

#[test]
fn a_citation_of_what_is_not_in_the_evidence_voids_the_finding() {
    for object in ["Pod/other", "Secret/web-new-1", "web-new-1", "Pod/web-new-1/x", ""] {
        let cite = |finding: &mut Finding| {
            finding.evidence.push(Citation { object: object.into(), observation: "sure".into() });
        };
        check_refused(cite, &format!("{object} is cited but is not in the evidence"));
    }
}

#[test]
fn everything_in_the_evidence_may_be_cited() {
    for object in ["Deployment/web", "Pod/web-new-1", "ReplicaSet/web-old"] {
        let mut sound = finding(95);
        sound.evidence = vec![Citation { object: object.into(), observation: "seen".into() }];
        check(Some(Diagnosis::Found(Box::new(sound))), &["Generating BadRollout", "Completed BadRollout"]);
    }
}

#[test]
fn a_step_outside_of_the_target_is_refused() {
    let changes: [fn(&mut TargetRef); 2] =
        [|target| target.name = "api".into(), |target| target.namespace = Some("kube-system".into())];
    for change in changes {
        check_refused(|finding| change(&mut finding.steps[0].target), "does not belong to Deployment/shop/web");
    }
}

#[test]
fn a_step_on_a_pod_of_the_target_is_sound_and_on_another_pod_is_refused() {
    let restart = |name: &str, namespace: &str| Step {
        action: "restart_pod".into(),
        target: TargetRef {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: Some(namespace.into()),
            name: name.into(),
            uid: Some("uid-pod".into()),
        },
        parameters: [].into(),
        ..step("restart", &[])
    };
    let sound = Finding { steps: vec![restart("web-new-1", "shop")], ..finding(95) };
    check(Some(Diagnosis::Found(Box::new(sound))), &["Generating BadRollout", "Completed BadRollout"]);
    for (name, namespace) in [("db-0", "shop"), ("web-new-1", "other")] {
        check_refused(|finding| finding.steps = vec![restart(name, namespace)], "does not belong to");
    }
}

/// The target depends on a workload in another namespace; the step goes back to its revision 3.
fn check_upstream(managed: bool, name: &str) -> Plan {
    let db = TargetRef { namespace: Some("data".into()), name: "db".into(), ..target() };
    let workload = Workload { object: db.clone(), unmanaged: !managed, ..Workload::default() };
    let step = Step { target: TargetRef { name: name.into(), ..db }, ..step("rollback", &[]) };
    let sound = Finding { steps: vec![step], ..finding(95) };
    let mut seen = begun(Some(Diagnosis::Found(Box::new(sound))));
    let evidence = seen.evidence.get_or_insert_default();
    evidence.upstream = vec![Upstream { workload, ..Upstream::default() }];
    advance(&mut seen).0
}

#[test]
fn a_step_on_what_the_target_depends_on_is_sound_only_where_somebody_opted_it_in() {
    assert_eq!(check_upstream(true, "db").status.phase, Some(AnalysisPhase::Completed));
    for (managed, name) in [(false, "db"), (true, "other")] {
        let status = check_upstream(managed, name).status;
        assert_eq!(status.reason.as_deref(), Some("InvalidPlan"), "{managed} {name}");
        assert_eq!(status.plan, None);
    }
}

#[test]
fn actions_and_parameters_outside_of_the_catalogue_are_refused() {
    let change = |value: serde_json::Value| {
        move |finding: &mut Finding| finding.steps[0].parameters = [("toRevision".to_owned(), value.clone())].into()
    };
    check_refused(change(json!("3; rm -rf /")), "parameters.toRevision");
    check_refused(change(json!(0)), "parameters.toRevision");
    check_refused(|finding| finding.steps[0].parameters.clear(), "parameters.toRevision: is required");
    check_refused(|finding| finding.steps[0].action = "drop_database".into(), "step rollback: action");
}

#[test]
fn one_bad_step_voids_the_whole_plan() {
    let change = |finding: &mut Finding| {
        finding.steps.push(Step { action: "drop_database".into(), ..step("second", &[]) });
    };
    check_refused(change, "step second: action");
}

#[test]
fn an_analysis_without_evidence_fails() {
    let mut seen = begun(None);
    seen.evidence = None;
    assert_eq!(advance(&mut seen).1[2..], ["Failed EvidenceMissing"]);
}

#[test]
fn a_provider_that_does_not_answer_in_time_fails_the_analysis() {
    let mut seen = begun(None);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ANALYZING);
    assert_eq!(plan.next, Next::At(at(600)));
    seen.now = at(599);
    assert!(advance(&mut seen).1.is_empty());
    seen.now = at(600);
    assert_eq!(advance(&mut seen).1, ["Failed AnalyzingTimedOut"]);
}

#[test]
fn nothing_is_analysed_for_a_request_that_is_over() {
    let mut seen = begun(Some(found(95)));
    seen.request_over = true;
    assert_eq!(advance(&mut seen).1, ["Pending Created", "Failed RequestEnded"]);
}

#[test]
fn the_end_of_the_request_ends_the_question_even_when_it_was_answered() {
    let mut seen = asked();
    say(&mut seen, Decision::Approved);
    seen.request_over = true;
    assert_eq!(advance(&mut seen).1, ["Failed RequestEnded"]);
}

/// A question that was answered, or not, and read at some second.
fn check_answer(decision: Option<Decision>, second: i64, expect: &[&str]) {
    let mut seen = asked();
    if let Some(decision) = decision {
        say(&mut seen, decision);
    }
    seen.now = at(second);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, expect, "{decision:?} read at {second}");
    assert!(plan.status.plan.is_some() && plan.child.is_none());
}

#[test]
fn the_answer_of_a_person_decides() {
    check_answer(None, 60, &[]);
    check_answer(Some(Decision::Approved), 60, &["Completed Approved"]);
    check_answer(Some(Decision::Rejected), 60, &["Rejected RejectedByPerson"]);
}

#[test]
fn a_question_that_nobody_answers_lapses() {
    check_answer(None, 899, &[]);
    check_answer(None, 900, &["Rejected ApprovalExpired"]);
}

#[test]
fn an_answer_that_is_read_late_counts() {
    check_answer(Some(Decision::Approved), 905, &["Completed Approved"]);
    check_answer(Some(Decision::Rejected), 905, &["Rejected RejectedByPerson"]);
}

#[test]
fn who_decided_and_why_is_recorded() {
    let mut seen = asked();
    say(&mut seen, Decision::Approved);
    assert_eq!(advance(&mut seen).0.status.message.as_deref(), Some("approved by ada: looks right"));
}

#[test]
fn an_approval_of_another_plan_is_no_answer() {
    let mut seen = asked();
    say(&mut seen, Decision::Approved);
    if let Some(approval) = &mut seen.approval {
        approval.spec.plan_hash = plan::hash(&[step("other", &[])]);
    }
    assert!(advance(&mut seen).1.is_empty());
    seen.now = at(900);
    assert_eq!(advance(&mut seen).1, ["Rejected ApprovalExpired"]);
}

#[test]
fn a_plan_is_hashed_over_everything_that_would_be_done() {
    let plain = vec![step("rollback", &[])];
    let changes: [fn(&mut Step); 6] = [
        |step| step.name = "other".into(),
        |step| step.action = "restart_pod".into(),
        |step| step.target.uid = None,
        |step| step.parameters = [("toRevision".to_owned(), json!(2))].into(),
        |step| step.depends_on = vec!["x".into()],
        |step| step.timeout = Some(std::time::Duration::from_secs(1).into()),
    ];
    for change in changes {
        let mut steps = plain.clone();
        change(&mut steps[0]);
        assert_ne!(plan::hash(&steps), plan::hash(&plain));
    }
    assert_eq!(plan::hash(&plain).len(), 64);
    let read_back: Vec<Step> = serde_json::from_value(json!(plain)).expect("steps");
    assert_eq!(plan::hash(&read_back), plan::hash(&plain), "what is read back hashes alike");
}

#[test]
fn evidence_that_is_empty_supports_only_the_target_itself() {
    let mut seen = begun(Some(found(95)));
    seen.evidence = Some(Evidence::default());
    assert_eq!(advance(&mut seen).1.last().map(String::as_str), Some("Rejected InvalidPlan"));
    let mut sound = finding(95);
    sound.evidence[0].object = format!("Deployment/{}", target().name);
    let mut seen = begun(Some(Diagnosis::Found(Box::new(sound))));
    seen.evidence = Some(Evidence::default());
    assert_eq!(advance(&mut seen).1.last().map(String::as_str), Some("Completed BadRollout"));
}

#[test]
fn a_step_on_a_node_that_the_evidence_does_not_name_is_refused() {
    let node = TargetRef { api_version: "v1".into(), kind: "Node".into(), name: "a".into(), ..TargetRef::default() };
    let cordon = Step { action: "cordon_node".into(), target: node, parameters: [].into(), ..step("cordon", &[]) };
    check_refused(|finding| finding.steps = vec![cordon.clone()], "does not belong to");
}

#[test]
fn a_plan_of_high_risk_asks_a_person_however_sure_it_is() {
    let target = TargetRef {
        api_version: "v1".into(),
        kind: "Pod".into(),
        namespace: Some("shop".into()),
        name: "web-new-1".into(),
        uid: Some("uid-pod".into()),
    };
    let delete = Step { action: "delete_pod".into(), target, parameters: [].into(), ..step("delete", &[]) };
    let sure = Finding { steps: vec![delete], ..finding(100) };
    check(Some(Diagnosis::Found(Box::new(sure))), &["Generating BadRollout", "Approval ApprovalRequired"]);
}

#[test]
fn a_request_that_has_to_ask_a_person_does_however_sure_it_is() {
    let mut seen = begun(Some(found(95)));
    seen.analysis.spec.ask_person = Some("what 3 requests did did not last".into());
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail.last().map(String::as_str), Some("Approval ApprovalRequired"));
    assert!(plan.status.message.is_some_and(|message| message.contains("what 3 requests did did not last")));
    assert!(plan.child.is_some());
    let mut unsure = begun(Some(found(10)));
    unsure.analysis.spec.ask_person.clone_from(&seen.analysis.spec.ask_person);
    assert_eq!(advance(&mut unsure).1.last().map(String::as_str), Some("Rejected LowConfidence"));
}
