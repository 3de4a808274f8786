//! The decision about a RemediationRequest.

mod hold;
mod stop;
mod verify;

pub use hold::held;
use kubernaut_api::request::{Deduplication, RemediationRequestStatus, Timeouts};
use kubernaut_api::{
    AnalysisPhase, MicroTime, Outcome, ProcessingPhase, RemediationRequest, RequestPhase, ResourceExt, Staged,
    WorkflowPhase,
};
use kubernaut_domain::health::Health;
use kubernaut_domain::request::{Child, Neighbours, Plan, Seen, decide, is_given_up, is_over};
use kubernaut_domain::stage::{Next, after};

use crate::given::{
    DAY, REQUEST, analysed, assert_owned, assert_sound, at, made, processed, request, settings, step, target, trail,
    worked,
};

/// What is seen of a request in its first second, before anything was decided.
pub fn begun() -> Seen {
    Seen {
        request: request(),
        processing: None,
        analysis: None,
        workflow: None,
        collision: None,
        health: None,
        drift: None,
        neighbours: Neighbours::default(),
        settings: settings(),
        now: at(0),
    }
}

/// Decides, checks what must always hold, and takes the plan over as the API server would.
pub fn advance(seen: &mut Seen) -> (Plan, Vec<String>) {
    let plan = decide(seen);
    let after = assert_sound(&seen.request, &plan.status, &seen.now, &plan.next);
    let trail = trail(&seen.request, &after);
    seen.request = after;
    match plan.child.clone() {
        Some(Child::Processing(child)) => seen.processing = Some(made(*child)),
        Some(Child::Analysis(child)) => seen.analysis = Some(made(*child)),
        Some(Child::Workflow(child)) => seen.workflow = Some(made(*child)),
        None => {}
    }
    (plan, trail)
}

/// A request that has just entered a phase, one decision a second.
pub fn walk(mut seen: Seen, to: RequestPhase) -> Seen {
    let mut second = seen.now.clone();
    while seen.request.phase() != Some(to) {
        match seen.request.phase() {
            None => {}
            Some(RequestPhase::Processing) => seen.processing = seen.processing.take().map(processed),
            Some(RequestPhase::Analyzing) if to == RequestPhase::AwaitingApproval => {
                analyse(&mut seen, AnalysisPhase::Approval);
            }
            Some(RequestPhase::Analyzing | RequestPhase::AwaitingApproval) => {
                analyse(&mut seen, AnalysisPhase::Completed);
            }
            Some(RequestPhase::Executing) => {
                work(&mut seen, WorkflowPhase::Completed);
                seen.health = Some(Health::Unhealthy("0 of 1 replicas are available".into()));
            }
            other => panic!("{to} is not reached from {other:?}"),
        }
        second = crate::given::later(&second, 1);
        seen.now = second.clone();
        advance(&mut seen);
    }
    seen
}

pub fn analyse(seen: &mut Seen, phase: AnalysisPhase) {
    let lapses = after(&at(0), seen.settings.limits.approval);
    seen.analysis = seen.analysis.take().map(|analysis| {
        let mut analysis = analysed(analysis, phase, &[step("rollback", &[])]);
        analysis.status.get_or_insert_default().phase_deadline = (phase == AnalysisPhase::Approval).then_some(lapses);
        analysis
    });
}

fn work(seen: &mut Seen, phase: WorkflowPhase) {
    seen.workflow = seen.workflow.take().map(|workflow| worked(workflow, phase));
}

fn resolve(seen: &mut Seen) {
    hear(seen, at(0));
    let status = seen.request.status.get_or_insert_default();
    if let Some(deduplication) = &mut status.deduplication {
        deduplication.resolved_at = Some(at(0));
    }
}

fn hear(seen: &mut Seen, last_seen: MicroTime) {
    let status = seen.request.status.get_or_insert_default();
    status.deduplication = Some(Deduplication { occurrences: 2, first_seen: at(0), last_seen, resolved_at: None });
}

