//! Keeps one driver running per EventSink, and the status of each EventSink.
//!
//! The only writer of `EventSink.status`. It writes when something changed, and no more often than
//! `Settings::status_interval`. Deliberately absent: how events are delivered, and sinks from other
//! sources than EventSink resources.

mod report;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt, watcher};
use kubernaut_api::k8s_openapi::api::core::v1::Secret;
use kubernaut_api::{EventSink, ResourceExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Pattern;
use crate::directory::Directory;
use crate::driver::{self, Report};
use crate::run::Parts;
use crate::sinks::http::{self, HttpSink, Target};
use crate::status::{self, Fate, Reason};
use crate::store::{StoreError, Subscription};

/// How long after a failed registration or a missing Secret the sink is looked at again.
const AGAIN: Duration = Duration::from_secs(30);
/// Keys of sinks that stem from EventSink resources.
const KEY_PREFIX: &str = "eventsink/";
/// Shortest legal limit of one attempt.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);

/// Runs until `token` is cancelled or a driver panicked.
pub(crate) async fn run(parts: &Parts, directory: &Directory, token: CancellationToken) {
    let api: Api<DeserializeGuard<EventSink>> = Api::namespaced(parts.client.clone(), &parts.namespace);
    let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
    let mut registry = Registry {
        parts,
        directory,
        token: token.clone(),
        sinks: BTreeMap::new(),
        listed: Vec::new(),
        changed: Arc::clone(&directory.changed),
        broken: CancellationToken::new(),
    };
    let broken = registry.broken.clone();
    let changed = Arc::clone(&registry.changed);
    let mut write_at: Option<Instant> = None;
    let mut again_at: Option<Instant> = None;
    loop {
        tokio::select! {
            () = token.cancelled() => return registry.stop().await,
            () = broken.cancelled() => return,
            event = events.next() => match event {
                None => return registry.stop().await,
                Some(Ok(event)) => {
                    registry.see(event).await;
                    write_at.get_or_insert_with(Instant::now);
                }
                Some(Err(error)) => warn!(%error, "cannot watch EventSinks"),
            },
            () = changed.notified() => {
                write_at.get_or_insert_with(|| Instant::now() + parts.settings.status_interval);
            }
            () = at(write_at) => {
                registry.renew_tokens().await;
                let complete = registry.write().await;
                write_at = (!complete).then(|| Instant::now() + parts.settings.status_interval);
            }
            () = at(again_at) => {
                again_at = None;
                registry.again().await;
                write_at.get_or_insert_with(Instant::now);
            }
        }
        if registry.sinks.values().any(|sink| sink.again) {
            again_at.get_or_insert_with(|| Instant::now() + AGAIN);
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

struct Registry<'a> {
    parts: &'a Parts,
    directory: &'a Directory,
    token: CancellationToken,
    /// By name.
    sinks: BTreeMap<String, Sink>,
    /// Names seen in the list that is under way.
    listed: Vec<String>,
    changed: Arc<Notify>,
    /// Cancelled when a driver panicked: a part that ends ends them all.
    broken: CancellationToken,
}

/// One EventSink that exists.
struct Sink {
    key: String,
    object: EventSink,
    fate: Fate,
    report: Report,
    wake: Arc<Notify>,
    driver: Option<Driver>,
    /// What the driver sends as its bearer token.
    token: Option<String>,
    /// Something failed that may work later.
    again: bool,
}

struct Driver {
    token: CancellationToken,
    task: JoinHandle<()>,
}

impl Driver {
    async fn stop(self) {
        self.token.cancel();
        // Whether it was cancelled or ended before: it is over.
        let _ = self.task.await;
    }
}

impl Registry<'_> {
    async fn see(&mut self, event: watcher::Event<DeserializeGuard<EventSink>>) {
        match event {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(object) => {
                self.listed.push(object.name_any());
                self.applied(object).await;
            }
            watcher::Event::Apply(object) => self.applied(object).await,
            watcher::Event::Delete(object) => self.deleted(&object.name_any()).await,
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let gone: Vec<String> = self.sinks.keys().filter(|name| !listed.contains(name)).cloned().collect();
                for name in gone {
                    self.deleted(&name).await;
                }
                self.forget_strangers().await;
                self.directory.set_complete();
            }
        }
    }

    async fn applied(&mut self, object: DeserializeGuard<EventSink>) {
        let object = match object.0 {
            Ok(object) => object,
            Err(invalid) => {
                warn!(sink = invalid.metadata.name, %invalid, "EventSink cannot be read, it stays as it was");
                return;
            }
        };
        let name = object.name_any();
        let key = format!("{KEY_PREFIX}{name}/{}", object.uid().unwrap_or_default());
        if self.sinks.get(&name).is_some_and(|known| known.key != key) {
            self.deleted(&name).await;
        }
        let known = match self.sinks.remove(&name) {
            Some(mut known) if known.object.spec == object.spec => {
                known.object = object;
                self.sinks.insert(name, known);
                return;
            }
            Some(mut known) => {
                if let Some(driver) = known.driver.take() {
                    driver.stop().await;
                }
                Sink { object, ..known }
            }
            None => Sink {
                key,
                object,
                fate: Fate::Served,
                report: Report::new(Arc::clone(&self.changed)),
                wake: Arc::new(Notify::new()),
                driver: None,
                token: None,
                again: false,
            },
        };
        self.configure(known).await;
    }

    /// Subscribes and registers a sink, and starts its driver when it can be served.
    async fn configure(&mut self, mut sink: Sink) {
        let name = sink.object.name_any();
        sink.again = false;
        sink.report = Report::new(Arc::clone(&self.changed));
        sink.fate = match self.start(&mut sink).await {
            Ok(fate) => fate,
            Err(error) => {
                warn!(sink = name, %error, "cannot register the sink with the store");
                sink.again = true;
                Fate::Waiting(Reason::StoreUnavailable, error.to_string())
            }
        };
        info!(sink = name, fate = ?sink.fate, "sink configured");
        self.sinks.insert(name, sink);
    }

    async fn start(&self, sink: &mut Sink) -> Result<Fate, StoreError> {
        let patterns = match patterns(&sink.object) {
            Ok(patterns) => patterns,
            Err(why) => {
                self.directory.remove(&sink.key).await;
                return Ok(Fate::Invalid(why));
            }
        };
        // From here on events are kept for the sink, also while it cannot be served.
        let subscription = Subscription { sink: sink.key.clone(), patterns };
        let since = sink.object.creation_timestamp().map_or(Timestamp::MAX, |time| time.0);
        self.directory.put(subscription.clone(), Arc::clone(&sink.wake)).await;
        self.parts.store.register(&subscription, since).await?;
        if sink.object.spec.suspended {
            return Ok(Fate::Suspended);
        }
        if let Some(why) = status::gone(&sink.object) {
            return Ok(Fate::Gone(why));
        }
        let token = match self.bearer_token(&sink.object).await {
            Ok(token) => token,
            Err(why) => {
                sink.again = true;
                return Ok(Fate::Waiting(Reason::SecretUnavailable, why));
            }
        };
        sink.token.clone_from(&token);
        let client = match self.connect(&sink.object, token).await {
            Ok(client) => client,
            Err(error) => return Ok(Fate::Invalid(error.to_string())),
        };
        let token = self.token.child_token();
        let driver = driver::run(
            self.driver_config(sink),
            Arc::new(client),
            Arc::clone(&self.parts.store),
            self.parts.metrics.clone(),
            Arc::clone(&sink.wake),
            sink.report.clone(),
            token.clone(),
        );
        let broken = self.broken.clone();
        let task = tokio::spawn(async move {
            if AssertUnwindSafe(driver).catch_unwind().await.is_err() {
                broken.cancel();
            }
        });
        sink.driver = Some(Driver { token, task });
        Ok(Fate::Served)
    }

    async fn connect(&self, object: &EventSink, bearer_token: Option<String>) -> Result<HttpSink, http::Error> {
        let spec = &object.spec.http;
        if spec.timeout < SHORTEST_TIMEOUT {
            return Err(http::Error::Timeout(SHORTEST_TIMEOUT));
        }
        let target =
            Target { url: http::parse_url(&spec.url)?, mode: spec.mode, timeout: spec.timeout.into(), bearer_token };
        HttpSink::connect(target, self.parts.settings.guard()).await
    }

    fn driver_config(&self, sink: &Sink) -> driver::Config {
        let settings = &self.parts.settings;
        driver::Config {
            key: sink.key.clone(),
            name: sink.object.name_any(),
            retry: sink.object.spec.retry.clone(),
            timeout: sink.object.spec.http.timeout.into(),
            concurrency: settings.concurrency,
            breaker_failures: settings.breaker_failures,
            breaker_pause: settings.breaker_pause,
        }
    }

    async fn bearer_token(&self, object: &EventSink) -> Result<Option<String>, String> {
        let Some(selector) = &object.spec.http.bearer_token else { return Ok(None) };
        let place = format!("spec.http.bearerToken: Secret {}/{}", self.parts.namespace, selector.name);
        let api: Api<Secret> = Api::namespaced(self.parts.client.clone(), &self.parts.namespace);
        let secret = match tokio::time::timeout(self.parts.settings.kube_timeout, api.get_opt(&selector.name)).await {
            Ok(Ok(Some(secret))) => secret,
            Ok(Ok(None)) => return Err(format!("{place} does not exist; create it, it is looked up every 30 s")),
            Ok(Err(error)) => return Err(format!("{place} cannot be read: {error}")),
            Err(_) => return Err(format!("{place} cannot be read: the API server does not answer")),
        };
        let value = secret.data.as_ref().and_then(|data| data.get(&selector.key));
        let value = value.ok_or_else(|| format!("{place} has no key `{}`", selector.key))?;
        let text = String::from_utf8(value.0.clone());
        text.map(Some).map_err(|_| format!("{place}, key `{}`, is not text", selector.key))
    }

    async fn deleted(&mut self, name: &str) {
        let Some(sink) = self.sinks.remove(name) else { return };
        self.directory.remove(&sink.key).await;
        if let Some(driver) = sink.driver {
            driver.stop().await;
        }
        self.forget(&sink.key).await;
        self.parts.metrics.forget(name);
    }

    /// Forgets sinks of the store that were deleted while nobody watched.
    async fn forget_strangers(&self) {
        let known = match self.parts.store.sinks().await {
            Ok(known) => known,
            Err(error) => {
                warn!(%error, "cannot read the sinks of the store");
                return;
            }
        };
        for key in known.iter().filter(|key| key.starts_with(KEY_PREFIX)) {
            if !self.sinks.values().any(|sink| sink.key == *key) {
                self.forget(key).await;
            }
        }
    }

    /// What cannot be forgotten now is forgotten as a stranger after the next list.
    async fn forget(&self, key: &str) {
        info!(sink = key, "sink forgotten");
        if let Err(error) = self.parts.store.forget_sink(key).await {
            warn!(sink = key, %error, "cannot forget the sink");
        }
    }

    /// A token that a sink refuses may have been replaced in its Secret: where it was, the new one is sent
    /// from now on.
    async fn renew_tokens(&mut self) {
        let failing =
            |sink: &Sink| sink.driver.is_some() && sink.token.is_some() && sink.report.health().failing.is_some();
        let names: Vec<String> =
            self.sinks.iter().filter(|(_, sink)| failing(sink)).map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(mut sink) = self.sinks.remove(&name) else { continue };
            if self.bearer_token(&sink.object).await.is_ok_and(|token| token != sink.token) {
                if let Some(driver) = sink.driver.take() {
                    driver.stop().await;
                }
                self.configure(sink).await;
            } else {
                self.sinks.insert(name, sink);
            }
        }
    }

    /// Tries again what failed for a reason that may have passed.
    async fn again(&mut self) {
        let names: Vec<String> =
            self.sinks.iter().filter(|(_, sink)| sink.again).map(|(name, _)| name.clone()).collect();
        for name in names {
            if let Some(sink) = self.sinks.remove(&name) {
                self.configure(sink).await;
            }
        }
    }

    /// Writes each status that differs from what the API server has; false when one has to be written later.
    async fn write(&mut self) -> bool {
        let mut complete = true;
        for (name, sink) in &mut self.sinks {
            complete &= report::write(self.parts, name, sink).await;
        }
        complete
    }

    async fn stop(mut self) {
        for sink in self.sinks.values_mut() {
            if let Some(driver) = sink.driver.take() {
                driver.stop().await;
            }
        }
        self.write().await;
    }
}

fn patterns(object: &EventSink) -> Result<Vec<Pattern>, String> {
    let parse = |(index, text): (usize, &String)| text.parse().map_err(|error| format!("spec.types[{index}]: {error}"));
    object.spec.types.iter().enumerate().map(parse).collect()
}
