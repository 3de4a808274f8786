//! Which sinks want events now: written by the registry, read by the relay at each append.
//!
//! The lock is held over an append, so that a sink which appears meanwhile is either part of it or
//! registered after it (and then makes up for it, see `Store::register`). Deliberately absent:
//! anything about how a sink is reached.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Notify, RwLock, watch};

use crate::store::{Appended, Store, StoreError, Subscription};
use crate::{Event, Metrics};

pub(crate) struct Directory {
    entries: RwLock<BTreeMap<String, Entry>>,
    complete: watch::Sender<bool>,
    /// Notified when counts may have changed, also of sinks that nobody serves.
    pub changed: Arc<Notify>,
}

#[derive(Clone)]
struct Entry {
    subscription: Subscription,
    wake: Arc<Notify>,
}

impl Directory {
    pub fn new() -> Self {
        Self { entries: RwLock::default(), complete: watch::Sender::new(false), changed: Arc::new(Notify::new()) }
    }

    /// Adds or replaces a sink; `wake` is notified when an event for it was stored.
    pub async fn put(&self, subscription: Subscription, wake: Arc<Notify>) {
        self.entries.write().await.insert(subscription.sink.clone(), Entry { subscription, wake });
    }

    pub async fn remove(&self, sink: &str) {
        self.entries.write().await.remove(sink);
    }

    /// Every sink that exists is now known.
    pub fn set_complete(&self) {
        self.complete.send_replace(true);
    }

    /// Waits until every sink that exists is known: an append before that would miss some.
    pub async fn completed(&self) {
        // The sender lives in `self`: waiting cannot fail.
        let _ = self.complete.subscribe().wait_for(|complete| *complete).await;
    }

    /// Stores events for the sinks of this moment and wakes their drivers.
    pub async fn append(&self, store: &dyn Store, metrics: &Metrics, events: &[Event]) -> Result<Appended, StoreError> {
        let entries = self.entries.read().await;
        let subscriptions: Vec<Subscription> = entries.values().map(|entry| entry.subscription.clone()).collect();
        let appended = store.append(events, &subscriptions).await?;
        for event in events.iter().filter(|event| appended.stored.contains(&event.id)) {
            metrics.published(&event.type_);
        }
        if appended.deliveries > 0 {
            self.changed.notify_one();
            for entry in entries.values() {
                if events.iter().any(|event| entry.subscription.wants(&event.type_)) {
                    entry.wake.notify_one();
                }
            }
        }
        Ok(appended)
    }
}
