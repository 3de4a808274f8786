//! The completion event and its CloudEvents 1.0 serialisations.
//!
//! An event is a function of the object and its recorded transition, so a resend has the same id and
//! the same bytes. Deliberately absent: the clock, random ids, payload levels.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kubernaut_api::meta::{Staged, Transition};
use kubernaut_api::{ResourceExt, TargetRef};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::Value;
use uuid::Uuid;

pub use kubernaut_api::sink::ContentMode;

use crate::types;

/// Media type of the structured mode.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// Media type of an event's data.
pub const DATA: &str = "application/json";

/// One completion event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// UUIDv5(uid of the object, sequence).
    pub id: Uuid,
    /// Who reports: `/kubernaut/<cluster>`, a URI reference.
    pub source: String,
    /// Name of the type without its prefix, such as `workflow.complete`.
    pub type_: String,
    /// `<kind in lower case>/<namespace>/<name>`: what is kept in order.
    pub subject: String,
    /// When the transition was recorded, in whole microseconds.
    pub time: Timestamp,
    /// Number of the transition within its object, from 1.
    pub sequence: u32,
    /// Name of the RemediationRequest: the correlation of all events of one remediation.
    pub request: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Uid of the object.
    pub uid: String,
    /// What happened: kind, namespace, name, uid, request, target, from, to, seq, reason, message.
    pub data: Value,
}

/// The shape of [`Event::data`].
#[derive(Serialize)]
struct Data<'a> {
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
    request: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a TargetRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    to: &'a str,
    seq: u32,
    reason: &'a str,
    message: &'a str,
}

impl Event {
    /// The event of one recorded transition of an object, as `cluster` reports it.
    pub fn of<K: Staged + ResourceExt>(object: &K, cluster: &str, transition: &Transition) -> Self {
        let kind = K::kind(&()).into_owned();
        let namespace = object.namespace().unwrap_or_default();
        let name = object.name_any();
        let uid = object.uid().unwrap_or_default();
        let request = object.request_name();
        let data = Data {
            kind: &kind,
            namespace: &namespace,
            name: &name,
            uid: &uid,
            request: &request,
            target: object.target(),
            from: transition.from.as_deref(),
            to: &transition.to,
            seq: transition.seq,
            reason: &transition.reason,
            message: &transition.message,
        };
        Self {
            id: id(&uid, transition.seq),
            source: source(cluster),
            type_: types::name(K::NOUN, &transition.to),
            subject: format!("{}/{namespace}/{name}", kind.to_ascii_lowercase()),
            time: whole_microseconds(transition.at.0),
            sequence: transition.seq,
            // Strings and numbers always make a JSON value.
            data: serde_json::to_value(data).unwrap_or_default(),
            request,
            namespace,
            kind,
            name,
            uid,
        }
    }

    /// The event in CloudEvents' JSON format: the same event always gives the same bytes.
    pub fn structured(&self) -> Vec<u8> {
        serde_json::to_vec(&Structured(self)).unwrap_or_default()
    }

    /// The body of the binary mode: the data alone.
    pub fn binary_body(&self) -> Vec<u8> {
        serde_json::to_vec(&Canonical(&self.data)).unwrap_or_default()
    }

    /// The headers of the binary mode, `content-type` included, percent-encoded as the HTTP binding
    /// of CloudEvents asks (section 3.1.3.2).
    pub fn binary_headers(&self) -> Vec<(String, String)> {
        let mut headers = vec![("content-type".to_owned(), DATA.to_owned())];
        for (name, value) in self.attributes() {
            headers.push((format!("ce-{name}"), percent_encoded(&value)));
        }
        headers
    }

    /// Context attributes but for `datacontenttype`, extensions last, in the order in which they are written.
    fn attributes(&self) -> [(&'static str, String); 9] {
        [
            ("specversion", "1.0".to_owned()),
            ("id", self.id.to_string()),
            ("source", self.source.clone()),
            ("type", types::qualified(&self.type_)),
            ("subject", self.subject.clone()),
            ("time", format!("{:.6}", self.time)),
            // Extensions `sequence` (ordered as text, hence the zeros) and `partitioning`.
            ("sequence", format!("{:010}", self.sequence)),
            ("partitionkey", self.uid.clone()),
            ("request", self.request.clone()),
        ]
    }
}

/// Sorts the events of a remediation for reading: by time, then along the pipeline, then by sequence.
pub fn sort_timeline(events: &mut [Event]) {
    events.sort_by(|a, b| {
        let key = |event: &Event| (event.time, types::rank(&event.type_), event.sequence);
        key(a).cmp(&key(b)).then_with(|| a.subject.cmp(&b.subject))
    });
}

/// Id of the event for transition `sequence` of the object with `uid`.
pub fn id(uid: &str, sequence: u32) -> Uuid {
    let namespace = Uuid::parse_str(uid).unwrap_or_else(|_| Uuid::new_v5(&Uuid::NAMESPACE_OID, uid.as_bytes()));
    Uuid::new_v5(&namespace, sequence.to_string().as_bytes())
}

/// CloudEvents `source` of a cluster.
pub fn source(cluster: &str) -> String {
    let mut out = String::from("/kubernaut/");
    for byte in cluster.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            push_percent(&mut out, byte);
        }
    }
    out
}

/// `MicroTime` keeps whole microseconds: an event made before its object was read back must not differ.
fn whole_microseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

fn percent_encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'"' | b'%' => push_percent(&mut out, byte),
            0x21..=0x7e => out.push(char::from(byte)),
            _ => push_percent(&mut out, byte),
        }
    }
    out
}

fn push_percent(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

struct Structured<'a>(&'a Event);

