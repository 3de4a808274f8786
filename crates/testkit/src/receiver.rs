//! A receiver of completion events that pods can reach, and that can be told to fail.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use kube::api::PostParams;
use kubernaut_api::EventSink;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::cluster::tool;
use crate::{Cluster, Operator, until};

/// One delivery, taken or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// What was answered.
    pub answer: StatusCode,
    /// What was sent, as it came.
    pub body: Bytes,
    /// The same, read.
    pub event: Event,
}

/// A CloudEvent, as far as the tests look at it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Event {
    /// Id.
    pub id: String,
    /// Source.
    pub source: String,
    /// Type, with its prefix.
    #[serde(rename = "type")]
    pub type_: String,
    /// Kind, namespace and name of the object.
    pub subject: String,
    /// Time of the transition.
    pub time: String,
    /// Number of the transition, with zeros before it.
    pub sequence: String,
    /// Name of the RemediationRequest.
    pub request: String,
    /// The transition and its object.
    pub data: serde_json::Value,
}

#[derive(Default)]
struct Inner {
    refused: Option<String>,
    deliveries: Vec<Delivery>,
}

type Shared = Arc<Mutex<Inner>>;

/// The receiver; dropping it ends it.
pub struct Receiver {
    /// Where events are to be sent.
    pub url: String,
    shared: Shared,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Starts on a free port.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let address: IpAddr = cluster.own_address().await?;
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let url = format!("http://{}/events", SocketAddr::new(address, listener.local_addr()?.port()));
        let shared = Shared::default();
        let router = Router::new().route("/events", post(take)).with_state(shared.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the receiver of events ended: {error}");
            }
        });
        Ok(Self { url, shared, task })
    }

    /// From now on events about a request are answered with 503. Those of other tests are not: they would
    /// use up what the operator tries while the sink fails.
    pub fn fail(&self, request: &str) {
        lock(&self.shared).refused = Some(request.into());
    }

    /// From now on everything is taken.
    pub fn recover(&self) {
        lock(&self.shared).refused = None;
    }

    /// Everything that was sent about a request, in the order of arrival.
    pub fn deliveries(&self, request: &str) -> Vec<Delivery> {
        lock(&self.shared).deliveries.iter().filter(|one| one.event.request == request).cloned().collect()
    }
}

/// An EventSink of the operator; dropping it deletes it.
pub struct Sink {
    /// Its name.
    pub name: String,
    operator: Operator,
}

impl Receiver {
    /// Has every event that is recorded from now on sent here, with many and quick repeats.
    pub async fn subscribe(&self, operator: &Operator) -> Result<Sink> {
        let name = format!("it-{}", Uuid::new_v4().simple());
        let sink: EventSink = serde_json::from_value(json!({
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "EventSink",
            "metadata": { "name": name },
            "spec": {
                "http": { "url": self.url },
                "retry": { "maxAttempts": 100, "baseDelay": "50ms", "maxDelay": "1s" },
            },
        }))?;
        let sinks = operator.api::<EventSink>();
        sinks.create(&PostParams::default(), &sink).await?;
        let sink = Sink { name, operator: operator.clone() };
        // Its status says that the operator knows it.
        until("the EventSink is known", Duration::from_secs(30), || async {
            let status = sinks.get(&sink.name).await?.status.unwrap_or_default();
            ensure!(!status.conditions.is_empty(), "{status:?}");
            Ok(())
        })
        .await?;
        Ok(sink)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let Operator { cluster, namespace, .. } = &self.operator;
        let mut command = tool(&cluster.root, &cluster.kubeconfig, "kubectl");
        let command = command.args(["delete", "eventsink", "--wait=false", "-n", namespace, &self.name]);
        if let Err(error) = command.stdout(Stdio::null()).status() {
            eprintln!("EventSink {} stays: {error}", self.name);
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(shared): State<Shared>, body: Bytes) -> StatusCode {
    let Ok(event) = serde_json::from_slice::<Event>(&body) else { return StatusCode::BAD_REQUEST };
    let mut inner = lock(&shared);
    let is_refused = inner.refused.as_ref() == Some(&event.request);
    let answer = if is_refused { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT };
    inner.deliveries.push(Delivery { answer, body, event });
    answer
}

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, Inner> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
