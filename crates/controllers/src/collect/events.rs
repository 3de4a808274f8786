//! Kubernetes Events as evidence: about the target and what it owns, newest first, redacted.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kubernaut_api::evidence::EventRecord;
use kubernaut_domain::redact::{bounded, redact};

/// Events about objects with these uids, newest first, at most 32.
pub fn records(events: &[Event], uids: &BTreeSet<String>) -> Vec<EventRecord> {
    let about = |event: &&Event| event.involved_object.uid.as_ref().is_some_and(|uid| uids.contains(uid));
    let mut events: Vec<&Event> = events.iter().filter(about).collect();
    events.sort_by_key(|event| std::cmp::Reverse(last_seen(event)));
    events.into_iter().take(32).map(record).collect()
}

fn record(event: &Event) -> EventRecord {
    let object = &event.involved_object;
    let (kind, name) = (object.kind.as_deref().unwrap_or_default(), object.name.as_deref().unwrap_or_default());
    let series = event.series.as_ref().and_then(|series| series.count);
    EventRecord {
        object: bounded(&format!("{kind}/{name}"), 320),
        type_: bounded(event.type_.as_deref().unwrap_or("Normal"), 16),
        reason: bounded(event.reason.as_deref().unwrap_or_default(), 128),
        message: bounded(&redact(event.message.as_deref().unwrap_or_default()), 512),
        count: series.or(event.count).unwrap_or(1),
        last_seen: last_seen(event).map(MicroTime),
    }
}

/// Old and new API say it in different fields.
fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let first = event.event_time.as_ref().map(|time| time.0);
    series.max(last).max(first).or(event.metadata.creation_timestamp.as_ref().map(|time| time.0))
}
