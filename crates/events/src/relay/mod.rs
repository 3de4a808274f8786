//! Copies recorded transitions from the API server into the store (ARCHITECTURE.md, invariant 2).
//!
//! It reads whole objects, never differences, so a restart, a lost watch or a repeated event change
//! nothing. A deleted object is held by its finalizer until its last transition is stored, or until
//! a deadline when the store stays away. While the store is away only the newest state of each live
//! object is kept: memory is bounded by what the API server holds. Deliberately absent: publishing
//! without a transition, and any look at why an object changed.

mod outbox;

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
    AIAnalysis, KubernetesExecution, RemediationProcessing, RemediationRequest, Staged, Transition, WorkflowExecution,
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::Instant;
use tracing::{debug, error, warn};

use self::outbox::{Outbox, Seen};
use crate::Event;
use crate::directory::Directory;
use crate::run::Parts;
use crate::store::StoreError;

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
    let mut failures = 0;
    let mut retry_at: Option<Instant> = None;
    loop {
        tokio::select! {
            Some(first) = seen.next() => {
                outbox.take(first);
                // Whatever is here already is stored in the same round.
                while let Some(Some(next)) = seen.next().now_or_never() {
                    outbox.take(next);
                }
            }
            () = at(retry_at) => {
                retry_at = None;
                outbox.retry();
            }
        }
        let progress = flush(parts, directory, &mut outbox).await;
        parts.metrics.outbox(outbox.len());
        if !outbox.is_holding() {
            (failures, retry_at) = (0, None);
        } else if retry_at.is_none() {
            failures = if progress { 1 } else { failures + 1 };
            retry_at = Some(Instant::now() + pause(failures));
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// How the finalizer of a kind is removed.
type Release = fn(&Parts, &Seen, &[String]) -> futures::future::BoxFuture<'static, Result<(), kube::Error>>;

fn watch<K>(parts: &Parts) -> BoxStream<'static, Seen>
where
    K: Staged + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api: Api<DeserializeGuard<K>> = Api::namespaced(parts.client.clone(), &parts.namespace);
    let cluster = parts.cluster.clone();
    // A finished processing may hold 64 KiB of evidence: few of them at a time.
    watcher(api, watcher::Config::default().page_size(50))
        .default_backoff()
        .filter_map(move |event| {
            let seen = match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => see(&cluster, &object, false),
                Ok(watcher::Event::Delete(object)) => see(&cluster, &object, true),
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

fn see<K>(cluster: &str, object: &DeserializeGuard<K>, gone: bool) -> Option<Seen>
where
    K: Staged + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (metadata, events) = match &object.0 {
        Ok(object) => {
            let event = |transition: &Transition| (transition.seq, Event::of(object, cluster, transition));
            (object.meta(), Some(object.transitions().iter().map(event).collect()))
        }
        Err(invalid) => {
            warn!(kind = %K::kind(&()), name = invalid.metadata.name, %invalid, "object cannot be read, its events are not stored");
            (&invalid.metadata, None)
        }
    };
    let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
    let held = finalizers.iter().any(|finalizer| finalizer == OUTBOX_FINALIZER);
    let leaving = metadata.deletion_timestamp.as_ref().filter(|_| held && !gone).map(|time| {
        let stay = finalizers.iter().filter(|finalizer| *finalizer != OUTBOX_FINALIZER).cloned().collect();
        (time.0, stay)
    });
    Some(Seen {
        uid: metadata.uid.clone()?,
        name: metadata.name.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone()?,
        leaving,
        gone,
        unreadable: events.is_none(),
        events: events.unwrap_or_default(),
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

/// Stores and lets go what it can; true when anything got done.
async fn flush(parts: &Parts, directory: &Directory, outbox: &mut Outbox) -> bool {
    let mut progress = false;
    while let Some(mut seen) = outbox.next() {
        if !seen.events.is_empty() && !outbox.store_is_away {
            match append(parts, directory, &seen).await {
                Ok(()) => {
                    outbox.stored(&mut seen);
                    progress = true;
                }
                Err(error) => {
                    parts.metrics.publish_failed();
                    warn!(name = seen.name, %error, "cannot store events");
                    outbox.store_is_away = matches!(error, StoreError::Unavailable(_));
                }
            }
        }
        if (is_unstored(&seen) && !overdue(parts, &seen)) || !let_go(parts, &seen).await {
            outbox.hold(seen);
        } else {
            outbox.done(&seen);
            progress = true;
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

/// True when an object has transitions that are not stored, or on its way out may have some.
fn is_unstored(seen: &Seen) -> bool {
    !seen.events.is_empty() || (seen.unreadable && seen.leaving.is_some())
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
    if is_unstored(seen) {
        let why = if seen.unreadable { "object cannot be read" } else { "store still away" };
        error!(name = seen.name, deleted = %since, events = seen.events.len(), why, "object let go, events lost");
    }
    let call = (seen.release)(parts, seen, stay);
    match tokio::time::timeout(parts.settings.kube_timeout, call).await {
        Ok(Ok(())) => {
            if is_unstored(seen) {
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
