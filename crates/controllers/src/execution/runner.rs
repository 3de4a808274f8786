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
        JobSeen::Foreign | JobSeen::Unread => false,
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(status: &Value, deleted: bool) -> Job {
        let mut job = json!({"metadata": {"name": "ke-1"}, "status": status});
        if deleted {
            job["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        serde_json::from_value(job).unwrap()
    }

    /// A pod whose only container is in this state.
    fn pod(state: &Value) -> Pod {
        let container =
            json!({"name": "act", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [container]}}))
            .unwrap()
    }

    fn pulling() -> Pod {
        pod(&json!({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}))
    }

    fn running() -> Pod {
        pod(&json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}))
    }

    fn dead(message: &str) -> Pod {
        pod(&json!({"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:09Z", "message": message}}))
    }

    #[test]
    fn a_job_has_ended_by_its_condition_or_by_being_deleted() {
        let failed = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]});
        assert_eq!(ended(&job(&failed, false)).as_deref(), Some("Failed DeadlineExceeded"));
        // Said before its pods are gone.
        let target = json!({"conditions": [{"type": "FailureTarget", "status": "True"}]});
        assert_eq!(ended(&job(&target, false)), None);
        assert_eq!(ended(&job(&json!({}), true)).as_deref(), Some("the Job was deleted"));
        assert_eq!(ended(&job(&json!({"active": 1}), false)), None);
    }

    #[test]
    fn only_a_job_of_which_nothing_started_has_certainly_not_run() {
        let table = [
            (json!({}), vec![], false),
            (json!({"active": 1}), vec![pulling()], false),
            // Counted, and its pod is gone: it may have run.
            (json!({"failed": 1}), vec![], true),
            (json!({"failed": 1}), vec![pulling()], false),
            (json!({"active": 1}), vec![running()], true),
            (json!({"failed": 1}), vec![dead("")], true),
            (json!({"failed": 1}), vec![pulling(), dead("")], true),
        ];
        for (status, pods, expect) in table {
            assert_eq!(ran(&job(&status, false), &pods), expect, "{status} {}", pods.len());
        }
    }

    #[test]
    fn a_pod_says_why_it_waits() {
        assert_eq!(waiting(&pulling()).as_deref(), Some("ImagePullBackOff: not found"));
        assert_eq!(waiting(&running()), None);
        let unscheduled = json!({"metadata": {}, "status": {"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"},
        ]}});
        let unscheduled: Pod = serde_json::from_value(unscheduled).unwrap();
        assert_eq!(waiting(&unscheduled).as_deref(), Some("0/1 nodes are available"));
    }

    #[test]
    fn the_target_is_asked_only_where_the_job_has_left_no_result() {
        let own = |uid: &str| JobRef { name: "ke-1".into(), uid: uid.into() };
        let execution: KubernetesExecution = serde_json::from_value(json!({
            "apiVersion": "kubernaut.io/v1alpha1", "kind": "KubernetesExecution", "metadata": {"name": "ke-1"},
            "spec": {
                "request": "rr-1", "step": "s", "action": "cordon_node", "planHash": "0",
                "target": {"apiVersion": "v1", "kind": "Node", "name": "n"}, "timeout": "5m", "verificationTimeout": "5m",
            },
            "status": {"job": own("1")},
        }))
        .unwrap();
        let ended = |uid: &str, result: Option<(Effect, &str)>, ran: bool| JobSeen::Ended {
            job: own(uid),
            result: result.map(|(effect, error)| ActionResult {
                effect,
                message: String::new(),
                error: Some(error.into()),
                before: [].into(),
                target: None,
            }),
            message: String::new(),
            ran,
            died_at: None,
            held: true,
        };
        for (job, expect) in [
            (JobSeen::Absent, true),
            (JobSeen::Foreign, false),
            (JobSeen::Running(own("1")), false),
            (JobSeen::Running(own("2")), true),
            (ended("1", None, true), true),
            (ended("1", None, false), false),
            (ended("2", None, false), true),
            (ended("1", Some((Effect::Unknown, "Timeout")), true), true),
            // What is incomplete bears the mark, and is not done.
            (ended("1", Some((Effect::Unknown, "Incomplete")), true), false),
            (ended("1", Some((Effect::None, "Conflict")), true), false),
        ] {
            assert_eq!(left_no_result(&execution, &job), expect, "{job:?}");
        }
    }

    #[test]
    fn a_report_is_the_runners_alone_and_must_be_whole() {
        let execution: KubernetesExecution = serde_json::from_value(json!({
            "apiVersion": "kubernaut.io/v1alpha1", "kind": "KubernetesExecution", "metadata": {"name": "ke-1"},
            "spec": {
                "request": "rr-1", "step": "s", "action": "cordon_node", "planHash": "0",
                "target": {"apiVersion": "v1", "kind": "Node", "name": "n"}, "timeout": "5m", "verificationTimeout": "5m",
            },
        }))
        .unwrap();
        let job = job(&json!({}), false);
        let report = r#"{"effect":"Changed","message":"cordoned"}"#;
        let read = |message: &str| result(&execution, &job, &[dead(message)]).map(|result| result.effect);
        assert_eq!(read(report), Some(Effect::Changed));
        assert_eq!(read(&report[..20]), None);
        assert_eq!(read("panicked"), None);
    }
}
