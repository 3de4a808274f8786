//! The decision about a KubernetesExecution: rehearse, run one Job, take its result, check health.
//!
//! An effect happens at most once (ARCHITECTURE.md, invariant 5): the Job's name is derived, its uid is
//! recorded, and a recorded Job that is gone without a result is never made again. A Job whose pod does not start in
//! time is given up while its pod can still say why; its runner refuses to begin later, so nothing races with that.

mod admission;
mod job_seen;
mod outcome;
mod retry;
mod rollback;
mod verify;

use kubernaut_api::execution::{ActionResult, Effect, ExecutionPhase, KubernetesExecutionStatus, TargetMark};
use kubernaut_api::k8s_openapi::api::batch::v1::Job;
use kubernaut_api::meta::Phase;
use kubernaut_api::{EventReason, KubernetesExecution, MicroTime, PolicyDecision, PolicyRecord};

pub use job_seen::{JobSeen, job_name};
pub use outcome::{JOB_DIED, Trace};
pub use retry::{is_passing, may_retry};
pub use rollback::ROLLED_BACK;
pub use verify::needs_health_of_target;

use crate::blast::{self, Reach};
use crate::budget::Entry;
use crate::catalogue::{RunScript, Values};
use crate::health::Health;
use crate::script::{RUN_SCRIPT, Refusal, Script};
use crate::settings::Settings;
use crate::stage::{Next, Notice, Why, after, enter, passed};
use crate::{catalogue, drift, job, notices, policy};

/// Everything the decision depends on.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The object.
    pub execution: KubernetesExecution,
    /// True when the request has ended or is cancelled: nothing new starts.
    pub request_over: bool,
    /// What the safety policy says; asked until the Job is made.
    pub policy: Option<PolicyRecord>,
    /// When the request's execution has to be over, where there is a request.
    pub request_deadline: Option<MicroTime>,
    /// What the rehearsal said; asked for before the Job is made only.
    pub rehearsal: Option<ActionResult>,
    /// What the action reaches; read together with the rehearsal.
    pub reach: Option<Reach>,
    /// The target as the execution left it that this one undoes; `None` for one that undoes nothing.
    pub left: Option<TargetMark>,
    /// The registered script that the next Job would run, or why it may not; `None` for other actions.
    pub script: Option<Result<Script, Refusal>>,
    /// All executions that there are; looked at before the Job is made only, and nobody else starts meanwhile.
    pub ledger: Vec<Entry>,
    /// Why nobody has put the target under Kubernaut's care, if so; looked at with the rehearsal.
    pub unmanaged: Option<String>,
    /// The Job of the derived name.
    pub job: JobSeen,
    /// What the target itself says; looked at where a Job left no result.
    pub trace: Option<Trace>,
    /// Health of the target and of what the action reached; looked at while verifying.
    pub health: Option<Health>,
    /// The target as it is now; looked at while verifying.
    pub live: Option<TargetMark>,
    /// When what is not healthy yet may have become so without a change of the target.
    pub settles_at: Option<MicroTime>,
    /// Settings.
    pub settings: Settings,
    /// The time.
    pub now: MicroTime,
}

