//! Carries out what [`step`] decides, against the API server.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Observed, Settings, Step, held, holder, released, step};
use crate::kube_client::{CallError, with_timeout};

/// Why this process may not lead any longer. It must end: its tasks may still believe that it leads.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another process took the lease, or it could not be renewed in time.
    #[error("this process lost the lease {name}")]
    Lost {
        /// Name of the lease.
        name: String,
    },
}

/// Stands for the lease until `token` is cancelled, then gives it up if held.
///
/// `leading` turns true when this process begins to lead. Cancel `token` only when the work that the
/// lease protects has stopped, since then another process takes over.
pub async fn run(
    client: Client,
    settings: Settings,
    leading: watch::Sender<bool>,
    token: CancellationToken,
) -> Result<(), LeaseError> {
    let api = Api::<Lease>::namespaced(client, &settings.namespace);
    let mut observed: Option<Observed> = None;
    let mut renewed: Option<Instant> = None;
    // Whether the lease may differ from `observed`: at first, while others may write it, after a failure.
    let mut stale = true;
    loop {
        if stale || renewed.is_none() {
            stale = true;
            let look = with_timeout(limit(renewed, &settings), api.get_opt(&settings.name));
            match token.run_until_cancelled(look).await {
                None => break,
                Some(Ok(lease)) => {
                    observed = lease.map(|lease| notice(observed, lease, Instant::now()));
                    stale = false;
                }
                Some(Err(error)) => warn(&settings, "read", &error),
            }
        }

        let now = Instant::now();
        let mut until = now + settings.retry_period;
        match step(now, observed.as_ref(), renewed, &settings) {
            Step::Lost => {
                leading.send_replace(false);
                return Err(LeaseError::Lost { name: settings.name });
            }
            Step::Wait { until: next } => until = next,
            Step::Acquire | Step::Renew if stale => {}
            // Not cancelled halfway, since what is not known to be held is not released.
            Step::Acquire | Step::Renew => match write(&api, observed.as_ref(), renewed, &settings).await {
                Ok(lease) => {
                    observed = Some(Observed { lease, since: now });
                    renewed = Some(now);
                    if !leading.send_replace(true) {
                        tracing::info!(lease = settings.name, identity = settings.identity, "leading");
                    }
                }
                Err(error) => {
                    warn(&settings, "write", &error);
                    stale = true;
                }
            },
        }
        let deadline = renewed.map_or(until, |renewed| renewed + settings.renew_deadline);
        if token.run_until_cancelled(sleep_until(until.min(deadline))).await.is_none() {
            break;
        }
    }
    if leading.send_replace(false) {
        release(&api, observed, &settings).await;
    }
    Ok(())
}

/// Registers the gauge `kubernaut_leader`: 1 while this process leads, else 0.
pub fn register(registry: &mut Registry, leading: watch::Receiver<bool>) {
    registry.register_collector(Box::new(Leader(leading)));
}

/// The lease as it is now. Only a change of what it says is a sign of life; other edits are not.
fn notice(before: Option<Observed>, lease: Lease, now: Instant) -> Observed {
    let since = before.filter(|before| before.lease.spec == lease.spec).map_or(now, |before| before.since);
    Observed { lease, since }
}

/// No call outlasts half the time for renewing, so that a lost answer leaves time for another try.
fn limit(renewed: Option<Instant>, settings: &Settings) -> Duration {
    let half = settings.renew_deadline / 2;
    renewed.map_or(half, |renewed| half.min((renewed + settings.renew_deadline).duration_since(Instant::now())))
}

async fn write(
    api: &Api<Lease>,
    observed: Option<&Observed>,
    renewed: Option<Instant>,
    settings: &Settings,
) -> Result<Lease, CallError> {
    let lease = held(observed.map(|seen| &seen.lease), settings, Timestamp::now());
    let (params, limit) = (PostParams::default(), limit(renewed, settings));
    match observed {
        Some(_) => with_timeout(limit, api.replace(&settings.name, &params, &lease)).await,
        None => with_timeout(limit, api.create(&params, &lease)).await,
    }
}

async fn release(api: &Api<Lease>, observed: Option<Observed>, settings: &Settings) {
    let Some(Observed { lease, .. }) = observed.filter(|seen| holder(&seen.lease) == Some(&settings.identity)) else {
        return;
    };
    let lease = released(&lease, Timestamp::now());
    let params = PostParams::default();
    match with_timeout(limit(None, settings), api.replace(&settings.name, &params, &lease)).await {
        Ok(_) => tracing::info!(lease = settings.name, "lease released"),
        Err(error) => tracing::warn!(lease = settings.name, %error, "lease not released; it expires by itself"),
    }
}

fn warn(settings: &Settings, verb: &'static str, error: &CallError) {
    match error.status() {
        // Two candidates at once, of which one was faster.
        Some(status) if status.is_conflict() || status.is_already_exists() => {
            tracing::debug!(lease = settings.name, "another process wrote the lease first");
        }
        _ => tracing::warn!(lease = settings.name, %error, "cannot {verb} the lease"),
    }
}

