//! The effects of the catalogue: what `kubernaut act` does to a workload, once, from inside a Job.
//!
//! Each action is one file that reads the same: look at the target, refuse or find nothing to do,
//! write once, describe. Those that change more than one object (drain_node, restart_service, update_config) refuse
//! before the first write, and say by `Unknown` and `Incomplete` when only a part was done. Writes are absolute, carry the `resourceVersion` or uid they were decided on, and
//! mark the target with the execution's name, so that a second run of the same execution changes nothing
//! (ARCHITECTURE.md, invariant 5). Deliberately absent: choosing an action, undoing one, and verifying health;
//! the controllers do that.

mod act;
mod call;
mod clear_cache;
mod cordon_node;
mod delete_pod;
mod drain_node;
mod help;
mod rbac;
mod remove_taint;
mod report;
mod restart;
mod restart_pod;
mod restart_service;
mod rollback_deployment;
mod scale_deployment;
mod uncordon_node;
mod update_config;
mod update_hpa;
mod update_resources;
mod witness;
mod workload;

use kube::api::DynamicObject;
use kube::{Client, ResourceExt};
use kubernaut_api::execution::{ActionResult, Effect};
use kubernaut_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kubernaut_domain::catalogue::{self, ActInput, Problem, Values};
use kubernaut_domain::execution::is_passing;
use serde::de::DeserializeOwned;

pub use act::{EXIT_DONE, EXIT_REFUSED, EXIT_UNKNOWN, act, exit_code};
pub use drain_node::stays as stays_on_drained_node;
pub use help::{explain, list};
pub use rbac::rbac;
pub use report::{MAX_REPORT, report};
pub use update_config::reads as reads_config;
pub use witness::{Check, check, trace};

use call::{Call, Failure, Stop};

/// Runs one action once and says what happened; with `dry_run`, every mutation carries `dryRun=All` and
/// `Changed` means "would be changed".
///
/// It fails by its result only: `None` when nothing was changed, `Unknown` when that cannot be told.
/// Every API call has a limit of ten seconds, and a busy target is given up after five attempts.
pub async fn run(client: Client, input: &ActInput) -> ActionResult {
    run_until(client, input, &Stop::default()).await
}

/// True when nothing was changed for a cause that may pass by itself, such as a busy API server: worth another
/// try, where any other refusal would only be repeated.
pub fn is_transient(result: &ActionResult) -> bool {
    result.effect == Effect::None && result.error.as_deref().is_some_and(is_passing)
}

/// As [`run`], and begins no mutation once `stop` was requested.
async fn run_until(client: Client, input: &ActInput, stop: &Stop) -> ActionResult {
    if let Err(problems) = catalogue::check_parts(&input.action, &input.target, &input.parameters) {
        return invalid(&problems);
    }
    let outcome = dispatch(&Call::new(client, input, stop)).await;
    let mut result = outcome.unwrap_or_else(ActionResult::from);
    if input.dry_run {
        result.message.insert_str(0, "dry run: ");
    }
    result
}

/// The one place that knows which action has which effect. Scripts have none here: their Job runs them itself.
async fn dispatch(call: &Call<'_>) -> Result<ActionResult, Failure> {
    let input = call.input;
    match input.action.as_str() {
        "clear_cache" => with(input, |parameters| clear_cache::run(call, parameters)).await,
        "cordon_node" => with(input, |parameters| cordon_node::run(call, parameters)).await,
        "delete_pod" => with(input, |parameters| delete_pod::run(call, parameters)).await,
        "drain_node" => with(input, |parameters| drain_node::run(call, parameters)).await,
        "remove_taint" => with(input, |parameters| remove_taint::run(call, parameters)).await,
        "restart_pod" => with(input, |parameters| restart_pod::run(call, parameters)).await,
        "restart_service" => with(input, |parameters| restart_service::run(call, parameters)).await,
        "rollback_deployment" => with(input, |parameters| rollback_deployment::run(call, parameters)).await,
        "scale_deployment" => with(input, |parameters| scale_deployment::run(call, parameters)).await,
        "uncordon_node" => with(input, |parameters| uncordon_node::run(call, parameters)).await,
        "update_config" => with(input, |parameters| update_config::run(call, parameters)).await,
        "update_hpa" => with(input, |parameters| update_hpa::run(call, parameters)).await,
        "update_resources" => with(input, |parameters| update_resources::run(call, parameters)).await,
        other => Err(Failure::refused("NotImplemented", format!("this runner has no effect for {other}"))),
    }
}

/// Hands an action its parameters in its own type.
async fn with<T, F>(input: &ActInput, action: impl FnOnce(T) -> F) -> Result<ActionResult, Failure>
where
    T: DeserializeOwned,
    F: Future<Output = Result<ActionResult, Failure>>,
{
    match catalogue::parse(&input.parameters) {
        Ok(parameters) => action(parameters).await,
        Err(problem) => Ok(invalid(&[problem])),
    }
}

fn invalid(problems: &[Problem]) -> ActionResult {
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Failure::refused("Invalid", problems.join("; ")).into()
}

fn changed(message: String, before: Values) -> ActionResult {
    ActionResult { effect: Effect::Changed, message, error: None, before, target: None }
}

fn unchanged(message: String) -> ActionResult {
    ActionResult { effect: Effect::Unchanged, message, error: None, before: Values::new(), target: None }
}

/// Some of it was done and the rest was not: never to be repeated blindly, but `before` can be restored.
fn incomplete(message: String, before: Values) -> ActionResult {
    ActionResult { effect: Effect::Unknown, message, error: Some("Incomplete".into()), before, target: None }
}

/// The controller that owns an object.
fn owner(object: &DynamicObject) -> Option<&OwnerReference> {
    object.owner_references().iter().find(|owner| owner.controller == Some(true))
}

#[cfg(test)]
mod tests;