/// From a phase, with one thing changed: these transitions and this outcome, and nothing is made.
fn check(from: RequestPhase, change: impl Fn(&mut Seen), expect: &[&str], outcome: Option<Outcome>) -> Seen {
    let mut seen = walk(begun(), from);
    change(&mut seen);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, expect, "from {from}");
    assert_eq!(plan.status.outcome, outcome, "from {from}");
    assert_eq!(plan.child, None, "from {from}");
    let ended = matches!(
        plan.status.phase,
        Some(RequestPhase::Completed | RequestPhase::Failed | RequestPhase::TimedOut | RequestPhase::Cancelled)
    );
    assert_eq!(plan.status.completed_at, ended.then(|| seen.now.clone()), "from {from}");
    assert!(!ended || !plan.notices.is_empty(), "the end of a request is an Event");
    seen
}

const BEFORE_EXECUTION: [RequestPhase; 3] =
    [RequestPhase::Processing, RequestPhase::Analyzing, RequestPhase::AwaitingApproval];

#[test]
fn a_new_request_is_received_and_its_processing_is_made() {
    let mut seen = begun();
    let owner = seen.request.clone();
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Pending Received", "Processing TargetResolved"]);
    let Some(Child::Processing(child)) = plan.child else { panic!("a processing, not {:?}", plan.child) };
    assert_eq!(child.name_any(), format!("rp-{REQUEST}"));
    assert_eq!(plan.status.processing_name, child.metadata.name);
    assert_owned(child.as_ref(), &owner, &["kubernaut.io/outbox"]);
    assert_eq!(child.spec.target, target());
    assert_eq!(child.spec.request, REQUEST);
    assert_eq!(plan.status.deadline, Some(at(3600)));
    assert_eq!(plan.status.phase_deadline, Some(at(600)));
    assert_eq!(plan.next, Next::At(at(600)));
}

#[test]
fn evidence_leads_to_an_analysis_owned_by_the_processing() {
    let mut seen = walk(begun(), RequestPhase::Processing);
    seen.processing = seen.processing.map(processed);
    seen.now = at(5);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Analyzing EvidenceCollected"]);
    let Some(Child::Analysis(child)) = plan.child else { panic!("an analysis, not {:?}", plan.child) };
    assert_eq!(child.name_any(), format!("aia-{REQUEST}"));
    assert_eq!(plan.status.analysis_name, child.metadata.name);
    assert_eq!(Some(child.spec.processing.clone()), plan.status.processing_name);
    assert_owned(child.as_ref(), &seen.processing.expect("a processing"), &["kubernaut.io/outbox"]);
    assert_eq!(plan.status.phase_deadline, Some(at(605)));
    assert_eq!(plan.status.message.as_deref(), Some("P0 CrashLoop of severity critical"));
}

#[test]
fn an_accepted_plan_leads_to_a_workflow_owned_by_the_analysis_with_a_snapshot_of_the_plan() {
    let mut seen = walk(begun(), RequestPhase::Analyzing);
    analyse(&mut seen, AnalysisPhase::Completed);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Executing PlanAccepted"]);
    let Some(Child::Workflow(child)) = plan.child else { panic!("a workflow, not {:?}", plan.child) };
    let analysis = seen.analysis.expect("an analysis");
    let chosen = analysis.status.clone().and_then(|status| status.plan).expect("a plan");
    assert_eq!(child.name_any(), format!("we-{REQUEST}"));
    assert_eq!(plan.status.workflow_name, child.metadata.name);
    assert_owned(child.as_ref(), &analysis, &["kubernaut.io/outbox"]);
    assert_eq!((child.spec.plan_hash, child.spec.steps), (Some(chosen.hash), chosen.steps));
    assert_eq!((child.spec.parallelism, child.spec.dry_run), (5, false));
    assert_eq!(plan.status.message.as_deref(), Some("Roll back Deployment shop/web to revision 3"));
    assert_eq!(plan.notices.len(), 1);
    assert!(!plan.notices[0].warning);
}

