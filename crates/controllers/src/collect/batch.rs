//! Jobs and CronJobs as evidence: how their last runs ended, and the pods of the one that matters.

use k8s_openapi::api::batch::v1::{CronJob, Job as KubeJob};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kubernaut_api::evidence::{Evidence, Job, Schedule, Workload};
use kubernaut_domain::redact::bounded;

use super::read::{Gap, Reader, take};
use super::target::Found;
use super::workload::{condition, reference, template_facts};
use super::{owner_uid, uid};

/// Jobs of a CronJob that are told at most.
const TOLD: usize = 5;

/// About one Job.
pub async fn job(reader: &Reader<'_>, object: KubeJob, gaps: &mut Vec<Gap>) -> Found {
    let (pods, events) = futures::join!(pods_of(reader, Some(&object)), reader.events());
    let pods = take(pods, gaps);
    let evidence = Evidence { workload: Some(job_facts(&object)), jobs: vec![facts(&object)], ..Evidence::default() };
    let uids = [uid(&object.metadata)].into();
    Found { evidence, pods, events: take(events, gaps), uids, metadata: object.metadata }
}

/// About a CronJob: its last Jobs, and the pods of the last one that failed, else of the last one.
pub async fn cron_job(reader: &Reader<'_>, object: CronJob, gaps: &mut Vec<Gap>) -> Found {
    let (jobs, events) = futures::join!(reader.all::<KubeJob>("jobs"), reader.events());
    let own = uid(&object.metadata);
    let jobs = last(take(jobs, gaps), &own);
    let telling = jobs.iter().find(|job| has_failed(job)).or(jobs.first());
    let pods = take(pods_of(reader, telling).await, gaps);
    let template = object.spec.job_template.spec.as_ref();
    let evidence = Evidence {
        workload: Some(Workload {
            object: reference("batch/v1", "CronJob", &object.metadata),
            ..template_facts(&object.metadata, template.and_then(|spec| spec.template.spec.as_ref()))
        }),
        schedule: Some(schedule(&object)),
        jobs: jobs.iter().map(facts).collect(),
        ..Evidence::default()
    };
    let uids = jobs.iter().map(|job| uid(&job.metadata)).chain([own]).collect();
    Found { evidence, pods, events: take(events, gaps), uids, metadata: object.metadata }
}

async fn pods_of(reader: &Reader<'_>, job: Option<&KubeJob>) -> super::read::Listed<Pod> {
    let Some(job) = job else { return Ok((Vec::new(), None)) };
    let selector = job.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
    let (mut pods, gap) = reader.list::<Pod>("pods", &selector).await?;
    pods.retain(|pod| owner_uid(&pod.metadata) == job.metadata.uid.as_deref());
    Ok((pods, gap))
}

/// The newest Jobs of one owner.
fn last(mut jobs: Vec<KubeJob>, owner: &str) -> Vec<KubeJob> {
    jobs.retain(|job| owner_uid(&job.metadata) == Some(owner));
    jobs.sort_by_key(|job| std::cmp::Reverse(job.metadata.creation_timestamp.as_ref().map(|time| time.0)));
    jobs.truncate(TOLD);
    jobs
}

fn has_failed(job: &KubeJob) -> bool {
    job.status.as_ref().is_some_and(|status| {
        status.failed.is_some_and(|failed| failed > 0) && status.succeeded.unwrap_or_default() == 0
    })
}

