//! The Job of an execution as it is now: what it reported, or why it has not begun.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Event, Pod};
use kube::ResourceExt;
use kube::api::ListParams;
use kubernaut_api::execution::{ActionResult, Effect, JobRef};
use kubernaut_api::{KubernetesExecution, MicroTime, labels};
use kubernaut_domain::execution::{JobSeen, is_passing, job_name, wanted_script};
use kubernaut_domain::job::SCRIPT_CONTAINER;
use kubernaut_domain::redact::{bounded, redact};
use kubernaut_domain::script;

use crate::{Ctx, Error, calls};

/// Reads the Job that an execution waits for.
pub(super) async fn job(ctx: &Ctx, execution: &KubernetesExecution) -> Result<JobSeen, Error> {
    let name = job_name(execution);
    let Some(job) = calls::get::<Job>(ctx, &name).await? else { return Ok(JobSeen::Absent) };
    let owner = job.owner_references().iter().find(|owner| owner.controller == Some(true));
    let ours = owner.is_some_and(|owner| Some(&owner.uid) == execution.metadata.uid.as_ref());
    let same_plan = job.annotations().get(labels::PLAN_HASH) == Some(&execution.spec.plan_hash);
    if owner.is_some_and(|owner| owner.kind == "KubernetesExecution" && owner.name == execution.name_any()) && !ours {
        return Err(Error::Leftover { object: format!("Job {name}") });
    }
    if !ours || !same_plan {
        return Ok(JobSeen::Foreign);
    }
    let reference = JobRef { name, uid: job.metadata.uid.clone().unwrap_or_default() };
    let pods = pods(ctx, &job).await?;
    let runs = pods.iter().any(is_running);
    let Some(message) = ended(&job).filter(|_| !(runs && is_deleted_only(&job))) else {
        let started = runs || pods.iter().any(|pod| terminated(pod).is_some());
        return if started { Ok(JobSeen::Running(reference)) } else { waiting_for(ctx, &job, &pods, reference).await };
    };
    let held = job.finalizers().iter().any(|finalizer| finalizer == labels::RESULT_FINALIZER);
    let end = pods.iter().find_map(terminated);
    let ran = ran(&job, &pods);
    let detail = match end {
        Some(end) => end.reason.clone().filter(|reason| reason != "Completed").unwrap_or_default(),
        None if ran => String::new(),
        None => pods.iter().find_map(waiting).unwrap_or_default(),
    };
    let message = if detail.is_empty() { message } else { format!("{message}; {detail}") };
    let died_at = end.and_then(|end| end.finished_at.as_ref()).map(|time| MicroTime(time.0));
    let result = result(execution, &job, &pods);
    Ok(JobSeen::Ended { job: reference, result, message, ran, died_at, held })
}

/// True when only the target can tell what a Job has done: it is gone, has ended without a word, or did not live to
/// see the answer to its write.
pub(super) fn left_no_result(execution: &KubernetesExecution, job: &JobSeen) -> bool {
    let recorded = execution.status.as_ref().and_then(|status| status.job.as_ref());
    match job {
        JobSeen::Absent => recorded.is_some(),
        JobSeen::Foreign => false,
        JobSeen::Running(own) | JobSeen::Waiting { job: own, .. } => recorded.is_some_and(|job| job.uid != own.uid),
        JobSeen::Ended { job: own, .. } if recorded.is_some_and(|job| job.uid != own.uid) => true,
        JobSeen::Ended { result: None, ran, .. } => *ran,
        // What is incomplete bears the mark, and is not done.
        JobSeen::Ended { result: Some(result), .. } => {
            result.effect == Effect::Unknown && result.error.as_deref().is_some_and(is_passing)
        }
    }
}

async fn pods(ctx: &Ctx, job: &Job) -> Result<Vec<Pod>, Error> {
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let parameters = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={uid}"));
    let call = format!("list pods of Job {}", job.name_any());
    Ok(calls::timed(ctx.call_timeout, &call, calls::api::<Pod>(ctx).list(&parameters)).await?.items)
}