impl Seen {
    /// True when the Job may be made unless budgets or scope say otherwise: both are to be looked at.
    pub fn may_start(&self) -> bool {
        let phase = self.execution.status.as_ref().and_then(|status| status.phase);
        let before = matches!(phase, None | Some(ExecutionPhase::Pending | ExecutionPhase::Validating));
        let rehearsed = self.rehearsal.as_ref().map(|rehearsal| rehearsal.effect);
        before && !self.request_over && matches!(rehearsed, Some(Effect::Changed | Effect::Unchanged))
    }
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

/// What certainly happened to the target, of an execution that has ended.
pub fn effect_of(status: &KubernetesExecutionStatus) -> Effect {
    let reason = status.reason.as_deref().unwrap_or_default();
    let nothing = matches!(reason, "JobNotStarted" | JOB_DIED) || (status.job.is_none() && reason != "OutcomeUnknown");
    match &status.result {
        Some(result) => result.effect,
        None if nothing && status.phase != Some(ExecutionPhase::Completed) => Effect::None,
        None => Effect::Unknown,
    }
}

/// True when nothing new starts. What undoes a finished step is the end of something that has begun.
fn over(seen: &Seen) -> bool {
    seen.request_over && seen.execution.spec.undoes.is_none()
}

/// How long after the time for its start a Job is given up that has not started: until then its node may not have
/// told.
const START_GRACE: std::time::Duration = std::time::Duration::from_secs(30);
/// How long the Job may stay after its own deadline before it is stopped from here.
const GRACE: std::time::Duration = std::time::Duration::from_mins(1);

/// Decides about one KubernetesExecution.
pub fn decide(seen: &Seen) -> Plan {
    let mut status = seen.execution.status.clone().unwrap_or_default();
    status.observed_generation = seen.execution.metadata.generation;
    let recorded = status.transitions.len();
    let held = status.block_reason;
    let plan = proceed(&mut status, seen);
    if status.phase != Some(ExecutionPhase::Validating) {
        (status.block_reason, status.next_attempt_at) = (None, None);
    }
    let ended = status.phase.is_some_and(Phase::is_terminal);
    let (given_up, judged) = (outcome::given_up_at(&status, seen), outcome::judged_at(seen));
    let times = [
        status.phase_deadline.as_ref(),
        status.next_attempt_at.as_ref(),
        given_up.as_ref(),
        judged.as_ref(),
        seen.settles_at.as_ref(),
    ];
    // What has passed needs nothing more, or waits for the Job's leave, and the watch of Jobs tells of that.
    let next =
        if ended { Next::OnChange } else { Next::earliest(times.map(|time| time.filter(|time| **time > seen.now))) };
    let mut notices = notices::of_execution(&status.transitions[recorded..]);
    if status.block_reason.is_some() && status.block_reason != held {
        let note = status.message.clone().unwrap_or_default();
        notices.push(Notice { warning: true, reason: EventReason::ActionHeld, note });
    }
    Plan { status, job: plan, notices, next }
}

fn proceed(status: &mut KubernetesExecutionStatus, seen: &Seen) -> JobPlan {
    match status.phase {
        None | Some(ExecutionPhase::Pending | ExecutionPhase::Validating) => validate(status, seen),
        Some(ExecutionPhase::Executing) => follow(status, seen),
        Some(ExecutionPhase::Verifying) => verify::verify(status, seen),
        Some(ExecutionPhase::RollingBack) => rollback::follow(status, seen),
        // Reached again only when stopping or letting go of the Job failed the first time.
        Some(_) if matches!(seen.job, JobSeen::Running(_) | JobSeen::Waiting { .. }) => JobPlan::Stop,
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
    if over(seen) {
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
    // What nobody has allowed is not done.
    if let Some(policy) = &seen.policy {
        status.policy = Some(policy.clone());
        if policy.decision != PolicyDecision::Allow {
            fail(status, seen, Why::new("PolicyDenied", policy::words(policy)));
            return JobPlan::Leave;
        }
    }
    let Some(rehearsal) = seen.rehearsal.as_ref().filter(|_| seen.policy.is_some()) else {
        if passed(status.phase_deadline.as_ref(), now) {
            fail(status, seen, Why::new("ValidatingTimedOut", "policy or rehearsal gave no answer in time"));
        }
        return JobPlan::Leave;
    };
    status.rehearsal = Some(Why::new("Rehearsed", rehearsal.message.clone()).message().to_owned());
    status.rehearsed_on.clone_from(&rehearsal.target);
    if matches!(rehearsal.effect, Effect::None | Effect::Unknown) {
        let reason = rehearsal.error.clone().unwrap_or_else(|| "RehearsalFailed".into());
        fail(status, seen, Why::new(reason, format!("the rehearsal was refused: {}", rehearsal.message)));
        return JobPlan::Leave;
    }
    if let Some(drift) = undone_drift(seen, rehearsal) {
        fail(status, seen, Why::new(drift::DRIFTED, format!("{drift}, so the step is not undone")));
        return JobPlan::Leave;
    }
    let Some(reach) = &seen.reach else {
        fail(status, seen, Why::new("BlastRadiusUnknown", "what the action reaches could not be computed"));
        return JobPlan::Leave;
    };
    status.blast_radius = Some(blast::radius(reach));
    if let Some(problem) = blast::exceeded(reach, &seen.settings.blast) {
        fail(status, seen, Why::new(blast::EXCEEDED, problem));
        return JobPlan::Leave;
    }
    if spec.dry_run && spec.action == RUN_SCRIPT {
        enter(status, ExecutionPhase::Completed, now, Why::new("DryRun", rehearsal.message.clone()));
        return JobPlan::Leave;
    }
    if !admission::admit(status, seen) {
        return JobPlan::Leave;
    }
    enter(status, ExecutionPhase::Executing, now, Why::new("RehearsalPassed", rehearsal.message.clone()));
    let start = job::start_wait(spec.timeout.into(), &seen.settings.job);
    status.phase_deadline =
        Some(after(&after(now, start + START_GRACE + std::time::Duration::from(spec.timeout)), GRACE));
    create(status, seen)
}

/// How somebody else has changed the target since the step that is to be undone. Other steps of the same request may
/// have, and are undone themselves.
fn undone_drift(seen: &Seen, rehearsal: &ActionResult) -> Option<String> {
    let spec = &seen.execution.spec;
    let (undone, left, now) = (spec.undoes.as_ref()?, seen.left.as_ref()?, rehearsal.target.as_ref()?);
    let of_request =
        |name: &String| name.split_once('-').is_some_and(|(_, rest)| rest.starts_with(&format!("{}-", spec.request)));
    match &now.changed_by {
        Some(by) if by != undone && of_request(by) => None,
        _ => drift::between(left, now),
    }
}

/// Makes the Job that acts; fails when what it would run has changed meanwhile.
fn create(status: &mut KubernetesExecutionStatus, seen: &Seen) -> JobPlan {
    let since = entered(status, ExecutionPhase::Executing).unwrap_or_else(|| seen.now.clone());
    let settings = &seen.settings.job;
    let job = match &seen.script {
        Some(Ok(script)) => job::of_script(&seen.execution, script, settings, &since),
        Some(Err(refusal)) => {
            fail(status, seen, Why::new(refusal.error, refusal.message.clone()));
            return JobPlan::Leave;
        }
        None => job::of(&seen.execution, settings, &since),
    };
    JobPlan::Create(Box::new(job))
}

/// When a phase was entered.
fn entered(status: &KubernetesExecutionStatus, phase: ExecutionPhase) -> Option<MicroTime> {
    let to = phase.to_string();
    status.transitions.iter().rev().find(|transition| transition.to == to).map(|transition| transition.at.clone())
}

/// The script, and its arguments, that the next Job of an execution runs; `None` when it runs another action.
pub fn wanted_script(execution: &KubernetesExecution) -> Option<RunScript> {
    let rollback = execution.status.as_ref().and_then(|status| status.rollback.as_ref());
    let (action, parameters): (&str, &Values) = match rollback {
        Some(rollback) => (&rollback.action, &rollback.parameters),
        None => (&execution.spec.action, &execution.spec.parameters),
    };
    if action == RUN_SCRIPT { catalogue::parse(parameters).ok() } else { None }
}

fn follow(status: &mut KubernetesExecutionStatus, seen: &Seen) -> JobPlan {
    let late = passed(status.phase_deadline.as_ref(), &seen.now);
    match &seen.job {
        JobSeen::Unread => {
            // Decided only when it is long overdue. It may have been made and have acted: never tried again.
            let why = Why::new("OutcomeUnknown", "whether the Job ran could not be read in time: look at the target");
            fail(status, seen, why);
            JobPlan::Leave
        }
        JobSeen::Foreign => {
            let why = Why::new("NameCollision", "a Job of this name exists and is not ours");
            fail(status, seen, why);
            JobPlan::Leave
        }
        JobSeen::Absent if status.job.is_some() => {
            outcome::without_result(status, seen, "the Job is gone and its result was never recorded", None);
            JobPlan::Leave
        }
        JobSeen::Absent if over(seen) => {
            let why = Why::new("RequestEnded", "the request ended before the Job was made");
            enter(status, ExecutionPhase::Cancelled, &seen.now, why);
            JobPlan::Leave
        }
        JobSeen::Absent if late => {
            fail(status, seen, Why::new("ExecutingTimedOut", "the Job could not be made in time"));
            JobPlan::Leave
        }
        JobSeen::Absent => create(status, seen),
        JobSeen::Running(job) | JobSeen::Waiting { job, .. } | JobSeen::Ended { job, .. }
            if status.job.as_ref().is_some_and(|recorded| recorded.uid != job.uid) =>
        {
            outcome::without_result(status, seen, "another Job took the place of the recorded one", None);
            JobPlan::Leave
        }
        JobSeen::Waiting { job, why, .. } => {
            status.job = Some(job.clone());
            if outcome::given_up_at(status, seen).is_none_or(|time| time > seen.now) {
                return JobPlan::Leave;
            }
            fail(status, seen, Why::new("JobNotStarted", format!("the Job did not start in time: {why}")));
            JobPlan::Stop
        }
        JobSeen::Running(job) => {
            status.job = Some(job.clone());
            if late {
                fail(status, seen, Why::new("ExecutingTimedOut", "the Job did not end in time and was stopped"));
                return JobPlan::Stop;
            }
            JobPlan::Leave
        }
        JobSeen::Ended { job, result, message, ran, died_at, .. } => {
            status.job = Some(job.clone());
            outcome::take(status, seen, result.as_ref(), message, died_at.as_ref(), *ran);
            if status.phase == Some(ExecutionPhase::Executing) { JobPlan::Leave } else { release(seen) }
        }
    }
}
