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
    /// The event store does not know the sink yet.
    StoreUnavailable,
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
            Self::StoreUnavailable => "StoreUnavailable",
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
    /// Something else is missing; it is looked up again later.
    Waiting(Reason, String),
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
        (Fate::Waiting(reason, why), _) => (false, *reason, why.clone()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sink() -> EventSink {
        let mut sink: EventSink = serde_json::from_value(serde_json::json!({
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "EventSink",
            "metadata": {"name": "audit", "generation": 2},
            "spec": {"http": {"url": "http://audit.example/"}},
        }))
        .expect("a sink");
        sink.status = Some(of(&sink, &Fate::Served, &Health::default(), Counts::default(), at(1)));
        sink
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn failing() -> Health {
        Health { failing: Some("the sink answered 503".into()), ..Health::default() }
    }

    #[test]
    fn a_day_later_the_same_facts_give_the_same_status() {
        let sink = sink();
        let later = of(&sink, &Fate::Served, &Health::default(), Counts::default(), at(86_400));
        assert_eq!(Some(&later), sink.status.as_ref());
    }

    #[test]
    fn the_time_of_the_condition_moves_only_when_it_flips() {
        let mut sink = sink();
        sink.status = Some(of(&sink, &Fate::Served, &failing(), Counts::default(), at(5)));
        let invalid = of(&sink, &Fate::Invalid("spec.types[0]: wrong".into()), &failing(), Counts::default(), at(9));
        let condition = &invalid.conditions[0];
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "InvalidSpec"));
        assert_eq!(condition.last_transition_time.0, at(5));
    }

    #[test]
    fn a_sink_that_is_gone_stays_gone_until_its_spec_changes() {
        let mut sink = sink();
        let fate = Fate::Gone("the sink answered 410 Gone".into());
        sink.status = Some(of(&sink, &fate, &Health::default(), Counts::default(), at(5)));
        assert_eq!(gone(&sink).as_deref(), Some("the sink answered 410 Gone"));
        sink.metadata.generation = Some(3);
        assert_eq!(gone(&sink), None);
    }
}
