//! The one delivery driver: order per subject, concurrency, timeout, retry, dead letters, breaker.
//!
//! One task per sink, so a slow or dead sink delays no other. It looks at the store when it is woken
//! or when a delivery falls due, never in between. A crash between a sink's answer and the store's
//! note of it repeats the delivery: at least once, same id, same bytes. Deliberately absent: what
//! a transport is.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use kubernaut_api::sink::Retry;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::breaker::{Admission, Breaker};
use crate::sinks::{Outcome, Sink};
use crate::store::{Delivery, Store, StoreError};
use crate::{Metrics, retry};

/// Longest text of an error that is kept.
const MAX_ERROR: usize = 512;

/// How a sink is served.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Key of the sink in the store.
    pub key: String,
    /// Name of the sink in metrics and logs.
    pub name: String,
    /// Attempts and pauses.
    pub retry: Retry,
    /// Limit of one attempt.
    pub timeout: Duration,
    /// Subjects served at once.
    pub concurrency: usize,
    /// Failures in a row that open the breaker.
    pub breaker_failures: u32,
    /// How long an open breaker holds everything back.
    pub breaker_pause: Duration,
}

/// What a driver has seen of its sink, for the status of its EventSink.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Why the last attempt failed; `None` after one that worked.
    pub failing: Option<String>,
    /// The last failure there was.
    pub last_error: Option<String>,
    /// The sink is gone for good (410): nothing is sent until its spec changes.
    pub gone: Option<String>,
}

/// Shared with the registry: health, and a signal that something changed.
#[derive(Clone, Default)]
pub struct Report {
    health: Arc<Mutex<Health>>,
    changed: Arc<Notify>,
}

impl Report {
    /// A report whose changes are signalled on `changed`.
    pub fn new(changed: Arc<Notify>) -> Self {
        Self { health: Arc::default(), changed }
    }

    /// The health of this moment.
    pub fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }
}

/// Delivers until cancelled or until the sink is gone for good.
///
/// `wake` has to be notified whenever a delivery was stored. Store failures are waited out.
pub async fn run(
    config: Config,
    sink: Arc<dyn Sink>,
    store: Arc<dyn Store>,
    metrics: Metrics,
    wake: Arc<Notify>,
    report: Report,
    token: CancellationToken,
) {
    let pause = SignedDuration::try_from(config.breaker_pause).unwrap_or(SignedDuration::from_secs(30));
    let breaker = Breaker::new(config.breaker_failures, pause);
    let lane = Lane { config, sink, store, metrics, report };
    tokio::select! {
        () = token.cancelled() => {}
        () = lane.serve(breaker, &wake) => {}
    }
}

/// One sink with everything that serving it needs.
struct Lane {
    config: Config,
    sink: Arc<dyn Sink>,
    store: Arc<dyn Store>,
    metrics: Metrics,
    report: Report,
}

/// How an attempt ended, as far as the loop cares.
enum Settled {
    Answered,
    Failed,
    Gone,
}

type Attempt<'a> = Pin<Box<dyn Future<Output = (String, Settled)> + Send + 'a>>;

impl Lane {
    async fn serve(&self, mut breaker: Breaker, wake: &Notify) {
        let mut busy: HashSet<String> = HashSet::new();
        let mut attempts: FuturesUnordered<Attempt<'_>> = FuturesUnordered::new();
        let mut store_failures = 0;
        loop {
            let now = Timestamp::now();
            let next = match self.start(&mut breaker, &mut busy, &mut attempts, now).await {
                Ok(next) => {
                    store_failures = 0;
                    next
                }
                Err(error) => {
                    store_failures += 1;
                    warn!(sink = self.config.name, %error, "cannot read deliveries");
                    now.saturating_add(store_pause(store_failures)).ok()
                }
            };
            self.metrics.breaker(&self.config.name, breaker.gauge());
            tokio::select! {
                Some((subject, settled)) = attempts.next() => {
                    busy.remove(&subject);
                    match settled {
                        Settled::Answered => breaker.answered(),
                        Settled::Failed => breaker.failed(Timestamp::now()),
                        Settled::Gone => return,
                    }
                }
                () = wake.notified() => {}
                () = until(next) => {}
            }
        }
    }

