//! What Alertmanager would send.

use serde_json::{Value, json};

/// One alert about an object of a namespace.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Its `alertname`; without that label when empty.
    pub name: String,
    /// Labels besides.
    pub labels: Vec<(String, String)>,
    /// `firing` or `resolved`.
    pub status: &'static str,
}

impl Alert {
    /// A firing alert about a pod.
    pub fn about_pod(namespace: &str, pod: &str) -> Self {
        Self::about("pod", namespace, pod)
    }

    /// A firing alert about a Deployment.
    pub fn about_deployment(namespace: &str, name: &str) -> Self {
        Self::about("deployment", namespace, name)
    }

    /// A firing alert about an object of a namespace, by the label that names its kind.
    pub fn about(kind: &str, namespace: &str, name: &str) -> Self {
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Self {
            name: "TestedAppDown".into(),
            labels: vec![label("severity", "critical"), label("namespace", namespace), label(kind, name)],
            status: "firing",
        }
    }

    /// A firing alert about a node.
    pub fn about_node(name: &str) -> Self {
        let mut alert = Self::about("node", "", name);
        alert.labels.retain(|(label, _)| label != "namespace");
        alert
    }

    /// The same alert, over.
    #[must_use]
    pub fn resolved(&self) -> Self {
        Self { status: "resolved", ..self.clone() }
    }

    fn json(&self) -> Value {
        let mut labels: serde_json::Map<String, Value> =
            self.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        if !self.name.is_empty() {
            labels.insert("alertname".into(), json!(self.name));
        }
        json!({
            "status": self.status,
            "labels": labels,
            "annotations": { "summary": "The tested application is down." },
            "startsAt": "2026-01-15T10:00:00.000Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example/graph",
            "fingerprint": "0123456789abcdef",
        })
    }
}

/// The payload (version 4) that carries these alerts.
pub fn payload(alerts: &[Alert]) -> Value {
    json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"TestedAppDown\"}",
        "truncatedAlerts": 0,
        "status": alerts.first().map_or("firing", |alert| alert.status),
        "receiver": "kubernaut",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example",
        "alerts": alerts.iter().map(Alert::json).collect::<Vec<_>>(),
    })
}
