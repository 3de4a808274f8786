//! The driver against real HTTP servers and the embedded store: each row of the reply table, order,
//! dead letters, independence of sinks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use jiff::Timestamp;
use kubernaut_api::sink::{ContentMode, Retry};
use kubernaut_events::driver::{self, Config, Report};
use kubernaut_events::sinks::http::address::{Guard, Loopback};
use kubernaut_events::sinks::http::{self, HttpSink, Target};
use kubernaut_events::{Counts, Event, Metrics, Store, Subscription, event};
use kubernaut_storage::Sqlite;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

const DEADLINE: Duration = Duration::from_secs(20);

/// What a server does with the n-th request (from 1) for an event.
type Script = fn(&Event, usize) -> Reply;

enum Reply {
    Status(u16),
    RetryAfter(u16, &'static str),
    Redirect(&'static str),
    Hang,
}

#[derive(Clone)]
struct Server {
    script: Script,
    known: Arc<Vec<Event>>,
    received: Arc<Mutex<Vec<Request>>>,
    seen: Arc<Notify>,
}

#[derive(Clone)]
struct Request {
    name: String,
    sequence: u32,
    at: Timestamp,
}

impl Server {
    fn requests(&self) -> Vec<Request> {
        self.received.lock().expect("a lock").clone()
    }

    /// Sequences of the requests about one object, as they came.
    fn sequences(&self, name: &str) -> Vec<u32> {
        self.requests().iter().filter(|request| request.name == name).map(|request| request.sequence).collect()
    }

    async fn until_requests(&self, count: usize) {
        let wait = async {
            while self.requests().len() < count {
                self.seen.notified().await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("requests");
    }
}

async fn receive(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response {
    assert_eq!(headers["content-type"], "application/cloudevents+json");
    let event = server.known.iter().find(|event| event.structured() == body).expect("bytes of a known event");
    let turn = {
        let mut received = server.received.lock().expect("a lock");
        received.push(Request { name: event.name.clone(), sequence: event.sequence, at: Timestamp::now() });
        received.iter().filter(|request| request.name == event.name && request.sequence == event.sequence).count()
    };
    server.seen.notify_one();
    let status = |code| StatusCode::from_u16(code).expect("a status");
    match (server.script)(event, turn) {
        Reply::Status(code) => status(code).into_response(),
        Reply::RetryAfter(code, after) => (status(code), [("retry-after", after)]).into_response(),
        Reply::Redirect(to) => (StatusCode::FOUND, [("location", to)]).into_response(),
        Reply::Hang => std::future::pending().await,
    }
}

fn event_of(name: &str, sequence: u32) -> Event {
    Event {
        id: event::id(name, sequence),
        source: event::source("test"),
        type_: "workflow.executing".into(),
        subject: format!("workflowexecution/kubernaut-system/{name}"),
        time: "2026-01-02T03:04:05Z".parse().expect("a time"),
        sequence,
        request: "rr-1".into(),
        namespace: "kubernaut-system".into(),
        kind: "WorkflowExecution".into(),
        name: name.into(),
        uid: format!("uid-of-{name}"),
        data: serde_json::json!({"seq": sequence}),
    }
}

fn events(names: &[&str], each: u32) -> Vec<Event> {
    (1..=each).flat_map(|sequence| names.iter().map(move |name| event_of(name, sequence))).collect()
}

/// A store and what runs on it; all of it ends with the value.
struct World {
    store: Arc<Sqlite>,
    metrics: Metrics,
    events: Vec<Event>,
    timeout: Duration,
    retry: Retry,
    breaker_failures: u32,
    sinks: HashMap<String, (Arc<Notify>, Report)>,
    guard: DropGuard,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new(events: Vec<Event>) -> Self {
        // Only the first of several tests in one process can install it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().expect("a directory");
        Self {
            store: Arc::new(Sqlite::open(directory.path().join("events.db")).await.expect("a store")),
            metrics: Metrics::new(&mut prometheus_client::registry::Registry::default()),
            events,
            timeout: Duration::from_secs(5),
            retry: Retry {
                max_attempts: 3,
                base_delay: Duration::from_millis(5).into(),
                max_delay: Duration::from_millis(20).into(),
            },
            breaker_failures: 1000,
            sinks: HashMap::new(),
            guard: CancellationToken::new().drop_guard(),
            _directory: directory,
        }
    }

    /// Starts a server and a driver that delivers to it.
    async fn sink(&mut self, name: &str, script: Script) -> Server {
        let server = Server {
            script,
            known: Arc::new(self.events.clone()),
            received: Arc::default(),
            seen: Arc::new(Notify::new()),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/events", listener.local_addr().expect("an address"));
        let router = Router::new().route("/events", post(receive)).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        self.connect(name, &url).await;
        server
    }

    async fn connect(&mut self, name: &str, url: &str) {
        let guard = Guard { loopback: Loopback::Allowed, refused: Vec::new() };
        let sink = HttpSink::connect(target(url, self.timeout), Arc::new(guard)).await.expect("a sink");
        let (wake, report) = (Arc::new(Notify::new()), Report::default());
        self.store.register(&everything(name), Timestamp::MAX).await.expect("registered");
        let config = Config {
            key: name.into(),
            name: name.into(),
            retry: self.retry.clone(),
            timeout: self.timeout,
            concurrency: 8,
            breaker_failures: self.breaker_failures,
            breaker_pause: Duration::from_hours(1),
        };
        tokio::spawn(driver::run(
            config,
            Arc::new(sink),
            self.store.clone(),
            self.metrics.clone(),
            wake.clone(),
            report.clone(),
            self.token(),
        ));
        self.sinks.insert(name.into(), (wake, report));
    }

    fn token(&self) -> CancellationToken {
        self.guard.token().child_token()
    }

    /// Ends all drivers as a crash would.
    fn crash(&mut self) {
        self.guard = CancellationToken::new().drop_guard();
        self.sinks.clear();
    }

    /// Stores all events for all sinks and wakes the drivers.
    async fn publish(&self) {
        let subscriptions: Vec<Subscription> = self.sinks.keys().map(|name| everything(name)).collect();
        self.store.append(&self.events, &subscriptions).await.expect("stored");
        for (wake, _) in self.sinks.values() {
            wake.notify_one();
        }
    }

    async fn counts(&self, sink: &str) -> Counts {
        self.store.counts(sink).await.expect("counts")
    }

    /// Waits for a state of a sink's deliveries.
    async fn until(&self, sink: &str, what: &str, reached: impl Fn(&Counts) -> bool) {
        let wait = async {
            while !reached(&self.counts(sink).await) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let reached = tokio::time::timeout(DEADLINE, wait).await.is_ok();
        assert!(reached, "never {what}: {:?} of {sink}", self.counts(sink).await);
    }
}

fn everything(sink: &str) -> Subscription {
    Subscription { sink: sink.into(), patterns: vec!["*".parse().expect("a pattern")] }
}

fn target(url: &str, timeout: Duration) -> Target {
    Target { url: http::parse_url(url).expect("a URL"), mode: ContentMode::Structured, timeout, bearer_token: None }
}

/// One event, one sink: how it ends and how often it was sent.
async fn check(script: Script, expect: &str, attempts: usize) {
    let mut world = World::new(events(&["a"], 1)).await;
    world.timeout = Duration::from_millis(300);
    let server = world.sink("audit", script).await;
    world.publish().await;
    world.until("audit", "settled", |counts| counts.pending == 0).await;
    let counts = world.counts("audit").await;
    let ended = if counts.delivered == 1 { "delivered" } else { "dead" };
    assert_eq!((ended, server.requests().len()), (expect, attempts));
}

/// The first request is answered with `first`, all others with 200.
macro_rules! at_first {
    ($first:expr) => {
        |_, turn| if turn < 2 { $first } else { Reply::Status(200) }
    };
}

#[tokio::test]
async fn success_is_done() {
    check(|_, _| Reply::Status(200), "delivered", 1).await;
    check(|_, _| Reply::Status(204), "delivered", 1).await;
}

#[tokio::test]
async fn an_answer_counts_although_its_text_never_ends() {
    let mut world = World::new(events(&["we-1"], 1)).await;
    let asked: Arc<Mutex<u32>> = Arc::default();
    let count = asked.clone();
    let router = Router::new().route(
        "/events",
        post(move || async move {
            *count.lock().expect("a lock") += 1;
            axum::body::Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>())
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/events", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    world.timeout = Duration::from_millis(500);
    world.connect("audit", &url).await;
    world.publish().await;
    world.until("audit", "delivered", |counts| counts.delivered + counts.dead == 1).await;
    assert_eq!((world.counts("audit").await.delivered, *asked.lock().expect("a lock")), (1, 1));
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    check(|_, _| Reply::Redirect("/events"), "dead", 3).await;
}

#[tokio::test]
async fn a_refused_event_is_a_dead_letter_at_once() {
    check(|_, _| Reply::Status(400), "dead", 1).await;
    check(|_, _| Reply::Status(401), "dead", 1).await;
    check(|_, _| Reply::Status(403), "dead", 1).await;
    check(|_, _| Reply::Status(415), "dead", 1).await;
    check(|_, _| Reply::Status(422), "dead", 1).await;
}

#[tokio::test]
async fn a_passing_fault_is_tried_again() {
    check(at_first!(Reply::Status(404)), "delivered", 2).await;
    check(at_first!(Reply::Status(408)), "delivered", 2).await;
    check(at_first!(Reply::Status(409)), "delivered", 2).await;
    check(at_first!(Reply::Status(429)), "delivered", 2).await;
    check(at_first!(Reply::Status(503)), "delivered", 2).await;
    check(at_first!(Reply::Hang), "delivered", 2).await;
}

#[tokio::test]
async fn a_lasting_fault_is_a_dead_letter_after_all_attempts() {
    check(|_, _| Reply::Status(500), "dead", 3).await;
    check(|_, _| Reply::Hang, "dead", 3).await;
}

#[tokio::test]
async fn a_refused_connection_is_a_dead_letter_after_all_attempts() {
    let mut world = World::new(events(&["a"], 1)).await;
    let port = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address").port()
    };
    world.connect("audit", &format!("http://127.0.0.1:{port}/")).await;
    world.publish().await;
    world.until("audit", "dead", |counts| counts.dead == 1).await;
    let error = world.sinks["audit"].1.health().last_error.expect("an error");
    assert!(error.contains("cannot connect"), "{error}");
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let mut world = World::new(events(&["a"], 1)).await;
    let server = world.sink("audit", at_first!(Reply::RetryAfter(429, "1"))).await;
    world.publish().await;
    world.until("audit", "delivered", |counts| counts.delivered == 1).await;
    let requests = server.requests();
    assert!(requests[1].at.duration_since(requests[0].at).as_millis() >= 1000);
}

#[tokio::test]
async fn a_sink_that_is_gone_gets_nothing_more_and_loses_nothing() {
    let mut world = World::new(events(&["a", "b"], 2)).await;
    let server = world.sink("audit", |_, _| Reply::Status(410)).await;
    let other = world.sink("other", |_, _| Reply::Status(200)).await;
    world.publish().await;
    world.until("other", "delivered", |counts| counts.delivered == 4).await;
    let wait = async {
        while world.sinks["audit"].1.health().gone.is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("the sink is reported as gone");
    assert!(server.requests().len() <= 2, "at most what was under way");
    assert_eq!(other.requests().len(), 4);
    assert_eq!(world.counts("audit").await.pending, 4);
}

#[tokio::test]
async fn a_failing_event_holds_back_its_subject_and_no_other() {
    let mut world = World::new(events(&["a", "b", "c"], 4)).await;
    let script: Script =
        |event, turn| Reply::Status(if event.name == "b" && event.sequence == 2 && turn < 3 { 503 } else { 200 });
    let server = world.sink("audit", script).await;
    world.publish().await;
    world.until("audit", "delivered", |counts| counts.delivered == 12).await;
    assert_eq!(server.sequences("a"), [1, 2, 3, 4]);
    assert_eq!(server.sequences("b"), [1, 2, 2, 2, 3, 4]);
    assert_eq!(server.sequences("c"), [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_hanging_sink_delays_no_other() {
    let mut world = World::new(events(&["a", "b", "c"], 5)).await;
    world.timeout = Duration::from_hours(1);
    let hanging = world.sink("hanging", |_, _| Reply::Hang).await;
    world.sink("quick", |_, _| Reply::Status(200)).await;
    world.publish().await;
    hanging.until_requests(3).await;
    world.until("quick", "delivered", |counts| counts.delivered == 15).await;
    assert_eq!(world.counts("hanging").await.pending, 15);
}

#[tokio::test]
async fn an_open_breaker_consumes_no_attempts() {
    let mut world = World::new(events(&["a"], 5)).await;
    world.breaker_failures = 5;
    let server = world.sink("audit", |_, _| Reply::Status(503)).await;
    world.publish().await;
    // Three attempts for the first event, two for the second: then the breaker is open for an hour.
    server.until_requests(5).await;
    world.until("audit", "dead", |counts| counts.dead == 1).await;
    world.sinks["audit"].0.notify_one();
    assert_eq!(world.counts("audit").await.pending, 4);
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let mut world = World::new(events(&["a"], 3)).await;
    world.timeout = Duration::from_hours(1);
    let script: Script = |event, _| if event.sequence == 2 { Reply::Hang } else { Reply::Status(200) };
    let first = world.sink("audit", script).await;
    world.publish().await;
    first.until_requests(2).await;
    world.crash();
    let second = world.sink("audit", |_, _| Reply::Status(200)).await;
    world.publish().await;
    world.until("audit", "delivered", |counts| counts.delivered == 3).await;
    assert_eq!(first.sequences("a"), [1, 2]);
    assert_eq!(second.sequences("a"), [2, 3]);
}

#[tokio::test]
async fn refused_addresses_are_refused_at_registration() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for url in ["http://169.254.169.254/", "http://localhost:1/", "http://[::ffff:127.0.0.1]/"] {
        let sink = HttpSink::connect(target(url, DEADLINE), Arc::new(Guard::default())).await;
        let Err(error) = sink else { panic!("{url} was accepted") };
        assert!(error.to_string().starts_with("spec.http.url: "), "{error}");
    }
    for url in ["ftp://example.com/", "http://user:secret@example.com/", "/relative"] {
        http::parse_url(url).expect_err(url);
    }
}
