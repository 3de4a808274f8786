//! How far an action may reach, and that nothing runs beyond it.

use kubernaut_api::ExecutionPhase;
use kubernaut_domain::blast::{Reach, Reached, exceeded, radius};
use kubernaut_domain::execution::JobPlan;
use kubernaut_domain::settings::BlastSettings;

use crate::execution::{advance, begun, walk};
use crate::given::{changed, target};

fn workload(name: &str, replicas: u32, watched: bool) -> Reached {
    Reached { workload: kubernaut_api::TargetRef { name: name.into(), ..target() }, replicas, watched }
}

/// Two workloads of a large namespace.
fn two() -> Reach {
    Reach {
        workloads: vec![workload("web", 3, true), workload("api", 2, true)],
        pods: 5,
        services: 2,
        pods_in_namespace: Some(100),
        ..Reach::default()
    }
}

fn node(all: u32, out: u32) -> Reach {
    Reach { nodes: 1, nodes_in_cluster: Some(all), nodes_out: out, ..Reach::default() }
}

#[test]
fn what_is_recorded_are_the_numbers_and_what_must_be_healthy_afterwards() {
    let mut reach = two();
    reach.workloads[1].watched = false;
    reach.more_workloads = 4;
    let radius = radius(&reach);
    assert_eq!((radius.pods, radius.replicas, radius.workloads, radius.services, radius.nodes), (5, 5, 6, 2, 0));
    assert_eq!(radius.watched.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["web"]);
}

#[test]
fn no_more_than_twenty_workloads_are_watched() {
    let workloads = (0..30).map(|number| workload(&format!("w{number}"), 1, true)).collect();
    assert_eq!(radius(&Reach { workloads, ..Reach::default() }).watched.len(), 20);
}

#[test]
fn each_bound_is_named_with_the_number_that_exceeds_it() {
    let settings = BlastSettings::default();
    let many = |count: u32| (0..count).map(|number| workload(&format!("w{number}"), 1, true)).collect::<Vec<_>>();
    let table = [
        (two(), None),
        (Reach { pods: 100, ..two() }, Some("100 of the namespace's 100 pods")),
        (
            Reach { pods: 101, workloads: many(1), pods_in_namespace: None, ..two() },
            Some("101 pods, more than execution.blastRadius.maxPods allows (100)"),
        ),
        (
            Reach { workloads: many(11), ..two() },
            Some("11 workloads, more than execution.blastRadius.maxWorkloads allows (10)"),
        ),
        (Reach { more_workloads: 9, ..two() }, Some("11 workloads")),
        (Reach { services: 21, ..two() }, Some("21 Services, more than execution.blastRadius.maxServices allows (20)")),
        (Reach { nodes: 2, ..node(100, 0) }, Some("2 nodes, more than execution.blastRadius.maxNodes allows (1)")),
    ];
    for (reach, expect) in table {
        let found = exceeded(&reach, &settings);
        match expect {
            None => assert_eq!(found, None, "{reach:?}"),
            Some(part) => assert!(found.as_ref().is_some_and(|found| found.contains(part)), "{found:?} {part}"),
        }
    }
}

#[test]
fn a_share_counts_only_in_a_pool_large_enough() {
    let settings = BlastSettings::default();
    for (pods, all, fits) in [(50, 100, true), (51, 100, false), (11, 21, false), (20, 20, true), (3, 3, true)] {
        let reach = Reach { pods, pods_in_namespace: Some(all), ..two() };
        assert_eq!(exceeded(&reach, &settings).is_none(), fits, "{pods} of {all} pods");
    }
    for (all, out, fits) in [(3, 0, true), (2, 1, true), (4, 0, true), (4, 1, false), (10, 2, true), (10, 3, false)] {
        assert_eq!(exceeded(&node(all, out), &settings).is_none(), fits, "{out} of {all} nodes are out already");
    }
}

#[test]
fn one_workload_is_bounded_by_the_number_of_its_pods_alone() {
    let one = Reach { workloads: vec![workload("web", 40, true)], pods: 40, pods_in_namespace: Some(40), ..two() };
    assert_eq!(exceeded(&one, &BlastSettings::default()), None);
}

#[test]
fn an_action_that_reaches_too_far_fails_before_there_is_a_job() {
    let mut seen = begun();
    seen.reach = Some(Reach { pods: 1000, ..two() });
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail.last().map(String::as_str), Some("Failed BlastRadiusExceeded"));
    assert_eq!(plan.job, JobPlan::Leave);
    assert_eq!(plan.status.blast_radius.map(|radius| radius.pods), Some(1000), "the number is recorded");
    assert_eq!(plan.notices.len(), 1);
}

#[test]
fn what_is_not_known_to_reach_no_further_is_not_run() {
    let mut seen = walk(ExecutionPhase::Validating);
    (seen.rehearsal, seen.reach) = (Some(changed()), None);
    assert_eq!(advance(&mut seen).1, ["Failed BlastRadiusUnknown"]);
}

#[test]
fn the_radius_is_written_together_with_the_transition() {
    let mut seen = begun();
    seen.reach = Some(two());
    let (plan, _) = advance(&mut seen);
    assert_eq!(plan.status.phase, Some(ExecutionPhase::Executing));
    assert_eq!(plan.status.blast_radius, Some(radius(&two())));
}
