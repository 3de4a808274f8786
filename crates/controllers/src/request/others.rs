//! The other requests: what their watch shows, and whose turn it is to begin to execute.
//!
//! Requests begin to execute one after the other: what one has written, the next one sees, although the
//! watch may not show it yet.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use kube::ResourceExt;
use kube::runtime::reflector::Store;
use kubernaut_api::{Phase, RemediationRequest, RequestPhase, Staged};
use kubernaut_domain::request::Working;
use kubernaut_domain::suppression::Past;
use tokio::sync::{Mutex, MutexGuard};

use crate::run::Guarded;

/// The requests that there are, as far as others of them are concerned.
#[derive(Default)]
pub(crate) struct Others {
    store: OnceLock<Store<Guarded<RemediationRequest>>>,
    begun: Mutex<HashMap<String, Working>>,
}

/// The turn of one request: while it lasts no other one begins to execute.
pub(crate) struct Turn<'a> {
    others: &'a Others,
    /// Those that have begun and that the watch does not show as begun yet.
    begun: MutexGuard<'a, HashMap<String, Working>>,
}

impl Others {
    /// Takes what the watch of requests shows from here on.
    pub(crate) fn watched_by(&self, store: Store<Guarded<RemediationRequest>>) {
        // A process runs one set of controllers.
        let _ = self.store.set(store);
    }

    fn shown(&self) -> Vec<Arc<Guarded<RemediationRequest>>> {
        self.store.get().map(Store::state).unwrap_or_default()
    }

    /// How earlier requests for the same have ended.
    pub(crate) fn past(&self, request: &RemediationRequest) -> Vec<Past> {
        let (name, fingerprint) = (request.name_any(), &request.spec.signal.fingerprint);
        let shown = self.shown();
        let others = shown.iter().filter_map(|one| one.0.as_ref().ok());
        others
            .filter(|other| other.spec.signal.fingerprint == *fingerprint && other.name_any() != name)
            .filter_map(Past::of)
            .collect()
    }

    /// Waits for the turn.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        Turn { others: self, begun: self.begun.lock().await }
    }
}

impl Turn<'_> {
    /// The requests that work on something or wait for their turn to.
    pub(crate) fn working(&mut self) -> Vec<Working> {
        let shown = self.others.shown();
        let requests = || shown.iter().filter_map(|one| one.0.as_ref().ok());
        self.begun.retain(|name, _| requests().any(|request| request.name_any() == *name && !has_begun(request)));
        let own = requests().filter(|request| Working::counts(request)).map(Working::of);
        own.filter(|one| !self.begun.contains_key(&one.name)).chain(self.begun.values().cloned()).collect()
    }

    /// Notes that a request, as it was written, has begun to execute.
    pub(crate) fn begins(&mut self, request: &RemediationRequest) {
        let working = Working::of(request);
        self.begun.insert(working.name.clone(), working);
    }
}

fn has_begun(request: &RemediationRequest) -> bool {
    let phase = request.phase();
    phase.is_some_and(Phase::is_terminal)
        || matches!(phase, Some(RequestPhase::Executing | RequestPhase::Verifying))
        || request.metadata.deletion_timestamp.is_some()
}

#[cfg(test)]
mod tests {
    use kube::core::DeserializeGuard;
    use kube::runtime::{reflector, watcher};
    use serde_json::json;

    use super::*;

    fn request(name: &str, phase: &str) -> RemediationRequest {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"});
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": name, "namespace": "ns"},
            "spec": {"signal": {"source": "t", "name": "Down", "fingerprint": "f".repeat(64)}, "target": target},
            "status": {"phase": phase, "completedAt": "2026-01-15T10:00:00.000000Z"},
        }))
        .unwrap()
    }

    fn names(working: &[Working]) -> Vec<&str> {
        working.iter().map(|one| one.name.as_str()).collect()
    }

    #[tokio::test]
    async fn what_has_begun_is_seen_before_the_watch_shows_it_and_not_after_its_end() {
        let (store, mut writer) = reflector::store();
        let mut show = |phase: &str| {
            writer.apply_watcher_event(&watcher::Event::Apply(DeserializeGuard(Ok(request("rr-1", phase)))));
        };
        let others = Others::default();
        others.watched_by(store);
        show("Analyzing");
        let mut turn = others.turn().await;
        assert!(turn.working().is_empty());
        turn.begins(&request("rr-1", "Executing"));
        drop(turn);
        assert_eq!(names(&others.turn().await.working()), ["rr-1"], "the watch still shows it as analysing");
        show("Verifying");
        assert_eq!(names(&others.turn().await.working()), ["rr-1"], "once");
        show("Completed");
        assert!(others.turn().await.working().is_empty());
    }

    #[tokio::test]
    async fn only_what_has_ended_about_the_same_is_past() {
        let (store, mut writer) = reflector::store();
        let others = Others::default();
        others.watched_by(store);
        let mut foreign = request("rr-3", "Failed");
        foreign.spec.signal.fingerprint = "e".repeat(64);
        for one in [request("rr-1", "Completed"), request("rr-2", "Executing"), foreign, request("rr-4", "Failed")] {
            writer.apply_watcher_event(&watcher::Event::Apply(DeserializeGuard(Ok(one))));
        }
        let past = others.past(&request("rr-4", "Pending"));
        assert_eq!(past.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["rr-1"]);
    }
}
