//! Objects as the API server would hold them, and what must hold of every status.

use std::fmt::Debug;
use std::time::Duration;

use jiff::Timestamp;
use kubernaut_api::analysis::{AIAnalysisStatus, Citation, ConfidenceSignal, Plan, Risk};
use kubernaut_api::evidence::{PodEvidence, Revision};
use kubernaut_api::execution::{ActionResult, Effect, JobRef, TargetMark};
use kubernaut_api::meta::{Phase, Staged};
use kubernaut_api::processing::{Classification, RemediationProcessingStatus};
use kubernaut_api::request::Signal;
use kubernaut_api::workflow::{OnFailure, Step};
use kubernaut_api::{
    AIAnalysis, AnalysisPhase, Evidence, ExecutionPhase, KubernetesExecution, KubernetesExecutionStatus, MicroTime,
    ObjectMeta, PolicyDecision, PolicyRecord, ProcessingPhase, RemediationProcessing, RemediationRequest,
    RemediationRequestSpec, RemediationRequestStatus, RequestPhase, Resource, TargetRef, Transition, WorkflowExecution,
    WorkflowExecutionStatus, WorkflowPhase,
};
use kubernaut_domain::diagnosis::Finding;
use kubernaut_domain::plan;
use kubernaut_domain::settings::{Limits, Settings};
use kubernaut_domain::stage::{Next, Status};
use serde::Serialize;
use serde_json::json;

/// Name of the request of all tests.
pub const REQUEST: &str = "rr-0123456789ab-1";
pub const DAY: i64 = 86_400;

/// So many seconds after the start of the test.
pub fn at(second: i64) -> MicroTime {
    MicroTime(Timestamp::from_second(1_700_000_000 + second).expect("a time"))
}

/// The time that many seconds later.
pub fn later(time: &MicroTime, seconds: i64) -> MicroTime {
    MicroTime(Timestamp::from_microsecond(time.0.as_microsecond() + seconds * 1_000_000).expect("a time"))
}

pub fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.job.image = "kubernaut:test".into();
    settings
}

/// Settings under which no deadline passes within days.
pub fn patient() -> Settings {
    let year = Duration::from_hours(365 * 24);
    let limits =
        Limits { request: year, processing: year, analysis: year, approval: year, execution: year, verification: year };
    let mut settings = Settings { limits, stabilization: year, retention: year, ..settings() };
    settings.job.timeout = year;
    settings.suppression.look_again = year;
    settings
}

pub fn target() -> TargetRef {
    TargetRef {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        namespace: Some("shop".into()),
        name: "web".into(),
        uid: Some("uid-web".into()),
    }
}

pub fn step(name: &str, depends_on: &[&str]) -> Step {
    Step {
        name: name.into(),
        action: "rollback_deployment".into(),
        target: target(),
        parameters: [("toRevision".to_owned(), json!(3))].into(),
        depends_on: depends_on.iter().map(|&name| name.into()).collect(),
        on_failure: OnFailure::Fail,
        ..Step::default()
    }
}

pub fn request() -> RemediationRequest {
    let mut request = RemediationRequest::new(
        REQUEST,
        RemediationRequestSpec {
            signal: Signal {
                source: "alertmanager".into(),
                name: "KubePodCrashLooping".into(),
                fingerprint: "0123456789abcdef".repeat(4),
                severity: Some("critical".into()),
                ..Signal::default()
            },
            target: Some(target()),
            resource: None,
            episode: 1,
            cancelled: false,
            dry_run: false,
            timeouts: None,
        },
    );
    request.metadata.namespace = Some("kubernaut-system".into());
    made(request)
}

pub fn evidence() -> Evidence {
    let revision = |number: i64, holder: &str| Revision {
        number,
        holder: holder.into(),
        created_at: None,
        replicas: 1,
        ready_replicas: 0,
        current: number == 4,
    };
    Evidence {
        pods: vec![PodEvidence { name: "web-new-1".into(), uid: "uid-pod".into(), ..PodEvidence::default() }],
        revisions: vec![revision(4, "web-new"), revision(3, "web-old")],
        ..Evidence::default()
    }
}

