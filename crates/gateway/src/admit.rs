//! Whether an alert makes a request: one pure function of what exists, the time and the alert (R2.4).
//!
//! Deliberately absent: for how long an end holds back. That is `kubernaut_domain::suppression`, which the
//! controller of requests asks too. Only a cooldown is held back here, without an object. What else holds
//! a request back is shown on the request itself: it is made, is Blocked, and counts further alerts.

use jiff::Timestamp;
use kubernaut_api::request::RemediationRequest;
use kubernaut_api::{BlockReason, MicroTime, ResourceExt, TargetRef};
use kubernaut_domain::settings::Suppression;
use kubernaut_domain::suppression::{self, Alert, Held, Past, Question, Verdict};

/// An existing request of the same fingerprint.
#[derive(Clone, Debug, PartialEq)]
pub struct Existing {
    /// Its name.
    pub name: String,
    /// Its episode.
    pub episode: u32,
    /// Name of the alert that it was made for.
    pub alert: String,
    /// The object that this alert named.
    pub resource: Option<TargetRef>,
    /// How it ended; `None` while it is open.
    pub past: Option<Past>,
}

/// What is to be done with a firing alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Make a request.
    Create {
        /// Number of the episode.
        episode: u32,
    },
    /// Count it on the open request.
    Duplicate {
        /// Name of the request.
        name: String,
    },
    /// Count it on the request that ended a moment ago.
    HeldBack(Held),
}

/// What is to be done with a resolved alert. It never makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Record on the open request that the trouble is over.
    Resolve {
        /// Name of the request.
        name: String,
    },
    /// Another alert about the target, or another pod of it, may still fire.
    StillFiring {
        /// Name of the open request.
        name: String,
    },
    /// No request is open.
    Ignore,
}

impl Existing {
    /// What counts of a request.
    pub fn of(request: &RemediationRequest) -> Self {
        Self {
            name: request.name_any(),
            episode: request.spec.episode,
            alert: request.spec.signal.name.clone(),
            resource: request.spec.resource.clone(),
            past: Past::of(request),
        }
    }
}

/// Decides what is to be done with a firing alert, given all requests of its fingerprint.
pub fn admit(existing: &[Existing], now: Timestamp, policy: &Suppression) -> Admission {
    if let Some(open) = open(existing) {
        return Admission::Duplicate { name: open.name.clone() };
    }
    let past: Vec<_> = existing.iter().filter_map(|one| one.past.clone()).collect();
    let now = MicroTime(now);
    let question = Question { past: &past, alert: Alert::Firing, began: &now, now: &now, policy };
    match suppression::decide(&question) {
        Verdict::Held(held) if held.reason == BlockReason::Cooldown => Admission::HeldBack(held),
        Verdict::Held(_) | Verdict::Proceed { .. } | Verdict::Over => {
            let episodes = existing.iter().map(|one| one.episode);
            Admission::Create { episode: episodes.max().unwrap_or(0).saturating_add(1) }
        }
    }
}

/// Decides what is to be done with a resolved alert, given all requests of its fingerprint.
///
/// It settles the request only when it is the alert that the request was made for, about the same
/// object: one healthy pod does not speak for its siblings. A request that is wrongly taken for
/// resolved would be cancelled, whereas one that is not so taken is verified by health.
pub fn settle(existing: &[Existing], alert: &str, resource: Option<&TargetRef>) -> Settlement {
    match open(existing) {
        None => Settlement::Ignore,
        Some(open) if open.alert == alert && same(open.resource.as_ref(), resource) => {
            Settlement::Resolve { name: open.name.clone() }
        }
        Some(open) => Settlement::StillFiring { name: open.name.clone() },
    }
}

fn open(existing: &[Existing]) -> Option<&Existing> {
    existing.iter().filter(|one| one.past.is_none()).min_by_key(|one| one.episode)
}

