//! What the diagnosers ask of the evidence: which pods belong to which revision, how a container fails,
//! what changed. Deliberately absent: any judgement of cause.

use jiff::{SignedDuration, Timestamp};
use kubernaut_api::analysis::Citation;
use kubernaut_api::evidence::{Change, ContainerState, EventRecord, Evidence, PodEvidence, Revision, Workload};
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::redact::bounded;

use crate::provider::Question;

/// A revision is fresh, and what broke with it is its doing, for so long after it was made.
pub const FRESH: SignedDuration = SignedDuration::from_hours(1);
/// The end of a container's run matters for so long.
pub const RECENT: SignedDuration = SignedDuration::from_mins(15);

/// The evidence about a workload that was found.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub evidence: &'a Evidence,
    pub workload: &'a Workload,
    /// The revision that the workload asks for, where that is known.
    pub current: Option<&'a Revision>,
    pub now: Timestamp,
}

/// How a container fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its image cannot be had.
    ImagePull,
    /// It cannot be started: the configuration it names is missing, or its command does not exist.
    Start,
    /// The kernel killed it for want of memory.
    OutOfMemory,
    /// It starts and ends, again and again.
    Crash,
}

/// A container that fails, and its pod.
#[derive(Clone, Copy)]
pub struct Failing<'a> {
    pub pod: &'a PodEvidence,
    pub container: &'a ContainerState,
    pub failure: Failure,
}

impl<'a> Facts<'a> {
    /// `None` when no workload was found.
    pub fn of(question: &Question<'a>) -> Option<Self> {
        Self::about(question.evidence, question.now)
    }

    /// As [`Facts::of`], of evidence that nobody asked about.
    pub fn about(evidence: &'a Evidence, now: Timestamp) -> Option<Self> {
        let workload = evidence.workload.as_ref()?;
        let current = evidence.revisions.iter().find(|revision| revision.current);
        Some(Self { evidence, workload, current, now })
    }

