//! Tells the API server how a sink is: its status, and an Event when it is gone for good.
//!
//! Deliberately absent: what the status says (`status.rs`), when it is written (the registry).

use jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::runtime::events::{Event as KubernetesEvent, EventType, Recorder};
use kubernaut_api::{EventSink, Resource, ResourceExt};
use tracing::warn;

use super::Sink;
use crate::run::Parts;
use crate::status::{self, Fate, Reason};

/// Who reports in Kubernetes Events.
const REPORTER: &str = "kubernaut-events";

/// Writes the status of a sink when it differs; false when it has to be tried again.
pub(super) async fn write(parts: &Parts, name: &str, sink: &mut Sink) -> bool {
    let counts = match parts.store.counts(&sink.key).await {
        Ok(counts) => counts,
        Err(error) => {
            warn!(sink = name, %error, "cannot count deliveries");
            return false;
        }
    };
    parts.metrics.depth(name, counts.pending, counts.dead);
    let health = sink.report.health();
    if let (Some(why), Fate::Served) = (&health.gone, &sink.fate) {
        sink.fate = Fate::Gone(why.clone());
        announce(parts, &sink.object, why).await;
    }
    let status = status::of(&sink.object, &sink.fate, &health, counts, Timestamp::now());
    if sink.object.status.as_ref() == Some(&status) {
        return true;
    }
    let api: Api<EventSink> = Api::namespaced(parts.client.clone(), &parts.namespace);
    let mut object = sink.object.clone();
    object.status = Some(status);
    object.metadata.managed_fields = None;
    let parameters = PostParams::default();
    let call = api.replace_status(name, &parameters, &object);
    match tokio::time::timeout(parts.settings.kube_timeout, call).await {
        Ok(Ok(written)) => {
            sink.object = written;
            true
        }
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() => true,
        // The watch brings the newer version; the next write starts from it.
        Ok(Err(kube::Error::Api(status))) if status.is_conflict() => false,
        Ok(Err(error)) => {
            warn!(sink = name, %error, "cannot write the status");
            false
        }
        Err(_) => {
            warn!(sink = name, "cannot write the status: the API server does not answer");
            false
        }
    }
}

/// Says by an Event that nothing is sent to a sink any more.
async fn announce(parts: &Parts, object: &EventSink, why: &str) {
    let recorder = Recorder::new(parts.client.clone(), REPORTER.into());
    let event = KubernetesEvent {
        type_: EventType::Warning,
        reason: Reason::Gone.as_str().into(),
        note: Some(format!("{why}: nothing is sent to it until its spec changes; its events are kept")),
        action: "Disable".into(),
        secondary: None,
    };
    let reference = object.object_ref(&());
    let published = tokio::time::timeout(parts.settings.kube_timeout, recorder.publish(&event, &reference)).await;
    if !matches!(published, Ok(Ok(()))) {
        warn!(sink = object.name_any(), "cannot publish the Event that the sink is gone");
    }
}
