//! The workloads behind broken dependencies, and behind theirs: where the cause may be.
//!
//! Read only while a dependency is broken; each workload once, at most [`MOST`] of them, at most [`DEPTH`] away.

use std::collections::BTreeSet;

use kubernaut_api::evidence::{Dependency, Evidence, Upstream};
use kubernaut_api::meta::TargetRef;

use super::read::{Gap, Reader};
use super::{target, whole};

/// Workloads that are read at most.
const MOST: usize = 3;
/// How many Services away from the target.
const DEPTH: usize = 3;

/// Follows the broken dependencies of a target.
pub async fn follow(reader: &Reader<'_>, evidence: &Evidence, gaps: &mut Vec<Gap>) -> Vec<Upstream> {
    let mut known: BTreeSet<String> = evidence.workload.iter().map(|workload| workload.object.to_string()).collect();
    let mut next = broken(&evidence.dependencies);
    let mut found: Vec<Upstream> = Vec::new();
    for _ in 0..DEPTH {
        let mut further = Vec::new();
        for workload in next {
            if found.len() == MOST || !known.insert(workload.to_string()) {
                continue;
            }
            let namespace = workload.namespace.clone().unwrap_or_default();
            let reader = Reader { namespace: &namespace, ..*reader };
            match target::beside(&reader, &workload, gaps).await {
                Ok(read) => {
                    let read = Box::pin(whole(&reader, read, gaps)).await;
                    further.extend(broken(&read.dependencies));
                    found.extend(Upstream::of(read).map(short));
                }
                Err(gap) => gaps.push(gap),
            }
        }
        next = further;
    }
    found
}

/// The workloads of Services that have no ready pod.
fn broken(dependencies: &[Dependency]) -> Vec<TargetRef> {
    let without = dependencies.iter().filter(|one| one.exists && one.selects && one.ready_endpoints == 0);
    without.filter_map(|one| one.workload.clone()).collect()
}

/// Less than about the target itself.
fn short(mut upstream: Upstream) -> Upstream {
    upstream.changes.truncate(16);
    upstream.pods.truncate(6);
    upstream.logs.truncate(2);
    upstream.events.truncate(12);
    upstream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_broken_and_has_a_workload_is_followed() {
        let one = |ready, workload: Option<&str>| Dependency {
            exists: true,
            selects: true,
            ready_endpoints: ready,
            workload: workload.map(|name| TargetRef { name: name.into(), ..TargetRef::default() }),
            ..Dependency::default()
        };
        let gone = Dependency { exists: false, ..one(0, Some("gone")) };
        let names: Vec<String> = broken(&[one(0, Some("a")), one(1, Some("b")), one(0, None), gone])
            .into_iter()
            .map(|one| one.name)
            .collect();
        assert_eq!(names, ["a"]);
    }
}
