//! `kubernaut run`: starts the parts that the configuration names and ends them together.
//!
//! Any part that ends, ends the process; so does losing the lease. Deliberately absent: restarts of a
//! part within the process; the kubelet does that for the whole.

use std::net::IpAddr;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use kube::api::ListParams;
use kube::{Api, Client};
use kubernaut_analysis::Builtin;
use kubernaut_api::RemediationRequest;
use kubernaut_controllers::Ctx;
use kubernaut_domain::settings::{BlastSettings, JobSettings, Limits, ScriptSettings, Settings};
use kubernaut_events::sinks::http::address::Loopback;
use kubernaut_gateway::{Authentication, Gateway, Scope};
use kubernaut_platform::config::{AuthenticationMode, BlastRadiusConfig, Config, Role};
use kubernaut_platform::health::{Health, Readiness};
use kubernaut_platform::shutdown::Drain;
use kubernaut_platform::{config, health, kube_client, lease, metrics, shutdown, telemetry};
use kubernaut_storage::Sqlite;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::holds;

/// How long requests in flight get to finish on shutdown.
const DRAIN: Duration = Duration::from_secs(20);

/// Runs the operator until a signal, or until a part of it fails.
pub fn run(path: Option<&Path>) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    telemetry::init(&config.log)?;
    let threads = threads(std::thread::available_parallelism().map_or(1, NonZero::get));
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?.block_on(serve(config))
}

/// Worker threads on so many cores. The work is waiting; on a large node a thread per core would only cost
/// memory (each has an allocator arena of its own).
fn threads(cores: usize) -> usize {
    cores.clamp(1, 4)
}

/// The log of a Job: JSON, as the operator's by default.
pub fn log_for_act() -> anyhow::Result<()> {
    Ok(telemetry::init(&config::LogConfig::default())?)
}

/// The metrics of all parts. Each registers before the registry is shared.
struct Metrics {
    controllers: kubernaut_controllers::Metrics,
    events: kubernaut_events::Metrics,
    gateway: kubernaut_gateway::Metrics,
}

impl Metrics {
    fn new(registry: &mut Registry) -> Self {
        Self {
            controllers: kubernaut_controllers::Metrics::new(registry),
            events: kubernaut_events::Metrics::new(registry),
            gateway: kubernaut_gateway::Metrics::new(registry),
        }
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let token = shutdown::on_signal()?;
    let mut registry = metrics::registry(env!("CARGO_PKG_VERSION"));
    let parts = Metrics::new(&mut registry);
    let (leading, leads) = watch::channel(false);
    lease::register(&mut registry, leads.clone());
    let health = Health::default();
    let client = kube_client::client(&config.kubernetes).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespace = config.namespace,
        roles = ?config.roles,
        identity = config.identity,
        "starting"
    );

