//! Leader election on a Lease: which of several processes works.
//!
//! [`step`] decides, without client or clock; [`run`] carries it out. As in client-go, a lease expires by
//! this process's own monotonic clock, counted from when it first saw the record as it is: the
//! timestamps in the record come from another machine's clock and are never compared.
//! Deliberately absent: fencing. A paused leader may still write for a moment after another took over;
//! derived names, resource versions and preconditions keep that harmless.

mod run;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::core::ObjectMeta;
use tokio::time::Instant;

use crate::config::{Config, Role};

pub use run::{LeaseError, register, run};

/// Which lease, for whom, and how patient. `retry_period < renew_deadline < lease_duration`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub name: String,
    /// Name of this process, unlike every other's.
    pub identity: String,
    /// How long after its last sign of life a leader is replaced.
    pub lease_duration: Duration,
    /// How long a leader tries to renew before it counts the lease as lost.
    pub renew_deadline: Duration,
    /// How often the leader renews and the others look.
    pub retry_period: Duration,
}

/// The lease as this process last read or wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The object, with its resource version.
    pub lease: Lease,
    /// When this process first saw this state of it.
    pub since: Instant,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nobody holds the lease: take it.
    Acquire,
    /// This process holds the lease: show a sign of life.
    Renew,
    /// Nothing to do before then.
    Wait {
        /// When to look again.
        until: Instant,
    },
    /// This process led and must not count on it any longer.
    Lost,
}

impl Settings {
    /// The settings of `leaderElection`, and who and where this process is.
    pub fn from_config(config: &Config) -> Self {
        let election = &config.leader_election;
        Self {
            namespace: config.namespace.clone(),
            name: lease_name(config),
            identity: config.identity.clone(),
            lease_duration: election.lease_duration.std(),
            renew_deadline: election.renew_deadline.std(),
            retry_period: election.retry_period.std(),
        }
    }
}

/// Processes that run different parts do not stand against each other: one of them would never work.
fn lease_name(config: &Config) -> String {
    let name = &config.leader_election.lease_name;
    match (config.runs(Role::Controllers), config.runs(Role::Relay)) {
        (true, false) => format!("{name}-controllers"),
        (false, true) => format!("{name}-relay"),
        _ => name.clone(),
    }
}

/// Decides what a process does about the lease. `observed` is `None` when there is no such object;
/// `renewed` is when the last successful write began, and set means that this process leads.
pub fn step(now: Instant, observed: Option<&Observed>, renewed: Option<Instant>, settings: &Settings) -> Step {
    let holder = observed.and_then(|seen| holder(&seen.lease));
    if let Some(renewed) = renewed {
        let taken = holder.is_some_and(|holder| holder != settings.identity);
        return if taken || now >= renewed + settings.renew_deadline {
            Step::Lost
        } else if now >= renewed + settings.retry_period {
            Step::Renew
        } else {
            Step::Wait { until: renewed + settings.retry_period }
        };
    }
    match (observed, holder) {
        (Some(seen), Some(holder)) if holder != settings.identity => {
            let expires = seen.since + promised(&seen.lease).unwrap_or(settings.lease_duration);
            if now >= expires { Step::Acquire } else { Step::Wait { until: expires.min(now + settings.retry_period) } }
        }
        // Free, or of its own name: then an earlier process of the same pod, which is certainly gone.
        _ => Step::Acquire,
    }
}

/// Who holds the lease; `None` when it is free.
pub fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// The lease as this process writes it: `current` (none: a new object), held by `settings.identity`.
/// The resource version stays, so that the write fails if anyone else wrote in between.
pub fn held(current: Option<&Lease>, settings: &Settings, now: Timestamp) -> Lease {
    let mut lease = current.cloned().unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(settings.name.clone()),
            namespace: Some(settings.namespace.clone()),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    let renewing = holder(&lease) == Some(settings.identity.as_str());
    let spec = lease.spec.get_or_insert_default();
    if !renewing {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(current.map_or(0, |_| spec.lease_transitions.unwrap_or(0).saturating_add(1)));
    }
    spec.holder_identity = Some(settings.identity.clone());
    spec.lease_duration_seconds = Some(whole_seconds(settings.lease_duration));
    spec.renew_time = Some(MicroTime(now));
    lease
}

