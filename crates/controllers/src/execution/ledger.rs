//! The executions as a ledger of what the safety budgets allow (R5.6): read from the API server itself, by one
//! execution at a time, until what it decides is written. Who waits is woken when another one ends.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::Api;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kubernaut_api::{KubernetesExecution, MicroTime, RemediationRequest, RequestPhase, Staged};
use kubernaut_domain::budget::{self, Entry, State};
use kubernaut_domain::execution::Seen;
use kubernaut_domain::settings::Settings;
use kubernaut_domain::stage::{after, passed};

use crate::run::Guarded;
use crate::{Ctx, Error, calls, scope};

/// Objects of one page.
const PAGE: u32 = 500;
/// How long an execution that is over counts.
const HOUR: std::time::Duration = std::time::Duration::from_hours(1);

/// Every execution that there is, as the API server has it now.
pub(crate) async fn read(ctx: &Ctx) -> Result<Vec<Entry>, Error> {
    let api = Api::<Guarded<KubernetesExecution>>::namespaced(ctx.client.clone(), &ctx.namespace);
    let mut parameters = ListParams::default().limit(PAGE);
    let mut entries = vec![];
    loop {
        let page = calls::timed(ctx.call_timeout, "list KubernetesExecutions", api.list(&parameters)).await?;
        for DeserializeGuard(item) in page.items {
            match item {
                Ok(execution) => entries.extend(Entry::of(&execution)),
                Err(error) => {
                    let name = error.metadata.name.as_deref().unwrap_or_default();
                    tracing::warn!(name, %error, "an execution that cannot be read counts in no budget");
                }
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(entries),
        }
    }
}

/// Adds to what was seen of an execution whose Job is about to be made: the ledger, its request, its scope.
pub(super) async fn complete(ctx: &Ctx, execution: &KubernetesExecution, seen: &mut Seen) -> Result<(), Error> {
    if let Err(error) = look(ctx, execution, seen).await {
        let deadline = execution.status.as_ref().and_then(|status| status.phase_deadline.as_ref());
        if !passed(deadline, &seen.now) {
            return Err(error);
        }
        // Decided without a rehearsal, it is given up.
        seen.rehearsal = None;
    }
    seen.now = calls::now();
    Ok(())
}

async fn look(ctx: &Ctx, execution: &KubernetesExecution, seen: &mut Seen) -> Result<(), Error> {
    let request = calls::get::<RemediationRequest>(ctx, &execution.spec.request).await?;
    let own = request.as_ref().and_then(|request| request.spec.target.as_ref());
    seen.unmanaged = scope::unmanaged(ctx, &[&execution.spec.target], own).await?.pop();
    seen.request_deadline = request
        .filter(|request| request.phase() == Some(RequestPhase::Executing))
        .and_then(|request| request.status?.phase_deadline);
    // It may have waited long for its turn.
    seen.request_over = super::observe::is_over(ctx, execution).await?;
    seen.ledger = read(ctx).await?;
    Ok(())
}

/// What the watch of executions has told: only to know whom to wake, never to decide upon.
#[derive(Default)]
pub(super) struct Waiting(Mutex<HashMap<String, Entry>>);

impl Waiting {
    /// Takes a change over; the names of those that wait and may start now.
    pub(super) fn woken_by(&self, changed: &KubernetesExecution, settings: &Settings, now: &MicroTime) -> Vec<String> {
        let Some(mut entry) = Entry::of(changed) else { return vec![] };
        if changed.metadata.deletion_timestamp.is_some() {
            entry.state = State::Over;
        }
        let ends = entry.state == State::Over;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(entry.name.clone(), entry);
        if !ends {
            return vec![];
        }
        let counts = |entry: &Entry| {
            entry.state != State::Over || entry.started.as_ref().is_some_and(|started| after(started, HOUR) > *now)
        };
        known.retain(|_, entry| counts(entry));
        let ledger: Vec<_> = known.values().cloned().collect();
        drop(known);
        let waiting = ledger.iter().filter(|entry| entry.state == State::Waiting);
        let may_start = |entry: &&Entry| budget::decide(entry, &ledger, settings, now).is_none();
        waiting.filter(may_start).map(|entry| entry.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use kubernaut_api::KubernetesExecutionStatus;
    use serde_json::json;

    use super::*;

    fn execution(name: &str, status: serde_json::Value) -> KubernetesExecution {
        let mut execution: KubernetesExecution = serde_json::from_value(json!({
            "metadata": {"name": name, "uid": name},
            "spec": {
                "request": "rr-1", "step": "s", "action": "restart_pod", "planHash": "a".repeat(64),
                "target": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web-1"},
                "timeout": "5m", "verificationTimeout": "5m",
            },
        }))
        .unwrap();
        execution.status = serde_json::from_value::<KubernetesExecutionStatus>(status).ok();
        execution
    }

    #[test]
    fn who_waits_is_woken_by_an_end_and_by_nothing_else_and_in_turn() {
        let (waiting, settings, now) = (Waiting::default(), Settings::default(), calls::now());
        let tell = |name: &str, status| waiting.woken_by(&execution(name, status), &settings, &now);
        let held = json!({"phase": "Validating", "blockReason": "ResourceBusy"});
        assert!(tell("a", json!({"phase": "Executing"})).is_empty());
        assert!(tell("b", held.clone()).is_empty());
        assert!(tell("c", held).is_empty());
        assert!(tell("a", json!({"phase": "Verifying"})).is_empty());
        assert_eq!(tell("a", json!({"phase": "Completed"})), ["b"], "c waits for b");
        assert!(tell("b", json!({"phase": "Executing"})).is_empty());
        assert_eq!(tell("b", json!({"phase": "Failed"})), ["c"]);
    }
}
