//! Whether a further request for the same trouble may proceed: one pure function of how the earlier ones
//! ended, the alert and the time (R2.4, R5.6). The gateway and the controller of requests ask it alike.
//!
//! Every end holds back, so that no outcome re-opens the flood while the alert still fires.

use std::time::Duration;

use kubernaut_api::{
    BlockReason, MicroTime, Outcome, Phase, RemediationRequest, RequestPhase, ResourceExt, Staged, Transition,
};

use crate::settings::{Cooldowns, Suppression};
use crate::stage::after;

/// An earlier request for the same, which is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub began: MicroTime,
    /// When it ended.
    pub ended: MicroTime,
    /// The terminal phase in which it ended.
    pub phase: RequestPhase,
    /// Its outcome.
    pub outcome: Option<Outcome>,
    /// Whether a workflow was begun that could change something.
    pub executed: bool,
    /// False when it was held back until its end: it says nothing about the trouble.
    pub tried: bool,
}

/// Whether the trouble goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// It fires, or nobody said that it does not.
    Firing,
    /// It is resolved.
    Resolved,
}

/// What is asked about one request, made or to be made.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The earlier requests for the same, in any order.
    pub past: &'a [Past],
    /// Whether the trouble goes on.
    pub alert: Alert,
    /// When the request was made; now, when it is to be made.
    pub began: &'a MicroTime,
    /// The time.
    pub now: &'a MicroTime,
    /// The settings.
    pub policy: &'a Suppression,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may proceed.
    Proceed {
        /// Why a person has to be asked, whatever the confidence of the plan is.
        ask_person: Option<String>,
    },
    /// It is held back.
    Held(Held),
    /// The trouble is over: nothing is to be done.
    Over,
}

/// Why a request is held back, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Why: Cooldown, RepeatedFailure or Ineffective.
    pub reason: BlockReason,
    /// Until when; later than now.
    pub until: MicroTime,
    /// Name of the last request that counts.
    pub by: String,
    /// Why, in words.
    pub message: String,
}

impl Past {
    /// What counts of a request; `None` while it is not over. One that is being deleted is over.
    pub fn of(request: &RemediationRequest) -> Option<Self> {
        let deleted = request.metadata.deletion_timestamp.as_ref().map(|time| MicroTime(time.0));
        let status = request.status.as_ref();
        let ended = request.phase().filter(|phase| phase.is_terminal());
        if ended.is_none() && deleted.is_none() {
            return None;
        }
        let completed = status.and_then(|status| status.completed_at.clone());
        let transitions = request.transitions();
        let recorded = transitions.last().map(|last| last.at.clone());
        let created = request.metadata.creation_timestamp.as_ref().map(|time| MicroTime(time.0));
        let at_end = if ended.is_some() { completed.or(recorded) } else { None };
        let end = at_end.or(deleted).or_else(|| created.clone()).unwrap_or(MicroTime(jiff::Timestamp::UNIX_EPOCH));
        let outcome = status.and_then(|status| status.outcome);
        let entered = |phase: RequestPhase| transitions.iter().any(|one| one.to == phase.to_string());
        let dry = request.spec.dry_run || outcome == Some(Outcome::DryRun);
        Some(Self {
            name: request.name_any(),
            began: created.or_else(|| request.spec.signal.received_at.clone()).unwrap_or_else(|| end.clone()),
            ended: end,
            phase: ended.unwrap_or(RequestPhase::Cancelled),
            outcome,
            executed: !dry && entered(RequestPhase::Executing),
            tried: !transitions.last().is_some_and(left_blocked),
        })
    }

    /// Until when its end alone holds back the next request.
    pub fn cools_until(&self, cooldowns: &Cooldowns) -> MicroTime {
        after(&self.ended, cooldown(self.phase, self.outcome, cooldowns))
    }

    /// What a person reads of how it ended.
    fn end(&self) -> String {
        match self.outcome {
            Some(outcome) if self.phase == RequestPhase::Completed => format!("{outcome:?}"),
            _ => self.phase.to_string(),
        }
    }

    /// True when it did something, and how that went is known to whoever counts.
    fn counts_as_round(&self) -> bool {
        self.executed && self.phase != RequestPhase::Cancelled
    }
}

fn left_blocked(last: &Transition) -> bool {
    last.from.as_deref().is_some_and(|from| from == RequestPhase::Blocked.to_string())
}

