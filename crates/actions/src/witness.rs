//! What the target bears witness of, read under the action's own account: whether an effect happened whose Job left no
//! result, and whether all is still as the action wanted it. Never writes.

use kube::{Client, ResourceExt};
use kubernaut_api::execution::Effect;
use kubernaut_domain::catalogue::{ActInput, RestartPod, Values, parse};
use kubernaut_domain::execution::{Trace, is_passing};

use crate::call::{Call, Failure, Stop};
use crate::workload::{changed_earlier, mark};
use crate::{changed, dispatch, drain_node};

/// Whether the target is as an action wanted it: the action's own check besides readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// It is.
    Holds,
    /// It is not, or not yet, and why.
    NotYet(String),
    /// There is nothing that the action could look at.
    Nothing,
    /// It could not be read; worth another try.
    Unread(String),
}

/// Looks whether the target is as this run of the action wanted it.
pub async fn check(client: Client, input: &ActInput) -> Check {
    let input = ActInput { dry_run: true, ..input.clone() };
    let stop = Stop::default();
    let call = Call::looking(client, &input, &stop);
    let looked = match input.action.as_str() {
        // A revision gets another number by being gone back to; the generation of the target tells of later changes.
        "clear_cache" | "rollback_deployment" | "run_script" => return Check::Nothing,
        "restart_pod" | "delete_pod" => match is_gone(&call).await {
            Ok(true) => return Check::Holds,
            Ok(false) => return Check::NotYet("the pod is still there".into()),
            Err(failure) => Err(failure),
        },
        "drain_node" => match drain_node::left(&call).await {
            Ok(left) if left.is_empty() => return Check::Holds,
            Ok(left) => return Check::NotYet(left),
            Err(failure) => Err(failure),
        },
        _ => dispatch(&call).await,
    };
    match looked {
        Ok(result) if result.effect == Effect::Unchanged => Check::Holds,
        Ok(result) => Check::NotYet(format!("it is not as the action left it; to be done again: {}", result.message)),
        Err(Failure::Refused { error, message }) if is_passing(error) => Check::Unread(message),
        Err(failure) => Check::NotYet(failure.to_string()),
    }
}

/// Looks whether the effect of this execution happened.
///
/// # Errors
/// What could not be read, in words; worth another try.
pub async fn trace(client: Client, input: &ActInput) -> Result<Trace, String> {
    let stop = Stop::default();
    let call = Call::looking(client, input, &stop);
    let traced = match input.action.as_str() {
        "clear_cache" | "run_script" => Ok(Trace::Unclear("it leaves no mark by which it could be told".into())),
        "restart_pod" | "delete_pod" => pod(&call).await,
        "restart_service" => dispatch(&call).await.map(|result| match result.effect {
            Effect::Unchanged => Trace::Done(changed(result.message, Values::new())),
            _ => Trace::Unclear("not every workload behind it bears the mark".into()),
        }),
        _ => target(&call).await,
    };
    match traced {
        Err(Failure::Refused { error, message }) if is_passing(error) => Err(message),
        Err(failure) => Ok(Trace::Unclear(failure.to_string())),
        Ok(trace) => Ok(trace),
    }
}

async fn target(call: &Call<'_>) -> Result<Trace, Failure> {
    let live = call.target().await?;
    Ok(match changed_earlier(call, &live) {
        Some(done) => Trace::Done(done),
        None => Trace::Unmarked(mark(&live)),
    })
}

/// A pod that is meant to end is on its way, or is as it was.
async fn pod(call: &Call<'_>) -> Result<Trace, Failure> {
    let (name, uid) = meant(call)?;
    let ends = match call.get("Pod", &name).await {
        Ok(pod) => pod.uid().as_deref() != Some(uid.as_str()) || pod.metadata.deletion_timestamp.is_some(),
        Err(failure) if failure.is_gone() => true,
        Err(failure) => return Err(failure),
    };
    if !ends {
        return Ok(Trace::Untouched);
    }
    let before = [("pod".to_owned(), name.as_str().into()), ("uid".to_owned(), uid.into())].into();
    Ok(Trace::Done(changed(format!("pod {name} is gone or ending"), before)))
}

async fn is_gone(call: &Call<'_>) -> Result<bool, Failure> {
    let (name, uid) = meant(call)?;
    match call.get("Pod", &name).await {
        Ok(pod) => Ok(pod.uid().as_deref() != Some(uid.as_str())),
        Err(failure) if failure.is_gone() => Ok(true),
        Err(failure) => Err(failure),
    }
}

/// Name and uid of the pod that was meant: the target itself, or the one that the parameters name.
fn meant(call: &Call<'_>) -> Result<(String, String), Failure> {
    let target = &call.input.target;
    let named: RestartPod = if call.input.action == "restart_pod" {
        parse(&call.input.parameters).map_err(|problem| Failure::refused("Invalid", problem.to_string()))?
    } else {
        RestartPod::default()
    };
    let uid = named.uid.or_else(|| target.uid.clone()).unwrap_or_default();
    Ok((named.pod.unwrap_or_else(|| target.name.clone()), uid))
}