    /// The workload, by the uid under which the evidence was collected.
    pub fn object(&self) -> &'a TargetRef {
        &self.workload.object
    }

    /// Pods of a Deployment's current revision; all pods of other kinds, or where revisions are not known.
    pub fn current_pods(&self) -> Vec<&'a PodEvidence> {
        match self.current {
            Some(revision) if self.object().kind == "Deployment" => self.pods_of(revision),
            _ => self.evidence.pods.iter().filter(|pod| !pod.terminating).collect(),
        }
    }

    /// Pods of one revision that are not being deleted.
    pub fn pods_of(&self, revision: &Revision) -> Vec<&'a PodEvidence> {
        let owned = |pod: &&PodEvidence| pod.owner.as_deref() == Some(revision.holder.as_str());
        self.evidence.pods.iter().filter(owned).filter(|pod| !pod.terminating).collect()
    }

    /// Every failing container of these pods.
    pub fn failing(&self, pods: &[&'a PodEvidence]) -> Vec<Failing<'a>> {
        let containers = pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (*pod, container)));
        containers
            .filter_map(|(pod, container)| Some(Failing { pod, container, failure: self.failure(container)? }))
            .collect()
    }

    /// How a container fails; `None` when it does not, or ended long ago.
    ///
    /// A container that runs at the moment fails too when its last run ended badly a short while ago:
    /// the signal may come between two crashes.
    fn failure(&self, container: &ContainerState) -> Option<Failure> {
        let waiting = if container.state == "Waiting" { container.reason.as_str() } else { "" };
        let end = container.last_termination.as_ref().filter(|end| {
            end.finished_at.as_ref().is_none_or(|at| self.now.duration_since(at.0) <= RECENT) || !waiting.is_empty()
        });
        let ended = end.map_or("", |end| end.reason.as_str());
        let again = container.restarts > 0 || container.state == "Terminated";
        match waiting {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError" => {
                Some(Failure::ImagePull)
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => Some(Failure::Start),
            _ if ended == "OOMKilled" => Some(Failure::OutOfMemory),
            _ if matches!(ended, "StartError" | "ContainerCannotRun") => Some(Failure::Start),
            "CrashLoopBackOff" => Some(Failure::Crash),
            _ if again && end.is_some_and(|end| end.exit_code != 0) => Some(Failure::Crash),
            _ => None,
        }
    }

    /// When the current template was first rolled out, as far as it is known. Revisions that differ only in labels
    /// and annotations have the same template here: they were restarts.
    pub fn template_made(&self) -> Option<Timestamp> {
        let current = self.current?;
        let differs =
            self.changes().filter(|change| !change.path.starts_with("metadata")).map(|one| one.from_revision).max();
        let same = self.evidence.revisions.iter().filter(|revision| {
            revision.number <= current.number && differs.is_none_or(|differs| revision.number > differs)
        });
        same.filter_map(|revision| revision.created_at.as_ref()).map(|at| at.0).min()
    }

    /// What the current revision changed.
    pub fn changes(&self) -> impl Iterator<Item = &'a Change> + use<'a> {
        let current = self.current.map(|revision| revision.number);
        self.evidence.changes.iter().filter(move |change| Some(change.to_revision) == current)
    }

    /// What the current revision changed in one container: the path behind it, such as `image`, and the change.
    pub fn changes_in(&self, container: &ContainerState) -> Vec<(&'a str, &'a Change)> {
        let prefix = format!("{}[{}]", if container.init { "initContainers" } else { "containers" }, container.name);
        self.changes()
            .filter_map(|change| {
                let rest = change.path.strip_prefix(&prefix)?;
                Some((rest.strip_prefix('.').unwrap_or(rest), change))
            })
            .collect()
    }

    /// Warnings of the last [`FRESH`] about one object.
    pub fn warnings(&self, kind: &str, name: &str) -> impl Iterator<Item = &'a EventRecord> + use<'a> {
        let (object, now) = (format!("{kind}/{name}"), self.now);
        self.evidence.events.iter().filter(move |event| {
            let late = event.last_seen.as_ref().is_none_or(|at| now.duration_since(at.0) <= FRESH);
            event.type_ == "Warning" && event.object == object && late
        })
    }

    /// True when the current revision was made a short while ago.
    pub fn fresh(&self) -> bool {
        let made = self.current.and_then(|revision| revision.created_at.as_ref());
        made.is_some_and(|at| self.now.duration_since(at.0) <= FRESH)
    }

    /// Cites the workload.
    pub fn cite_workload(&self) -> Citation {
        let Workload { replicas, ready_replicas, updated_replicas, .. } = self.workload;
        cite(
            &self.object().kind,
            &self.object().name,
            format!("{ready_replicas} of {replicas} replicas are ready, {updated_replicas} have the newest template"),
        )
    }

    /// Cites what holds a revision.
    pub fn cite_revision(&self, revision: &Revision, observation: String) -> Citation {
        cite(self.evidence.holder_kind(), &revision.holder, observation)
    }

    /// Cites what the current revision changed, most telling first, at most three.
    pub fn cite_changes(&self, revision: &Revision) -> Citation {
        let mut changes: Vec<&Change> = self.changes().collect();
        changes.sort_by_key(|change| !change.path.contains("ontainers["));
        let words: Vec<String> = changes.iter().take(3).map(|change| described(change)).collect();
        let more = changes.len().saturating_sub(3);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        self.cite_revision(revision, format!("revision {} changed {}{more}", revision.number, words.join("; ")))
    }

    /// One sentence about what was looked at, for the person who has to look on.
    pub fn summary(&self) -> String {
        let Workload { replicas, ready_replicas, updated_replicas, .. } = self.workload;
        let failing = self.failing(&self.evidence.pods.iter().collect::<Vec<_>>()).len();
        format!(
            "No known cause fits {}: {ready_replicas} of {replicas} replicas ready, {updated_replicas} updated, {failing} \
             failing containers in {} pods, {} revisions, {} changes and {} Events looked at.",
            self.object(),
            self.evidence.pods.len(),
            self.evidence.revisions.len(),
            self.evidence.changes.len(),
            self.evidence.events.len(),
        )
    }
}

impl Failing<'_> {
    /// How often its runs ended so far.
    pub fn ends(&self) -> i32 {
        let ended_now = self.container.state == "Terminated" || self.container.reason == "CrashLoopBackOff";
        self.container.restarts + i32::from(ended_now)
    }

    /// Cites the pod.
    pub fn cite(&self) -> Citation {
        let ContainerState { name, state, reason, restarts, last_termination, .. } = self.container;
        let state = if reason.is_empty() { state } else { reason };
        let end = last_termination.as_ref().map_or(String::new(), |end| {
            format!(", last ended with exit code {} ({})", end.exit_code, bounded(&end.reason, 64))
        });
        cite("Pod", &self.pod.name, format!("container {name} is {state} after {restarts} restarts{end}"))
    }
}

/// How many runs of failing containers ended, together.
pub fn ends(failing: &[Failing<'_>]) -> i32 {
    failing.iter().map(Failing::ends).fold(0, i32::saturating_add)
}

/// Cites an object of the evidence.
pub fn cite(kind: &str, name: &str, observation: impl AsRef<str>) -> Citation {
    Citation { object: format!("{kind}/{name}"), observation: bounded(observation.as_ref(), 512) }
}

/// Cites what an Event is about, with what it says.
pub fn cite_event(event: &EventRecord) -> Citation {
    let EventRecord { reason, message, count, .. } = event;
    Citation { object: event.object.clone(), observation: bounded(&format!("{reason} ({count}): {message}"), 512) }
}

fn described(change: &Change) -> String {
    let quoted = |text: &str| if text.is_empty() { "nothing".to_owned() } else { format!("{:?}", bounded(text, 60)) };
    format!("{} from {} to {}", bounded(&change.path, 80), quoted(&change.before), quoted(&change.after))
}
