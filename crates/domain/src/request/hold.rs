//! What holds a request back, before anything begins and once more before its plan is executed, and what
//! lets it go on. A Blocked request holds nothing itself, so no two can wait for each other for ever.

use std::cmp::Ordering;

use kubernaut_api::request::RemediationRequestStatus;
use kubernaut_api::workflow::Step;
use kubernaut_api::{
    BlockReason, MicroTime, Outcome, RemediationRequest, RequestPhase, ResourceExt, Staged, TargetRef, names,
};

use super::Seen;
use crate::budget::{self, Entry, State};
use crate::stage::{Why, after, enter, explain, passed};
use crate::suppression::{self, Alert, Past, Question, Verdict};

/// What else there is, as far as it can hold a request back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Neighbours {
    /// The earlier requests for the same. Looked at before anything begins.
    pub past: Vec<Past>,
    /// Other requests that work on something, or wait for their turn to. Looked at before execution, and
    /// nobody else begins to execute meanwhile.
    pub working: Vec<Working>,
    /// The request that it waits for, as it is now; `None` when it is gone.
    pub awaited: Option<Working>,
    /// All executions that there are.
    pub executions: Vec<Entry>,
    /// A sentence for each thing that would be changed and that nobody has put under Kubernaut's care.
    pub unmanaged: Vec<String>,
}

/// Another request that works on something.
#[derive(Clone, Debug, PartialEq)]
pub struct Working {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Option<MicroTime>,
    /// Its uid: decides between two of the same second.
    pub uid: String,
    /// Where it stands.
    pub phase: RequestPhase,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// What it works on.
    pub touches: Vec<TargetRef>,
}

/// Whether a request may go on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Gate {
    /// It may.
    Open {
        /// Why a person has to be asked.
        ask_person: Option<String>,
    },
    /// Another request has mended what it would have: it is only to be seen whether that helped.
    Settled {
        /// Name of the other request.
        by: String,
    },
    /// The trouble is over.
    Over,
    /// It is held back.
    Held(Hold),
}

/// Why a request is held back.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hold {
    reason: BlockReason,
    by: Option<String>,
    until: MicroTime,
    message: String,
    /// True when the wait is no part of the time that the request has.
    extends: bool,
}

impl Working {
    /// What counts of a request, in whatever phase it is.
    pub fn of(request: &RemediationRequest) -> Self {
        let status = request.status.clone().unwrap_or_default();
        let own = request.spec.target.clone().into_iter().collect();
        Self {
            name: request.name_any(),
            created: request.metadata.creation_timestamp.as_ref().map(|time| MicroTime(time.0)),
            uid: request.uid().unwrap_or_default(),
            phase: request.phase().unwrap_or(RequestPhase::Pending),
            outcome: status.outcome,
            touches: if status.touches.is_empty() { own } else { status.touches },
        }
    }

    /// True when it matters to others: it works on something, or waits for its turn to.
    pub fn counts(request: &RemediationRequest) -> bool {
        let waits =
            request.status.as_ref().is_some_and(|status| status.block_reason == Some(BlockReason::ResourceBusy));
        match request.phase() {
            _ if request.metadata.deletion_timestamp.is_some() => false,
            Some(RequestPhase::Executing | RequestPhase::Verifying) => true,
            Some(RequestPhase::Blocked) => waits,
            _ => false,
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        (&self.created, &self.uid, &self.name).cmp(&(&other.created, &other.uid, &other.name))
    }
}

/// True when nothing is to be changed, by the request's own word or by the configuration's.
pub(super) fn is_dry(seen: &Seen) -> bool {
    seen.request.spec.dry_run || seen.settings.dry_run
}

/// True when the alert was resolved.
pub(super) fn is_resolved(status: &RemediationRequestStatus) -> bool {
    status.deduplication.as_ref().is_some_and(|seen| seen.resolved_at.is_some())
}

/// What a request with this plan works on: the targets of the steps, and what it is about.
pub(super) fn touches(seen: &Seen, steps: &[Step]) -> Vec<TargetRef> {
    let all = steps.iter().map(|step| &step.target).chain(&seen.request.spec.target);
    let mut touched: Vec<TargetRef> = vec![];
    for target in all {
        if !touched.iter().any(|known| budget::same(known, target)) {
            touched.push(target.clone());
        }
    }
    touched
}

/// Before anything begins.
pub(super) fn before_start(status: &RemediationRequestStatus, target: &TargetRef, seen: &Seen) -> Gate {
    let created = seen.request.metadata.creation_timestamp.as_ref().map(|time| MicroTime(time.0));
    let began = created.unwrap_or_else(|| seen.now.clone());
    let question = Question {
        past: &seen.neighbours.past,
        alert: if is_resolved(status) { Alert::Resolved } else { Alert::Firing },
        began: &began,
        now: &seen.now,
        policy: &seen.settings.suppression,
    };
    let verdict = suppression::decide(&question);
    if verdict == Verdict::Over {
        return Gate::Over;
    }
    if let Some(hold) = out_of_bounds([target], seen) {
        return Gate::Held(hold);
    }
    match verdict {
        Verdict::Held(held) => {
            Gate::Held(Hold { reason: held.reason, by: None, until: held.until, message: held.message, extends: true })
        }
        Verdict::Proceed { ask_person } => Gate::Open { ask_person },
        Verdict::Over => Gate::Over,
    }
}

/// Before a plan is executed. A dry run changes nothing, so it waits for nobody.
pub(super) fn before_execution(status: &RemediationRequestStatus, steps: &[Step], seen: &Seen) -> Gate {
    let open = Gate::Open { ask_person: status.ask_person.clone() };
    if let Some(hold) = out_of_bounds(steps.iter().map(|step| &step.target), seen) {
        return Gate::Held(hold);
    }
    if is_dry(seen) {
        return open;
    }
    if status.block_reason == Some(BlockReason::ResourceBusy)
        && let Some(other) = seen.neighbours.awaited.as_ref()
        && other.outcome == Some(Outcome::Remediated)
        && steps.iter().all(|step| other.touches.iter().any(|touched| budget::same(touched, &step.target)))
    {
        return Gate::Settled { by: other.name.clone() };
    }
    busy(steps, seen).or_else(|| over_budget(steps, seen)).map_or(open, Gate::Held)
}

/// Protected namespaces, and what is not under Kubernaut's care.
fn out_of_bounds<'a>(targets: impl IntoIterator<Item = &'a TargetRef>, seen: &Seen) -> Option<Hold> {
    let own = seen.request.metadata.namespace.as_deref();
    let mut targets = targets.into_iter();
    let hold = |reason, until, message| Hold { reason, by: None, until, message, extends: false };
    if let Some(why) = targets.find_map(|target| budget::protected(target, own, &seen.settings.budgets)) {
        return Some(hold(BlockReason::ProtectedNamespace, seen.settings.patience(&seen.now), why));
    }
    let why = seen.neighbours.unmanaged.first()?;
    let again = after(&seen.now, seen.settings.suppression.look_again);
    Some(hold(BlockReason::Unmanaged, again, why.clone()))
}

