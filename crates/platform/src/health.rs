//! Liveness and readiness: components say how they are, `/healthz` and `/readyz` tell the kubelet.
//!
//! Ready means able to work: a component counts as not ready until it says otherwise. Alive means that
//! no heart stopped: only a component that promised to beat can fail liveness, since a restart mends
//! nothing that waits for someone else.
//! Deliberately absent: checks run on request; a probe only reads what components last said.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::time::Instant;

/// What the components of this process said last. Clones share the same state.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    shutting_down: bool,
    /// `Err` is why the component is not ready.
    readiness: BTreeMap<String, Result<(), String>>,
    heartbeats: BTreeMap<String, Pulse>,
}

#[derive(Debug)]
struct Pulse {
    last: Instant,
    limit: Duration,
}

/// One component's say in readiness.
#[derive(Clone, Debug)]
pub struct Readiness {
    health: Health,
    name: String,
}

/// One component's promise to show signs of life.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    health: Health,
    name: String,
}

impl Health {
    /// Registers a component, not ready yet. The same name again is the same component.
    pub fn component(&self, name: impl Into<String>) -> Readiness {
        let name = name.into();
        self.lock().readiness.entry(name.clone()).or_insert_with(|| Err("starting".to_owned()));
        Readiness { health: self.clone(), name }
    }

    /// Registers a loop that beats at least once per `limit`; when it does not, the process counts as
    /// dead and the kubelet restarts it.
    pub fn heartbeat(&self, name: impl Into<String>, limit: Duration) -> Heartbeat {
        let name = name.into();
        self.lock().heartbeats.insert(name.clone(), Pulse { last: Instant::now(), limit });
        Heartbeat { health: self.clone(), name }
    }

    /// From now on not ready, whatever the components say, so that no new work is sent here.
    pub fn shutting_down(&self) {
        self.lock().shutting_down = true;
    }

    /// Whether the process can work, and a line per component.
    pub fn ready(&self) -> (bool, String) {
        let state = self.lock();
        let mut text = String::new();
        if state.shutting_down {
            text.push_str("process: shutting down\n");
        }
        for (name, readiness) in &state.readiness {
            let said = readiness.as_ref().map_or_else(String::as_str, |()| "ready");
            // Writing to a String does not fail.
            let _ = writeln!(text, "{name}: {said}");
        }
        (!state.shutting_down && state.readiness.values().all(Result::is_ok), text)
    }

    /// Whether every heart beats, and a line per component that promised to.
    pub fn alive(&self) -> (bool, String) {
        let state = self.lock();
        let (mut alive, mut text) = (true, String::new());
        for (name, pulse) in &state.heartbeats {
            let age = pulse.last.elapsed();
            let ok = age <= pulse.limit;
            alive &= ok;
            let said = if ok { "alive" } else { "no heartbeat" };
            let _ = writeln!(text, "{name}: {said} (last {}s ago, limit {}s)", age.as_secs(), pulse.limit.as_secs());
        }
        if text.is_empty() {
            text.push_str("alive\n");
        }
        (alive, text)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each update is one assignment, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readiness {
    /// The component can work.
    pub fn ready(&self) {
        self.set(Ok(()));
    }

    /// The component cannot work, and why.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Err(reason.into()));
    }

    fn set(&self, readiness: Result<(), String>) {
        let previous = self.health.lock().readiness.insert(self.name.clone(), readiness.clone());
        if previous.as_ref() != Some(&readiness) {
            match readiness {
                Ok(()) => tracing::info!(component = self.name, "component is ready"),
                Err(reason) => tracing::warn!(component = self.name, reason, "component is not ready"),
            }
        }
    }
}

impl Heartbeat {
    /// A sign of life.
    pub fn beat(&self) {
        if let Some(pulse) = self.health.lock().heartbeats.get_mut(&self.name) {
            pulse.last = Instant::now();
        }
    }
}

/// `/healthz` and `/readyz`.
pub fn router(health: Health) -> Router {
    let for_liveness = health.clone();
    Router::new()
        .route("/healthz", get(move || async move { answer(for_liveness.alive()) }))
        .route("/readyz", get(move || async move { answer(health.ready()) }))
}

fn answer((good, text): (bool, String)) -> (StatusCode, String) {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text)
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn probe(health: &Health, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(health.clone()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn is_ready_only_when_every_component_is() {
        let health = Health::default();
        let gateway = health.component("gateway");
        let store = health.component("store");
        gateway.ready();
        assert_eq!(probe(&health, "/readyz").await, (503, "gateway: ready\nstore: starting\n".to_owned()));
        store.ready();
        assert_eq!(probe(&health, "/readyz").await, (200, "gateway: ready\nstore: ready\n".to_owned()));
        store.not_ready("disk is full");
        assert_eq!(probe(&health, "/readyz").await, (503, "gateway: ready\nstore: disk is full\n".to_owned()));
    }

    #[tokio::test]
    async fn shutting_down_wins_over_ready_components_but_stays_alive() {
        let health = Health::default();
        health.component("gateway").ready();
        health.shutting_down();
        assert_eq!(probe(&health, "/readyz").await, (503, "process: shutting down\ngateway: ready\n".to_owned()));
        assert_eq!(probe(&health, "/healthz").await.0, 200);
    }

    #[tokio::test]
    async fn a_component_that_is_not_ready_is_still_alive() {
        let health = Health::default();
        health.component("store").not_ready("locked");
        assert_eq!(probe(&health, "/healthz").await, (200, "alive\n".to_owned()));
    }

    #[tokio::test]
    async fn registering_a_component_again_keeps_what_it_said() {
        let health = Health::default();
        health.component("gateway").ready();
        health.component("gateway");
        assert_eq!(probe(&health, "/readyz").await.0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_missed_heartbeat_is_death_until_the_next_one() {
        let health = Health::default();
        let relay = health.heartbeat("relay", Duration::from_secs(30));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(probe(&health, "/healthz").await.0, 200);
        tokio::time::advance(Duration::from_secs(1)).await;
        let expect = "relay: no heartbeat (last 31s ago, limit 30s)\n".to_owned();
        assert_eq!(probe(&health, "/healthz").await, (503, expect));
        relay.beat();
        assert_eq!(probe(&health, "/healthz").await.0, 200);
    }
}
