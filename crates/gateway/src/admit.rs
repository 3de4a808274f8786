//! Whether an alert makes a request: one pure function of what exists, the time and the alert (R2.4).
//!
//! Every terminal phase and outcome holds back alike, so that no outcome re-opens the flood while the
//! alert still fires. An object that is being deleted counts as ended then.

use std::time::Duration;

use jiff::Timestamp;
use kubernaut_api::request::{RemediationRequest, RequestPhase};
use kubernaut_api::{Phase, ResourceExt, TargetRef};

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
    /// Whether it is over.
    pub stage: Stage,
}

/// Where a request stands, as far as a new alert is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not over.
    Open,
    /// Over since.
    Ended(Timestamp),
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
    HeldBack {
        /// Name of the request.
        name: String,
        /// Until when.
        until: Timestamp,
    },
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
            stage: stage(request),
        }
    }
}

/// Whether a request is over, and since when.
pub fn stage(request: &RemediationRequest) -> Stage {
    let deleted = request.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let status = request.status.as_ref();
    if !status.and_then(|status| status.phase).is_some_and(RequestPhase::is_terminal) {
        return deleted.map_or(Stage::Open, Stage::Ended);
    }
    let completed = status.and_then(|status| status.completed_at.as_ref()).map(|time| time.0);
    let recorded = status.and_then(|status| status.transitions.last()).map(|last| last.at.0);
    let created = request.metadata.creation_timestamp.as_ref().map(|time| time.0);
    Stage::Ended(completed.or(recorded).or(deleted).or(created).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Decides what is to be done with a firing alert, given all requests of its fingerprint.
pub fn admit(existing: &[Existing], now: Timestamp, cooldown: Duration) -> Admission {
    if let Some(open) = open(existing) {
        return Admission::Duplicate { name: open.name.clone() };
    }
    let last = existing
        .iter()
        .filter_map(|one| held_until(one.stage, cooldown).map(|until| (until, one)))
        .max_by_key(|(until, one)| (*until, one.episode));
    if let Some((until, one)) = last.filter(|(until, _)| *until > now) {
        return Admission::HeldBack { name: one.name.clone(), until };
    }
    let episodes = existing.iter().map(|one| one.episode);
    Admission::Create { episode: episodes.max().unwrap_or(0).saturating_add(1) }
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
    existing.iter().filter(|one| one.stage == Stage::Open).min_by_key(|one| one.episode)
}

/// Until when a request that is over holds further ones back.
pub fn held_until(stage: Stage, cooldown: Duration) -> Option<Timestamp> {
    match stage {
        Stage::Open => None,
        Stage::Ended(at) => Some(at.saturating_add(cooldown).unwrap_or(Timestamp::MAX)),
    }
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
    use kubernaut_api::MicroTime;
    use kubernaut_api::request::{Outcome, RemediationRequestSpec, RemediationRequestStatus};

    use super::*;

    const COOLDOWN: Duration = Duration::from_mins(5);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pod(name: &str) -> TargetRef {
        TargetRef { kind: "Pod".into(), namespace: Some("shop".into()), name: name.into(), ..TargetRef::default() }
    }

    fn existing(episode: u32, stage: Stage) -> Existing {
        Existing { name: format!("rr-x-{episode}"), episode, alert: "Down".into(), resource: Some(pod("web-1")), stage }
    }

    fn check(existing: &[Existing], expect: &Admission) {
        assert_eq!(&admit(existing, at(1000), COOLDOWN), expect, "{existing:?}");
    }

    #[test]
    fn a_firing_alert_makes_one_request_and_is_then_counted() {
        check(&[], &Admission::Create { episode: 1 });
        check(&[existing(1, Stage::Open)], &Admission::Duplicate { name: "rr-x-1".into() });
        let both = [existing(2, Stage::Open), existing(1, Stage::Ended(at(990)))];
        check(&both, &Admission::Duplicate { name: "rr-x-2".into() });
        let two = [existing(3, Stage::Open), existing(2, Stage::Open)];
        check(&two, &Admission::Duplicate { name: "rr-x-2".into() });
    }

    #[test]
    fn inside_the_cooldown_it_is_held_back_and_after_it_a_new_episode_begins() {
        let held = |until| Admission::HeldBack { name: "rr-x-1".into(), until: at(until) };
        check(&[existing(1, Stage::Ended(at(1000)))], &held(1300));
        check(&[existing(1, Stage::Ended(at(701)))], &held(1001));
        check(&[existing(1, Stage::Ended(at(700)))], &Admission::Create { episode: 2 });
        let many = [existing(7, Stage::Ended(at(100))), existing(3, Stage::Ended(at(200)))];
        check(&many, &Admission::Create { episode: 8 });
        check(
            &[existing(1, Stage::Ended(at(500))), existing(2, Stage::Ended(at(900)))],
            &Admission::HeldBack { name: "rr-x-2".into(), until: at(1200) },
        );
    }

    #[test]
    fn resolved_settles_the_open_request_and_never_opens_one() {
        let own = pod("web-1");
        let settle = |existing: &[Existing]| settle(existing, "Down", Some(&own));
        assert_eq!(settle(&[]), Settlement::Ignore);
        assert_eq!(settle(&[existing(1, Stage::Ended(at(100)))]), Settlement::Ignore);
        assert_eq!(settle(&[existing(1, Stage::Ended(at(999)))]), Settlement::Ignore);
        assert_eq!(settle(&[existing(1, Stage::Open)]), Settlement::Resolve { name: "rr-x-1".into() });
    }

    #[test]
    fn another_alert_or_another_pod_does_not_settle_it() {
        let open = [existing(4, Stage::Open)];
        let (own, sibling) = (pod("web-1"), pod("web-2"));
        for (alert, resource) in [("Slow", Some(&own)), ("Down", Some(&sibling)), ("Down", None)] {
            assert_eq!(settle(&open, alert, resource), Settlement::StillFiring { name: "rr-x-4".into() });
        }
    }

    fn spec() -> RemediationRequestSpec {
        serde_json::from_value(serde_json::json!({
            "signal": {"source": "alertmanager", "name": "Down", "fingerprint": "0".repeat(64)}
        }))
        .unwrap()
    }

    fn request(phase: Option<RequestPhase>, outcome: Option<Outcome>) -> RemediationRequest {
        let mut request = RemediationRequest::new("rr-x-1", spec());
        request.status = Some(RemediationRequestStatus {
            phase,
            outcome,
            completed_at: Some(MicroTime(at(900))),
            ..RemediationRequestStatus::default()
        });
        request
    }

    #[test]
    fn every_phase_is_open_or_holds_back() {
        assert_eq!(stage(&request(None, None)), Stage::Open);
        for phase in RequestPhase::ALL {
            let expect = if phase.is_terminal() { Stage::Ended(at(900)) } else { Stage::Open };
            assert_eq!(stage(&request(Some(*phase), None)), expect, "{phase}");
        }
    }

    #[test]
    fn every_outcome_holds_back() {
        use Outcome::{DryRun, Inconclusive, ManualReviewRequired, NoActionRequired, Remediated, RolledBack};
        for outcome in [Remediated, NoActionRequired, ManualReviewRequired, Inconclusive, RolledBack, DryRun] {
            let ended = Existing::of(&request(Some(RequestPhase::Completed), Some(outcome)));
            check(&[ended], &Admission::HeldBack { name: "rr-x-1".into(), until: at(1200) });
        }
    }

    #[test]
    fn an_end_without_a_time_is_dated_by_what_else_is_known() {
        let mut ended = request(Some(RequestPhase::Failed), None);
        ended.status.as_mut().unwrap().completed_at = None;
        assert_eq!(stage(&ended), Stage::Ended(Timestamp::UNIX_EPOCH));
        ended.metadata.creation_timestamp = Some(kubernaut_api::Time(at(800)));
        assert_eq!(stage(&ended), Stage::Ended(at(800)));
    }

    #[test]
    fn one_that_is_being_deleted_is_over() {
        let mut deleted = request(Some(RequestPhase::Executing), None);
        deleted.metadata.deletion_timestamp = Some(kubernaut_api::Time(at(950)));
        assert_eq!(stage(&deleted), Stage::Ended(at(950)));
    }
}
