//! The metrics registry of a process and its `/metrics` endpoint, in the OpenMetrics text format.
//!
//! The registry has no prefix: names carry `kubernaut_` themselves, so that a search for a metric's
//! name finds the code. Components register at start-up, before the registry is shared.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::http::Problem;

/// What `/metrics` answers in.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry that already has the metrics of the process itself: `kubernaut_build_info`,
/// `process_start_time_seconds` (the time of this call) and `process_resident_memory_bytes`.
pub fn registry(version: &'static str) -> Registry {
    let mut registry = Registry::default();
    let build = Info::new(vec![("version", version)]);
    registry.register("kubernaut_build", "Version of the program", build);
    registry.register_collector(Box::new(Process { started: SystemTime::now() }));
    registry
}

/// All metrics as OpenMetrics text.
pub fn encode(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    text::encode(&mut text, registry)?;
    Ok(text)
}

/// `/metrics`.
pub fn router(registry: Arc<Registry>) -> Router {
    Router::new().route("/metrics", get(move || async move { scrape(&registry) }))
}

fn scrape(registry: &Registry) -> Response {
    match encode(registry) {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be encoded");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR).into_response()
        }
    }
}

#[derive(Debug)]
struct Process {
    started: SystemTime,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        gauge(&mut encoder, "process_start_time", "When the process started", &Unit::Seconds, started)?;
        match resident_bytes() {
            Some(bytes) => {
                let help = "Memory that the process holds";
                gauge(&mut encoder, "process_resident_memory", help, &Unit::Bytes, bytes)
            }
            None => Ok(()),
        }
    }
}

fn gauge<N>(encoder: &mut DescriptorEncoder, name: &str, help: &str, unit: &Unit, value: N) -> Result<(), fmt::Error>
where
    ConstGauge<N>: EncodeMetric,
{
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, Some(unit), gauge.metric_type())?)
}

/// From `VmRSS`, which is in kB whatever the page size. `None` where there is no `/proc`.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use prometheus_client::metrics::counter::Counter;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_scrape_shows_the_process_and_what_components_registered() {
        let mut registry = registry("1.2.3");
        let signals = Counter::<u64>::default();
        registry.register("kubernaut_signals", "Signals taken", signals.clone());
        signals.inc();
        let response =
            router(Arc::new(registry)).oneshot(Request::get("/metrics").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        for part in [
            "kubernaut_build_info{version=\"1.2.3\"} 1\n",
            "# TYPE process_start_time_seconds gauge",
            "# TYPE process_resident_memory_bytes gauge",
            "kubernaut_signals_total 1\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn resident_memory_is_plausible() {
        let bytes = resident_bytes().unwrap();
        assert!((1 << 20..1 << 34).contains(&bytes), "{bytes}");
    }
}
