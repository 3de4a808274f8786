//! A store that can go away: every call fails until it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use kubernaut_events::{Appended, Counts, Due, Event, Store, StoreError, Subscription};
use kubernaut_storage::Sqlite;
use uuid::Uuid;

#[derive(Clone)]
pub struct Flaky {
    pub inner: Sqlite,
    away: Arc<AtomicBool>,
    refused: Arc<AtomicU32>,
}

impl Flaky {
    pub fn new(inner: Sqlite) -> Self {
        Self { inner, away: Arc::default(), refused: Arc::default() }
    }

    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// Calls that failed.
    pub fn refused(&self) -> u32 {
        self.refused.load(Ordering::SeqCst)
    }

    fn reach(&self) -> Result<&Sqlite, StoreError> {
        if self.away.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::Unavailable("away".into()));
        }
        Ok(&self.inner)
    }
}

#[async_trait]
impl Store for Flaky {
    async fn append(&self, events: &[Event], subscriptions: &[Subscription]) -> Result<Appended, StoreError> {
        self.reach()?.append(events, subscriptions).await
    }

    async fn timeline(&self, request: &str) -> Result<Vec<Event>, StoreError> {
        self.reach()?.timeline(request).await
    }

    async fn requests(&self, limit: u32) -> Result<Vec<String>, StoreError> {
        self.reach()?.requests(limit).await
    }

    async fn register(&self, subscription: &Subscription, since: Timestamp) -> Result<(), StoreError> {
        self.reach()?.register(subscription, since).await
    }

    async fn sinks(&self) -> Result<Vec<String>, StoreError> {
        self.reach()?.sinks().await
    }

    async fn forget_sink(&self, sink: &str) -> Result<(), StoreError> {
        self.reach()?.forget_sink(sink).await
    }

    async fn due(&self, sink: &str, limit: u32, now: Timestamp) -> Result<Due, StoreError> {
        self.reach()?.due(sink, limit, now).await
    }

    async fn delivered(&self, sink: &str, event: Uuid, at: Timestamp) -> Result<(), StoreError> {
        self.reach()?.delivered(sink, event, at).await
    }

    async fn retry_at(
        &self,
        sink: &str,
        event: Uuid,
        attempts: u32,
        next: Timestamp,
        error: &str,
    ) -> Result<(), StoreError> {
        self.reach()?.retry_at(sink, event, attempts, next, error).await
    }

    async fn dead_letter(&self, sink: &str, event: Uuid, attempts: u32, error: &str) -> Result<(), StoreError> {
        self.reach()?.dead_letter(sink, event, attempts, error).await
    }

    async fn counts(&self, sink: &str) -> Result<Counts, StoreError> {
        self.reach()?.counts(sink).await
    }

    async fn delete_older_than(&self, time: Timestamp) -> Result<u64, StoreError> {
        self.reach()?.delete_older_than(time).await
    }
}