/// A finding whose confidence is this many hundredths.
pub fn finding(hundredths: u32) -> Finding {
    let signal = |name: &str, weight: f64, met: bool| ConfidenceSignal { name: name.into(), weight, met };
    let weight = f64::from(hundredths) / 100.0;
    Finding {
        cause: "BadRollout".into(),
        summary: "revision 4 crashes, revision 3 did not".into(),
        evidence: vec![Citation { object: "Pod/web-new-1".into(), observation: "CrashLoopBackOff".into() }],
        contributing_factors: vec![],
        signals: vec![signal("crashes", weight, true), signal("logs", 1.0 - weight, false)],
        steps: vec![step("rollback", &[])],
        rationale: "revision 3 was healthy".into(),
    }
}

/// As the API server keeps an object that was just made.
pub fn made<K: Resource<DynamicType = ()>>(mut object: K) -> K {
    let uid = format!("uid-{}", object.meta().name.clone().unwrap_or_default());
    let ObjectMeta { uid: to, generation, .. } = object.meta_mut();
    to.get_or_insert(uid);
    generation.get_or_insert(1);
    object
}

/// A policy that has nothing against it.
pub fn allowed() -> PolicyRecord {
    PolicyRecord {
        decision: PolicyDecision::Allow,
        hash: "ab".repeat(32),
        source: "default".into(),
        messages: vec![],
        approvers: None,
    }
}

/// A status of an execution whose Job has changed the target.
pub fn changed() -> ActionResult {
    ActionResult {
        effect: Effect::Changed,
        message: "went back to revision 3".into(),
        error: None,
        before: [].into(),
        target: None,
    }
}

/// The target at this generation, each with a spec of its own.
pub fn mark(generation: i64) -> TargetMark {
    TargetMark {
        generation: Some(generation),
        resource_version: Some(format!("{generation}00")),
        spec_hash: Some(format!("{generation:016x}")),
        changed_by: None,
    }
}

pub fn job_ref() -> JobRef {
    JobRef { name: format!("ke-{REQUEST}-rollback"), uid: "uid-job".into() }
}

pub fn processed(mut processing: RemediationProcessing) -> RemediationProcessing {
    processing.status = Some(RemediationProcessingStatus {
        phase: Some(ProcessingPhase::Completed),
        evidence: Some(evidence()),
        classification: Some(Classification {
            severity: "critical".into(),
            priority: "P0".into(),
            environment: "production".into(),
            signal_type: "CrashLoop".into(),
            resource_type: "Deployment".into(),
        }),
        ..RemediationProcessingStatus::default()
    });
    processing
}

pub fn analysed(mut analysis: AIAnalysis, phase: AnalysisPhase, steps: &[Step]) -> AIAnalysis {
    analysis.status = Some(AIAnalysisStatus {
        phase: Some(phase),
        reason: Some("BadRollout".into()),
        message: Some("revision 4 crashes".into()),
        plan: (!steps.is_empty()).then(|| Plan {
            hash: plan::hash(steps),
            steps: steps.to_vec(),
            rationale: "revision 3 was healthy".into(),
            risk: Some(Risk::Medium),
        }),
        phase_deadline: (phase == AnalysisPhase::Approval).then(|| at(900)),
        ..AIAnalysisStatus::default()
    });
    analysis
}

pub fn worked(mut workflow: WorkflowExecution, phase: WorkflowPhase) -> WorkflowExecution {
    workflow.status = Some(WorkflowExecutionStatus {
        phase: Some(phase),
        reason: Some("StepsCompleted".into()),
        message: Some("went back to revision 3".into()),
        steps: vec![kubernaut_api::workflow::StepStatus {
            name: "rollback".into(),
            message: "went back to revision 3".into(),
            ..Default::default()
        }],
        ..WorkflowExecutionStatus::default()
    });
    workflow
}

pub fn executed(mut execution: KubernetesExecution, phase: ExecutionPhase, message: &str) -> KubernetesExecution {
    execution.status = Some(KubernetesExecutionStatus {
        phase: Some(phase),
        message: Some(message.into()),
        ..KubernetesExecutionStatus::default()
    });
    execution
}

/// One of the five kinds, with its status at hand.
pub trait Kind: Staged + Clone + Debug + PartialEq + Serialize {
    type Status: Status<Phase = Self::Phase> + Clone + Debug + Default + PartialEq;
    fn status(&self) -> Option<&Self::Status>;
    fn set_status(&mut self, status: Self::Status);
    /// Place of a phase in the order in which phases normally follow.
    fn rank(phase: Self::Phase) -> usize;
}

