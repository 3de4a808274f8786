//! The decision about a KubernetesExecution: rehearse, run one Job, take its result, check health.
//!
//! An effect happens at most once (ARCHITECTURE.md, invariant 5): the Job's name is derived, its uid is
//! recorded, and a recorded Job that is gone without a result is never made again.

mod rollback;

use kubernaut_api::execution::{ActionResult, Effect, ExecutionPhase, JobRef, KubernetesExecutionStatus};
use kubernaut_api::k8s_openapi::api::batch::v1::Job;
use kubernaut_api::meta::Phase;
use kubernaut_api::{KubernetesExecution, MicroTime, ResourceExt, names};

pub use rollback::ROLLED_BACK;

use crate::health::Health;
use crate::settings::Settings;
use crate::stage::{Next, Notice, Why, after, enter, passed};
use crate::{catalogue, job, notices};

/// Everything the decision depends on.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The object.
    pub execution: KubernetesExecution,
    /// True when the request has ended or is cancelled: nothing new starts.
    pub request_over: bool,
    /// What the rehearsal said; asked for before the Job is made only.
    pub rehearsal: Option<ActionResult>,
    /// The Job of the derived name.
    pub job: JobSeen,
    /// Health of the target; looked at while verifying.
    pub health: Option<Health>,
    /// Settings.
    pub settings: Settings,
    /// The time.
    pub now: MicroTime,
}

/// Name of the Job that an execution waits for: the one that acts or, once that is to be undone, the one
/// that undoes.
pub fn job_name(execution: &KubernetesExecution) -> String {
    let undone = execution.status.as_ref().is_some_and(|status| status.rollback.is_some());
    if undone { names::rollback(&execution.spec.request, &execution.spec.step) } else { execution.name_any() }
}

/// The Job of the derived name, see [`job_name`].
#[derive(Clone, Debug, PartialEq)]
pub enum JobSeen {
    /// There is none.
    Absent,
    /// There is one, and it is not ours (another owner or another plan).
    Foreign,
    /// It has not ended.
    Running(JobRef),
    /// It has ended, or is being deleted.
    Ended {
        /// Which one.
        job: JobRef,
        /// What it reported; `None` when it reported nothing.
        result: Option<ActionResult>,
        /// How it ended, in words.
        message: String,
        /// False when no container of it ever ran: it certainly had no effect.
        ran: bool,
        /// True while our finalizer holds it.
        held: bool,
    },
}

/// Everything the decision wants done.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The status to write.
    pub status: KubernetesExecutionStatus,
    /// What to do with the Job after that.
    pub job: JobPlan,
    /// Kubernetes Events to publish.
    pub notices: Vec<Notice>,
    /// When to look again.
    pub next: Next,
}

/// What to do with the Job.
#[derive(Clone, Debug, PartialEq)]
pub enum JobPlan {
    /// Nothing.
    Leave,
    /// Make it.
    Create(Box<Job>),
    /// Its result is recorded: let go of it.
    Release,
    /// It is too late: stop it.
    Stop,
}

/// How long the Job may stay after its own deadline before it is stopped from here.
const GRACE: std::time::Duration = std::time::Duration::from_mins(1);

/// Decides about one KubernetesExecution.
pub fn decide(seen: &Seen) -> Plan {
    let mut status = seen.execution.status.clone().unwrap_or_default();
    status.observed_generation = seen.execution.metadata.generation;
    let recorded = status.transitions.len();
    let plan = proceed(&mut status, seen);
    let ended = status.phase.is_some_and(Phase::is_terminal);
    // Past its deadline only the Job's leave is waited for, and the watch of Jobs tells of that.
    let leaves = plan == JobPlan::Release && passed(status.phase_deadline.as_ref(), &seen.now);
    let next = if ended || leaves { Next::OnChange } else { Next::earliest([status.phase_deadline.as_ref()]) };
    let notices = notices::of_execution(&status.transitions[recorded..]);
    Plan { status, job: plan, notices, next }
}

