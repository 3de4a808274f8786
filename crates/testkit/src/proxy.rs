//! An API server that goes wrong on purpose: stands between an operator and the real one, numbers every write,
//! and does to one of them what a crash, an overload or a lost answer would.
//!
//! Deliberately absent: TLS towards the operator; it listens on loopback, and the kubeconfig that it
//! writes says so.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use kube::config::Kubeconfig;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Cluster;

/// Largest body of a write.
const BODY: usize = 4 << 20;

/// What is done to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operator dies before the write has reached the API server: kill it when [`Proxy::struck`] says so.
    CrashBefore,
    /// The operator dies after the write was made, before it has heard of it.
    CrashAfter,
    /// The write is refused with this status and never reaches the API server.
    Refuse(u16),
    /// The write is made, and the operator is told that it failed with this status.
    LoseAnswer(u16),
}

/// One write, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// HTTP method.
    pub method: String,
    /// Path, without its query.
    pub path: String,
    /// What the API server answered; absent when it was never asked.
    pub answer: Option<u16>,
}

struct Inner {
    writes: Vec<Write>,
    fault: Option<(usize, Fault)>,
}

struct Shared {
    upstream: String,
    http: reqwest::Client,
    inner: Mutex<Inner>,
    struck: watch::Sender<bool>,
}

/// The proxy; dropping it ends it.
pub struct Proxy {
    /// For whoever is to talk to the API server through it.
    pub kubeconfig: PathBuf,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    _folder: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts one before the API server of a cluster.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let mut file = Kubeconfig::read_from(&cluster.kubeconfig)?;
        let entry =
            file.clusters.iter_mut().find_map(|named| named.cluster.as_mut()).context("kubeconfig: no cluster")?;
        let upstream = entry.server.clone().context("kubeconfig: the cluster has no server")?;
        let mut http = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(5));
        let authority = match (&entry.certificate_authority_data, &entry.certificate_authority) {
            (Some(_), _) => {
                let config = kube::Config::from_custom_kubeconfig(
                    Kubeconfig::read_from(&cluster.kubeconfig)?,
                    &kube::config::KubeConfigOptions::default(),
                )
                .await?;
                config.root_cert.unwrap_or_default()
            }
            (None, Some(path)) => {
                vec![std::fs::read(path).with_context(|| format!("read {path}"))?]
            }
            (None, None) => vec![],
        };
        for certificate in authority {
            let certificate = reqwest::Certificate::from_der(&certificate)
                .or_else(|_| reqwest::Certificate::from_pem(&certificate))?;
            http = http.add_root_certificate(certificate);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        entry.server = Some(format!("http://{}", listener.local_addr()?));
        entry.certificate_authority = None;
        entry.certificate_authority_data = None;
        let folder = tempfile::tempdir()?;
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, serde_yaml_ng::to_string(&file)?)?;
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            http: http.build()?,
            inner: Mutex::new(Inner { writes: vec![], fault: None }),
            struck: watch::Sender::new(false),
        });
        let router = Router::new().fallback(pass).with_state(shared.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the fault proxy ended: {error}");
            }
        });
        Ok(Self { kubeconfig, shared, task, _folder: folder })
    }

    /// Forgets the writes so far and does this to the `at`-th from now, the first being 1.
    pub fn arm(&self, at: usize, fault: Fault) {
        self.begin(Some((at, fault)));
    }

    /// Forgets the writes so far and lets everything pass.
    pub fn learn(&self) {
        self.begin(None);
    }

    fn begin(&self, fault: Option<(usize, Fault)>) {
        self.shared.struck.send_replace(false);
        let mut inner = self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner);
        *inner = Inner { writes: vec![], fault };
    }

    /// Waits until the fault has struck. Cancel-safe.
    pub async fn struck(&self) {
        // The sender lives as long as this proxy.
        let _ = self.shared.struck.subscribe().wait_for(|struck| *struck).await;
    }

    /// Whether the fault has struck.
    pub fn has_struck(&self) -> bool {
        *self.shared.struck.borrow()
    }

    /// The writes since the last [`Self::arm`] or [`Self::learn`].
    pub fn writes(&self) -> Vec<Write> {
        self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner).writes.clone()
    }

    /// How many objects of each resource were made, and how many deleted, by the writes that the API server took.
    pub fn made_and_deleted(&self) -> BTreeMap<(String, String), usize> {
        let mut counts = BTreeMap::new();
        for write in self.writes() {
            let taken = write.answer.is_some_and(|answer| (200..300).contains(&answer));
            if taken && (write.method == "POST" || write.method == "DELETE") {
                let mut parts = write.path.rsplit('/');
                let last = parts.next().unwrap_or_default();
                let resource = if write.method == "POST" { last } else { parts.next().unwrap_or_default() };
                *counts.entry((write.method.clone(), resource.to_owned())).or_insert(0) += 1;
            }
        }
        counts
    }
}

