//! What all kinds do alike: enter a phase, record the transition, sum up in the `Ready` condition.

use kubernaut_api::analysis::AIAnalysisStatus;
use kubernaut_api::execution::KubernetesExecutionStatus;
use kubernaut_api::processing::RemediationProcessingStatus;
use kubernaut_api::request::RemediationRequestStatus;
use kubernaut_api::workflow::WorkflowExecutionStatus;
use kubernaut_api::{
    AnalysisPhase, Condition, EventReason, ExecutionPhase, MicroTime, Phase, ProcessingPhase, RequestPhase, Time,
    Transition, WorkflowPhase,
};

/// When to look again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// When something changes.
    OnChange,
    /// At this time, or when something changes.
    At(MicroTime),
}

impl Next {
    /// The earliest of some times; `OnChange` when there is none.
    pub fn earliest<'a>(times: impl IntoIterator<Item = Option<&'a MicroTime>>) -> Self {
        times.into_iter().flatten().min().map_or(Next::OnChange, |time| Next::At(time.clone()))
    }
}

/// A Kubernetes Event that the decision wants published about its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// True for something that a person should see.
    pub warning: bool,
    /// Reason.
    pub reason: EventReason,
    /// In words.
    pub note: String,
}

/// Why a phase was entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    reason: String,
    message: String,
}

impl Why {
    /// A CamelCase reason and a sentence (cut to what the schema allows).
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        let cut = |text: String, max: usize| {
            if text.chars().count() > max { text.chars().take(max - 1).chain(['…']).collect() } else { text }
        };
        Self { reason: cut(reason.into(), 64), message: cut(message.into(), 1024) }
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The sentence, as long as a message may be.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// A sentence, cut to what a message may have.
pub(crate) fn sentence(text: impl Into<String>) -> String {
    Why::new("", text).message
}

/// The fields that every status has, borrowed from one.
pub struct Parts<'a, P> {
    /// `status.phase`.
    pub phase: &'a mut Option<P>,
    /// `status.reason`.
    pub reason: &'a mut Option<String>,
    /// `status.message`.
    pub message: &'a mut Option<String>,
    /// `status.phaseDeadline`.
    pub phase_deadline: &'a mut Option<MicroTime>,
    /// `status.transitions`.
    pub transitions: &'a mut Vec<Transition>,
    /// `status.conditions`.
    pub conditions: &'a mut Vec<Condition>,
    /// `status.observedGeneration`.
    pub observed_generation: &'a mut Option<i64>,
}

/// A status of one of the five kinds.
pub trait Status {
    /// The kind's phases.
    type Phase: Phase;
    /// The phase that means success.
    const GOOD: Self::Phase;
    /// The common fields.
    fn parts(&mut self) -> Parts<'_, Self::Phase>;
}

macro_rules! statuses {
    ($($status:ty, $phase:ident;)+) => {$(
        impl Status for $status {
            type Phase = $phase;
            const GOOD: $phase = $phase::Completed;
            fn parts(&mut self) -> Parts<'_, $phase> {
                Parts {
                    phase: &mut self.phase,
                    reason: &mut self.reason,
                    message: &mut self.message,
                    phase_deadline: &mut self.phase_deadline,
                    transitions: &mut self.transitions,
                    conditions: &mut self.conditions,
                    observed_generation: &mut self.observed_generation,
                }
            }
        }
    )+};
}
statuses! {
    RemediationRequestStatus, RequestPhase;
    RemediationProcessingStatus, ProcessingPhase;
    AIAnalysisStatus, AnalysisPhase;
    WorkflowExecutionStatus, WorkflowPhase;
    KubernetesExecutionStatus, ExecutionPhase;
}

/// Enters a phase: phase, reason, transition and `Ready` change together, the old deadline is void.
pub fn enter<S: Status>(status: &mut S, to: S::Phase, now: &MicroTime, why: Why) {
    let parts = status.parts();
    let from = parts.phase.replace(to);
    let seq = parts.transitions.last().map_or(1, |last| last.seq + 1);
    parts.transitions.push(Transition {
        seq,
        from: from.map(|phase| phase.to_string()),
        to: to.to_string(),
        at: now.clone(),
        reason: why.reason.clone(),
        message: why.message.clone(),
    });
    *parts.phase_deadline = None;
    let ready = match (to.is_terminal(), to == S::GOOD) {
        (false, _) => "Unknown",
        (true, true) => "True",
        (true, false) => "False",
    };
    let generation = *parts.observed_generation;
    set_condition(parts.conditions, "Ready", ready, &why, generation, now);
    *parts.reason = Some(why.reason);
    *parts.message = Some(why.message).filter(|message| !message.is_empty());
}