/// Another request works on what a step would change, or has waited longer for its turn to.
fn busy(steps: &[Step], seen: &Seen) -> Option<Hold> {
    let own = Working::of(&seen.request);
    let mut others: Vec<_> = seen.neighbours.working.iter().filter(|other| other.name != own.name).collect();
    others.sort_by(|one, other| one.order(other));
    let shared = |other: &Working| -> Option<TargetRef> {
        let touched = |target: &&TargetRef| other.touches.iter().any(|touched| budget::same(touched, target));
        steps.iter().map(|step| &step.target).find(touched).cloned()
    };
    let works = |other: &&&Working| matches!(other.phase, RequestPhase::Executing | RequestPhase::Verifying);
    let waits = |other: &&&Working| other.phase == RequestPhase::Blocked && other.order(&own) == Ordering::Less;
    let hold = |other: &Working, target: &TargetRef, what: &str| Hold {
        reason: BlockReason::ResourceBusy,
        by: Some(other.name.clone()),
        until: seen.settings.patience(&seen.now),
        message: format!("{} {what} {target}; this goes on when that ends", other.name),
        extends: false,
    };
    if let Some((other, target)) = others.iter().filter(works).find_map(|other| Some((other, shared(other)?))) {
        return Some(hold(other, &target, "works on"));
    }
    let (other, target) = others.iter().filter(waits).find_map(|other| Some((other, shared(other)?)))?;
    Some(hold(other, &target, "has waited longer for"))
}

/// None of the steps that come first may start. Where one may, the others wait for their turn by themselves.
fn over_budget(steps: &[Step], seen: &Seen) -> Option<Hold> {
    let request = seen.request.name_any();
    let first = steps.iter().filter(|step| step.depends_on.is_empty()).map(|step| Entry {
        name: names::execution(&request, &step.name),
        created: Working::of(&seen.request).created,
        uid: seen.request.uid().unwrap_or_default(),
        action: step.action.clone(),
        target: step.target.clone(),
        state: State::New,
        started: None,
        undoes: false,
    });
    let mut held = vec![];
    for step in first {
        held.push(budget::decide(&step, &seen.neighbours.executions, &seen.settings, &seen.now)?);
    }
    let held = held.into_iter().next()?;
    // A request does not hear of the end of another one's step.
    let again = after(&seen.now, seen.settings.suppression.look_again);
    Some(Hold { reason: held.reason, by: None, until: held.until.min(again), message: held.message, extends: false })
}

/// Holds a request back. While nothing is new there is nothing to write.
pub(super) fn block(status: &mut RemediationRequestStatus, hold: Hold, seen: &Seen) {
    let now = &seen.now;
    let blocked = status.phase == Some(RequestPhase::Blocked);
    let same = status.block_reason == Some(hold.reason) && status.blocked_by == hold.by;
    if blocked && same && !passed(status.next_attempt_at.as_ref(), now) {
        return;
    }
    if hold.extends {
        let limits = seen.settings.limits.with(seen.request.spec.timeouts.as_ref());
        let deadline = after(&hold.until, limits.request);
        status.deadline = status.deadline.take().max(Some(deadline));
    }
    let why = Why::new(hold.reason.to_string(), hold.message);
    if blocked {
        explain(status, why, now);
    } else {
        enter(status, RequestPhase::Blocked, now, why);
    }
    status.phase_deadline.clone_from(&status.deadline);
    status.block_reason = Some(hold.reason);
    status.blocked_by = hold.by;
    status.next_attempt_at = Some(hold.until);
}

/// What is over or goes on is not held back.
pub(super) fn release(status: &mut RemediationRequestStatus) {
    (status.block_reason, status.blocked_by, status.next_attempt_at) = (None, None, None);
}