/// The lease given up: whoever looks next takes it at once.
pub fn released(current: &Lease, now: Timestamp) -> Lease {
    let mut lease = current.clone();
    let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
    lease.spec = Some(LeaseSpec {
        holder_identity: None,
        lease_duration_seconds: Some(1),
        lease_transitions: transitions,
        renew_time: Some(MicroTime(now)),
        ..LeaseSpec::default()
    });
    lease
}

fn promised(lease: &Lease) -> Option<Duration> {
    let seconds = lease.spec.as_ref()?.lease_duration_seconds?;
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// Rounded up: a lease must not expire for others before it does for its holder.
fn whole_seconds(duration: Duration) -> i32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { identity: "me".to_owned(), ..Settings::from_config(&Config::default()) }
    }

    fn lease_of(holder: Option<&str>) -> Lease {
        let spec = LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A moment, in seconds after an arbitrary beginning.
    struct Clock(Instant);

    impl Clock {
        fn at(&self, seconds: u64) -> Instant {
            self.0 + secs(seconds)
        }
    }

    /// A candidate's step at 100 s, having first seen a lease of `holder` at `since`.
    fn candidate(holder: Option<&str>, since: u64) -> (Clock, Step) {
        let clock = Clock(Instant::now());
        let observed = Observed { lease: lease_of(holder), since: clock.at(since) };
        let step = step(clock.at(100), Some(&observed), None, &settings());
        (clock, step)
    }

    /// A leader's step at `now`, having renewed at 100 s and seen a lease of `holder`.
    fn leader(holder: Option<&str>, now: u64) -> (Clock, Step) {
        let clock = Clock(Instant::now());
        let observed = Observed { lease: lease_of(holder), since: clock.at(100) };
        let step = step(clock.at(now), Some(&observed), Some(clock.at(100)), &settings());
        (clock, step)
    }

    #[test]
    fn processes_of_different_roles_do_not_stand_for_the_same_lease() {
        let name = |roles: &[Role]| Settings::from_config(&Config { roles: roles.to_vec(), ..Config::default() }).name;
        assert_eq!(name(&[Role::Gateway, Role::Controllers, Role::Relay]), "kubernaut-leader");
        assert_eq!(name(&[Role::Controllers, Role::Gateway]), "kubernaut-leader-controllers");
        assert_eq!(name(&[Role::Relay]), "kubernaut-leader-relay");
    }

    #[test]
    fn takes_a_lease_that_does_not_exist() {
        assert_eq!(step(Instant::now(), None, None, &settings()), Step::Acquire);
    }

    #[test]
    fn takes_a_lease_that_is_free_or_of_its_own_name_at_once() {
        for holder in [None, Some(""), Some("me")] {
            assert_eq!(candidate(holder, 100).1, Step::Acquire, "{holder:?}");
        }
    }

    #[test]
    fn looks_again_every_retry_period_while_another_leads() {
        let (clock, step) = candidate(Some("other"), 99);
        assert_eq!(step, Step::Wait { until: clock.at(102) });
    }

    #[test]
    fn looks_again_no_later_than_the_lease_expires() {
        let (clock, step) = candidate(Some("other"), 86);
        assert_eq!(step, Step::Wait { until: clock.at(101) });
    }

    #[test]
    fn takes_over_once_it_has_seen_no_change_for_the_lease_duration() {
        assert_eq!(candidate(Some("other"), 85).1, Step::Acquire);
    }

    #[test]
    fn the_holders_clock_does_not_matter() {
        let clock = Clock(Instant::now());
        for renewed in ["1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
            let mut lease = lease_of(Some("other"));
            lease.spec.as_mut().unwrap().renew_time = Some(MicroTime(renewed.parse().unwrap()));
            let observed = Observed { lease, since: clock.at(100) };
            let early = step(clock.at(101), Some(&observed), None, &settings());
            assert!(matches!(early, Step::Wait { .. }), "{renewed}: {early:?}");
            assert_eq!(step(clock.at(115), Some(&observed), None, &settings()), Step::Acquire, "{renewed}");
        }
    }

    #[test]
    fn the_duration_that_the_holder_promised_counts() {
        let clock = Clock(Instant::now());
        for (promised, expect) in [(Some(60), 160), (Some(0), 115), (None, 115)] {
            let mut lease = lease_of(Some("other"));
            lease.spec.as_mut().unwrap().lease_duration_seconds = promised;
            let observed = Observed { lease, since: clock.at(100) };
            let at = |seconds| step(clock.at(seconds), Some(&observed), None, &settings());
            assert_ne!(at(expect - 1), Step::Acquire, "{promised:?}");
            assert_eq!(at(expect), Step::Acquire, "{promised:?}");
        }
    }

    #[test]
    fn a_leader_renews_once_per_retry_period() {
        let (clock, step) = leader(Some("me"), 101);
        assert_eq!(step, Step::Wait { until: clock.at(102) });
        assert_eq!(leader(Some("me"), 102).1, Step::Renew);
    }

    #[test]
    fn a_leader_that_cannot_renew_tries_on_until_its_deadline() {
        assert_eq!(leader(Some("me"), 109).1, Step::Renew);
        assert_eq!(leader(Some("me"), 110).1, Step::Lost);
    }

    #[test]
    fn a_leader_whose_lease_another_took_has_lost_it_at_once() {
        assert_eq!(leader(Some("other"), 101).1, Step::Lost);
    }

    #[test]
    fn a_leader_whose_lease_was_deleted_or_emptied_takes_it_back() {
        let clock = Clock(Instant::now());
        assert_eq!(step(clock.at(102), None, Some(clock.at(100)), &settings()), Step::Renew);
        assert_eq!(leader(None, 102).1, Step::Renew);
    }

    #[test]
    fn acquiring_counts_a_transition_and_renewing_does_not() {
        let (first, second): (Timestamp, Timestamp) =
            ("2026-01-01T00:00:00Z".parse().unwrap(), "2026-01-01T00:00:02Z".parse().unwrap());
        let mut other = lease_of(Some("other"));
        other.metadata.resource_version = Some("7".to_owned());
        other.spec.as_mut().unwrap().lease_transitions = Some(3);

        let mine = held(Some(&other), &settings(), first);
        assert_eq!(holder(&mine), Some("me"));
        assert_eq!(mine.metadata.resource_version.as_deref(), Some("7"));
        let spec = mine.spec.as_ref().unwrap();
        assert_eq!((spec.lease_transitions, &spec.acquire_time), (Some(4), &Some(MicroTime(first))));

        let renewed = held(Some(&mine), &settings(), second).spec.unwrap();
        assert_eq!((renewed.lease_transitions, renewed.acquire_time), (Some(4), Some(MicroTime(first))));
        assert_eq!(renewed.renew_time, Some(MicroTime(second)));
    }

    #[test]
    fn a_released_lease_is_free_and_keeps_its_count() {
        let now = Timestamp::UNIX_EPOCH;
        let mine = held(Some(&lease_of(Some("other"))), &settings(), now);
        let free = released(&mine, now);
        assert_eq!(holder(&free), None);
        assert_eq!(free.spec.unwrap().lease_transitions, Some(1));
    }

    #[test]
    fn a_fraction_of_a_second_is_rounded_up() {
        for (duration, expect) in [(1_500, 2), (15_000, 15), (1, 1)] {
            assert_eq!(whole_seconds(Duration::from_millis(duration)), expect);
        }
    }
}
