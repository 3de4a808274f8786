//! A Job failed, or the last one of a CronJob: say how, and leave it to a person.
//!
//! What a run did before it failed is not known, so it is never run again from here; a CronJob runs again when it is
//! due. Where the cause is elsewhere (an image, a missing configuration, a dependency) the earlier diagnosers say so.

use kubernaut_api::analysis::Citation;
use kubernaut_api::evidence::{ContainerState, Evidence, Job, PodEvidence};
use kubernaut_domain::diagnosis::Finding;
use kubernaut_domain::redact::bounded;

use super::Diagnoser;
use super::facts::{Facts, cite};

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "job",
    causes: &["JobFailed", "ScheduleSuspended"],
    fits: "The Job, or the newest Job of the CronJob, failed; or the CronJob is suspended.",
    signals: &[
        ("the newest run failed, or none may begin", 0.60),
        ("a pod shows how it ended", 0.25),
        ("more than one run failed", 0.15),
    ],
    proposes: "Nothing: what a run did before it failed is not known. A CronJob runs again when it is due.",
    diagnose,
};

fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let object = facts.object();
    if let Some(schedule) = facts.evidence.schedule.as_ref().filter(|schedule| schedule.suspended) {
        return Some(finding(
            "ScheduleSuspended",
            format!("{object} is suspended: no Job is made by its schedule {}.", bounded(&schedule.schedule, 64)),
            vec![cite(&object.kind, &object.name, "is suspended")],
            [true, false, false],
        ));
    }
    let job = facts.evidence.jobs.first().filter(|job| has_failed(job))?;
    let end = facts.evidence.pods.iter().find_map(|pod| Some((pod, ended(pod)?)));
    let why = condition(job, "Failed").map_or(String::new(), |one| format!(" ({})", bounded(&one.reason, 64)));
    let name = &job.object.name;
    let mut evidence =
        vec![cite("Job", name, format!("{} of its pods failed and {} succeeded{why}", job.failed, job.succeeded))];
    let how = end.map_or(String::new(), |(_, container)| {
        let code = container.last_termination.as_ref().map_or(0, |end| end.exit_code);
        format!(", its container {} ended with exit code {code}", container.name)
    });
    evidence.extend(end.map(|(pod, container)| cite("Pod", &pod.name, told(container))));
    let runs = facts.evidence.jobs.iter().filter(|job| has_failed(job)).count();
    let again = job.failed > 1 || runs > 1;
    Some(finding(
        "JobFailed",
        format!("Job {name} of {object} failed{why}{how}."),
        evidence,
        [true, end.is_some(), again],
    ))
}

/// What shows that the last run succeeded; `None` when that is not shown.
pub fn succeeded(evidence: &Evidence) -> Option<Vec<Citation>> {
    let job = evidence.jobs.first().filter(|job| condition(job, "Complete").is_some())?;
    let runs = evidence.schedule.as_ref().is_none_or(|schedule| !schedule.suspended);
    runs.then(|| vec![cite("Job", &job.object.name, format!("completed, {} of its pods succeeded", job.succeeded))])
}

fn finding(cause: &str, summary: String, evidence: Vec<Citation>, met: [bool; 3]) -> Finding {
    Finding {
        cause: cause.into(),
        summary,
        evidence,
        contributing_factors: Vec::new(),
        signals: DIAGNOSER.signals(&met),
        steps: Vec::new(),
        rationale: "Whether it may run again, and with what, is known to whoever made it.".into(),
    }
}

/// Over for good, or failing with no success so far.
fn has_failed(job: &Job) -> bool {
    condition(job, "Failed").is_some() || (job.failed > 0 && job.succeeded == 0 && condition(job, "Complete").is_none())
}

fn condition<'a>(job: &'a Job, type_: &str) -> Option<&'a kubernaut_api::evidence::ObservedCondition> {
    job.conditions.iter().find(|one| one.type_ == type_ && one.status == "True")
}

fn ended(pod: &PodEvidence) -> Option<&ContainerState> {
    let failed = |one: &&ContainerState| one.last_termination.as_ref().is_some_and(|end| end.exit_code != 0);
    pod.containers.iter().find(failed)
}

fn told(container: &ContainerState) -> String {
    let end = container.last_termination.clone().unwrap_or_default();
    format!("container {} ended with exit code {} ({})", container.name, end.exit_code, bounded(&end.reason, 64))
}