#[test]
fn a_question_is_waited_for_until_it_lapses_and_thirty_seconds_more() {
    let seen = check(
        RequestPhase::Analyzing,
        |seen| analyse(seen, AnalysisPhase::Approval),
        &["AwaitingApproval BadRollout"],
        None,
    );
    assert_eq!(seen.request.status.expect("a status").phase_deadline, Some(at(930)));
}

#[test]
fn an_approved_plan_is_executed() {
    let mut seen = walk(begun(), RequestPhase::AwaitingApproval);
    analyse(&mut seen, AnalysisPhase::Completed);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Executing Approved"]);
    assert!(matches!(plan.child, Some(Child::Workflow(_))));
}

#[test]
fn a_request_without_a_target_asks_a_person() {
    let mut seen = begun();
    seen.request.spec.target = None;
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Pending Received", "Completed TargetUnresolved"]);
    assert_eq!(plan.status.outcome, Some(Outcome::ManualReviewRequired));
    assert_eq!(plan.child, None);
}

#[test]
fn a_failed_processing_fails_the_request_with_its_reason() {
    let change = |seen: &mut Seen| {
        seen.processing = seen.processing.take().map(|processing| {
            let mut processing = processed(processing);
            let status = processing.status.get_or_insert_default();
            status.phase = Some(ProcessingPhase::Failed);
            status.reason = Some("TargetNotFound".into());
            processing
        });
    };
    check(RequestPhase::Processing, change, &["Failed TargetNotFound"], None);
}

#[test]
fn an_analysis_without_a_plan_ends_the_request() {
    let manual = Some(Outcome::ManualReviewRequired);
    let table = [
        (AnalysisPhase::Completed, "NothingWrong", "Completed NothingWrong", Some(Outcome::NoActionRequired)),
        (AnalysisPhase::Rejected, "LowConfidence", "Completed LowConfidence", manual),
        (AnalysisPhase::Rejected, "RejectedByPerson", "Completed RejectedByPerson", manual),
        (AnalysisPhase::Rejected, "ApprovalExpired", "TimedOut ApprovalExpired", manual),
        (AnalysisPhase::Failed, "EvidenceMissing", "Failed EvidenceMissing", manual),
    ];
    for (phase, reason, expect, outcome) in table {
        for from in [RequestPhase::Analyzing, RequestPhase::AwaitingApproval] {
            let change = |seen: &mut Seen| {
                seen.analysis = seen.analysis.take().map(|analysis| {
                    let mut analysis = analysed(analysis, phase, &[]);
                    analysis.status.get_or_insert_default().reason = Some(reason.into());
                    analysis
                });
            };
            check(from, change, &[expect], outcome);
        }
    }
}

#[test]
fn a_rejected_analysis_is_not_executed_even_though_its_plan_is_recorded() {
    let change = |seen: &mut Seen| analyse(seen, AnalysisPhase::Rejected);
    check(RequestPhase::AwaitingApproval, change, &["Completed BadRollout"], Some(Outcome::ManualReviewRequired));
}

#[test]
fn an_unfinished_child_is_waited_for() {
    for phase in [ProcessingPhase::Pending, ProcessingPhase::Enriching, ProcessingPhase::Classifying] {
        let change = |seen: &mut Seen| {
            if let Some(processing) = &mut seen.processing {
                processing.status.get_or_insert_default().phase = Some(phase);
            }
        };
        check(RequestPhase::Processing, change, &[], None);
    }
    for phase in [AnalysisPhase::Pending, AnalysisPhase::Analyzing, AnalysisPhase::Generating] {
        check(RequestPhase::Analyzing, |seen| analyse(seen, phase), &[], None);
    }
    for phase in [WorkflowPhase::Pending, WorkflowPhase::Executing, WorkflowPhase::RollingBack] {
        check(RequestPhase::Executing, |seen| work(seen, phase), &[], None);
    }
}

#[test]
fn a_workflow_that_did_not_succeed_ends_the_request() {
    let change = |phase| move |seen: &mut Seen| work(seen, phase);
    let manual = Some(Outcome::ManualReviewRequired);
    check(RequestPhase::Executing, change(WorkflowPhase::Failed), &["Failed StepsCompleted"], manual);
    check(RequestPhase::Executing, change(WorkflowPhase::Cancelled), &["Cancelled StepsCompleted"], None);
}

