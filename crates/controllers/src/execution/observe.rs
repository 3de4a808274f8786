//! What the decision about an execution depends on: rehearsal before, Job and its report during,
//! the target's health after.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::ResourceExt;
use kube::api::ListParams;
use kubernaut_api::execution::{ActionResult, JobRef};
use kubernaut_api::{ExecutionPhase, KubernetesExecution, Phase, Staged, labels};
use kubernaut_domain::execution::{JobSeen, Seen, job_name};
use kubernaut_domain::stage::passed;

use crate::run::{is_overdue, request_is_over};
use crate::{Ctx, Error, calls, health, rehearsal};

pub(super) async fn observe(ctx: &Ctx, execution: &KubernetesExecution) -> Result<Seen, Error> {
    let phase = execution.phase();
    let request_over = match phase {
        Some(phase) if phase.is_terminal() => false,
        _ => request_is_over(ctx, &execution.spec.request).await?,
    };
    let mut seen = Seen {
        execution: execution.clone(),
        request_over,
        rehearsal: None,
        job: JobSeen::Absent,
        health: None,
        settings: ctx.settings.clone(),
        now: calls::now(),
    };
    if let Err(error) = look(ctx, execution, &mut seen).await {
        // A rehearsal that fails is held again once the decision has set the deadline, and until then.
        let deadline = execution.status.as_ref().and_then(|status| status.phase_deadline.as_ref());
        let decides = match phase {
            None | Some(ExecutionPhase::Pending) => true,
            Some(ExecutionPhase::Validating) => passed(deadline, &seen.now),
            Some(_) => is_overdue(deadline, &seen.now),
        };
        if !decides {
            return Err(error);
        }
        tracing::warn!(execution = execution.name_any(), %error, "decided without what cannot be read");
    }
    seen.now = calls::now();
    Ok(seen)
}

async fn look(ctx: &Ctx, execution: &KubernetesExecution, seen: &mut Seen) -> Result<(), Error> {
    match execution.phase() {
        None | Some(ExecutionPhase::Pending | ExecutionPhase::Validating) if !seen.request_over => {
            seen.rehearsal = Some(rehearsal::rehearse(ctx, execution).await?);
        }
        None | Some(ExecutionPhase::Pending | ExecutionPhase::Validating) => {}
        Some(ExecutionPhase::Verifying) => {
            // Watch first, then look: a change in between is not missed.
            ctx.targets.await_change(execution, &execution.spec.target);
            seen.health = Some(health::of(ctx, &execution.spec.target).await?);
            seen.job = job(ctx, execution).await?;
        }
        Some(_) => {
            ctx.targets.leave(execution);
            seen.job = job(ctx, execution).await?;
        }
    }
    Ok(())
}

async fn job(ctx: &Ctx, execution: &KubernetesExecution) -> Result<JobSeen, Error> {
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
    let Some(message) = ended(&job) else { return Ok(JobSeen::Running(reference)) };
    let held = job.finalizers().iter().any(|finalizer| finalizer == labels::RESULT_FINALIZER);
    let (result, ran, detail) = report(ctx, &job).await?;
    let message = if detail.is_empty() { message } else { format!("{message}; {detail}") };
    Ok(JobSeen::Ended { job: reference, result, message, ran, held })
}

/// How a Job ended, in words; `None` while it has not. A Job that is being deleted counts as ended:
/// its pods are being killed.
fn ended(job: &Job) -> Option<String> {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let end = conditions
        .into_iter()
        .flatten()
        .find(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True");
    if let Some(end) = end {
        let words = [end.type_.as_str(), end.reason.as_deref().unwrap_or(""), end.message.as_deref().unwrap_or("")];
        return Some(words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
    }
    job.metadata.deletion_timestamp.as_ref().map(|_| "the Job was deleted".into())
}

/// What the Job's pod reported, whether a container of it ever ran, and what kept it from running.
async fn report(ctx: &Ctx, job: &Job) -> Result<(Option<ActionResult>, bool, String), Error> {
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let parameters = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={uid}"));
    let call = format!("list pods of Job {}", job.name_any());
    let pods = calls::timed(ctx.call_timeout, &call, calls::api::<Pod>(ctx).list(&parameters)).await?.items;
    let terminated: Vec<_> = pods.iter().filter_map(terminated).collect();
    let result = terminated.iter().find_map(|end| serde_json::from_str(end.message.as_deref()?).ok());
    let started = job.status.as_ref().is_some_and(|status| {
        status.failed.unwrap_or(0) + status.succeeded.unwrap_or(0) + status.ready.unwrap_or(0) > 0
    });
    let never_ran = !pods.is_empty() && pods.iter().all(|pod| waiting(pod).is_some());
    // Without a pod to look at, only a Job that never counted one certainly had no effect.
    let ran = !terminated.is_empty() || (!never_ran && (started || !pods.is_empty()));
    let detail = if ran { String::new() } else { pods.iter().find_map(waiting).unwrap_or_default() };
    Ok((result, ran, detail))
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers.iter().find_map(|container| container.state.as_ref()?.terminated.as_ref())
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
