//! Requests that a person makes, without an alert.

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kubernaut_api::RemediationRequest;
use serde_json::{Value, json};

use crate::App;

/// A request for the app's Deployment, with this besides in its spec.
pub fn by_hand(app: &App<'_>, deployment: &Deployment, name: &str, more: &Value) -> Result<RemediationRequest> {
    let mut request = json!({
        "apiVersion": "kubernaut.io/v1alpha1",
        "kind": "RemediationRequest",
        "metadata": { "name": name },
        "spec": {
            "signal": { "source": "test", "name": "TestedAppDown", "fingerprint": fingerprint(name) },
            "target": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "namespace": app.namespace.name,
                "name": app.name,
                "uid": deployment.uid(),
            },
        },
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        request["spec"][field] = value.clone();
    }
    Ok(serde_json::from_value(request)?)
}

/// A fingerprint that no other name has: the end of another test's request would hold this one back.
pub fn fingerprint(name: &str) -> String {
    // From the end, where names differ.
    let digits = name.bytes().rev().flat_map(|byte| [byte >> 4, byte & 15]);
    let hex: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).take(64).collect();
    format!("{hex:0<64}")
}
