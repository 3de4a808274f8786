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