    /// Starts what may be started; returns when to look again even if nothing happens.
    async fn start<'a>(
        &'a self,
        breaker: &mut Breaker,
        busy: &mut HashSet<String>,
        attempts: &mut FuturesUnordered<Attempt<'a>>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let room = match breaker.admits(now) {
            Admission::Free => self.config.concurrency.saturating_sub(attempts.len()),
            Admission::Probe => 1_usize.saturating_sub(attempts.len()),
            Admission::Closed(until) => return Ok(Some(until)),
        };
        if room == 0 {
            return Ok(None);
        }
        // Subjects under way are still due: ask for as many more.
        let limit = u32::try_from(room + busy.len()).unwrap_or(u32::MAX);
        let due = self.store.due(&self.config.key, limit, now).await?;
        let fresh = due.deliveries.into_iter().filter(|delivery| !busy.contains(&delivery.event.subject)).take(room);
        for delivery in fresh.collect::<Vec<_>>() {
            busy.insert(delivery.event.subject.clone());
            attempts.push(Box::pin(self.attempt(delivery)));
        }
        Ok(due.next)
    }

    async fn attempt(&self, delivery: Delivery) -> (String, Settled) {
        let Config { name, timeout, .. } = &self.config;
        let attempt = delivery.attempts.saturating_add(1);
        if attempt > 1 {
            self.metrics.retried(name, attempt);
        }
        let begun = Instant::now();
        let outcome = match tokio::time::timeout(*timeout, self.sink.send(&delivery.event)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Retry { after: None, why: format!("no answer within {timeout:?}") },
        };
        let took = begun.elapsed().as_secs_f64();
        self.metrics.attempted(self.sink.transport(), name, &delivery.event.type_, outcome.label(), took);
        let settled = self.settle(&delivery, attempt, outcome).await;
        (delivery.event.subject, settled)
    }

    async fn settle(&self, delivery: &Delivery, attempt: u32, outcome: Outcome) -> Settled {
        let (key, event) = (&self.config.key, &delivery.event);
        match outcome {
            Outcome::Done => {
                let at = Timestamp::now();
                self.note(|| self.store.delivered(key, event.id, at)).await;
                self.report.update(|health| health.failing = None);
                Settled::Answered
            }
            Outcome::Retry { after, why } => {
                let why = bounded(&why);
                if attempt >= self.config.retry.max_attempts {
                    self.give_up(delivery, attempt, &why).await;
                } else {
                    let pause = retry::pause(&self.config.retry, event.id, attempt, after);
                    let next = Timestamp::now().saturating_add(pause).unwrap_or(Timestamp::MAX);
                    self.note(|| self.store.retry_at(key, event.id, attempt, next, &why)).await;
                }
                self.failed(why);
                Settled::Failed
            }
            Outcome::Drop { why } => {
                let why = bounded(&why);
                self.give_up(delivery, attempt, &why).await;
                self.failed(why);
                Settled::Answered
            }
            Outcome::Gone { why } => {
                let why = bounded(&why);
                warn!(sink = self.config.name, error = why, "sink is gone for good, nothing is sent any more");
                self.report.update(|health| health.gone = Some(why));
                Settled::Gone
            }
        }
    }

    async fn give_up(&self, delivery: &Delivery, attempts: u32, why: &str) {
        let (key, event) = (&self.config.key, &delivery.event);
        info!(sink = self.config.name, event = %event.id, type_ = event.type_, attempts, error = why, "dead letter");
        self.note(|| self.store.dead_letter(key, event.id, attempts, why)).await;
        self.metrics.died(&self.config.name);
    }

    fn failed(&self, why: String) {
        self.report.update(|health| {
            health.failing = Some(why.clone());
            health.last_error = Some(why);
        });
    }

    /// Repeats a note to the store until it is taken: losing it would only repeat the delivery, but
    /// going on without it would break the order of the subject.
    async fn note<F: Future<Output = Result<(), StoreError>>>(&self, write: impl Fn() -> F) {
        let mut failures = 0;
        loop {
            match write().await {
                Ok(()) => return,
                Err(error) => {
                    failures += 1;
                    warn!(sink = self.config.name, %error, "cannot note a delivery");
                    tokio::time::sleep(store_pause(failures).unsigned_abs()).await;
                }
            }
        }
    }
}

async fn until(time: Option<Timestamp>) {
    match time {
        None => std::future::pending().await,
        Some(time) => {
            let wait = time.duration_since(Timestamp::now());
            tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
        }
    }
}

/// 100 ms, doubled with each failure up to 30 s.
fn store_pause(failures: u32) -> SignedDuration {
    SignedDuration::from_millis((100_i64 << failures.saturating_sub(1).min(9)).min(30_000))
}

fn bounded(text: &str) -> String {
    text.chars().take(MAX_ERROR).collect()
}
