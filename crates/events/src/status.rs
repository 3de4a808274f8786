//! The status of an EventSink as a function of its spec's fate, its driver's health and its counts.
//!
//! Deliberately absent: I/O and the clock.

use jiff::Timestamp;
use kubernaut_api::{Condition, EventSink, EventSinkStatus, MicroTime, Time};

use crate::driver::Health;
use crate::store::Counts;

/// Type of the one condition.
const READY: &str = "Ready";

/// Why a sink is or is not ready: reasons of the condition `Ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The spec is valid and the last attempt worked, or none was needed yet.
    Serving,
    /// `spec.suspended` is true.
    Suspended,
    /// The spec cannot be used.
    InvalidSpec,
    /// The Secret of the bearer token cannot be used.
    SecretUnavailable,
    /// The last attempt failed.
    DeliveryFailing,
    /// The sink answered 410: nothing is sent until the spec changes.
    Gone,
}

impl Reason {
    /// The word in the condition.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "Serving",
            Self::Suspended => "Suspended",
            Self::InvalidSpec => "InvalidSpec",
            Self::SecretUnavailable => "SecretUnavailable",
            Self::DeliveryFailing => "DeliveryFailing",
            Self::Gone => "Gone",
        }
    }
}

/// What has become of the spec.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    /// Events are being delivered.
    Served,
    /// Held back as asked.
    Suspended,
    /// The spec cannot be used; the message names field and remedy.
    Invalid(String),
    /// The Secret cannot be read or lacks the key; looked up again later.
    Secret(String),
    /// Gone for good, with what the sink said.
    Gone(String),
}

/// The status to write for `sink`.
pub(crate) fn of(sink: &EventSink, fate: &Fate, health: &Health, counts: Counts, now: Timestamp) -> EventSinkStatus {
    let before = sink.status.clone().unwrap_or_default();
    let (ready, reason, message) = summary(fate, health);
    EventSinkStatus {
        observed_generation: sink.metadata.generation,
        delivered: counts.delivered,
        pending: counts.pending,
        dead_letters: counts.dead,
        last_success: counts.last_success.map(MicroTime),
        last_error: health.last_error.clone().or(before.last_error),
        conditions: vec![condition(&before.conditions, sink.metadata.generation, ready, reason, message, now)],
    }
}

/// What the sink said when it went for good, if this generation of it did.
pub(crate) fn gone(sink: &EventSink) -> Option<String> {
    let status = sink.status.as_ref()?;
    let ready = status.conditions.iter().find(|condition| condition.type_ == READY)?;
    let this_generation = ready.observed_generation == sink.metadata.generation;
    (this_generation && ready.reason == Reason::Gone.as_str()).then(|| ready.message.clone())
}

fn summary(fate: &Fate, health: &Health) -> (bool, Reason, String) {
    match (fate, &health.failing) {
        (Fate::Served, None) => (true, Reason::Serving, "events are delivered".into()),
        (Fate::Served, Some(why)) => (false, Reason::DeliveryFailing, why.clone()),
        (Fate::Suspended, _) => {
            (false, Reason::Suspended, "spec.suspended is true: events are kept and sent when it is false".into())
        }
        (Fate::Invalid(why), _) => (false, Reason::InvalidSpec, why.clone()),
        (Fate::Secret(why), _) => (false, Reason::SecretUnavailable, why.clone()),
        (Fate::Gone(why), _) => (false, Reason::Gone, why.clone()),
    }
}

/// `lastTransitionTime` moves only when the status flips.
fn condition(
    before: &[Condition],
    generation: Option<i64>,
    ready: bool,
    reason: Reason,
    message: String,
    now: Timestamp,
) -> Condition {
    let status = if ready { "True" } else { "False" };
    let since = before
        .iter()
        .find(|condition| condition.type_ == READY && condition.status == status)
        .map(|condition| condition.last_transition_time.clone());
    Condition {
        type_: READY.into(),
        status: status.into(),
        reason: reason.as_str().into(),
        message,
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
    }
}
