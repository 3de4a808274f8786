//! `kubernaut act`: one run inside a Job, from the environment to the termination message.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use kube::{Client, Config};
use kubernaut_api::execution::{ActionResult, Effect};
use kubernaut_api::k8s_openapi::jiff::Timestamp;
use kubernaut_domain::catalogue::ActInput;
use tokio::signal::unix::{SignalKind, signal};

use crate::call::{Failure, Stop};
use crate::{report, run_until};

/// Exit code when the target is as wanted.
pub const EXIT_DONE: i32 = 0;
/// Exit code when nothing was changed: refused before it ran.
pub const EXIT_REFUSED: i32 = 3;
/// Exit code when it cannot be told what happened to the target.
pub const EXIT_UNKNOWN: i32 = 4;

/// Limit of a run after SIGTERM: one call and a look at what came of it, within the usual grace period of 30 s.
const GRACE: Duration = Duration::from_secs(20);

/// Runs the action that `input` describes (an [`ActInput`] as JSON, from `KUBERNAUT_ACT_INPUT`) with the
/// Job's own ServiceAccount, writes the report to `termination_log` and returns the exit code.
///
/// On SIGTERM a call in flight is finished, and no other mutation begun. A rustls provider must be installed
/// by the caller where the program contains several.
pub async fn act(input: &str, termination_log: &Path) -> i32 {
    let result = match prepare(input).await {
        Ok((client, input)) => until_terminated(client, &input).await,
        Err(failure) => failure.into(),
    };
    log(&result);
    if let Err(error) = tokio::fs::write(termination_log, report(&result)).await {
        tracing::error!(%error, path = %termination_log.display(), "the report could not be written");
    }
    exit_code(result.effect)
}

/// What the process says by its exit code.
pub fn exit_code(effect: Effect) -> i32 {
    match effect {
        Effect::Changed | Effect::Unchanged => EXIT_DONE,
        Effect::None => EXIT_REFUSED,
        Effect::Unknown => EXIT_UNKNOWN,
    }
}

async fn prepare(input: &str) -> Result<(Client, ActInput), Failure> {
    let input: ActInput =
        serde_json::from_str(input).map_err(|error| Failure::refused("Invalid", format!("input: {error}")))?;
    if input.start_before.as_ref().is_some_and(|time| time.0 <= Timestamp::now()) {
        // Its Job was given up: whoever did so takes it that nothing happens any more.
        return Err(Failure::refused("StartedTooLate", "the time for its start was over: nothing was begun"));
    }
    let unreachable = |error: &dyn std::fmt::Display| Failure::refused("ApiUnreachable", error.to_string());
    let mut config = Config::infer().await.map_err(|error| unreachable(&error))?;
    // The client's own retry repeats writes whose answer was lost: here each is looked at first.
    config.default_retry = false;
    let client = Client::try_from(config).map_err(|error| unreachable(&error))?;
    Ok((client, input))
}

async fn until_terminated(client: Client, input: &ActInput) -> ActionResult {
    let stop = Stop::default();
    let mut work = pin!(run_until(client, input, &stop));
    tokio::select! {
        result = &mut work => return result,
        () = terminated() => stop.request(),
    }
    tracing::warn!("terminated: finishing the call in flight");
    match tokio::time::timeout(GRACE, work).await {
        Ok(result) => result,
        Err(_) => stop.interrupted().into(),
    }
}

/// Ends when the kubelet, or a person at a terminal, wants the process to end.
async fn terminated() {
    let wait = |kind| async move {
        match signal(kind) {
            Ok(mut signals) => signals.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = wait(SignalKind::terminate()) => {}
        _ = wait(SignalKind::interrupt()) => {}
    }
}

fn log(result: &ActionResult) {
    let ActionResult { effect, message, error, .. } = result;
    match effect {
        Effect::Changed | Effect::Unchanged => tracing::info!(?effect, "{message}"),
        Effect::None | Effect::Unknown => {
            tracing::error!(?effect, error = error.as_deref().unwrap_or_default(), "{message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unreadable_input_is_refused_and_reported() {
        let path = std::env::temp_dir().join(format!("kubernaut-act-{}", std::process::id()));
        assert_eq!(act("{", &path).await, EXIT_REFUSED);
        let written = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let result: ActionResult = serde_json::from_str(&written).unwrap();
        assert_eq!((result.effect, result.error.as_deref()), (Effect::None, Some("Invalid")));
    }

    #[tokio::test]
    async fn what_begins_too_late_does_not_begin() {
        let input = serde_json::json!({
            "execution": "ke-1", "action": "cordon_node", "planHash": "0", "startBefore": "2020-01-01T00:00:00.000000Z",
            "target": {"apiVersion": "v1", "kind": "Node", "name": "n"},
        });
        let result: ActionResult = prepare(&input.to_string()).await.err().unwrap().into();
        assert_eq!((result.effect, result.error.as_deref()), (Effect::None, Some("StartedTooLate")));
    }

    #[test]
    fn only_a_target_as_wanted_is_success() {
        let codes = [Effect::Changed, Effect::Unchanged, Effect::None, Effect::Unknown].map(exit_code);
        assert_eq!(codes, [EXIT_DONE, EXIT_DONE, EXIT_REFUSED, EXIT_UNKNOWN]);
    }
}