macro_rules! kinds {
    ($($kind:ty, $status:ty, $phase:ty;)+) => {$(
        impl Kind for $kind {
            type Status = $status;
            fn status(&self) -> Option<&$status> {
                self.status.as_ref()
            }
            fn set_status(&mut self, status: $status) {
                self.status = Some(status);
            }
            fn rank(phase: $phase) -> usize {
                <$phase>::ALL.iter().position(|other| *other == phase).expect("ALL holds every phase")
            }
        }
    )+};
}
kinds! {
    RemediationRequest, RemediationRequestStatus, RequestPhase;
    RemediationProcessing, RemediationProcessingStatus, ProcessingPhase;
    AIAnalysis, AIAnalysisStatus, AnalysisPhase;
    WorkflowExecution, WorkflowExecutionStatus, WorkflowPhase;
    KubernetesExecution, KubernetesExecutionStatus, ExecutionPhase;
}

/// Transitions that were added to those of `before`, as `Phase Reason`.
pub fn trail<K: Kind>(before: &K, after: &K) -> Vec<String> {
    let added = &after.transitions()[before.transitions().len()..];
    added.iter().map(|transition| format!("{} {}", transition.to, transition.reason)).collect()
}

/// Everything that must hold of any status that a decision wants written.
pub fn assert_sound<K: Kind>(before: &K, status: &K::Status, now: &MicroTime, next: &Next) -> K {
    let mut after = before.clone();
    after.set_status(status.clone());
    let (old, new) = (before.transitions(), after.transitions());
    assert_eq!(new[..old.len()], *old, "what is recorded stays");
    for (number, pair) in (1..).zip(std::iter::once(None).chain(new.iter().map(Some)).zip(new)) {
        let (previous, transition): (Option<&Transition>, _) = pair;
        assert_eq!(transition.seq, number, "numbers have no gap");
        assert_eq!(transition.from.as_ref(), previous.map(|previous| &previous.to), "each begins where the last ended");
        assert!(transition.message.chars().count() <= 1024 && transition.reason.len() <= 64);
    }
    let phase = after.phase().expect("a decision always leaves a phase");
    assert_eq!(new.last().map(|last| last.to.clone()), Some(phase.to_string()), "the phase is the last recorded one");
    let ready = after.conditions().iter().find(|condition| condition.type_ == "Ready").expect("Ready sums up");
    assert_eq!(ready.status == "Unknown", !phase.is_terminal());
    let mut own = status.clone();
    let parts = own.parts();
    assert_eq!(*parts.observed_generation, before.meta().generation);
    if phase.is_terminal() {
        assert_eq!(*parts.phase_deadline, None, "what is over has no deadline");
        let kept = K::NOUN == "remediation";
        assert!(kept || *next == Next::OnChange, "what is over waits for nothing but its deletion");
    } else {
        assert!(parts.phase_deadline.is_some(), "{phase} has a deadline");
    }
    if let Next::At(time) = next {
        assert!(time > now, "looking again at {time:?}, which has passed, would never stop");
    }
    if before.phase().is_some_and(Phase::is_terminal) {
        assert_eq!(before.status(), Some(status), "a terminal phase is not left");
    }
    after
}

/// That a child is tied to its owner as R1.1 asks.
pub fn assert_owned<C, O>(child: &C, owner: &O, finalizers: &[&str])
where
    C: Resource<DynamicType = ()>,
    O: Resource<DynamicType = ()>,
{
    assert_owned_by_name(child, owner, REQUEST, finalizers);
}

/// As [`assert_owned`], of what serves something of that name.
pub fn assert_owned_by_name<C, O>(child: &C, owner: &O, served: &str, finalizers: &[&str])
where
    C: Resource<DynamicType = ()>,
    O: Resource<DynamicType = ()>,
{
    let references = child.meta().owner_references.clone().unwrap_or_default();
    let [reference] = references.as_slice() else { panic!("one owner, not {references:?}") };
    assert_eq!(reference.kind, O::kind(&()));
    assert_eq!(Some(&reference.name), owner.meta().name.as_ref());
    assert_eq!(Some(&reference.uid), owner.meta().uid.as_ref());
    assert_eq!((reference.controller, reference.block_owner_deletion), (Some(true), Some(true)));
    assert_eq!(child.meta().namespace, owner.meta().namespace);
    let labels = child.meta().labels.clone().unwrap_or_default();
    assert_eq!(labels.get("kubernaut.io/request").map(String::as_str), Some(served));
    assert_eq!(child.meta().finalizers.clone().unwrap_or_default(), finalizers);
}