/// The same object, whichever incarnation.
fn same(one: Option<&TargetRef>, other: Option<&TargetRef>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            one.kind == other.kind && one.namespace == other.namespace && one.name == other.name
        }
        (one, other) => one.is_none() && other.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use kubernaut_api::{Outcome, RequestPhase};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pod(name: &str) -> TargetRef {
        TargetRef { kind: "Pod".into(), namespace: Some("shop".into()), name: name.into(), ..TargetRef::default() }
    }

    fn open(episode: u32) -> Existing {
        let (alert, resource) = ("Down".into(), Some(pod("web-1")));
        Existing { name: format!("rr-x-{episode}"), episode, alert, resource, past: None }
    }

    /// One that ended in this second and did something.
    fn ended(episode: u32, second: i64, phase: RequestPhase) -> Existing {
        let past = Past {
            name: format!("rr-x-{episode}"),
            began: MicroTime(at(second - 50)),
            ended: MicroTime(at(second)),
            phase,
            outcome: (phase == RequestPhase::Completed).then_some(Outcome::Remediated),
            executed: true,
            tried: true,
        };
        Existing { past: Some(past), ..open(episode) }
    }

    fn check(existing: &[Existing], expect: &Admission) {
        assert_eq!(&admit(existing, at(1000), &Suppression::default()), expect, "{existing:?}");
    }

    fn check_held(existing: &[Existing], name: &str, until: i64) {
        match admit(existing, at(1000), &Suppression::default()) {
            Admission::HeldBack(held) => assert_eq!((held.by.as_str(), held.until.0), (name, at(until))),
            other => panic!("{other:?} for {existing:?}"),
        }
    }

    #[test]
    fn a_firing_alert_makes_one_request_and_is_then_counted() {
        check(&[], &Admission::Create { episode: 1 });
        check(&[open(1)], &Admission::Duplicate { name: "rr-x-1".into() });
        let both = [open(2), ended(1, 990, RequestPhase::Completed)];
        check(&both, &Admission::Duplicate { name: "rr-x-2".into() });
        check(&[open(3), open(2)], &Admission::Duplicate { name: "rr-x-2".into() });
    }

    #[test]
    fn inside_the_cooldown_it_is_held_back_and_after_it_a_new_episode_begins() {
        for phase in [RequestPhase::Completed, RequestPhase::Failed, RequestPhase::TimedOut, RequestPhase::Cancelled] {
            check_held(&[ended(1, 1000, phase)], "rr-x-1", 1300);
            check_held(&[ended(1, 701, phase)], "rr-x-1", 1001);
            check(&[ended(1, 700, phase)], &Admission::Create { episode: 2 });
        }
        let completed = RequestPhase::Completed;
        check(&[ended(7, 100, completed), ended(3, 200, completed)], &Admission::Create { episode: 8 });
        check_held(&[ended(1, 500, completed), ended(2, 900, completed)], "rr-x-2", 1200);
    }

    #[test]
    fn what_failed_or_did_not_last_several_times_makes_a_request_that_shows_it() {
        for phase in [RequestPhase::Failed, RequestPhase::Completed] {
            let three = [ended(1, 500, phase), ended(2, 600, phase), ended(3, 700, phase)];
            check(&three, &Admission::Create { episode: 4 });
            let still_cooling = [ended(1, 500, phase), ended(2, 600, phase), ended(3, 800, phase)];
            check_held(&still_cooling, "rr-x-3", 1100);
        }
    }

    #[test]
    fn resolved_settles_the_open_request_and_never_opens_one() {
        let own = pod("web-1");
        let settle = |existing: &[Existing]| settle(existing, "Down", Some(&own));
        assert_eq!(settle(&[]), Settlement::Ignore);
        assert_eq!(settle(&[ended(1, 100, RequestPhase::Completed)]), Settlement::Ignore);
        assert_eq!(settle(&[ended(1, 999, RequestPhase::Failed)]), Settlement::Ignore);
        assert_eq!(settle(&[open(1)]), Settlement::Resolve { name: "rr-x-1".into() });
    }

    #[test]
    fn another_alert_or_another_pod_does_not_settle_it() {
        let open = [open(4)];
        let (own, sibling) = (pod("web-1"), pod("web-2"));
        for (alert, resource) in [("Slow", Some(&own)), ("Down", Some(&sibling)), ("Down", None)] {
            assert_eq!(settle(&open, alert, resource), Settlement::StillFiring { name: "rr-x-4".into() });
        }
    }
}
