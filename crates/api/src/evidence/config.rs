//! ConfigMaps by hash, and what in them differs from what was declared.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::TargetRef;

/// A ConfigMap that the template names. What is in it is told by a hash only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The ConfigMap, with its uid.
    pub object: TargetRef,
    /// SHA-256 over its keys and values, as hex digits.
    #[schemars(length(max = 64))]
    pub hash: String,
    /// How many keys it has.
    #[serde(default)]
    pub keys: i32,
    /// True when it can never be changed.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub immutable: bool,
    /// When its keys were written last, as the API server recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<MicroTime>,
    /// Field manager that wrote them last, such as `kubectl-edit`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub changed_by: String,
    /// True when it was declared by `kubectl apply`, so that what it was meant to hold is known.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub declared: bool,
    /// Keys whose value is not the declared one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub drift: Vec<Drift>,
}

/// One key of a ConfigMap that does not hold what was declared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// The key.
    #[schemars(length(max = 253))]
    pub key: String,
    /// The declared value, exactly; absent when the key was not declared, or with `hidden`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub declared: Option<String>,
    /// True when the declared value is not told: it is too long, or looks as if it held a secret.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub hidden: bool,
    /// The value now, redacted and cut; absent when the key is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub now: Option<String>,
}
