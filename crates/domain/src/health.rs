//! Is a target healthy? One answer for the step's check and for the request's verification.

mod kinds;
mod restarts;

use kubernaut_api::evidence::Workload;

pub use kinds::{of_autoscaler, of_claim, of_cron_job, of_job, of_node, of_pod, of_service};
pub use restarts::{Restart, newest_restart};

/// Health of a target at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// As its spec wants it.
    Healthy,
    /// Not yet, and why.
    Unhealthy(String),
    /// The target does not exist any more.
    Gone,
    /// The target is of a kind whose health is not read: only the alert speaks of it.
    NotApplicable,
}

/// Health of a workload: its controller has seen the newest spec, and every replica is of the
/// newest template (unless its rollout is held back on purpose) and available.
pub fn of_workload(workload: &Workload) -> Health {
    let Workload { replicas, updated_replicas, ready_replicas, available_replicas, .. } = *workload;
    if workload.observed_generation < workload.generation {
        Health::Unhealthy("its controller has not seen the change yet".into())
    } else if updated_replicas < replicas && !workload.paused {
        Health::Unhealthy(format!("{updated_replicas} of {replicas} replicas are of the newest template"))
    } else if ready_replicas < replicas || available_replicas < replicas {
        Health::Unhealthy(format!("{} of {replicas} replicas are available", ready_replicas.min(available_replicas)))
    } else if workload.total_replicas > replicas {
        Health::Unhealthy(format!(
            "{} replicas of an older template are still there",
            workload.total_replicas - replicas
        ))
    } else {
        Health::Healthy
    }
}

/// The first that is not as it should be, with its name; healthy when at least one could be told and all are well.
pub fn all(parts: impl IntoIterator<Item = (String, Health)>) -> Health {
    let mut told = false;
    for (name, health) in parts {
        match health {
            Health::Healthy => told = true,
            Health::NotApplicable => {}
            Health::Gone if name.is_empty() => return Health::Gone,
            Health::Gone => return Health::Unhealthy(format!("{name} does not exist any more")),
            Health::Unhealthy(why) if name.is_empty() => return Health::Unhealthy(why),
            Health::Unhealthy(why) => return Health::Unhealthy(format!("{name}: {why}")),
        }
    }
    if told { Health::Healthy } else { Health::NotApplicable }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(replicas: i32, updated: i32, available: i32) -> Workload {
        Workload {
            replicas,
            total_replicas: replicas,
            updated_replicas: updated,
            ready_replicas: available,
            available_replicas: available,
            generation: 2,
            observed_generation: 2,
            ..Workload::default()
        }
    }

    #[test]
    fn a_workload_is_healthy_when_every_replica_is_new_and_available() {
        assert_eq!(of_workload(&workload(2, 2, 2)), Health::Healthy);
        assert_eq!(of_workload(&workload(0, 0, 0)), Health::Healthy);
    }

    #[test]
    fn a_workload_in_the_middle_of_a_rollout_is_not_healthy() {
        assert!(matches!(of_workload(&workload(2, 1, 2)), Health::Unhealthy(_)));
        assert!(matches!(of_workload(&workload(2, 2, 1)), Health::Unhealthy(_)));
        assert!(matches!(of_workload(&Workload { total_replicas: 3, ..workload(2, 2, 2) }), Health::Unhealthy(_)));
    }

    #[test]
    fn a_change_that_its_controller_has_not_seen_is_not_healthy() {
        let stale = Workload { generation: 3, ..workload(2, 2, 2) };
        assert!(matches!(of_workload(&stale), Health::Unhealthy(_)));
    }
}