/// A Job as a workload: a replica is a pod that should run now.
fn job_facts(object: &KubeJob) -> Workload {
    let spec = object.spec.as_ref();
    let told = facts(object);
    let ready = object.status.as_ref().and_then(|status| status.ready).unwrap_or_default();
    let over =
        told.conditions.iter().any(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True");
    let wanted = spec.and_then(|spec| spec.parallelism).unwrap_or(1);
    Workload {
        object: told.object,
        replicas: if over || told.suspended { 0 } else { wanted },
        total_replicas: told.active,
        updated_replicas: told.active,
        ready_replicas: ready,
        available_replicas: ready,
        conditions: told.conditions,
        ..template_facts(&object.metadata, spec.and_then(|spec| spec.template.spec.as_ref()))
    }
}

fn facts(object: &KubeJob) -> Job {
    let spec = object.spec.as_ref();
    let status = object.status.clone().unwrap_or_default();
    Job {
        object: reference("batch/v1", "Job", &object.metadata),
        active: status.active.unwrap_or_default(),
        succeeded: status.succeeded.unwrap_or_default(),
        failed: status.failed.unwrap_or_default(),
        backoff_limit: spec.and_then(|spec| spec.backoff_limit).unwrap_or(6),
        suspended: spec.and_then(|spec| spec.suspend).unwrap_or_default(),
        started_at: status.start_time.map(|time| MicroTime(time.0)),
        completed_at: status.completion_time.map(|time| MicroTime(time.0)),
        conditions: (status.conditions.unwrap_or_default().into_iter())
            .map(|one| condition(&one.type_, &one.status, one.reason, one.message))
            .take(4)
            .collect(),
    }
}

fn schedule(object: &CronJob) -> Schedule {
    let (spec, status) = (object.spec.clone(), object.status.clone().unwrap_or_default());
    Schedule {
        object: reference("batch/v1", "CronJob", &object.metadata),
        schedule: bounded(&spec.schedule, 128),
        suspended: spec.suspend.unwrap_or_default(),
        concurrency: bounded(&spec.concurrency_policy.unwrap_or_default(), 16),
        last_scheduled_at: status.last_schedule_time.map(|time| MicroTime(time.0)),
        last_succeeded_at: status.last_successful_time.map(|time| MicroTime(time.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, created: &str, status: &str) -> KubeJob {
        serde_yaml_ng::from_str(&format!(
            "{{metadata: {{name: {name}, uid: uid-{name}, creationTimestamp: '2026-11-21T{created}Z', ownerReferences: \
              [{{apiVersion: batch/v1, kind: CronJob, name: nightly, uid: c1, controller: true}}]}}, \
              spec: {{backoffLimit: 2, template: {{spec: {{containers: []}}}}}}, status: {status}}}"
        ))
        .unwrap()
    }

    const FAILED: &str = "{failed: 3, conditions: [{type: Failed, status: 'True', reason: BackoffLimitExceeded}]}";

    #[test]
    fn the_newest_jobs_of_the_owner_are_told() {
        let mut jobs: Vec<KubeJob> = (0..9).map(|n| parse(&format!("j{n}"), &format!("0{n}:00:00"), "{}")).collect();
        jobs[8].metadata.owner_references = None;
        let names: Vec<_> = last(jobs, "c1").iter().map(|job| facts(job).object.name).collect();
        assert_eq!(names, ["j7", "j6", "j5", "j4", "j3"]);
    }

    #[test]
    fn a_job_that_is_over_wants_no_pods_and_says_how_it_ended() {
        let job = parse("j1", "01:00:00", FAILED);
        let workload = job_facts(&job);
        assert_eq!((workload.replicas, workload.conditions[0].reason.as_str()), (0, "BackoffLimitExceeded"));
        assert!(has_failed(&job));
        let running = parse("j2", "02:00:00", "{active: 1, ready: 1}");
        let workload = job_facts(&running);
        assert_eq!((workload.replicas, workload.total_replicas, workload.ready_replicas), (1, 1, 1));
        assert!(!has_failed(&running) && facts(&running).backoff_limit == 2);
    }

    #[test]
    fn a_cron_job_tells_when_it_ran_last() {
        let object: CronJob = serde_yaml_ng::from_str(
            "{metadata: {name: nightly, uid: c1}, spec: {schedule: '0 3 * * *', suspend: true, concurrencyPolicy: Forbid, \
              jobTemplate: {spec: {template: {}}}}, status: {lastScheduleTime: '2026-11-21T03:00:00Z'}}",
        )
        .unwrap();
        let told = schedule(&object);
        assert_eq!((told.schedule.as_str(), told.suspended, told.concurrency.as_str()), ("0 3 * * *", true, "Forbid"));
        assert!(told.last_scheduled_at.is_some() && told.last_succeeded_at.is_none());
    }
}
