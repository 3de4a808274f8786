//! Whether and where a rollback would lead: shared by the diagnosers whose remedy it is.
//!
//! There is nowhere to go back to when the workload is no Deployment, is paused, asks for a revision
//! that is not known, changed nothing but labels and annotations, or when the current revision is itself
//! a return to an older template: what somebody just left is not brought back. The revision to return to
//! is the newest earlier one that serves, else the newest one that differs. It must not fail itself, and
//! no revision that equals the current one may serve: then the template is not the cause.

use kubernaut_api::evidence::Revision;
use kubernaut_api::workflow::{OnFailure, Step};
use serde_json::json;

use super::facts::Facts;

/// A revision that can be returned to.
#[derive(Clone, Copy)]
pub struct Rollback<'a> {
    pub to: &'a Revision,
    /// Whether it has ready pods now.
    pub serves: bool,
}

impl Rollback<'_> {
    /// The step that returns to it.
    pub fn step(&self, facts: &Facts<'_>) -> Step {
        Step {
            name: "rollback".into(),
            action: "rollback_deployment".into(),
            target: facts.object().clone(),
            parameters: [("toRevision".to_owned(), json!(self.to.number))].into(),
            depends_on: Vec::new(),
            on_failure: OnFailure::Fail,
            ..Step::default()
        }
    }
}

/// Where a rollback would lead; `None` when there is nowhere to go back to.
pub fn find<'a>(facts: &Facts<'a>) -> Option<Rollback<'a>> {
    let current = facts.current?;
    if facts.object().kind != "Deployment" || facts.workload.paused || reinstated(facts, current) {
        return None;
    }
    let differs = facts.changes().find(|change| !change.path.starts_with("metadata"))?.from_revision;
    let earlier = || facts.evidence.revisions.iter().filter(|revision| revision.number < current.number);
    let serving = earlier().filter(|revision| revision.ready_replicas > 0).max_by_key(|revision| revision.number);
    let to = match serving {
        // What lies between `differs` and the current revision has the current template.
        Some(revision) if revision.number > differs => return None,
        Some(revision) => revision,
        None => earlier().find(|revision| revision.number == differs)?,
    };
    let fails = !facts.failing(&facts.pods_of(to)).is_empty();
    (!fails).then_some(Rollback { to, serves: to.ready_replicas > 0 })
}

/// True when the current revision's template is older than that of an earlier number: Kubernetes keeps
/// the ReplicaSet and gives it a new number when somebody returns to it.
fn reinstated(facts: &Facts<'_>, current: &Revision) -> bool {
    let made = current.created_at.as_ref().map(|at| at.0);
    let newer = |other: &Revision| other.created_at.as_ref().map(|at| at.0) > made;
    made.is_some()
        && facts.evidence.revisions.iter().any(|revision| revision.number < current.number && newer(revision))
}
