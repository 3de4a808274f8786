//! What a policy said: recorded where it counted, with the hash of the policy's text (R5.2).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a policy decides; the greater, the stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PolicyDecision {
    /// Nothing speaks against it.
    Allow,
    /// A person is asked.
    Ask,
    /// It is not done.
    Deny,
}

/// A decision of a policy, as it was when it counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRecord {
    /// Allow, Ask or Deny.
    pub decision: PolicyDecision,
    /// SHA-256 over the policy's text, as 64 hex digits; empty when there was none to evaluate.
    #[schemars(length(max = 64))]
    pub hash: String,
    /// Where the policy came from: `default`, or `ConfigMap` and its name.
    #[schemars(length(max = 320))]
    pub source: String,
    /// Why, in the policy's words; why it could not be evaluated, where it could not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 512)))]
    pub messages: Vec<String>,
    /// How many people have to approve, where the policy says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2), extend("format" = "int32"))]
    pub approvers: Option<u8>,
}
