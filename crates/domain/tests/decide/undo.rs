//! Undoing an effect after which the target did not become healthy.

use std::collections::BTreeMap;

use kubernaut_api::ExecutionPhase;
use kubernaut_api::ResourceExt;
use kubernaut_api::execution::{Effect, JobRef};
use kubernaut_domain::execution::{JobPlan, JobSeen, Plan, Seen, job_name};
use kubernaut_domain::health::Health;
use serde_json::json;

use crate::execution::{advance, ended, result, walk};
use crate::given::{REQUEST, changed, later};

/// Past the deadline of its health check, with a record that suffices to go back; its own Job is gone.
fn unhealthy_at_the_deadline() -> Seen {
    let mut seen = walk(ExecutionPhase::Verifying);
    let status = seen.execution.status.as_mut().expect("it has a status");
    let before = BTreeMap::from([("revision".to_owned(), json!(2)), ("replicaSet".to_owned(), json!("shop-58bf"))]);
    status.result = Some(kubernaut_api::execution::ActionResult { before, ..changed() });
    seen.now = later(status.phase_deadline.as_ref().expect("verifying has a deadline"), 1);
    seen.job = JobSeen::Absent;
    seen.health = Some(Health::Unhealthy("0 of 2 replicas are available".into()));
    seen
}

fn undoing() -> Seen {
    let mut seen = unhealthy_at_the_deadline();
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["RollingBack VerifyingTimedOut"]);
    assert!(makes_the_undoing_job(&plan), "{:?}", plan.job);
    seen
}

fn makes_the_undoing_job(plan: &Plan) -> bool {
    matches!(&plan.job, JobPlan::Create(job) if job.name_any() == format!("ku-{REQUEST}-rollback"))
}

#[test]
fn what_did_not_help_is_undone_by_the_inverse_under_a_name_of_its_own() {
    let mut seen = undoing();
    let rollback = seen.execution.status.as_ref().and_then(|status| status.rollback.clone()).expect("it is recorded");
    assert_eq!(rollback.action, "rollback_deployment");
    assert_eq!(rollback.parameters.get("toRevision"), Some(&json!(2)));
    assert_eq!(job_name(&seen.execution), format!("ku-{REQUEST}-rollback"));

    seen.job = ended(Some(result(Effect::Changed, None)));
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Failed RolledBack"]);
    assert_eq!(plan.job, JobPlan::Release);
    assert!(plan.status.message.is_some_and(|message| message.contains("did not help and was undone")));
}

#[test]
fn its_own_job_is_let_go_of_before_the_undoing_one_takes_its_place() {
    let mut seen = unhealthy_at_the_deadline();
    seen.job = ended(Some(changed()));
    let (plan, trail) = advance(&mut seen);
    assert!(trail.is_empty());
    assert_eq!(plan.job, JobPlan::Release);
}

#[test]
fn without_a_record_nothing_is_undone() {
    let mut seen = unhealthy_at_the_deadline();
    if let Some(result) = seen.execution.status.as_mut().and_then(|status| status.result.as_mut()) {
        result.before.clear();
    }
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ["Failed VerifyingTimedOut"]);
    assert_eq!(plan.job, JobPlan::Leave);
}

#[test]
fn what_was_not_changed_is_not_undone() {
    let mut seen = unhealthy_at_the_deadline();
    if let Some(result) = seen.execution.status.as_mut().and_then(|status| status.result.as_mut()) {
        result.effect = Effect::Unchanged;
    }
    assert_eq!(advance(&mut seen).1, ["Failed VerifyingTimedOut"]);
}

#[test]
fn the_undoing_job_is_made_again_only_while_it_was_never_seen() {
    let mut seen = undoing();
    seen.job = JobSeen::Absent;
    assert!(makes_the_undoing_job(&advance(&mut seen).0), "a crash came between the status and the Job");
    seen.job = JobSeen::Running(JobRef { name: job_name(&seen.execution), uid: "2".into() });
    assert_eq!(advance(&mut seen).0.job, JobPlan::Leave);
    seen.job = JobSeen::Absent;
    let (plan, trail) = advance(&mut seen);
    assert_eq!((trail, plan.job), (vec!["Failed RollbackFailed".to_owned()], JobPlan::Leave));
}

#[test]
fn a_failed_undoing_says_that_a_person_has_to_look() {
    for job in [ended(None), ended(Some(result(Effect::None, Some("RevisionNotFound")))), JobSeen::Foreign] {
        let mut seen = undoing();
        seen.job = job.clone();
        assert_eq!(advance(&mut seen).1, ["Failed RollbackFailed"], "{job:?}");
    }
}

#[test]
fn an_undoing_that_does_not_end_is_stopped() {
    let mut seen = undoing();
    seen.job = JobSeen::Running(JobRef { name: job_name(&seen.execution), uid: "2".into() });
    let deadline = seen.execution.status.as_ref().and_then(|status| status.phase_deadline.clone());
    seen.now = deadline.expect("rolling back has a deadline");
    let (plan, trail) = advance(&mut seen);
    assert_eq!((trail, plan.job), (vec!["Failed RollbackFailed".to_owned()], JobPlan::Stop));
}