/// A Job whose containers have not started, and why: by its pod or, where it has none, by the newest warning about it.
async fn waiting_for(ctx: &Ctx, job: &Job, pods: &[Pod], reference: JobRef) -> Result<JobSeen, Error> {
    let start_before = job.annotations().get(labels::START_BEFORE).and_then(|time| time.parse::<Timestamp>().ok());
    let late = start_before.is_some_and(|time| time <= Timestamp::now());
    let why = match pods.iter().find_map(waiting) {
        Some(why) => why,
        None if !pods.is_empty() => "its pod has no word about its containers".to_owned(),
        // Asked for only when it counts.
        None if late => warning(ctx, job).await?.unwrap_or_else(|| "no pod was made for it".to_owned()),
        None => "it has no pod yet".to_owned(),
    };
    let why = bounded(&redact(&why), 512);
    Ok(JobSeen::Waiting { job: reference, why, start_before: start_before.map(MicroTime) })
}

async fn warning(ctx: &Ctx, job: &Job) -> Result<Option<String>, Error> {
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let about = ListParams::default().fields(&format!("involvedObject.uid={uid},type=Warning"));
    let call = format!("list events of Job {}", job.name_any());
    let mut events = calls::timed(ctx.call_timeout, &call, calls::api::<Event>(ctx).list(&about)).await?.items;
    events.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    let said = |event: Event| format!("{}: {}", event.reason.unwrap_or_default(), event.message.unwrap_or_default());
    Ok(events.pop().map(said))
}

/// How a Job ended, in words; `None` while it has not. A Job that is being deleted makes no pod any more, but one
/// that runs may still end by itself.
fn ended(job: &Job) -> Option<String> {
    if let Some(end) = condition(job) {
        return Some(end);
    }
    job.metadata.deletion_timestamp.as_ref().map(|_| "the Job was deleted".into())
}

fn is_deleted_only(job: &Job) -> bool {
    condition(job).is_none()
}

fn condition(job: &Job) -> Option<String> {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let end = conditions
        .into_iter()
        .flatten()
        .find(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True")?;
    let words = [end.type_.as_str(), end.reason.as_deref().unwrap_or(""), end.message.as_deref().unwrap_or("")];
    Some(words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
}

/// Whether a container of the Job may ever have run.
fn ran(job: &Job, pods: &[Pod]) -> bool {
    let started = job.status.as_ref().is_some_and(|status| {
        status.failed.unwrap_or(0) + status.succeeded.unwrap_or(0) + status.ready.unwrap_or(0) > 0
    });
    let never_ran = !pods.is_empty() && pods.iter().all(|pod| waiting(pod).is_some());
    // Without a pod to look at, only a Job that never counted one certainly had no effect.
    pods.iter().any(|pod| terminated(pod).is_some()) || (!never_ran && (started || !pods.is_empty()))
}

/// What the Job's pod reported: the runner by its message, a script by its exit code.
fn result(execution: &KubernetesExecution, job: &Job, pods: &[Pod]) -> Option<ActionResult> {
    let ends: Vec<_> = pods.iter().filter_map(terminated).collect();
    let Some(wanted) = wanted_script(execution).filter(|_| is_of_script(job)) else {
        return ends.iter().find_map(|end| serde_json::from_str(end.message.as_deref()?).ok());
    };
    let end = ends.first()?;
    let line = end.message.as_deref().unwrap_or_default();
    let inverse = job.annotations().get(script::INVERSE).map(String::as_str);
    Some(script::result(end.exit_code, line, inverse, &wanted))
}

fn is_of_script(job: &Job) -> bool {
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    pod.is_some_and(|pod| pod.containers.iter().any(|container| container.name == SCRIPT_CONTAINER))
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers.iter().find_map(|container| container.state.as_ref()?.terminated.as_ref())
}

fn is_running(pod: &Pod) -> bool {
    let containers = pod.status.iter().filter_map(|status| status.container_statuses.as_ref()).flatten();
    containers.into_iter().any(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()))
}

/// Why the containers of a pod have not started, in words; `None` when one has.
fn waiting(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let Some(containers) = status.container_statuses.as_ref().filter(|containers| !containers.is_empty()) else {
        let unscheduled = status.conditions.iter().flatten().find(|condition| condition.status == "False")?;
        return Some(unscheduled.message.clone().unwrap_or_else(|| unscheduled.type_.clone()));
    };
    containers.iter().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().unwrap_or("Waiting");
        Some(format!("{reason}: {}", waiting.message.as_deref().unwrap_or("the container did not start")))
    })
}
