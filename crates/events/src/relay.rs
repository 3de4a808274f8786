//! Copies recorded transitions from the API server into the store (design.md, invariants 2 and 3).
//!
//! It reads whole objects, never differences, so a restart, a lost watch or a repeated event change
//! nothing. A deleted object is held by its finalizer until its last transition is stored, or until
//! a deadline when the store stays away. While the store is away only the newest state of each live
//! object is kept: memory is bounded by what the API server holds. Deliberately absent: publishing
//! without a transition, and any look at why an object changed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Debug;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt, watcher};
use kubernaut_api::labels::OUTBOX_FINALIZER;
use kubernaut_api::{
    AIAnalysis, KubernetesExecution, RemediationProcessing, RemediationRequest, ResourceExt, Staged, WorkflowExecution,
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tracing::{debug, error, warn};

use crate::Event;
use crate::directory::Directory;
use crate::run::Parts;
use crate::store::StoreError;

/// Objects whose last stored transition is remembered; forgetting one costs an append that changes nothing.
const REMEMBERED: usize = 10_000;
/// Longest pause between two attempts to store or to let go.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Runs until dropped.
pub(crate) async fn run(parts: &Parts, directory: &Directory) {
    directory.completed().await;
    let mut seen = stream::select_all([
        watch::<RemediationRequest>(parts),
        watch::<RemediationProcessing>(parts),
        watch::<AIAnalysis>(parts),
        watch::<WorkflowExecution>(parts),
        watch::<KubernetesExecution>(parts),
    ]);
    let mut outbox = Outbox::default();
    let mut failures: u32 = 0;
    while let Some(first) = seen.next().await {
        outbox.take(first);
        // One round per burst: whatever is here already is stored together with the first.
        loop {
            while let Some(Some(next)) = seen.next().now_or_never() {
                outbox.take(next);
            }
            let progress = flush(parts, directory, &mut outbox).await;
            parts.metrics.outbox(outbox.waiting.len());
            if outbox.waiting.is_empty() {
                failures = 0;
                break;
            }
            failures = if progress { 1 } else { failures.saturating_add(1) };
            tokio::select! {
                () = tokio::time::sleep(pause(failures)) => {}
                Some(next) = seen.next() => outbox.take(next),
            }
        }
    }
}

/// What was seen of one object.
struct Seen {
    uid: String,
    name: String,
    resource_version: String,
    /// Deletion time, and the finalizers that stay, when the object waits for the relay.
    leaving: Option<(Timestamp, Vec<String>)>,
    /// The object is gone from the API server.
    gone: bool,
    /// All recorded transitions by sequence.
    events: BTreeMap<u32, Event>,
    release: Release,
}

/// How the finalizer of a kind is removed.
type Release = fn(&Parts, &Seen, &[String]) -> futures::future::BoxFuture<'static, Result<(), kube::Error>>;

fn watch<K>(parts: &Parts) -> BoxStream<'static, Seen>
where
    K: Staged + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api: Api<DeserializeGuard<K>> = Api::namespaced(parts.client.clone(), &parts.namespace);
    let cluster = parts.cluster.clone();
    watcher(api, watcher::Config::default())
        .default_backoff()
        .filter_map(move |event| {
            let seen = match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => see(&cluster, object, false),
                Ok(watcher::Event::Delete(object)) => see(&cluster, object, true),
                Ok(watcher::Event::Init | watcher::Event::InitDone) => None,
                Err(error) => {
                    warn!(kind = %K::kind(&()), %error, "cannot watch");
                    None
                }
            };
            std::future::ready(seen)
        })
        .boxed()
}

fn see<K>(cluster: &str, object: DeserializeGuard<K>, gone: bool) -> Option<Seen>
where
    K: Staged + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let object = match object.0 {
        Ok(object) => object,
        Err(invalid) => {
            warn!(kind = %K::kind(&()), name = invalid.metadata.name, %invalid, "object cannot be read, its events are not stored");
            return None;
        }
    };
    let finalizers = object.finalizers();
    let held = finalizers.iter().any(|finalizer| finalizer == OUTBOX_FINALIZER);
    let leaving = object.meta().deletion_timestamp.as_ref().filter(|_| held && !gone).map(|time| {
        let stay = finalizers.iter().filter(|finalizer| *finalizer != OUTBOX_FINALIZER).cloned().collect();
        (time.0, stay)
    });
    let transitions = object.transitions().iter();
    Some(Seen {
        uid: object.uid()?,
        name: object.name_any(),
        resource_version: object.resource_version()?,
        leaving,
        gone,
        events: transitions.map(|transition| (transition.seq, Event::of(&object, cluster, transition))).collect(),
        release: release::<K>,
    })
}

/// Removes the finalizer from exactly the version that was seen: a transition recorded meanwhile
/// makes this a conflict, and the newer version is seen next.
fn release<K>(
    parts: &Parts,
    seen: &Seen,
    stay: &[String],
) -> futures::future::BoxFuture<'static, Result<(), kube::Error>>
where
    K: Staged + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api: Api<K> = Api::namespaced(parts.client.clone(), &parts.namespace);
    let name = seen.name.clone();
    let patch = json!({"metadata": {
        "uid": seen.uid,
        "resourceVersion": seen.resource_version,
        "finalizers": stay,
    }});
    async move { api.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop) }.boxed()
}

