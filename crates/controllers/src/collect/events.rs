//! Kubernetes Events as evidence: about the target and what it owns, newest first, redacted.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kubernaut_api::evidence::EventRecord;
use kubernaut_domain::redact::{bounded, redact};

/// Events about objects with these uids, and about pods that these ReplicaSets had, newest first, at most 32.
pub fn records(events: &[Event], uids: &BTreeSet<String>, holders: &BTreeSet<&str>) -> Vec<EventRecord> {
    let about = |event: &&Event| {
        let object = &event.involved_object;
        object.uid.as_ref().is_some_and(|uid| uids.contains(uid))
            || (object.kind.as_deref() == Some("Pod")
                && object.name.as_deref().is_some_and(|name| was_of(name, holders)))
    };
    let mut events: Vec<&Event> = events.iter().filter(about).collect();
    events.sort_by_key(|event| std::cmp::Reverse(last_seen(event)));
    events.into_iter().take(32).map(record).collect()
}

/// Whether a pod of this name can only be one that such a ReplicaSet made: it may be gone by now.
fn was_of(pod: &str, holders: &BTreeSet<&str>) -> bool {
    pod.rsplit_once('-').is_some_and(|(holder, suffix)| suffix.len() == 5 && holders.contains(holder))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> Vec<Event> {
        serde_yaml_ng::from_str::<kube::core::ObjectList<Event>>(include_str!("fixtures/events.yaml")).unwrap().items
    }

    #[test]
    fn only_events_about_the_uids_are_kept_newest_first() {
        let events = fixture();
        let one = events[0].involved_object.uid.clone().unwrap();
        let records = records(&events, &[one.clone()].into(), &BTreeSet::new());
        let about = events.iter().filter(|event| event.involved_object.uid.as_ref() == Some(&one)).count();
        assert_eq!(records.len(), about);
        assert!(
            records
                .windows(2)
                .all(|pair| pair[0].last_seen.as_ref().map(|at| at.0) >= pair[1].last_seen.as_ref().map(|at| at.0))
        );
        assert!(records[0].object.starts_with("Pod/img-") && records[0].count > 1 && records[0].type_ == "Warning");
        assert!(super::records(&events, &BTreeSet::new(), &BTreeSet::new()).is_empty());
    }

    #[test]
    fn events_about_pods_that_are_gone_are_found_by_the_name_of_their_replica_set() {
        let about = |name: &str| -> Event {
            serde_json::from_value(
                serde_json::json!({"metadata": {}, "involvedObject": {"kind": "Pod", "name": name, "uid": "gone"}}),
            )
            .unwrap()
        };
        let events = ["web-6d4f-abcde", "web-6d4f-abcdef", "web-7e5a-abcde", "web-6d4f"].map(about);
        let found = records(&events, &BTreeSet::new(), &["web-6d4f"].into());
        assert_eq!(found.iter().map(|one| one.object.as_str()).collect::<Vec<_>>(), ["Pod/web-6d4f-abcde"]);
    }

    #[test]
    fn the_new_api_counts_in_its_series_and_secrets_are_redacted() {
        let event: Event = serde_json::from_value(serde_json::json!({
            "metadata": {}, "involvedObject": {"kind": "Pod", "name": "p", "uid": "u"}, "message": "probe sent token=c4n4ry",
            "eventTime": "2026-11-21T05:00:00.000000Z", "series": {"count": 7, "lastObservedTime": "2026-11-21T05:10:00.000000Z"},
        }))
        .unwrap();
        let records = records(&[event], &["u".to_owned()].into(), &BTreeSet::new());
        assert_eq!((records[0].count, records[0].message.as_str()), (7, "probe sent token=[redacted]"));
        assert_eq!(records[0].last_seen.as_ref().map(|at| at.0.to_string()).as_deref(), Some("2026-11-21T05:10:00Z"));
    }
}
