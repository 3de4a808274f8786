//! What the events need of a store, and nothing of how it is done.
//!
//! Deliberately absent: SQL, caching, wake-ups (the relay wakes the drivers after an append).

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use crate::{Event, Pattern};

/// Keeps events and, for each event and interested sink, one delivery.
///
/// A delivery is pending, delivered or dead. Of one sink and subject only the earliest pending
/// delivery is ever handed out, so a later event never overtakes an earlier one.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Stores events that are not known yet (by id), and for each of them one pending delivery per
    /// subscription that matches, in one transaction. Known events change nothing.
    async fn append(&self, events: &[Event], subscriptions: &[Subscription]) -> Result<Appended, StoreError>;

    /// The events of one request, sorted as [`crate::event::sort_timeline`] does.
    async fn timeline(&self, request: &str) -> Result<Vec<Event>, StoreError>;

    /// Names of known requests, the one with the latest event first; at most `limit`.
    async fn requests(&self, limit: u32) -> Result<Vec<String>, StoreError>;

    /// Makes a sink known. The first time, deliveries of matching events recorded at `since` or
    /// later are made up for, so that none is missed between a sink's creation and the moment the
    /// operator saw it; later calls change nothing.
    async fn register(&self, subscription: &Subscription, since: Timestamp) -> Result<(), StoreError>;

    /// Sinks that were registered and not forgotten.
    async fn sinks(&self) -> Result<Vec<String>, StoreError>;

    /// Removes a sink and its deliveries, dead letters included.
    async fn forget_sink(&self, sink: &str) -> Result<(), StoreError>;

    /// The deliveries of a sink that are due at `now`, at most one per subject and `limit` in all.
    async fn due(&self, sink: &str, limit: u32, now: Timestamp) -> Result<Due, StoreError>;

    /// Notes that a pending delivery succeeded. On one that is not pending it changes nothing, as
    /// do the next two.
    async fn delivered(&self, sink: &str, event: Uuid, at: Timestamp) -> Result<(), StoreError>;

    /// Notes that `attempts` have failed, the last one with `error`, and that the next is due at `next`.
    async fn retry_at(
        &self,
        sink: &str,
        event: Uuid,
        attempts: u32,
        next: Timestamp,
        error: &str,
    ) -> Result<(), StoreError>;

    /// Notes that a delivery was given up after `attempts`.
    async fn dead_letter(&self, sink: &str, event: Uuid, attempts: u32, error: &str) -> Result<(), StoreError>;

    /// How far a sink is; zeros for an unknown one.
    async fn counts(&self, sink: &str) -> Result<Counts, StoreError>;

    /// Removes events recorded before `time` with their deliveries, unless one is still pending.
    /// Returns how many events went.
    async fn delete_older_than(&self, time: Timestamp) -> Result<u64, StoreError>;
}

/// A sink's interest in events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Key of the sink, unique over time: a sink made anew under the same name has another key.
    pub sink: String,
    /// What it wants: any one has to match.
    pub patterns: Vec<Pattern>,
}

impl Subscription {
    /// True when the sink wants events of this type.
    pub fn wants(&self, type_: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(type_))
    }
}

/// What an append changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Ids of the events that were not known before.
    pub stored: Vec<Uuid>,
    /// Deliveries made for them.
    pub deliveries: u64,
}

/// Deliveries to make now, and when to look again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Due {
    /// Due deliveries.
    pub deliveries: Vec<Delivery>,
    /// When the earliest of those that wait for their next attempt is due.
    pub next: Option<Timestamp>,
}

/// One event that has to reach one sink.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The event.
    pub event: Event,
    /// Attempts that have failed so far.
    pub attempts: u32,
}

/// How far a sink is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events delivered since it was registered.
    pub delivered: u64,
    /// Events waiting.
    pub pending: u64,
    /// Events given up.
    pub dead: u64,
    /// When an event was last delivered.
    pub last_success: Option<Timestamp>,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is busy or full: the same call may work later.
    #[error("the event store is not available: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What it holds or was given makes no sense; the same call fails again.
    #[error("the event store refuses: {0}")]
    Invalid(String),
}