/// How long an end holds back the next request.
fn cooldown(phase: RequestPhase, outcome: Option<Outcome>, of: &Cooldowns) -> Duration {
    match phase {
        RequestPhase::Failed => of.failed,
        RequestPhase::TimedOut => of.timed_out,
        RequestPhase::Cancelled => of.cancelled,
        RequestPhase::Completed => match outcome {
            Some(Outcome::Remediated) => of.remediated,
            Some(Outcome::NoActionRequired) => of.no_action_required,
            Some(Outcome::Inconclusive) => of.inconclusive,
            Some(Outcome::RolledBack) => of.rolled_back,
            Some(Outcome::DryRun) => of.dry_run,
            Some(Outcome::ManualReviewRequired) | None => of.manual_review_required,
        },
        RequestPhase::Pending
        | RequestPhase::Processing
        | RequestPhase::Analyzing
        | RequestPhase::AwaitingApproval
        | RequestPhase::Executing
        | RequestPhase::Verifying
        | RequestPhase::Blocked => Duration::ZERO,
    }
}

/// Decides whether a request may proceed.
///
/// A cooldown is named first: it is the shortest and needs no object to show it. Of the other two the one
/// that holds longer counts.
pub fn decide(question: &Question<'_>) -> Verdict {
    if question.alert == Alert::Resolved {
        return Verdict::Over;
    }
    let mut past: Vec<&Past> = question.past.iter().collect();
    past.sort_by(|one, other| (&other.ended, &other.name).cmp(&(&one.ended, &one.name)));
    let holds = |held: &Held| held.until > *question.now;
    if let Some(held) = cooling(&past, question.policy).filter(holds) {
        return Verdict::Held(held);
    }
    let rounds = ineffective(&past, question);
    let held = [failing(&past, question.policy), rounds.as_ref().map(|rounds| paused(rounds, question.policy))];
    if let Some(held) = held.into_iter().flatten().filter(holds).max_by(|one, other| one.until.cmp(&other.until)) {
        return Verdict::Held(held);
    }
    Verdict::Proceed { ask_person: rounds.map(|rounds| rounds.message) }
}

fn cooling(past: &[&Past], policy: &Suppression) -> Option<Held> {
    let until = |one: &Past| one.cools_until(&policy.cooldown);
    let last = past.iter().max_by(|one, other| until(one).cmp(&until(other)))?;
    let until = until(last);
    Some(Held {
        reason: BlockReason::Cooldown,
        message: format!("{} ended as {}: a cooldown until {}", last.name, last.end(), until.0),
        until,
        by: last.name.clone(),
    })
}

/// Failures in a row; what was cancelled or never tried is passed over.
fn failing(past: &[&Past], policy: &Suppression) -> Option<Held> {
    let tried = past.iter().filter(|one| one.tried && one.phase != RequestPhase::Cancelled);
    let failed = |one: &&&Past| matches!(one.phase, RequestPhase::Failed | RequestPhase::TimedOut);
    let failures: Vec<_> = tried.take_while(failed).collect();
    let last = failures.first()?;
    if failures.len() < usize::try_from(policy.failures).unwrap_or(usize::MAX) {
        return None;
    }
    let until = after(&last.ended, policy.failure_hold);
    Some(Held {
        reason: BlockReason::RepeatedFailure,
        message: format!(
            "the last {} requests for this failed, {} last ({}): held back until {}",
            failures.len(),
            last.name,
            last.end(),
            until.0
        ),
        until,
        by: last.name.clone(),
    })
}

/// Rounds that did something and did not last.
struct Rounds {
    last: Past,
    message: String,
}

/// The rounds, newest first, each of which was followed by the same trouble within the window, if there
/// are as many as the policy allows. Success counts too: what has to be mended again and again is not.
fn ineffective(past: &[&Past], question: &Question<'_>) -> Option<Rounds> {
    let mut again = question.began;
    let mut rounds = vec![];
    for one in past {
        if after(&one.ended, question.policy.ineffective_window) < *again {
            break;
        }
        if one.counts_as_round() {
            rounds.push(*one);
        }
        again = &one.began;
    }
    if rounds.len() < usize::try_from(question.policy.ineffective).unwrap_or(usize::MAX) {
        return None;
    }
    let last = (*rounds.first()?).clone();
    let message = format!(
        "what {} requests did for this did not last, {} last ({}): a person has to be asked",
        rounds.len(),
        last.name,
        last.end()
    );
    Some(Rounds { last, message })
}

fn paused(rounds: &Rounds, policy: &Suppression) -> Held {
    let until = after(&rounds.last.ended, policy.ineffective_hold);
    Held {
        reason: BlockReason::Ineffective,
        message: format!("{}, after a pause until {}", rounds.message, until.0),
        until,
        by: rounds.last.name.clone(),
    }
}