    let mut tasks: JoinSet<(&'static str, anyhow::Result<()>)> = JoinSet::new();
    // The admin port answers until everything else has ended.
    let last = CancellationToken::new();
    let admin = health::router(health.clone()).merge(metrics::router(Arc::new(registry)));
    let admin_listener = bind(config.admin.listen, "admin.listen").await?;
    let admin = tokio::spawn({
        let (health, last) = (health.clone(), last.clone());
        async move { shutdown::serve(admin_listener, admin, health, last, Drain::at_once(DRAIN)).await }
    });

    let api = health.component("api");
    tasks.spawn(named("api check", until_served(client.clone(), config.namespace.clone(), api, token.clone())));
    if config.roles.contains(&Role::Gateway) {
        let gateway = Gateway::new(client.clone(), gateway_settings(&config), parts.gateway);
        let listener = bind(config.gateway.listen, "gateway.listen").await?;
        let drain = Drain { delay: config.gateway.drain_delay.std(), deadline: DRAIN };
        let router = kubernaut_gateway::router(Arc::new(gateway));
        let (health, token) = (health.clone(), token.clone());
        tasks.spawn(named("gateway", async move {
            shutdown::serve(listener, router, health, token, drain).await.context("gateway")
        }));
    }
    if config.roles.contains(&Role::Controllers) || config.roles.contains(&Role::Relay) {
        let leader = Leader { config, client, controllers: parts.controllers, events: parts.events, leading, leads };
        tasks.spawn(named("leader", leader.run(token.clone())));
    }

    let result = until_end(&mut tasks, &token).await;
    health.shutting_down();
    last.cancel();
    let _ = admin.await;
    tracing::info!("ended");
    result
}

/// Waits for the parts: the first that ends without being asked to, or with an error, ends all.
async fn until_end(
    tasks: &mut JoinSet<(&'static str, anyhow::Result<()>)>,
    token: &CancellationToken,
) -> anyhow::Result<()> {
    let mut failure = None;
    while let Some(ended) = tasks.join_next().await {
        let error = match ended {
            Ok((_, Ok(()))) if token.is_cancelled() => continue,
            Ok(("api check", Ok(()))) => continue,
            Ok((name, Ok(()))) => anyhow!("{name} ended by itself"),
            Ok((name, Err(error))) => error.context(name),
            Err(error) => anyhow!("a part panicked: {error}"),
        };
        tracing::error!(error = format!("{error:#}"), "a part ended, so this process ends");
        failure.get_or_insert(error);
        token.cancel();
    }
    failure.map_or(Ok(()), Err)
}

async fn named<T>(name: &'static str, task: impl Future<Output = T>) -> (&'static str, T) {
    (name, task.await)
}

async fn bind(address: std::net::SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{setting}: cannot listen on {address}"))
}

/// Becomes ready once the API server serves our resources to us: installed, permitted, reachable.
async fn until_served(
    client: Client,
    namespace: String,
    readiness: Readiness,
    token: CancellationToken,
) -> anyhow::Result<()> {
    let requests = Api::<RemediationRequest>::namespaced(client, &namespace);
    let mut wait = Duration::from_millis(200);
    loop {
        match requests.list_metadata(&ListParams::default().limit(1)).await {
            Ok(_) => {
                readiness.ready();
                return Ok(());
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                readiness.not_ready("the API server does not know RemediationRequest: apply the CRDs");
            }
            Err(error) => readiness.not_ready(format!("RemediationRequests cannot be listed: {error}")),
        }
        tracing::warn!(retry_in = ?wait, "the API server does not serve RemediationRequests to us yet");
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(10)),
        }
    }
}

/// What only the leader does.
struct Leader {
    config: Config,
    client: Client,
    controllers: kubernaut_controllers::Metrics,
    events: kubernaut_events::Metrics,
    leading: watch::Sender<bool>,
    leads: watch::Receiver<bool>,
}

impl Leader {
    /// Stands for the lease; works while it is held. The lease is given up only when the work has stopped.
    async fn run(self, token: CancellationToken) -> anyhow::Result<()> {
        let Self { config, client, controllers, events, leading, mut leads } = self;
        let work = async {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                changed = leads.wait_for(|leads| *leads) => { changed.context("lease")?; }
            }
            lead(&config, client.clone(), controllers, events, &token).await
        };
        if !config.leader_election.enabled {
            leading.send_replace(true);
            return work.await;
        }
        let release = CancellationToken::new();
        let stand = lease::run(client.clone(), lease::Settings::from_config(&config), leading, release.clone());
        let mut stand = std::pin::pin!(stand);
        let result = tokio::select! {
            lost = &mut stand => return Err(lost.err().map_or_else(|| anyhow!("the lease ended"), Into::into)),
            result = work => result,
        };
        release.cancel();
        stand.await?;
        result
    }
}