fn proceed(status: &mut KubernetesExecutionStatus, seen: &Seen) -> JobPlan {
    match status.phase {
        None | Some(ExecutionPhase::Pending | ExecutionPhase::Validating) => validate(status, seen),
        Some(ExecutionPhase::Executing) => follow(status, seen),
        Some(ExecutionPhase::Verifying) => verify(status, seen),
        Some(ExecutionPhase::RollingBack) => rollback::follow(status, seen),
        // Reached again only when stopping or letting go of the Job failed the first time.
        Some(_) if matches!(seen.job, JobSeen::Running(_)) => JobPlan::Stop,
        Some(_) => release(seen),
    }
}

fn release(seen: &Seen) -> JobPlan {
    match seen.job {
        JobSeen::Ended { held: true, .. } => JobPlan::Release,
        _ => JobPlan::Leave,
    }
}

fn fail(status: &mut KubernetesExecutionStatus, seen: &Seen, why: Why) {
    enter(status, ExecutionPhase::Failed, &seen.now, why);
}

fn validate(status: &mut KubernetesExecutionStatus, seen: &Seen) -> JobPlan {
    let now = &seen.now;
    let spec = &seen.execution.spec;
    if status.phase.is_none() {
        enter(status, ExecutionPhase::Pending, now, Why::new("Created", ""));
    }
    if seen.request_over {
        enter(
            status,
            ExecutionPhase::Cancelled,
            now,
            Why::new("RequestEnded", "the request ended before the Job was made"),
        );
        return JobPlan::Leave;
    }
    if status.phase == Some(ExecutionPhase::Pending) {
        enter(
            status,
            ExecutionPhase::Validating,
            now,
            Why::new("Rehearsing", format!("{} with dryRun=All", spec.action)),
        );
        status.phase_deadline = Some(after(now, spec.timeout.into()));
    }
    if let Err(problems) = catalogue::check_parts(&spec.action, &spec.target, &spec.parameters) {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        fail(status, seen, Why::new("InvalidStep", problems.join("; ")));
        return JobPlan::Leave;
    }
    let Some(rehearsal) = &seen.rehearsal else {
        if passed(status.phase_deadline.as_ref(), now) {
            fail(status, seen, Why::new("ValidatingTimedOut", "the rehearsal got no answer in time"));
        }
        return JobPlan::Leave;
    };
    status.rehearsal = Some(Why::new("Rehearsed", rehearsal.message.clone()).message().to_owned());
    if matches!(rehearsal.effect, Effect::None | Effect::Unknown) {
        let reason = rehearsal.error.clone().unwrap_or_else(|| "RehearsalFailed".into());
        fail(status, seen, Why::new(reason, format!("the rehearsal was refused: {}", rehearsal.message)));
        return JobPlan::Leave;
    }
    enter(status, ExecutionPhase::Executing, now, Why::new("RehearsalPassed", rehearsal.message.clone()));
    status.phase_deadline = Some(after(&after(now, spec.timeout.into()), GRACE));
    create(seen)
}

fn create(seen: &Seen) -> JobPlan {
    JobPlan::Create(Box::new(job::of(&seen.execution, &seen.settings.job)))
}

