//! What can be seen of the Job of an execution: which one it waits for, and how far that is.

use kubernaut_api::execution::{ActionResult, JobRef};
use kubernaut_api::{KubernetesExecution, MicroTime, ResourceExt, names};

/// Name of the Job that an execution waits for: the one that acts or, once that is to be undone, the one
/// that undoes.
pub fn job_name(execution: &KubernetesExecution) -> String {
    let undone = execution.status.as_ref().is_some_and(|status| status.rollback.is_some());
    if undone { names::rollback(&execution.spec.request, &execution.spec.step) } else { execution.name_any() }
}

/// The Job of the derived name, see [`job_name`].
#[derive(Clone, Debug, PartialEq)]
pub enum JobSeen {
    /// It could not be looked at.
    Unread,
    /// There is none.
    Absent,
    /// There is one, and it is not ours (another owner or another plan).
    Foreign,
    /// It has not ended.
    Running(JobRef),
    /// It has not ended, and no container of it has started.
    Waiting {
        /// Which one.
        job: JobRef,
        /// Why, in words.
        why: String,
        /// The time after which its runner begins nothing any more; absent for one that sets none.
        start_before: Option<MicroTime>,
    },
    /// It has ended, or is being deleted.
    Ended {
        /// Which one.
        job: JobRef,
        /// What it reported; `None` when it reported nothing.
        result: Option<ActionResult>,
        /// How it ended, in words.
        message: String,
        /// False when no container of it ever ran: it certainly had no effect.
        ran: bool,
        /// When its container was reported to have ended: from then on its process can do nothing.
        died_at: Option<MicroTime>,
        /// True while our finalizer holds it.
        held: bool,
    },
}
