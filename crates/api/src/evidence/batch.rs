//! Jobs and what makes them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ObservedCondition;
use crate::meta::TargetRef;

/// A Job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// The Job, with its uid.
    pub object: TargetRef,
    /// Pods that run.
    #[serde(default)]
    pub active: i32,
    /// Pods that succeeded.
    #[serde(default)]
    pub succeeded: i32,
    /// Pods that failed.
    #[serde(default)]
    pub failed: i32,
    /// Pods that may fail.
    #[serde(default)]
    pub backoff_limit: i32,
    /// True while it may not run.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub suspended: bool,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<MicroTime>,
    /// When it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<MicroTime>,
    /// Its conditions, such as `Failed` with `BackoffLimitExceeded`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub conditions: Vec<ObservedCondition>,
}

/// A CronJob.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// The CronJob, with its uid.
    pub object: TargetRef,
    /// When it runs, such as `*/5 * * * *`.
    #[schemars(length(max = 128))]
    pub schedule: String,
    /// True while no Job is made.
    #[serde(default, skip_serializing_if = "crate::request::is_false")]
    pub suspended: bool,
    /// Allow, Forbid or Replace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16))]
    pub concurrency: String,
    /// When a Job was made last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scheduled_at: Option<MicroTime>,
    /// When a Job succeeded last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_succeeded_at: Option<MicroTime>,
}
