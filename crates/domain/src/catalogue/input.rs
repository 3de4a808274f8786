//! What a Job is told: the wire format between the controller that builds it and the runner in it.

use kubernaut_api::meta::TargetRef;
use kubernaut_api::{KubernetesExecution, MicroTime, ResourceExt};
use serde::{Deserialize, Serialize};

use super::Values;

/// Environment variable of the Job's container that holds an [`ActInput`] as JSON.
pub const ACT_INPUT_ENV: &str = "KUBERNAUT_ACT_INPUT";

/// One action to run once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActInput {
    /// Name of the KubernetesExecution; makes the effect idempotent.
    pub execution: String,
    /// Action of the catalogue.
    pub action: String,
    /// What it changes.
    pub target: TargetRef,
    /// Parameters of the action.
    #[serde(default)]
    pub parameters: Values,
    /// Send every mutation with `dryRun=All`.
    #[serde(default)]
    pub dry_run: bool,
    /// Hash of the plan that the action belongs to.
    pub plan_hash: String,
    /// After this time the runner begins nothing: its Job has been given up by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_before: Option<MicroTime>,
}

impl ActInput {
    /// The input for the Job of an execution.
    pub fn of(execution: &KubernetesExecution) -> Self {
        let spec = &execution.spec;
        Self {
            execution: execution.name_any(),
            action: spec.action.clone(),
            target: spec.target.clone(),
            parameters: spec.parameters.clone(),
            dry_run: spec.dry_run,
            plan_hash: spec.plan_hash.clone(),
            start_before: None,
        }
    }
}
