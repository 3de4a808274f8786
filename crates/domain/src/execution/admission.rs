//! Whether the Job may be made now: budgets, protected namespaces, scope. What may not be made yet waits in
//! Validating, with the reason and the time of the next look in status.

use kubernaut_api::MicroTime;
use kubernaut_api::execution::KubernetesExecutionStatus;

use super::{Seen, fail};
use crate::budget::{self, Entry, Held};
use crate::stage::{Why, after, before, explain, passed};

/// Time that an execution has to say itself that its turn did not come, before its request says it.
const GRACE: std::time::Duration = std::time::Duration::from_secs(30);

/// True when the Job may be made. If not, status says why, and whether it waits or has failed.
pub(super) fn admit(status: &mut KubernetesExecutionStatus, seen: &Seen) -> bool {
    let spec = &seen.execution.spec;
    // What was done there has to be undone there.
    if spec.undoes.is_none() {
        let own = seen.execution.metadata.namespace.as_deref();
        if let Some(why) = budget::protected(&spec.target, own, &seen.settings.budgets) {
            fail(status, seen, Why::new("ProtectedNamespace", why));
            return false;
        }
        if let Some(why) = &seen.unmanaged {
            fail(status, seen, Why::new("Unmanaged", why.clone()));
            return false;
        }
    }
    let wanted = Entry::of(&seen.execution);
    match wanted.and_then(|wanted| budget::decide(&wanted, &seen.ledger, &seen.settings, &seen.now)) {
        None => true,
        Some(held) => {
            wait(status, seen, held);
            false
        }
    }
}

fn wait(status: &mut KubernetesExecutionStatus, seen: &Seen, held: Held) {
    let waits = status.block_reason.is_some();
    let deadline = if waits { status.phase_deadline.clone() } else { Some(patience(seen)) };
    if passed(deadline.as_ref(), &seen.now) {
        let message = format!("its turn did not come in time; nothing was changed: {}", held.message);
        fail(status, seen, Why::new(held.reason.to_string(), message));
        return;
    }
    status.phase_deadline = deadline;
    if status.block_reason == Some(held.reason) && !passed(status.next_attempt_at.as_ref(), &seen.now) {
        return;
    }
    status.block_reason = Some(held.reason);
    status.next_attempt_at = Some(held.until);
    explain(status, Why::new(held.reason.to_string(), held.message), &seen.now);
}

/// Until when it may wait: the end of its request's execution, or what that is by default.
fn patience(seen: &Seen) -> MicroTime {
    match &seen.request_deadline {
        Some(deadline) => before(deadline, GRACE),
        None => after(&seen.now, seen.settings.limits.execution),
    }
}