#[derive(Debug)]
struct Leader(watch::Receiver<bool>);

impl Collector for Leader {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let gauge = ConstGauge::new(u64::from(*self.0.borrow()));
        let help = "1 while this process leads, else 0";
        gauge.encode(encoder.encode_descriptor("kubernaut_leader", help, None, gauge.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use axum::http::StatusCode;
    use axum::response::{IntoResponse, Response};
    use axum::routing::{get, post};
    use kube::core::Status;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::config::Config;

    /// What the API server keeps, and how it behaves.
    #[derive(Clone, Default)]
    struct Server(Arc<Mutex<Store>>);

    #[derive(Default)]
    struct Store {
        lease: Option<Lease>,
        version: u64,
        mood: Mood,
    }

    #[derive(Clone, Copy, Default, PartialEq)]
    enum Mood {
        #[default]
        Well,
        /// No call is answered.
        Silent,
        /// Writes happen, but their answers are lost.
        Forgetful,
    }

    impl Server {
        fn client(&self) -> Client {
            let path = "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases";
            let router = Router::new()
                .route(path, post(create))
                .route(&format!("{path}/{{name}}"), get(read).put(replace))
                .with_state(self.clone());
            Client::new(router, "kubernaut-system")
        }

        fn mood(&self, mood: Mood) {
            self.0.lock().unwrap().mood = mood;
        }

        fn lease(&self) -> Option<Lease> {
            self.0.lock().unwrap().lease.clone()
        }

        fn holder(&self) -> Option<String> {
            self.lease().as_ref().and_then(holder).map(str::to_owned)
        }

        /// What someone else does to the lease.
        fn edit(&self, change: impl FnOnce(&mut Option<Lease>)) {
            let mut store = self.0.lock().unwrap();
            change(&mut store.lease);
            store.version += 1;
            let version = store.version.to_string();
            if let Some(lease) = &mut store.lease {
                lease.metadata.resource_version = Some(version);
            }
        }

        async fn answer(&self, write: bool, answer: Result<Lease, Box<Status>>) -> Response {
            let mood = self.0.lock().unwrap().mood;
            if mood == Mood::Silent || (mood == Mood::Forgetful && write) {
                std::future::pending::<()>().await;
            }
            match answer {
                Ok(lease) => axum::Json(lease).into_response(),
                Err(status) => (StatusCode::from_u16(status.code).unwrap(), axum::Json(status)).into_response(),
            }
        }

        fn store(&self, sent: &Lease) -> Result<Lease, Box<Status>> {
            if self.0.lock().unwrap().mood == Mood::Silent {
                return Err(Status::failure("silent", "Silent").with_code(500).boxed());
            }
            let current = self.lease().and_then(|lease| lease.metadata.resource_version);
            if current != sent.metadata.resource_version {
                return Err(Status::failure("written in between", "Conflict").with_code(409).boxed());
            }
            self.edit(|lease| *lease = Some(sent.clone()));
            Ok(self.lease().unwrap())
        }
    }

    async fn read(State(server): State<Server>) -> Response {
        let missing = || Status::failure("no such lease", "NotFound").with_code(404).boxed();
        server.answer(false, server.lease().ok_or_else(missing)).await
    }

    async fn create(State(server): State<Server>, body: String) -> Response {
        let stored = server.store(&serde_json::from_str(&body).unwrap());
        server.answer(true, stored).await
    }

    async fn replace(State(server): State<Server>, body: String) -> Response {
        let stored = server.store(&serde_json::from_str(&body).unwrap());
        server.answer(true, stored).await
    }

    struct Candidate {
        leading: watch::Receiver<bool>,
        token: CancellationToken,
        task: JoinHandle<Result<(), LeaseError>>,
    }

    impl Candidate {
        fn start(server: &Server, identity: &str) -> Self {
            let settings = Settings { identity: identity.to_owned(), ..Settings::from_config(&Config::default()) };
            let (sender, leading) = watch::channel(false);
            let token = CancellationToken::new();
            let task = tokio::spawn(run(server.client(), settings, sender, token.clone()));
            Self { leading, token, task }
        }

        /// How long until it leads.
        async fn leads(&mut self) -> Duration {
            let started = Instant::now();
            self.leading.wait_for(|leading| *leading).await.unwrap();
            started.elapsed()
        }

        async fn stop(self) {
            self.token.cancel();
            self.task.await.unwrap().unwrap();
        }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn lost() -> LeaseError {
        LeaseError::Lost { name: "kubernaut-leader".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_leads_at_once_and_keeps_leading() {
        let server = Server::default();
        let mut first = Candidate::start(&server, "a");
        assert_eq!(first.leads().await, Duration::ZERO);
        let second = Candidate::start(&server, "b");
        tokio::time::sleep(secs(3600)).await;
        assert!(*first.leading.borrow() && !*second.leading.borrow());
        assert_eq!(server.lease().unwrap().spec.unwrap().lease_transitions, Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_at_once_exactly_one_leads() {
        let server = Server::default();
        let many: Vec<_> = (0..8).map(|n| Candidate::start(&server, &format!("p{n}"))).collect();
        tokio::time::sleep(secs(60)).await;
        assert_eq!(many.iter().filter(|candidate| *candidate.leading.borrow()).count(), 1);
        assert!(many.iter().all(|candidate| !candidate.task.is_finished()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clean_end_hands_over_within_a_retry_period() {
        let server = Server::default();
        let mut first = Candidate::start(&server, "a");
        first.leads().await;
        let mut second = Candidate::start(&server, "b");
        tokio::time::sleep(secs(10)).await;
        first.stop().await;
        assert_eq!(server.holder(), None);
        assert!(second.leads().await <= secs(2));
        assert_eq!(server.holder().as_deref(), Some("b"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_crashed_leader_is_replaced_after_the_lease_duration_and_not_before() {
        let server = Server::default();
        let mut first = Candidate::start(&server, "a");
        first.leads().await;
        let mut second = Candidate::start(&server, "b");
        tokio::time::sleep(secs(10)).await;
        first.task.abort();
        let took = second.leads().await;
        assert!((secs(13)..=secs(17)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_reaches_no_api_server_ends_at_its_deadline_before_another_can_lead() {
        let server = Server::default();
        let mut first = Candidate::start(&server, "a");
        first.leads().await;
        let since = Instant::now();
        server.mood(Mood::Silent);
        assert_eq!(first.task.await.unwrap().unwrap_err(), lost());
        assert!(since.elapsed() <= secs(10), "{:?}", since.elapsed());
        assert!(!*first.leading.borrow());
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_outage_costs_nothing() {
        let server = Server::default();
        let mut first = Candidate::start(&server, "a");
        first.leads().await;
        server.mood(Mood::Silent);
        tokio::time::sleep(secs(6)).await;
        server.mood(Mood::Well);
        tokio::time::sleep(secs(60)).await;
        assert!(*first.leading.borrow() && !first.task.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_happened_without_an_answer_is_noticed_and_not_fought() {
        let server = Server::default();
        server.mood(Mood::Forgetful);
        let mut first = Candidate::start(&server, "a");
        tokio::time::sleep(secs(6)).await;
        assert!(!*first.leading.borrow());
        server.mood(Mood::Well);
        assert!(first.leads().await <= secs(10));

        server.mood(Mood::Forgetful);
        tokio::time::sleep(secs(3)).await;
        server.mood(Mood::Well);
        tokio::time::sleep(secs(60)).await;
        assert!(*first.leading.borrow() && !first.task.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_whose_lease_another_took_has_lost() {
        let server = Server::default();
        let mut first = Candidate::start(&server, "a");
        first.leads().await;
        server.edit(|lease| {
            let spec = lease.as_mut().unwrap().spec.as_mut().unwrap();
            spec.holder_identity = Some("b".to_owned());
        });
        assert_eq!(first.task.await.unwrap().unwrap_err(), lost());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deleted_lease_is_made_again_by_its_leader() {
        let server = Server::default();
        let mut first = Candidate::start(&server, "a");
        first.leads().await;
        server.edit(|lease| *lease = None);
        tokio::time::sleep(secs(9)).await;
        assert!(*first.leading.borrow());
        assert_eq!(server.holder().as_deref(), Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_edit_of_the_metadata_is_no_sign_of_life() {
        let server = Server::default();
        let mut first = Candidate::start(&server, "a");
        first.leads().await;
        first.task.abort();
        let mut second = Candidate::start(&server, "b");
        tokio::time::sleep(secs(10)).await;
        server.edit(|lease| {
            let labels = &mut lease.as_mut().unwrap().metadata.labels;
            labels.get_or_insert_default().insert("touched".to_owned(), "yes".to_owned());
        });
        assert!(second.leads().await <= secs(6));
    }

    #[tokio::test(start_paused = true)]
    async fn a_candidate_that_never_led_leaves_the_lease_alone() {
        let server = Server::default();
        let mut first = Candidate::start(&server, "a");
        first.leads().await;
        let second = Candidate::start(&server, "b");
        tokio::time::sleep(secs(5)).await;
        second.stop().await;
        assert_eq!(server.holder().as_deref(), Some("a"));
    }

    #[test]
    fn the_gauge_follows_the_lead() {
        let mut registry = Registry::default();
        let (leading, receiver) = watch::channel(false);
        register(&mut registry, receiver);
        assert!(crate::metrics::encode(&registry).unwrap().contains("\nkubernaut_leader 0\n"));
        leading.send_replace(true);
        assert!(crate::metrics::encode(&registry).unwrap().contains("\nkubernaut_leader 1\n"));
    }
}
