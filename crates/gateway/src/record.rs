//! The objects and patches that the gateway writes. Pure.

use jiff::Timestamp;
use kubernaut_api::request::{Deduplication, RemediationRequest, RemediationRequestSpec, Signal};
use kubernaut_api::{MicroTime, ObjectMeta, TargetRef, labels, names};
use serde_json::{Value, json};

use crate::signal::Report;

/// Entries of `status.signals`, as in the resource's schema.
const MAX_SIGNALS: usize = 64;

/// What a request is made of.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// Fingerprint of the target.
    pub fingerprint: &'a str,
    /// The first report.
    pub report: &'a Report,
    /// The top-level owner, where one was found.
    pub target: Option<&'a TargetRef>,
    /// The object that the report names.
    pub resource: Option<&'a TargetRef>,
    /// When it was received.
    pub now: Timestamp,
    /// Whether nothing may be changed.
    pub dry_run: bool,
}

/// Value of the label by which the requests of a fingerprint are found.
pub fn label(fingerprint: &str) -> &str {
    fingerprint.get(..32).unwrap_or(fingerprint)
}

/// The request for one episode.
pub fn request(draft: &Draft<'_>, namespace: &str, episode: u32) -> RemediationRequest {
    let report = draft.report;
    let spec = RemediationRequestSpec {
        signal: Signal {
            source: report.source.to_owned(),
            name: report.name.clone(),
            fingerprint: draft.fingerprint.to_owned(),
            severity: report.severity.clone(),
            labels: report.labels.clone(),
            annotations: report.annotations.clone(),
            starts_at: report.starts_at.map(MicroTime),
            received_at: Some(MicroTime(draft.now)),
        },
        target: draft.target.cloned(),
        resource: draft.resource.cloned(),
        episode,
        cancelled: false,
        dry_run: draft.dry_run,
        timeouts: None,
    };
    RemediationRequest {
        metadata: ObjectMeta {
            name: Some(names::request(draft.fingerprint, episode)),
            namespace: Some(namespace.to_owned()),
            labels: Some([(labels::FINGERPRINT.to_owned(), label(draft.fingerprint).to_owned())].into()),
            finalizers: Some(vec![labels::OUTBOX_FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

/// The patch that counts further firing alerts, named `alerts`, on a request.
pub fn count<'a>(request: &RemediationRequest, alerts: impl IntoIterator<Item = &'a str>, now: Timestamp) -> Value {
    let mut seen = seen(request, now);
    let mut signals = request.status.as_ref().map(|status| status.signals.clone()).unwrap_or_default();
    let known = signals.len();
    for alert in alerts {
        seen.occurrences = seen.occurrences.saturating_add(1);
        let is_new = alert != request.spec.signal.name && !signals.iter().any(|name| name == alert);
        if is_new && signals.len() < MAX_SIGNALS {
            signals.push(alert.to_owned());
        }
    }
    seen.last_seen = MicroTime(now);
    seen.resolved_at = None;
    let mut patch = patch(request, &seen);
    if signals.len() > known {
        patch["status"]["signals"] = json!(signals);
    }
    patch
}

/// The patch that says that the alert is over; `None` when the request already says so.
pub fn resolve(request: &RemediationRequest, now: Timestamp) -> Option<Value> {
    let mut seen = seen(request, now);
    if seen.resolved_at.is_some() {
        return None;
    }
    seen.resolved_at = Some(MicroTime(now));
    Some(patch(request, &seen))
}

/// What was seen so far. A new request has no status: it was seen once, when it was made.
fn seen(request: &RemediationRequest, now: Timestamp) -> Deduplication {
    if let Some(seen) = request.status.as_ref().and_then(|status| status.deduplication.clone()) {
        return seen;
    }
    let first = request.spec.signal.received_at.clone().unwrap_or(MicroTime(now));
    Deduplication { occurrences: 1, first_seen: first.clone(), last_seen: first, resolved_at: None }
}

/// A merge patch of what the gateway owns, refused when the object has changed meanwhile.
fn patch(request: &RemediationRequest, seen: &Deduplication) -> Value {
    json!({
        "metadata": { "resourceVersion": request.metadata.resource_version },
        "status": { "deduplication": {
            "occurrences": seen.occurrences,
            "firstSeen": seen.first_seen,
            "lastSeen": seen.last_seen,
            "resolvedAt": seen.resolved_at,
        } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::State;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn made() -> RemediationRequest {
        let report = Report {
            source: "alertmanager",
            name: "Down".into(),
            severity: None,
            state: State::Firing,
            labels: [("pod".into(), "../x\r\n".into())].into(),
            annotations: [].into(),
            starts_at: None,
        };
        let fingerprint = "0123456789abcdef".repeat(4);
        let draft = Draft {
            fingerprint: &fingerprint,
            report: &report,
            target: None,
            resource: None,
            now: at(10),
            dry_run: true,
        };
        let mut request = request(&draft, "kubernaut-system", 3);
        request.metadata.resource_version = Some("5".into());
        request
    }

    #[test]
    fn a_request_is_named_labelled_and_held_for_the_relay() {
        let request = made();
        let metadata = &request.metadata;
        assert_eq!(metadata.name.as_deref(), Some("rr-0123456789ab-3"));
        assert_eq!(metadata.labels.as_ref().unwrap()[labels::FINGERPRINT], "0123456789abcdef".repeat(2));
        assert_eq!(metadata.finalizers.as_deref(), Some(&[labels::OUTBOX_FINALIZER.to_owned()][..]));
        assert!(request.spec.dry_run);
        assert_eq!(request.spec.signal.labels["pod"], "../x\r\n");
    }

    #[test]
    fn repeats_are_counted_and_other_alerts_join() {
        let mut request = made();
        let patch = count(&request, ["Down", "Slow", "Slow"], at(20));
        assert_eq!(
            patch,
            json!({"metadata": {"resourceVersion": "5"}, "status": {
                "signals": ["Slow"],
                "deduplication": {
                    "occurrences": 4, "firstSeen": "1970-01-01T00:00:10.000000Z",
                    "lastSeen": "1970-01-01T00:00:20.000000Z", "resolvedAt": null,
            }}})
        );
        request.status = Some(serde_json::from_value(patch["status"].clone()).unwrap());
        let again = count(&request, ["Slow"], at(30));
        assert_eq!(again["status"]["deduplication"]["occurrences"], 5);
        assert_eq!(again["status"].get("signals"), None);
    }

    #[test]
    fn resolved_is_said_once_and_taken_back_when_it_fires_again() {
        let mut request = made();
        let patch = resolve(&request, at(20)).unwrap();
        assert_eq!(patch["status"]["deduplication"]["resolvedAt"], "1970-01-01T00:00:20.000000Z");
        assert_eq!(patch["status"]["deduplication"]["occurrences"], 1);
        request.status = Some(serde_json::from_value(patch["status"].clone()).unwrap());
        assert_eq!(resolve(&request, at(30)), None);
        assert!(count(&request, ["Down"], at(40))["status"]["deduplication"]["resolvedAt"].is_null());
    }
}