/// Says anew why it is in its phase: no transition, since the phase stays.
pub fn explain<S: Status>(status: &mut S, why: Why, now: &MicroTime) {
    let parts = status.parts();
    let generation = *parts.observed_generation;
    set_condition(parts.conditions, "Ready", "Unknown", &why, generation, now);
    *parts.reason = Some(why.reason);
    *parts.message = Some(why.message).filter(|message| !message.is_empty());
}

/// Sets one condition; `lastTransitionTime` moves only when the status flips.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: &str,
    why: &Why,
    generation: Option<i64>,
    now: &MicroTime,
) {
    // Kubernetes keeps whole seconds here: a finer time would differ from what is read back.
    let seconds = kubernaut_api::k8s_openapi::jiff::Timestamp::from_second(now.0.as_second()).unwrap_or(now.0);
    let since = conditions
        .iter()
        .find(|condition| condition.type_ == type_ && condition.status == status)
        .map_or(Time(seconds), |condition| condition.last_transition_time.clone());
    let condition = Condition {
        type_: type_.into(),
        status: status.into(),
        reason: why.reason.clone(),
        message: why.message.clone(),
        observed_generation: generation,
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|existing| existing.type_ == type_) {
        Some(existing) => *existing = condition,
        None => conditions.push(condition),
    }
}

/// The time some duration after another.
pub fn after(time: &MicroTime, duration: std::time::Duration) -> MicroTime {
    MicroTime(time.0.saturating_add(duration).unwrap_or(time.0))
}

/// The time some duration before another.
pub fn before(time: &MicroTime, duration: std::time::Duration) -> MicroTime {
    MicroTime(time.0.saturating_sub(duration).unwrap_or(time.0))
}

/// True when a deadline is set and has come.
pub fn passed(deadline: Option<&MicroTime>, now: &MicroTime) -> bool {
    deadline.is_some_and(|deadline| deadline <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> MicroTime {
        MicroTime(jiff::Timestamp::from_second(second).expect("a time"))
    }

    #[test]
    fn transitions_are_numbered_without_gaps_and_name_where_they_came_from() {
        let mut status = KubernetesExecutionStatus::default();
        enter(&mut status, ExecutionPhase::Pending, &at(1), Why::new("Created", ""));
        enter(&mut status, ExecutionPhase::Validating, &at(2), Why::new("Checked", "ok"));
        let seen: Vec<_> = status.transitions.iter().map(|t| (t.seq, t.from.as_deref(), t.to.as_str())).collect();
        assert_eq!(seen, [(1, None, "Pending"), (2, Some("Pending"), "Validating")]);
    }

    #[test]
    fn ready_flips_its_time_only_with_its_status() {
        let mut status = KubernetesExecutionStatus::default();
        enter(&mut status, ExecutionPhase::Pending, &at(1), Why::new("Created", ""));
        enter(&mut status, ExecutionPhase::Executing, &at(5), Why::new("JobCreated", ""));
        assert_eq!(status.conditions[0].last_transition_time, Time(at(1).0));
        assert_eq!(status.conditions[0].reason, "JobCreated");
        enter(&mut status, ExecutionPhase::Completed, &at(9), Why::new("Healthy", ""));
        assert_eq!(status.conditions[0].last_transition_time, Time(at(9).0));
        assert_eq!(status.conditions[0].status, "True");
    }

    #[test]
    fn a_long_message_is_cut_to_what_the_schema_allows() {
        let mut status = KubernetesExecutionStatus::default();
        enter(&mut status, ExecutionPhase::Failed, &at(1), Why::new("X", "ä".repeat(3000)));
        assert_eq!(status.message.map(|message| message.chars().count()), Some(1024));
    }
}