fn follow(status: &mut KubernetesExecutionStatus, seen: &Seen) -> JobPlan {
    let late = passed(status.phase_deadline.as_ref(), &seen.now);
    match &seen.job {
        JobSeen::Foreign => {
            let why = Why::new("NameCollision", "a Job of this name exists and is not ours");
            fail(status, seen, why);
            JobPlan::Leave
        }
        JobSeen::Absent if status.job.is_some() => {
            let why =
                Why::new("OutcomeUnknown", "the Job is gone and its result was never recorded: look at the target");
            fail(status, seen, why);
            JobPlan::Leave
        }
        JobSeen::Absent if seen.request_over => {
            let why = Why::new("RequestEnded", "the request ended before the Job was made");
            enter(status, ExecutionPhase::Cancelled, &seen.now, why);
            JobPlan::Leave
        }
        JobSeen::Absent if late => {
            fail(status, seen, Why::new("ExecutingTimedOut", "the Job could not be made in time"));
            JobPlan::Leave
        }
        JobSeen::Absent => create(seen),
        JobSeen::Running(job) | JobSeen::Ended { job, .. }
            if status.job.as_ref().is_some_and(|recorded| recorded.uid != job.uid) =>
        {
            let why = Why::new("OutcomeUnknown", "another Job took the place of the recorded one: look at the target");
            fail(status, seen, why);
            JobPlan::Leave
        }
        JobSeen::Running(job) => {
            status.job = Some(job.clone());
            if late {
                fail(status, seen, Why::new("ExecutingTimedOut", "the Job did not end in time and was stopped"));
                return JobPlan::Stop;
            }
            JobPlan::Leave
        }
        JobSeen::Ended { job, result, message, ran, .. } => {
            status.job = Some(job.clone());
            take(status, seen, result.as_ref(), message, *ran);
            release(seen)
        }
    }
}

/// "Failed before it ran" and "failed while it ran" are two things (R6.6).
fn take(status: &mut KubernetesExecutionStatus, seen: &Seen, result: Option<&ActionResult>, message: &str, ran: bool) {
    status.result = result.cloned();
    let Some(result) = result else {
        let why = if ran {
            Why::new("OutcomeUnknown", format!("the Job ended without a result ({message}): look at the target"))
        } else {
            Why::new("JobNotStarted", format!("the Job never ran: {message}"))
        };
        return fail(status, seen, why);
    };
    let error = || result.error.clone().unwrap_or_else(|| "ActionFailed".into());
    match result.effect {
        Effect::None => fail(status, seen, Why::new(error(), format!("nothing was changed: {}", result.message))),
        Effect::Unknown => fail(status, seen, Why::new("OutcomeUnknown", format!("{}: {}", error(), result.message))),
        Effect::Changed | Effect::Unchanged if seen.execution.spec.dry_run => {
            enter(status, ExecutionPhase::Completed, &seen.now, Why::new("DryRun", result.message.clone()));
        }
        Effect::Changed | Effect::Unchanged => {
            enter(status, ExecutionPhase::Verifying, &seen.now, Why::new("ActionDone", result.message.clone()));
            status.phase_deadline = Some(after(&seen.now, seen.execution.spec.verification_timeout.into()));
        }
    }
}

fn verify(status: &mut KubernetesExecutionStatus, seen: &Seen) -> JobPlan {
    let did = status.result.as_ref().map(|result| result.message.clone()).unwrap_or_default();
    match &seen.health {
        Some(Health::Healthy) => {
            enter(status, ExecutionPhase::Completed, &seen.now, Why::new("TargetHealthy", did));
        }
        Some(Health::NotApplicable) => {
            enter(status, ExecutionPhase::Completed, &seen.now, Why::new("ActionDone", did));
        }
        Some(Health::Gone) => {
            fail(status, seen, Why::new("TargetGone", "the target was deleted after the action"));
        }
        Some(Health::Unhealthy(_)) | None if seen.request_over => {
            let why = Why::new("RequestEnded", format!("{did}; the request ended before the target was healthy"));
            enter(status, ExecutionPhase::Cancelled, &seen.now, why);
        }
        Some(Health::Unhealthy(_)) | None if !passed(status.phase_deadline.as_ref(), &seen.now) => {}
        // Its result is recorded; once it is let go of, its place is free for what undoes it.
        _ if release(seen) != JobPlan::Leave => {}
        unproven => {
            let why = match unproven {
                Some(Health::Unhealthy(why)) => why,
                _ => "the health of the target could not be told",
            };
            return rollback::begin(status, seen, &format!("{did}, but {why}"));
        }
    }
    release(seen)
}