#[test]
fn a_dry_run_ends_with_what_would_have_been_done() {
    let mut own = begun();
    own.request.spec.dry_run = true;
    let mut seen = walk(own, RequestPhase::Executing);
    assert!(seen.workflow.as_ref().is_some_and(|workflow| workflow.spec.dry_run));
    work(&mut seen, WorkflowPhase::Completed);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Completed DryRun"]);
    assert_eq!(plan.status.outcome, Some(Outcome::DryRun));
    assert_eq!(plan.status.would_have_done, ["rollback: went back to revision 3"]);
}

#[test]
fn what_a_dry_run_would_have_done_fits_the_schema() {
    let mut own = begun();
    own.request.spec.dry_run = true;
    let mut seen = walk(own, RequestPhase::Executing);
    work(&mut seen, WorkflowPhase::Completed);
    if let Some(status) = seen.workflow.as_mut().and_then(|workflow| workflow.status.as_mut()) {
        status.steps[0].message = "ä".repeat(1024);
    }
    let (plan, _) = advance(&mut seen);
    assert_eq!(plan.status.would_have_done[0].chars().count(), 1024);
}

#[test]
fn a_child_of_somebody_else_fails_the_request() {
    for from in BEFORE_EXECUTION.into_iter().chain([RequestPhase::Executing]) {
        let change = |seen: &mut Seen| seen.collision = Some(format!("rp-{REQUEST}"));
        check(from, change, &["Failed NameCollision"], Some(Outcome::ManualReviewRequired));
    }
}

#[test]
fn a_missing_child_is_made_again_under_the_same_name() {
    fn remake(from: RequestPhase, lose: impl Fn(&mut Seen), name: &str) {
        let mut seen = walk(begun(), from);
        lose(&mut seen);
        let before: RemediationRequest = seen.request.clone();
        let (plan, trail) = advance(&mut seen);
        assert!(trail.is_empty(), "from {from}");
        assert_eq!(before.status, Some(plan.status), "from {from}: there is nothing to write");
        let made = match plan.child {
            Some(Child::Processing(child)) => child.name_any(),
            Some(Child::Analysis(child)) => child.name_any(),
            Some(Child::Workflow(child)) => child.name_any(),
            None => String::new(),
        };
        assert_eq!(made, format!("{name}-{REQUEST}"), "from {from}");
    }
    remake(RequestPhase::Processing, |seen| seen.processing = None, "rp");
    remake(RequestPhase::Analyzing, |seen| seen.analysis = None, "aia");
    remake(RequestPhase::AwaitingApproval, |seen| seen.analysis = None, "aia");
    remake(RequestPhase::Executing, |seen| seen.workflow = None, "we");
}

#[test]
fn a_target_that_somebody_else_changed_proves_nothing() {
    for health in [Some(Health::Healthy), Some(Health::Unhealthy("no".into())), None] {
        for resolved in [false, true] {
            let mut seen = walk(begun(), RequestPhase::Verifying);
            if resolved {
                resolve(&mut seen);
            }
            seen.health.clone_from(&health);
            seen.drift = Some("somebody else has changed the target since (generation 5 → 6)".into());
            let (plan, trail) = advance(&mut seen);
            assert_eq!(trail, ["Completed TargetDrifted"], "{health:?} {resolved}");
            assert_eq!(plan.status.outcome, Some(Outcome::Inconclusive));
        }
    }
}

#[test]
fn a_step_that_was_not_undone_over_somebody_elses_change_ends_inconclusive() {
    let mut seen = walk(begun(), RequestPhase::Executing);
    let mut workflow = worked(seen.workflow.clone().expect("one"), WorkflowPhase::Failed);
    workflow.status.as_mut().expect("a status").reason = Some("TargetDrifted".into());
    seen.workflow = Some(workflow);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Completed TargetDrifted"]);
    assert_eq!(plan.status.outcome, Some(Outcome::Inconclusive));
}
