//! Alertmanager's webhook payload, versions 3 and 4: bytes to reports.
//!
//! Only what is used is read, so a field that is unknown or of an unknown form (`groupKey` is a
//! number in version 3, a string in version 4) does not matter. `endsAt` is not read: firing alerts
//! carry year 1 or a guess. Deliberately absent: trust in `startsAt`, which moves between senders.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::bounds;
use crate::resolve;
use crate::signal::{Report, State};

/// Name of this source in requests, metrics and logs.
pub const SOURCE: &str = "alertmanager";
/// Name of an alert that has none.
pub const UNNAMED: &str = "unnamed";

const MAX_NAME: usize = 253;
const MAX_SEVERITY: usize = 63;
/// Annotations that stay when there are too many.
const ANNOTATIONS: &[&str] = &["summary", "description", "message", "runbook_url"];

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    alerts: Vec<&'a RawValue>,
    #[serde(default)]
    status: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    starts_at: Option<String>,
}

/// The alerts of a payload, each on its own: an error inside is the reason why that one is refused.
///
/// # Errors
/// When the payload as a whole is no payload.
pub fn parse(body: &[u8]) -> Result<Vec<Result<Report, String>>, serde_json::Error> {
    let payload: Payload<'_> = serde_json::from_slice(body)?;
    let status = payload.status.as_str();
    Ok(payload.alerts.into_iter().map(|raw| report(raw.get(), status)).collect())
}

fn report(raw: &str, batch: Option<&str>) -> Result<Report, String> {
    let alert: Alert = serde_json::from_str(raw).map_err(|error| bounds::text(&error.to_string(), 256))?;
    let state = match alert.status.as_deref().or(batch) {
        None | Some("firing") => State::Firing,
        Some("resolved") => State::Resolved,
        Some(other) => return Err(format!("status {:?} is neither firing nor resolved", bounds::text(other, 63))),
    };
    let labels = alert.labels.unwrap_or_default();
    let name = labels.get("alertname").map(|name| printable(name)).filter(|name| !name.is_empty());
    let severity = labels.get("severity").filter(|severity| !severity.is_empty());
    Ok(Report {
        source: SOURCE,
        name: bounds::text(name.as_deref().unwrap_or(UNNAMED), MAX_NAME),
        severity: severity.map(|severity| bounds::text(&printable(severity), MAX_SEVERITY)),
        state,
        labels: bounds::map(labels, &resolve::needed_labels()),
        annotations: bounds::map(alert.annotations.unwrap_or_default(), ANNOTATIONS),
        starts_at: alert.starts_at.and_then(|time| time.parse().ok()).filter(is_real),
    })
}

/// Go's zero time is year 1.
fn is_real(time: &Timestamp) -> bool {
    *time > Timestamp::UNIX_EPOCH
}

/// Names are shown in tables and logs: control characters become spaces.
fn printable(text: &str) -> String {
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    shown.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = r#"{"version":"4","groupKey":"{}:{alertname=\"Down\"}","truncatedAlerts":0,"status":"firing",
        "receiver":"kubernaut","groupLabels":{"alertname":"Down"},"commonLabels":{},"commonAnnotations":{},
        "externalURL":"http://am","unknown":{"a":[1]},"alerts":[{"status":"firing","labels":{"alertname":"Down",
        "severity":"critical","namespace":"shop","pod":"web-1"},"annotations":{"summary":"s"},
        "startsAt":"2026-01-02T03:04:05.678Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://p",
        "fingerprint":"0123456789abcdef","later":null}]}"#;

    fn only(body: &str) -> Result<Report, String> {
        let mut reports = parse(body.as_bytes()).unwrap();
        assert_eq!(reports.len(), 1);
        reports.remove(0)
    }

    #[test]
    fn version_4_with_unknown_fields_is_read() {
        let report = only(V4).unwrap();
        assert_eq!(report.name, "Down");
        assert_eq!(report.severity.as_deref(), Some("critical"));
        assert_eq!(report.state, State::Firing);
        assert_eq!(report.labels["pod"], "web-1");
        assert_eq!(report.annotations["summary"], "s");
        assert_eq!(report.starts_at, Some("2026-01-02T03:04:05.678Z".parse().unwrap()));
    }

    #[test]
    fn version_3_and_an_absent_version_are_read() {
        for body in [
            r#"{"version":"3","groupKey":12345678901234567890,"status":"resolved","alerts":[{"status":"resolved","labels":{"alertname":"Down"},"annotations":null,"startsAt":"0001-01-01T00:00:00Z"}]}"#,
            r#"{"groupKey":7,"status":"resolved","alerts":[{"labels":{"alertname":"Down"}}]}"#,
        ] {
            let report = only(body).unwrap();
            assert_eq!((report.name.as_str(), report.state), ("Down", State::Resolved));
            assert_eq!(report.starts_at, None);
        }
    }

    #[test]
    fn one_bad_alert_of_a_hundred_costs_only_itself() {
        let good = r#"{"status":"firing","labels":{"alertname":"Down"}}"#;
        for bad in [
            "7",
            r#"{"labels":{"alertname":7}}"#,
            r#"{"labels":[]}"#,
            r#"{"status":"pending","labels":{}}"#,
            r#"{"status":{"deep":[[[[]]]]}}"#,
            "null",
        ] {
            let mut alerts = vec![good; 99];
            alerts.insert(42, bad);
            let reports = parse(format!(r#"{{"alerts":[{}]}}"#, alerts.join(",")).as_bytes()).unwrap();
            assert_eq!(reports.len(), 100);
            assert_eq!(reports.iter().filter(|report| report.is_ok()).count(), 99, "{bad}");
            assert!(reports[42].is_err());
        }
    }

    #[test]
    fn what_is_no_payload_is_an_error_and_never_a_panic() {
        let nested = format!(r#"{{"alerts":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        for body in ["", "{", "[]", "null", "{}", r#"{"alerts":7}"#, r#"{"alerts":null}"#, "\u{1f}\u{8b}gzip"] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(parse(b"\xff\xfe").is_err());
        let reports = parse(nested.as_bytes());
        assert!(reports.is_err() || reports.is_ok_and(|all| all.iter().all(Result::is_err)));
    }

    #[test]
    fn a_hostile_name_is_one_line_and_an_absent_one_has_a_stand_in() {
        assert_eq!(only(r#"{"alerts":[{"labels":{"alertname":"a\r\nb\u0000"}}]}"#).unwrap().name, "a  b");
        assert_eq!(only(r#"{"alerts":[{"labels":{"alertname":" "}}]}"#).unwrap().name, UNNAMED);
        assert_eq!(only(r#"{"alerts":[{}]}"#).unwrap().name, UNNAMED);
    }
}