/// Objects that wait, in the order in which they were seen first.
#[derive(Default)]
struct Outbox {
    order: VecDeque<String>,
    waiting: HashMap<String, Seen>,
    stored: Stored,
}

impl Outbox {
    /// Keeps the newest state of an object. Transitions of an older state that is still waiting stay.
    fn take(&mut self, mut seen: Seen) {
        let last = self.stored.last(&seen.uid);
        seen.events = seen.events.split_off(&last.saturating_add(1));
        if let Some(older) = self.waiting.remove(&seen.uid) {
            for (sequence, event) in older.events {
                seen.events.entry(sequence).or_insert(event);
            }
        } else if seen.events.is_empty() && seen.leaving.is_none() {
            if seen.gone {
                self.stored.forget(&seen.uid);
            }
            return;
        } else {
            self.order.push_back(seen.uid.clone());
        }
        self.waiting.insert(seen.uid.clone(), seen);
    }
}

/// Highest stored sequence by uid, bounded; the oldest entry goes first.
#[derive(Default)]
struct Stored {
    last: HashMap<String, u32>,
    order: VecDeque<String>,
}

impl Stored {
    fn last(&self, uid: &str) -> u32 {
        self.last.get(uid).copied().unwrap_or(0)
    }

    fn set(&mut self, uid: &str, sequence: u32) {
        if self.last.insert(uid.to_owned(), sequence).is_none() {
            self.order.push_back(uid.to_owned());
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.last.remove(&oldest);
            }
        }
    }

    fn forget(&mut self, uid: &str) {
        if self.last.remove(uid).is_some() {
            self.order.retain(|known| known != uid);
        }
    }
}

/// Stores and lets go what it can; true when anything got done.
async fn flush(parts: &Parts, directory: &Directory, outbox: &mut Outbox) -> bool {
    let mut progress = false;
    let mut store_is_away = false;
    for uid in std::mem::take(&mut outbox.order) {
        let Some(mut seen) = outbox.waiting.remove(&uid) else { continue };
        if !store_is_away && !seen.events.is_empty() {
            match append(parts, directory, &seen).await {
                Ok(()) => {
                    if let Some((last, _)) = std::mem::take(&mut seen.events).pop_last() {
                        outbox.stored.set(&uid, last);
                    }
                    progress = true;
                }
                Err(error) => {
                    parts.metrics.publish_failed();
                    warn!(name = seen.name, %error, "cannot store events");
                    store_is_away = matches!(error, StoreError::Unavailable(_));
                }
            }
        }
        if !seen.events.is_empty() && !overdue(parts, &seen) {
            outbox.order.push_back(uid.clone());
            outbox.waiting.insert(uid, seen);
        } else if let_go(parts, &seen).await {
            progress = true;
            if seen.gone {
                outbox.stored.forget(&uid);
            }
        } else {
            outbox.order.push_back(uid.clone());
            outbox.waiting.insert(uid, seen);
        }
    }
    progress
}

async fn append(parts: &Parts, directory: &Directory, seen: &Seen) -> Result<(), StoreError> {
    let horizon = parts.settings.horizon(Timestamp::now());
    let events: Vec<Event> = seen.events.values().filter(|event| event.time >= horizon).cloned().collect();
    if events.is_empty() {
        return Ok(());
    }
    let append = directory.append(&*parts.store, &parts.metrics, &events);
    match tokio::time::timeout(parts.settings.store_timeout, append).await {
        Ok(appended) => appended.map(drop),
        Err(elapsed) => Err(StoreError::Unavailable(elapsed.into())),
    }
}

/// True when an object waits for its deletion longer than the store may be away.
fn overdue(parts: &Parts, seen: &Seen) -> bool {
    let Some((since, _)) = &seen.leaving else { return false };
    let deadline = SignedDuration::try_from(parts.settings.outbox_deadline).unwrap_or(SignedDuration::MAX);
    Timestamp::now().duration_since(*since) > deadline
}

/// Removes the finalizer where the object waits for it; false when that has to be tried again.
async fn let_go(parts: &Parts, seen: &Seen) -> bool {
    let Some((since, stay)) = &seen.leaving else { return true };
    if !seen.events.is_empty() {
        error!(name = seen.name, deleted = %since, events = seen.events.len(), "store still away: object let go, events lost");
    }
    let call = (seen.release)(parts, seen, stay);
    match tokio::time::timeout(parts.settings.kube_timeout, call).await {
        Ok(Ok(())) => {
            if !seen.events.is_empty() {
                parts.metrics.abandoned();
            }
            true
        }
        // Gone already, or another version exists: the watch brings it.
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => {
            debug!(name = seen.name, %status, "finalizer not removed from this version");
            true
        }
        Ok(Err(error)) => {
            warn!(name = seen.name, %error, "cannot remove the finalizer");
            false
        }
        Err(_) => {
            warn!(name = seen.name, "cannot remove the finalizer: the API server does not answer");
            false
        }
    }
}

/// 100 ms, doubled with each failure up to 30 s.
fn pause(failures: u32) -> Duration {
    Duration::from_millis(100 << failures.saturating_sub(1).min(9)).min(LONGEST_PAUSE)
}
