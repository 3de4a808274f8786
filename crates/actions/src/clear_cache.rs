//! clear_cache: sends the request that a Service declares for clearing its cache.
//!
//! Where it goes is taken from the API server alone: the Service's cluster address, no name resolution, no proxy, no
//! redirect, and only a Service that selects pods, for endpoints written by hand may lie anywhere. The answer's body
//! is not read. Nothing is marked, so the account needs no right to change Services: a second run calls again, which
//! the annotation allows, with the execution's name as `Idempotency-Key`. Deliberately absent: TLS, and a call to
//! each pod by itself (a cache inside of each pod is cleared by restart_service).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kubernaut_api::execution::ActionResult;
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::catalogue::{CLEAR_CACHE, CLEAR_CACHE_PORT, NoParameters, Values};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::call::{Call, Failure};
use crate::changed;

/// Limit of the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
/// Longest path.
const MAX_PATH: usize = 1024;

pub async fn run(call: &Call<'_>, _: NoParameters) -> Result<ActionResult, Failure> {
    let target = &call.input.target;
    let endpoint = Endpoint::of(target, &call.target().await?)?;
    let Endpoint { method, path, address, .. } = &endpoint;
    let message = format!("cleared the cache of {target} by {method} {path} on port {}", address.port());
    if !call.input.dry_run {
        call.outside(send(&endpoint, &call.input.execution)).await?;
    }
    Ok(changed(message, Values::new()))
}

/// What a Service declares, checked.
#[derive(Debug, PartialEq)]
struct Endpoint {
    method: Method,
    path: String,
    address: SocketAddr,
    host: String,
}

impl Endpoint {
    fn of(target: &TargetRef, service: &DynamicObject) -> Result<Self, Failure> {
        let refused = |error, why: &str| Err(Failure::refused(error, format!("{target} {why}")));
        let Some(declared) = service.annotations().get(CLEAR_CACHE) else {
            return refused("NotDeclared", "has no annotation kubernaut.io/clear-cache");
        };
        let Some((method, path)) = parse(declared) else {
            return refused("Invalid", "declares no `POST /path` (or PUT, DELETE) in kubernaut.io/clear-cache");
        };
        let selector = service.data.pointer("/spec/selector").and_then(Value::as_object);
        if selector.is_none_or(serde_json::Map::is_empty) {
            return refused("NoSelector", "selects no pods: its endpoints may lie outside the cluster");
        }
        let cluster_ip = service.data.pointer("/spec/clusterIP").and_then(Value::as_str);
        let Some(address) = cluster_ip.and_then(|address| address.parse::<IpAddr>().ok()) else {
            return refused("NoClusterAddress", "has no cluster address");
        };
        let wanted = service.annotations().get(CLEAR_CACHE_PORT).map(String::as_str);
        let Some(port) = port(service, wanted) else {
            return refused("NoPort", "has no single TCP port; kubernaut.io/clear-cache-port may name one of several");
        };
        let namespace = target.namespace.as_deref().unwrap_or_default();
        Ok(Self {
            method,
            path: path.to_owned(),
            address: SocketAddr::new(address, port),
            host: format!("{}.{namespace}.svc", target.name),
        })
    }
}

/// A method that changes something, and a path of the Service's own.
fn parse(declared: &str) -> Option<(Method, &str)> {
    let (method, path) = declared.split_once(' ')?;
    let method = match method {
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "DELETE" => Method::DELETE,
        _ => return None,
    };
    let relative = path.starts_with('/') && !path.starts_with("//") && path.len() <= MAX_PATH;
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\#\"<>".contains(&byte));
    (relative && plain).then_some((method, path))
}

/// The TCP port of that name or number; the only one when none is named.
fn port(service: &DynamicObject, wanted: Option<&str>) -> Option<u16> {
    let ports = service.data.pointer("/spec/ports").and_then(Value::as_array)?;
    let number = |text: &str| text.parse::<u64>().ok();
    let mut fitting = ports
        .iter()
        .filter(|port| matches!(port["protocol"].as_str(), None | Some("TCP")))
        .filter(|port| wanted.is_none_or(|wanted| port["name"] == wanted || number(wanted) == port["port"].as_u64()));
    match (fitting.next(), fitting.next()) {
        (Some(port), None) => port["port"].as_u64().and_then(|port| port.try_into().ok()),
        _ => None,
    }
}

async fn send(endpoint: &Endpoint, execution: &str) -> Result<(), Failure> {
    let Endpoint { method, path, address, host } = endpoint;
    let unreachable = |why: &dyn std::fmt::Display| {
        Failure::refused("EndpointUnreachable", format!("{host} port {}: {why}", address.port()))
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "kubernaut")
        .header(header::CONTENT_LENGTH, 0)
        .header("Idempotency-Key", execution)
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failure::refused("Invalid", format!("{path}: {error}")))?;
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| unreachable(&"no connection in time"))?
        .map_err(|error| unreachable(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
    // From here on the request may have been taken.
    let unknown = |error, message| Failure::Unknown { error, message };
    // The connection ends with its sender and the answer; what goes wrong with it, the sender is told.
    tokio::spawn(connection);
    let answer = timeout(ANSWER_TIMEOUT, sender.send_request(request))
        .await
        .map_err(|_| unknown("Timeout", format!("{host} did not answer within {} s", ANSWER_TIMEOUT.as_secs())))?
        .map_err(|error| unknown("EndpointUnreachable", format!("{host} gave no answer: {error}")))?;
    settle(host, answer.status())
}

/// What an answer says about the cache.
fn settle(host: &str, status: StatusCode) -> Result<(), Failure> {
    let message = format!("{host} answered {status}");
    match status.as_u16() {
        200..=299 => Ok(()),
        300..=399 => Err(Failure::refused("Redirected", format!("{message}; redirects are not followed"))),
        400..=499 => Err(Failure::refused("EndpointRefused", message)),
        _ => Err(Failure::Unknown { error: "EndpointFailed", message }),
    }
}