/// Controllers and relay, until the token is cancelled or one of them fails.
async fn lead(
    config: &Config,
    client: Client,
    controllers: kubernaut_controllers::Metrics,
    events: kubernaut_events::Metrics,
    token: &CancellationToken,
) -> anyhow::Result<()> {
    tracing::info!("leading");
    let mut tasks: JoinSet<(&'static str, anyhow::Result<()>)> = JoinSet::new();
    if config.roles.contains(&Role::Relay) {
        tasks.spawn(named("relay", relay(config.clone(), client.clone(), events, token.clone())));
    }
    if config.roles.contains(&Role::Controllers) {
        config.job_image()?;
        let ctx = Ctx::new(
            client,
            config.namespace.clone(),
            decision_settings(config),
            config.kubernetes.request_timeout.std(),
            config.controllers.concurrency,
            Arc::new(Builtin),
            controllers,
        );
        let run = Box::pin(kubernaut_controllers::run_all(Arc::new(ctx), token.clone()));
        tasks.spawn(named("controllers", async move {
            run.await;
            Ok(())
        }));
    }
    until_end(&mut tasks, token).await
}

/// The event path, once its store is open.
async fn relay(
    config: Config,
    client: Client,
    metrics: kubernaut_events::Metrics,
    token: CancellationToken,
) -> anyhow::Result<()> {
    let Some(store) = token.run_until_cancelled(open(&config.store.path)).await else { return Ok(()) };
    let parts = kubernaut_events::Parts {
        client,
        namespace: config.namespace.clone(),
        cluster: config.cluster.clone(),
        store: Arc::new(store),
        metrics,
        settings: event_settings(&config),
    };
    kubernaut_events::run(parts, token).await.map_err(Into::into)
}

/// Opens the store. While it cannot be opened (a full or missing volume, a damaged file) remediations go on:
/// the API server holds their events.
async fn open(path: &Path) -> Sqlite {
    let mut wait = Duration::from_millis(200);
    loop {
        match Sqlite::open(path).await {
            Ok(store) => return store,
            Err(error) => tracing::error!(%error, retry_in = ?wait, "no event store: events wait, remediations go on"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(30));
    }
}

fn gateway_settings(config: &Config) -> kubernaut_gateway::Settings {
    let authentication = match config.gateway.authentication.mode {
        AuthenticationMode::Token => Authentication::BearerFile(config.gateway.authentication.token_file.clone()),
        AuthenticationMode::None => Authentication::None,
    };
    kubernaut_gateway::Settings {
        cluster: config.cluster.clone(),
        scope: match config.scope {
            config::Scope::Labelled => Scope::OptIn,
            config::Scope::All => Scope::All,
        },
        dry_run: config.dry_run,
        suppression: holds::suppression(&config.suppression),
        max_body_bytes: config.gateway.max_body_bytes,
        max_in_flight: config.gateway.max_in_flight,
        ..kubernaut_gateway::Settings::new(config.namespace.clone(), authentication)
    }
}

fn event_settings(config: &Config) -> kubernaut_events::Settings {
    let api_server = std::env::var("KUBERNETES_SERVICE_HOST").ok().and_then(|host| host.parse::<IpAddr>().ok());
    kubernaut_events::Settings {
        loopback: if config.events.allow_loopback_sinks { Loopback::Allowed } else { Loopback::Refused },
        refused: api_server.into_iter().collect(),
        concurrency: config.events.concurrency,
        kube_timeout: config.kubernetes.request_timeout.std(),
        retention: Duration::from_secs(u64::from(config.store.retention_days) * 24 * 60 * 60),
        ..kubernaut_events::Settings::default()
    }
}

fn decision_settings(config: &Config) -> Settings {
    let timeouts = &config.timeouts;
    Settings {
        limits: Limits {
            request: timeouts.request.std(),
            processing: timeouts.processing.std(),
            analysis: timeouts.analysis.std(),
            approval: timeouts.approval.std(),
            execution: timeouts.execution.std(),
            verification: timeouts.verification.std(),
        },
        stabilization: config.verification.stabilization_window.std(),
        approve_above: config.approval.auto_above,
        reject_below: config.approval.reject_below,
        approvers: config.approval.approvers,
        retention: config.retention.std(),
        scope: holds::scope(config.scope),
        dry_run: config.dry_run,
        suppression: holds::suppression(&config.suppression),
        budgets: holds::budgets(&config.budgets),
        job: JobSettings {
            image: config.execution.image.clone(),
            image_pull_policy: config.execution.image_pull_policy.to_string(),
            service_account_prefix: config.execution.service_account_prefix.clone(),
            timeout: config.execution.job_timeout.std(),
            start_timeout: config.execution.start_timeout.std(),
            scripts: ScriptSettings {
                images: config.execution.scripts.images.clone(),
                service_accounts: config.execution.scripts.service_accounts.clone(),
            },
        },
        blast: blast_settings(&config.execution.blast_radius),
    }
}

fn blast_settings(radius: &BlastRadiusConfig) -> BlastSettings {
    BlastSettings {
        max_pods: radius.max_pods,
        max_workloads: radius.max_workloads,
        max_services: radius.max_services,
        max_nodes: radius.max_nodes,
        max_pods_percent: radius.max_pods_percent,
        max_nodes_percent: radius.max_nodes_percent,
        small_namespace: radius.small_namespace,
        small_cluster: radius.small_cluster,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_cannot_be_opened_is_opened_later() {
        let folder = std::env::temp_dir().join(format!("kubernaut-serve-{}", std::process::id()));
        std::fs::write(&folder, "in the way").unwrap();
        let path = folder.join("events.db");
        let mut opening = Box::pin(open(&path));
        let early = tokio::time::timeout(Duration::from_millis(50), &mut opening).await;
        std::fs::remove_file(&folder).unwrap();
        assert!(early.is_err());
        let store = tokio::time::timeout(Duration::from_secs(20), opening).await.expect("a store");
        store.close().await;
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_large_node_does_not_make_a_large_process() {
        assert_eq!([0, 1, 2, 4, 64].map(threads), [1, 1, 2, 4, 4]);
    }
}