impl Serialize for Structured<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.attributes() {
            map.serialize_entry(name, &value)?;
        }
        map.serialize_entry("datacontenttype", DATA)?;
        map.serialize_entry("data", &Canonical(&self.0.data))?;
        map.end()
    }
}

/// JSON with sorted keys: the order in `Value` depends on a feature that any dependency can switch on.
struct Canonical<'a>(&'a Value);

impl Serialize for Canonical<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(object) => {
                let sorted: BTreeMap<&str, &Value> = object.iter().map(|(key, value)| (key.as_str(), value)).collect();
                let mut map = serializer.serialize_map(Some(sorted.len()))?;
                for (key, value) in sorted {
                    map.serialize_entry(key, &Canonical(value))?;
                }
                map.end()
            }
            Value::Array(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    list.serialize_element(&Canonical(value))?;
                }
                list.end()
            }
            scalar => scalar.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use cloudevents::AttributesReader;
    use kubernaut_api::{MicroTime, WorkflowExecution};
    use serde_json::json;

    use super::*;

    fn workflow() -> WorkflowExecution {
        serde_json::from_value(json!({
            "apiVersion": "kubernaut.io/v1alpha1",
            "kind": "WorkflowExecution",
            "metadata": {"name": "we-rr-1", "namespace": "kubernaut-system", "uid": "6f1c1a52-3b0e-4c7d-9a55-0c4f2a1b7e11"},
            "spec": {
                "request": "rr-1",
                "target": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "api"},
                "planHash": "0".repeat(64),
                "steps": [],
                "timeout": "5m",
            },
        }))
        .expect("a workflow")
    }

    fn transition() -> Transition {
        Transition {
            seq: 3,
            from: Some("Executing".into()),
            to: "Completed".into(),
            at: MicroTime("2026-01-02T03:04:05.678901234Z".parse().expect("a time")),
            reason: "StepsDone".into(),
            message: "1 of 1 steps “done”".into(),
        }
    }

    #[test]
    fn the_id_derives_from_uid_and_sequence() {
        let event = Event::of(&workflow(), "demo", &transition());
        let uid = Uuid::parse_str("6f1c1a52-3b0e-4c7d-9a55-0c4f2a1b7e11").expect("a uid");
        assert_eq!(event.id, Uuid::new_v5(&uid, b"3"));
        assert_ne!(id("not a uuid", 1), id("not a uuid", 2));
        assert_eq!(id("not a uuid", 1), id("not a uuid", 1));
    }

    #[test]
    fn the_same_transition_always_gives_the_same_bytes() {
        let event = Event::of(&workflow(), "demo", &transition());
        assert_eq!(
            String::from_utf8(event.structured()).expect("text"),
            concat!(
                r#"{"specversion":"1.0","id":""#,
                "13f49fdd-6586-505d-9330-082f2843c9b7",
                r#"","source":"/kubernaut/demo","type":"io.kubernaut.workflow.complete","#,
                r#""subject":"workflowexecution/kubernaut-system/we-rr-1","time":"2026-01-02T03:04:05.678901Z","#,
                r#""sequence":"0000000003","partitionkey":"6f1c1a52-3b0e-4c7d-9a55-0c4f2a1b7e11","request":"rr-1","#,
                r#""datacontenttype":"application/json","data":{"from":"Executing","kind":"WorkflowExecution","#,
                r#""message":"1 of 1 steps “done”","name":"we-rr-1","namespace":"kubernaut-system","#,
                r#""reason":"StepsDone","request":"rr-1","seq":3,"#,
                r#""target":{"apiVersion":"apps/v1","kind":"Deployment","name":"api","namespace":"shop"},"#,
                r#""to":"Completed","uid":"6f1c1a52-3b0e-4c7d-9a55-0c4f2a1b7e11"}}"#,
            )
        );
    }

    #[test]
    fn the_structured_form_is_a_cloudevent_to_the_reference_sdk() {
        let event = Event::of(&workflow(), "demo", &transition());
        let read: cloudevents::Event = serde_json::from_slice(&event.structured()).expect("a CloudEvent");
        assert_eq!(read.id(), event.id.to_string());
        assert_eq!(read.ty(), "io.kubernaut.workflow.complete");
        assert_eq!(read.subject(), Some("workflowexecution/kubernaut-system/we-rr-1"));
        let names: Vec<&str> = read.iter_extensions().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 3);
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())));
    }

    #[test]
    fn binary_headers_are_printable_ascii() {
        let mut event = Event::of(&workflow(), "demo", &transition());
        event.request = "a b\"c%d\r\né".into();
        let headers = event.binary_headers();
        let request = headers.iter().find(|(name, _)| name == "ce-request").map(|(_, value)| value.as_str());
        assert_eq!(request, Some("a%20b%22c%25d%0D%0A%C3%A9"));
        assert_eq!(headers[0], ("content-type".to_owned(), "application/json".to_owned()));
    }

    #[test]
    fn a_cluster_of_any_name_gives_a_uri_reference() {
        assert_eq!(source("prod-eu.1"), "/kubernaut/prod-eu.1");
        assert_eq!(source("a b/ü"), "/kubernaut/a%20b%2F%C3%BC");
    }

    #[test]
    fn a_timeline_reads_along_the_pipeline_when_times_are_equal() {
        let workflow = Event::of(&workflow(), "demo", &transition());
        let mut action = workflow.clone();
        action.type_ = "action.complete".into();
        action.sequence = 1;
        let mut earlier = action.clone();
        earlier.time = "2026-01-02T03:04:05Z".parse().expect("a time");
        let mut events = vec![action.clone(), workflow.clone(), earlier.clone()];
        sort_timeline(&mut events);
        assert_eq!(events, [earlier, workflow, action]);
    }
}
