//! The decision about a RemediationProcessing: from raw evidence to evidence with a classification.

use kubernaut_api::meta::Phase;
use kubernaut_api::processing::{Classification, ProcessingPhase, RemediationProcessingStatus};
use kubernaut_api::{Evidence, MicroTime, RemediationProcessing};

use crate::classify::classify;
use crate::notices;
use crate::stage::{Next, Notice, Why, after, enter, passed};

/// Everything the decision depends on.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The object.
    pub processing: RemediationProcessing,
    /// True when the request has ended or is cancelled: nothing new starts.
    pub request_over: bool,
    /// What was found in the cluster; `None` when nothing is to be collected any more.
    pub found: Option<Found>,
    /// The time.
    pub now: MicroTime,
}

/// What was found in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Bounded and redacted.
    pub evidence: Evidence,
    /// What could not be read, and why.
    pub degraded: Vec<String>,
    /// What the classification policy says, with the hash of its text; the built-in rules tell where there is none.
    pub classified: Option<(Classification, String)>,
    /// False when the target does not exist.
    pub target_found: bool,
}

/// Everything the decision wants done.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The status to write.
    pub status: RemediationProcessingStatus,
    /// Kubernetes Events to publish.
    pub notices: Vec<Notice>,
    /// When to look again.
    pub next: Next,
}

/// Decides about one RemediationProcessing. All its phases go in one write: between them nothing
/// happens outside.
pub fn decide(seen: &Seen) -> Plan {
    let mut status = seen.processing.status.clone().unwrap_or_default();
    status.observed_generation = seen.processing.metadata.generation;
    let recorded = status.transitions.len();
    if !status.phase.is_some_and(Phase::is_terminal) {
        proceed(&mut status, seen);
    }
    let next = Next::earliest([status.phase_deadline.as_ref()]);
    let notices = notices::of_processing(&status, &status.transitions[recorded..]);
    Plan { status, notices, next }
}

fn proceed(status: &mut RemediationProcessingStatus, seen: &Seen) {
    let now = &seen.now;
    let spec = &seen.processing.spec;
    if status.phase.is_none() {
        enter(status, ProcessingPhase::Pending, now, Why::new("Created", ""));
    }
    if seen.request_over {
        enter(status, ProcessingPhase::Failed, now, Why::new("RequestEnded", "the request ended first"));
        return;
    }
    if status.phase == Some(ProcessingPhase::Pending) {
        enter(
            status,
            ProcessingPhase::Enriching,
            now,
            Why::new("Collecting", format!("reading about {}", spec.target)),
        );
        status.phase_deadline = Some(after(now, spec.timeout.into()));
    }
    let Some(found) = &seen.found else {
        if passed(status.phase_deadline.as_ref(), now) {
            enter(
                status,
                ProcessingPhase::Failed,
                now,
                Why::new("EnrichingTimedOut", "the evidence could not be collected in time"),
            );
        }
        return;
    };
    status.degraded.clone_from(&found.degraded);
    if !found.target_found {
        let why = Why::new("TargetNotFound", format!("{} does not exist any more", spec.target));
        enter(status, ProcessingPhase::Failed, now, why);
        return;
    }
    let counted = format!(
        "{} pods, {} revisions, {} events, {} logs{}",
        found.evidence.pods.len(),
        found.evidence.revisions.len(),
        found.evidence.events.len(),
        found.evidence.logs.len(),
        if found.degraded.is_empty() { String::new() } else { format!("; missing: {}", found.degraded.join(", ")) },
    );
    enter(status, ProcessingPhase::Classifying, now, Why::new("EvidenceCollected", counted));
    let (class, policy) = match &found.classified {
        Some((class, hash)) => (class.clone(), Some(hash.clone())),
        None => (classify(&spec.signal, &spec.target, &found.evidence), None),
    };
    let message = format!("{} {} in {}", class.priority, class.signal_type, class.environment);
    enter(status, ProcessingPhase::Completed, now, Why::new("Classified", message));
    status.evidence = Some(found.evidence.clone());
    status.classification = Some(class);
    status.classification_policy = policy;
}
