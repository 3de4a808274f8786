//! What every [`Store`] has to do. Written against the trait: another store runs the same functions.

use jiff::{SignedDuration, Timestamp};
use kubernaut_events::{Event, Store, Subscription, event};
use uuid::Uuid;

pub fn now() -> Timestamp {
    "2026-01-02T03:04:05.5Z".parse().expect("a time")
}

fn seconds(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

/// Event `sequence` of a workflow of request `rr-1`, recorded that many seconds after `now`.
pub fn event(name: &str, sequence: u32) -> Event {
    Event {
        id: event::id(name, sequence),
        source: "/kubernaut/test".into(),
        type_: "workflow.executing".into(),
        subject: format!("workflowexecution/kubernaut-system/{name}"),
        time: seconds(sequence.into()),
        sequence,
        request: "rr-1".into(),
        namespace: "kubernaut-system".into(),
        kind: "WorkflowExecution".into(),
        name: name.into(),
        uid: format!("uid-of-{name}"),
        data: serde_json::json!({"seq": sequence, "message": "a “message”", "target": {"kind": "Deployment", "name": "api"}}),
    }
}

pub fn subscription(sink: &str, patterns: &[&str]) -> Subscription {
    let patterns = patterns.iter().map(|pattern| pattern.parse().expect("a pattern")).collect();
    Subscription { sink: sink.into(), patterns }
}

fn everything(sink: &str) -> Subscription {
    subscription(sink, &["*"])
}

/// Ids of the deliveries that are due.
async fn due(store: &impl Store, sink: &str, at: Timestamp) -> Vec<Uuid> {
    let due = store.due(sink, 100, at).await.expect("deliveries");
    due.deliveries.iter().map(|delivery| delivery.event.id).collect()
}

pub async fn an_event_appended_twice_is_stored_once(store: &impl Store) {
    let events = [event("a", 1), event("a", 2)];
    let first = store.append(&events, &[everything("audit")]).await.expect("stored");
    assert_eq!(first.stored, [events[0].id, events[1].id]);
    assert_eq!(first.deliveries, 2);
    let more = [event("a", 1), event("a", 2), event("a", 3)];
    let second = store.append(&more, &[everything("audit"), everything("late")]).await.expect("stored");
    assert_eq!(second.stored, [more[2].id]);
    assert_eq!(second.deliveries, 2);
    assert_eq!(store.timeline("rr-1").await.expect("a timeline"), more);
}

pub async fn an_event_is_read_as_it_was_written(store: &impl Store) {
    let event = event("a", u32::MAX);
    store.append(std::slice::from_ref(&event), &[everything("audit")]).await.expect("stored");
    let due = store.due("audit", 1, now()).await.expect("deliveries");
    assert_eq!(due.deliveries[0].event, event);
    assert_eq!(due.deliveries[0].event.structured(), event.structured());
}

pub async fn only_interested_sinks_get_a_delivery(store: &impl Store) {
    let mut failed = event("a", 1);
    failed.type_ = "workflow.failed".into();
    let sinks = [everything("all"), subscription("failures", &["*.failed", "action.*"])];
    store.append(&[event("b", 1), failed.clone()], &sinks).await.expect("stored");
    assert_eq!(due(store, "all", now()).await.len(), 2);
    assert_eq!(due(store, "failures", now()).await, [failed.id]);
    assert!(due(store, "unknown", now()).await.is_empty());
}

pub async fn a_sink_made_later_gets_nothing_older_than_itself(store: &impl Store) {
    store.append(&[event("a", 1)], &[]).await.expect("stored");
    store.register(&everything("late"), seconds(2)).await.expect("registered");
    assert!(due(store, "late", seconds(60)).await.is_empty());
    store.append(&[event("a", 1), event("a", 2)], &[everything("late")]).await.expect("stored");
    assert_eq!(due(store, "late", seconds(60)).await, [event("a", 2).id]);
}

pub async fn a_sink_gets_what_was_stored_between_its_creation_and_its_registration(store: &impl Store) {
    store.append(&[event("a", 1), event("a", 2)], &[]).await.expect("stored");
    // The directory knew the sink before the store did: a later event came first.
    store.append(&[event("a", 3)], &[everything("audit")]).await.expect("stored");
    store.register(&everything("audit"), seconds(2)).await.expect("registered");
    assert_eq!(due(store, "audit", now()).await, [event("a", 2).id]);
    assert_eq!(store.counts("audit").await.expect("counts").pending, 2);
    store.delivered("audit", event("a", 2).id, now()).await.expect("noted");
    store.register(&everything("audit"), seconds(1)).await.expect("registered");
    assert_eq!(due(store, "audit", now()).await, [event("a", 3).id]);
}

pub async fn a_later_event_of_a_subject_waits_for_the_earlier(store: &impl Store) {
    let sinks = [everything("audit"), everything("other")];
    store.append(&[event("a", 1), event("a", 2), event("b", 1)], &sinks).await.expect("stored");
    assert_eq!(due(store, "audit", now()).await, [event("a", 1).id, event("b", 1).id]);
    store.delivered("audit", event("a", 1).id, now()).await.expect("noted");
    assert_eq!(due(store, "audit", now()).await, [event("a", 2).id, event("b", 1).id]);
    assert_eq!(due(store, "other", now()).await, [event("a", 1).id, event("b", 1).id]);
    store.delivered("audit", event("a", 2).id, now()).await.expect("noted");
    store.append(&[event("a", 3)], &sinks).await.expect("stored");
    assert_eq!(due(store, "audit", now()).await, [event("b", 1).id, event("a", 3).id]);
}

pub async fn a_dead_letter_lets_the_next_event_of_its_subject_go(store: &impl Store) {
    store.register(&everything("audit"), now()).await.expect("registered");
    store.append(&[event("a", 1), event("a", 2)], &[everything("audit")]).await.expect("stored");
    store.dead_letter("audit", event("a", 1).id, 3, "the sink answered 400").await.expect("noted");
    assert_eq!(due(store, "audit", now()).await, [event("a", 2).id]);
    store.delivered("audit", event("a", 2).id, seconds(9)).await.expect("noted");
    let counts = store.counts("audit").await.expect("counts");
    assert_eq!((counts.delivered, counts.pending, counts.dead), (1, 0, 1));
    assert_eq!(counts.last_success, Some(seconds(9)));
}

pub async fn a_failed_delivery_is_due_again_at_its_time(store: &impl Store) {
    store.append(&[event("a", 1), event("a", 2)], &[everything("audit")]).await.expect("stored");
    store.retry_at("audit", event("a", 1).id, 1, seconds(10), "no answer").await.expect("noted");
    let before = store.due("audit", 10, seconds(9)).await.expect("deliveries");
    assert_eq!((before.deliveries.len(), before.next), (0, Some(seconds(10))));
    let after = store.due("audit", 10, seconds(10)).await.expect("deliveries");
    assert_eq!((after.deliveries.len(), after.next), (1, None));
    assert_eq!((after.deliveries[0].event.id, after.deliveries[0].attempts), (event("a", 1).id, 1));
}

pub async fn settling_twice_changes_nothing(store: &impl Store) {
    store.register(&everything("audit"), now()).await.expect("registered");
    store.append(&[event("a", 1), event("a", 2)], &[everything("audit")]).await.expect("stored");
    for _ in 0..2 {
        store.delivered("audit", event("a", 1).id, now()).await.expect("noted");
        store.dead_letter("audit", event("a", 1).id, 1, "late").await.expect("noted");
        store.retry_at("audit", event("a", 1).id, 1, seconds(10), "late").await.expect("noted");
    }
    let counts = store.counts("audit").await.expect("counts");
    assert_eq!((counts.delivered, counts.pending, counts.dead), (1, 1, 0));
    assert_eq!(due(store, "audit", now()).await, [event("a", 2).id]);
}

pub async fn a_forgotten_sink_leaves_nothing(store: &impl Store) {
    store.register(&everything("audit"), now()).await.expect("registered");
    store.append(&[event("a", 1)], &[everything("audit"), everything("unregistered")]).await.expect("stored");
    assert_eq!(store.sinks().await.expect("sinks"), ["audit", "unregistered"]);
    store.forget_sink("audit").await.expect("forgotten");
    store.forget_sink("unregistered").await.expect("forgotten");
    assert!(store.sinks().await.expect("sinks").is_empty());
    assert!(due(store, "audit", now()).await.is_empty());
    assert_eq!(store.timeline("rr-1").await.expect("a timeline").len(), 1);
}

pub async fn old_events_go_unless_they_are_awaited(store: &impl Store) {
    let sinks = [everything("audit")];
    store.register(&sinks[0], now()).await.expect("registered");
    store.append(&[event("a", 1), event("a", 2), event("a", 3)], &sinks).await.expect("stored");
    store.delivered("audit", event("a", 1).id, now()).await.expect("noted");
    assert_eq!(store.delete_older_than(seconds(3)).await.expect("deleted"), 1);
    let left: Vec<u32> = store.timeline("rr-1").await.expect("a timeline").iter().map(|event| event.sequence).collect();
    assert_eq!(left, [2, 3]);
    assert_eq!(store.counts("audit").await.expect("counts").delivered, 1);
}

pub async fn requests_are_listed_newest_first(store: &impl Store) {
    let of = |request: &str, name: &str, sequence| Event { request: request.into(), ..event(name, sequence) };
    let events = [of("rr-old", "a", 1), of("rr-new", "b", 9), of("rr-old", "c", 2), of("rr-mid", "d", 5)];
    store.append(&events, &[]).await.expect("stored");
    assert_eq!(store.requests(10).await.expect("requests"), ["rr-new", "rr-mid", "rr-old"]);
    assert_eq!(store.requests(1).await.expect("requests"), ["rr-new"]);
}
