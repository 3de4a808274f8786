//! EventSink: where completion events are sent.

use k8s_openapi::api::core::v1::SecretKeySelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A receiver of completion events.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kubernaut.io",
    version = "v1alpha1",
    kind = "EventSink",
    plural = "eventsinks",
    shortname = "es",
    category = "kubernaut",
    namespaced,
    status = "EventSinkStatus",
    derive = "PartialEq",
    cel,
    doc = "A receiver of completion events. Events recorded after its creation are delivered to it, in order per object, at least once.",
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name may have at most 63 characters: it is a metric label"),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.http.url"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Delivered", type_ = "integer", json_path = ".status.delivered"),
    printcolumn(name = "Pending", type_ = "integer", json_path = ".status.pending"),
    printcolumn(name = "Dead", type_ = "integer", json_path = ".status.deadLetters"),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastSuccess"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
)]
#[serde(rename_all = "camelCase")]
pub struct EventSinkSpec {
    /// Patterns of event types without the prefix `io.kubernaut.`: `*`, `workflow.*`, `*.failed` or a whole name.
    #[serde(default = "everything")]
    #[schemars(
        length(min = 1, max = 32),
        inner(length(min = 1, max = 128), regex(pattern = r"^(\*|(\*|[a-z_]+)(\.(\*|[a-z_]+))+)$"))
    )]
    pub types: Vec<String>,
    /// Deliver by HTTP.
    pub http: HttpSink,
    /// Set to true to hold deliveries back; events are kept meanwhile.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub suspended: bool,
    /// How a failed delivery is repeated.
    #[serde(default)]
    pub retry: Retry,
}

fn everything() -> Vec<String> {
    vec!["*".into()]
}

/// Delivery by HTTP POST of one CloudEvent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpSink {
    /// Absolute URL, http or https.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^\s]+$"))]
    pub url: String,
    /// CloudEvents content mode.
    #[serde(default)]
    pub mode: ContentMode,
    /// Limit of one attempt, default 5s.
    #[serde(default = "five_seconds")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub timeout: Duration,
    /// Secret of the same namespace whose value is sent as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<SecretKeySelector>,
}

fn five_seconds() -> Duration {
    std::time::Duration::from_secs(5).into()
}

/// How a CloudEvent is put into an HTTP request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ContentMode {
    /// The whole event as `application/cloudevents+json`.
    #[default]
    Structured,
    /// Attributes as `ce-` headers, the data as the body.
    Binary,
}

/// Repeats of a failed delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Attempts in all before the event becomes a dead letter.
    #[serde(default = "max_attempts")]
    #[schemars(range(min = 1, max = 100), extend("format" = "int32"))]
    pub max_attempts: u32,
    /// Wait after the first failure; each further wait is twice as long.
    #[serde(default = "base_delay")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub base_delay: Duration,
    /// Longest wait.
    #[serde(default = "max_delay")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub max_delay: Duration,
}

fn max_attempts() -> u32 {
    3
}

fn base_delay() -> Duration {
    std::time::Duration::from_millis(100).into()
}

fn max_delay() -> Duration {
    std::time::Duration::from_secs(30).into()
}

impl Default for Retry {
    fn default() -> Self {
        Self { max_attempts: max_attempts(), base_delay: base_delay(), max_delay: max_delay() }
    }
}

/// Observed state of an EventSink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventSinkStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Events delivered so far.
    #[serde(default)]
    #[schemars(extend("format" = "int64"))]
    pub delivered: u64,
    /// Events waiting.
    #[serde(default)]
    #[schemars(extend("format" = "int64"))]
    pub pending: u64,
    /// Events given up.
    #[serde(default)]
    #[schemars(extend("format" = "int64"))]
    pub dead_letters: u64,
    /// When an event was last delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<MicroTime>,
    /// Why the last failed attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub last_error: Option<String>,
    /// `Ready`: the spec is valid and the last attempt worked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