/// Writes that change what is remembered: no leases, Events, reviews, tokens and rehearsals.
fn counts(method: &Method, uri: &Uri) -> bool {
    let passing = ["/leases", "/events", "/token", "reviews"];
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
        && !passing.iter().any(|part| uri.path().contains(part))
        && !uri.query().unwrap_or_default().contains("dryRun=All")
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let number = counts(request.method(), request.uri()).then(|| {
        let mut inner = shared.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        inner.writes.push(Write { method, path, answer: None });
        inner.writes.len()
    });
    let fault = {
        let mut inner = shared.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match (number, inner.fault) {
            (Some(number), Some((at, fault))) if number == at => {
                inner.fault = None;
                Some(fault)
            }
            _ => None,
        }
    };
    match fault {
        Some(Fault::CrashBefore) => {
            shared.struck.send_replace(true);
            std::future::pending().await
        }
        Some(Fault::Refuse(status)) => {
            shared.struck.send_replace(true);
            refusal(status)
        }
        Some(Fault::CrashAfter) => {
            drop(forward(&shared, request, number).await);
            shared.struck.send_replace(true);
            std::future::pending().await
        }
        Some(Fault::LoseAnswer(status)) => {
            drop(forward(&shared, request, number).await);
            shared.struck.send_replace(true);
            refusal(status)
        }
        None => forward(&shared, request, number).await.unwrap_or_else(|error| {
            // What the operator sees when its API server is away.
            (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response()
        }),
    }
}

/// What the API server says when it fails.
fn refusal(code: u16) -> Response {
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": if code == 429 { "TooManyRequests" } else { "InternalError" }, "message": "the fault proxy says no",
    });
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [("content-type", "application/json"), ("retry-after", "1")];
    (status, headers, body.to_string()).into_response()
}

async fn forward(shared: &Shared, request: Request, number: Option<usize>) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut call = shared.http.request(parts.method, format!("{}{path}", shared.upstream));
    for (name, value) in &parts.headers {
        if !hop(name) {
            call = call.header(name, value);
        }
    }
    let answer = call.body(to_bytes(body, BODY).await?).send().await?;
    let status = answer.status();
    if let Some(number) = number {
        let mut inner = shared.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of an earlier round are forgotten.
        if let Some(write) = inner.writes.get_mut(number - 1) {
            write.answer = Some(status.as_u16());
        }
    }
    let mut response = Response::builder().status(status);
    for (name, value) in answer.headers() {
        if !hop(name) {
            response = response.header(name, value);
        }
    }
    // A watch never ends by itself: it is passed on as it comes.
    let stream = futures::stream::unfold(answer, |mut answer| async {
        match answer.chunk().await {
            Ok(Some(chunk)) => Some((Ok::<Bytes, reqwest::Error>(chunk), answer)),
            Ok(None) => None,
            Err(error) => Some((Err(error), answer)),
        }
    });
    Ok(response.body(Body::from_stream(stream))?)
}

/// Headers that belong to one connection only.
fn hop(name: &HeaderName) -> bool {
    ["host", "connection", "content-length", "transfer-encoding", "upgrade", "keep-alive"].contains(&name.as_str())
}

/// Fails unless the same objects were made and deleted, each as often.
pub fn same_writes(clean: &BTreeMap<(String, String), usize>, seen: &BTreeMap<(String, String), usize>) -> Result<()> {
    ensure!(clean == seen, "made and deleted in a clean run: {clean:?}; in this one: {seen:?}");
    Ok(())
}
