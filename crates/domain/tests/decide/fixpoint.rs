//! The one test that every kind has: `decide` twice, a day apart, the first status fed back, gives the
//! same plan. Limits are a year here, so that no deadline passes in that day.

use kubernaut_api::execution::Effect;
use kubernaut_api::{AnalysisPhase, ExecutionPhase, RequestPhase};
use kubernaut_domain::execution::JobSeen;
use kubernaut_domain::health::Health;
use kubernaut_domain::{analysis, execution, processing, request, workflow};

use crate::given::{self, DAY, changed, later, patient, step};

/// Decides three times, a day apart each, and compares. The second and the third plan are equal as a
/// whole; the first may have news (transitions are announced once) but wants the same status.
macro_rules! check {
    ($module:ident, $seen:expr, $object:ident) => {{
        let mut seen = $seen;
        let first = $module::decide(&seen);
        seen.$object.status = Some(first.status.clone());
        seen.now = later(&seen.now, DAY);
        let second = $module::decide(&seen);
        assert_eq!(second.status, first.status, "the day changes nothing in {:?}", first.status.phase);
        assert_eq!(second.next, first.next);
        seen.now = later(&seen.now, DAY);
        assert_eq!($module::decide(&seen), second, "nor does another");
        (first, second)
    }};
}

fn check_request(seen: request::Seen) {
    let (first, second) = check!(request, seen, request);
    // What was just made exists now, or is asked for again under the same name; nothing else is.
    assert!(second.child.is_none() || second.child == first.child);
    assert!(second.notices.is_empty());
}

/// A request in a phase, with what belongs to the phase before still in sight, and without.
fn requests(to: RequestPhase) -> Vec<request::Seen> {
    let begun = request::Seen { settings: patient(), ..crate::request::begun() };
    let with = crate::request::walk(begun, to);
    let mut without = with.clone();
    match to {
        RequestPhase::Processing => without.processing = None,
        RequestPhase::Analyzing | RequestPhase::AwaitingApproval => without.analysis = None,
        RequestPhase::Executing => without.workflow = None,
        _ => {}
    }
    vec![with, without]
}

#[test]
fn a_new_request_is_decided_once() {
    let begun = request::Seen { settings: patient(), ..crate::request::begun() };
    check_request(begun.clone());
    let mut unresolved = begun.clone();
    unresolved.request.spec.target = None;
    check_request(unresolved);
    let mut cancelled = begun;
    cancelled.request.spec.cancelled = true;
    check_request(cancelled);
}

#[test]
fn a_request_is_decided_alike_a_day_later_in_every_phase() {
    for to in [
        RequestPhase::Processing,
        RequestPhase::Analyzing,
        RequestPhase::AwaitingApproval,
        RequestPhase::Executing,
        RequestPhase::Verifying,
    ] {
        for seen in requests(to) {
            check_request(seen.clone());
            check_request(request::Seen { collision: Some("rp-x".into()), ..seen });
        }
    }
}

#[test]
fn a_request_that_is_held_back_is_decided_alike_a_day_later() {
    for seen in crate::request::held(&patient()) {
        check_request(seen);
    }
}

#[test]
fn each_step_of_a_request_is_decided_alike_a_day_later() {
    let [processing, ..] = &requests(RequestPhase::Processing)[..] else { panic!("a case") };
    let mut done = processing.clone();
    done.processing = done.processing.map(given::processed);
    check_request(done);
    for phase in [AnalysisPhase::Approval, AnalysisPhase::Completed, AnalysisPhase::Rejected, AnalysisPhase::Failed] {
        for to in [RequestPhase::Analyzing, RequestPhase::AwaitingApproval] {
            let mut seen = requests(to).remove(0);
            crate::request::analyse(&mut seen, phase);
            check_request(seen);
        }
    }
    let verifying = requests(RequestPhase::Verifying).remove(0);
    for health in [Health::Healthy, Health::Unhealthy("no".into()), Health::Gone, Health::NotApplicable] {
        check_request(request::Seen { health: Some(health), ..verifying.clone() });
    }
}

#[test]
fn a_processing_is_decided_alike_a_day_later() {
    let mut begun = crate::processing::begun();
    begun.processing.spec.timeout = patient().limits.processing.into();
    for seen in [
        begun.clone(),
        processing::Seen { found: None, ..begun.clone() },
        processing::Seen { request_over: true, ..begun.clone() },
        processing::Seen {
            found: Some(processing::Found { target_found: false, ..crate::processing::found() }),
            ..begun
        },
    ] {
        check!(processing, seen, processing);
    }
}

#[test]
fn an_analysis_is_decided_alike_a_day_later() {
    let begin = |hundredths: Option<u32>| {
        let mut seen = crate::analysis::begun(hundredths.map(crate::analysis::found));
        seen.analysis.spec.timeout = patient().limits.analysis.into();
        seen.analysis.spec.approval_timeout = patient().limits.approval.into();
        seen
    };
    for hundredths in [None, Some(95), Some(80), Some(10)] {
        let (first, second) = check!(analysis, begin(hundredths), analysis);
        assert_eq!(second.child, first.child, "the same question, asked again as it is missing");
        assert!(second.notices.is_empty());
        check!(analysis, analysis::Seen { request_over: true, ..begin(hundredths) }, analysis);
        check!(analysis, analysis::Seen { evidence: None, ..begin(hundredths) }, analysis);
    }
    let mut asked = begin(Some(80));
    crate::analysis::advance(&mut asked);
    check!(analysis, asked, analysis);
}

#[test]
fn a_workflow_is_decided_alike_a_day_later() {
    let begun = || {
        let mut seen = crate::workflow::begun(vec![step("a", &[]), step("b", &["a"])]);
        seen.workflow.spec.timeout = patient().limits.execution.into();
        seen.settings = patient();
        seen
    };
    let (first, second) = check!(workflow, begun(), workflow);
    assert_eq!(second.children, first.children, "made again as they are missing");
    check!(workflow, workflow::Seen { request_over: true, ..begun() }, workflow);
    for phase in ExecutionPhase::ALL {
        for request_over in [false, true] {
            let mut seen = begun();
            crate::workflow::advance(&mut seen);
            crate::workflow::end(&mut seen, "a", *phase);
            check!(workflow, workflow::Seen { request_over, ..seen.clone() }, workflow);
            check!(workflow, workflow::Seen { executions: [].into(), request_over, ..seen }, workflow);
        }
    }
}

#[test]
fn an_execution_is_decided_alike_a_day_later_in_every_phase() {
    let begun = || {
        let mut seen = crate::execution::begun();
        seen.execution.spec.timeout = patient().limits.execution.into();
        seen.execution.spec.verification_timeout = patient().limits.verification.into();
        seen
    };
    check!(execution, begun(), execution);
    check!(execution, execution::Seen { rehearsal: None, ..begun() }, execution);
    check!(execution, execution::Seen { request_over: true, ..begun() }, execution);
    let jobs = [
        JobSeen::Absent,
        JobSeen::Foreign,
        JobSeen::Running(given::job_ref()),
        crate::execution::ended(None),
        crate::execution::ended(Some(changed())),
        crate::execution::ended(Some(crate::execution::result(Effect::None, None))),
    ];
    for job in jobs {
        let mut seen = begun();
        crate::execution::advance(&mut seen);
        seen.job = job;
        check!(execution, seen.clone(), execution);
        crate::execution::advance(&mut seen);
        for health in [None, Some(Health::Healthy), Some(Health::Unhealthy("no".into())), Some(Health::Gone)] {
            check!(execution, execution::Seen { health, ..seen.clone() }, execution);
        }
    }
}
