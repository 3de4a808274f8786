//! Keeps evidence within its size: what says least goes first.
//!
//! In this order: the oldest lines of the longest log, the oldest Events, the healthiest pods, the last
//! changes, the last dependencies; each upstream first, then of the target; last, whole workloads upstream. The
//! target, its revisions and what little stands around them stay.

use kubernaut_api::evidence::{ContainerLog, Evidence};
use serde::Serialize;

/// Leaves out as much as needed for the evidence to take at most so many bytes as JSON.
pub fn bound(evidence: &mut Evidence, bytes: usize) {
    let mut size = size(evidence);
    if size <= bytes {
        return;
    }
    evidence.truncated = true;
    // For the word `truncated` itself.
    size += 20;
    while size > bytes {
        let Some(freed) = drop_one(evidence) else { return };
        size = size.saturating_sub(freed);
    }
}

/// Drops what says least; how many bytes that freed, `None` when nothing is left to drop.
fn drop_one(evidence: &mut Evidence) -> Option<usize> {
    let upstream = &mut evidence.upstream;
    let logs = upstream.iter_mut().flat_map(|one| &mut one.logs).chain(&mut evidence.logs);
    if let Some(log) = logs.max_by_key(|log| length(log))
        && log.lines.len() > 1
    {
        return Some(size(&log.lines.remove(0)));
    }
    (upstream.iter_mut().find_map(|one| last(&mut one.logs)))
        .or_else(|| last(&mut evidence.logs))
        .or_else(|| upstream.iter_mut().find_map(|one| last(&mut one.events)))
        .or_else(|| last(&mut evidence.events))
        .or_else(|| upstream.iter_mut().find_map(|one| last(&mut one.pods)))
        .or_else(|| last(&mut evidence.pods))
        .or_else(|| upstream.iter_mut().find_map(|one| last(&mut one.changes)))
        .or_else(|| last(&mut evidence.changes))
        .or_else(|| last(&mut evidence.dependencies))
        .or_else(|| last(upstream))
}

/// Drops the last one; how many bytes that freed.
fn last<T: Serialize>(list: &mut Vec<T>) -> Option<usize> {
    list.pop().map(|one| size(&one))
}

fn length(log: &ContainerLog) -> usize {
    log.lines.iter().map(String::len).sum()
}

fn size(value: &impl Serialize) -> usize {
    serde_json::to_string(value).map_or(0, |json| json.len())
}

#[cfg(test)]
mod tests {
    use kubernaut_api::evidence::{Change, EventRecord, PodEvidence, Upstream, Workload};

    use super::*;

    fn large() -> Evidence {
        let lines = (0..50).map(|n| format!("{n} {}", "\"ß".repeat(250))).collect();
        let log = ContainerLog { lines, ..ContainerLog::default() };
        let event = EventRecord { message: "m".repeat(512), ..EventRecord::default() };
        let pod = PodEvidence { name: "p".repeat(253), ..PodEvidence::default() };
        let change = Change { before: "b".repeat(512), ..Change::default() };
        Evidence {
            workload: Some(Workload::default()),
            logs: vec![log; 8],
            events: vec![event; 32],
            pods: vec![pod; 20],
            changes: vec![change; 32],
            ..Evidence::default()
        }
    }

    #[test]
    fn what_fits_is_left_alone() {
        let mut evidence = Evidence { workload: Some(Workload::default()), ..Evidence::default() };
        let before = evidence.clone();
        bound(&mut evidence, 64 * 1024);
        assert_eq!(evidence, before);
    }

    #[test]
    fn the_oldest_log_lines_go_first_and_the_size_is_kept() {
        let mut evidence = large();
        bound(&mut evidence, 64 * 1024);
        assert!(size(&evidence) <= 64 * 1024 && size(&evidence) > 60 * 1024 && evidence.truncated);
        assert_eq!((evidence.events.len(), evidence.pods.len(), evidence.changes.len()), (32, 20, 32));
        assert!(evidence.logs.iter().all(|log| log.lines.last().is_some_and(|line| line.starts_with("49 "))));
    }

    #[test]
    fn of_two_alike_what_is_upstream_goes_first_and_the_target_stays() {
        let mut evidence = large();
        let logs = large().logs;
        let upstream = Upstream::of(Evidence { workload: Some(Workload::default()), logs, ..Evidence::default() });
        evidence.upstream = vec![upstream.unwrap(); 3];
        bound(&mut evidence, 64 * 1024);
        assert!(size(&evidence) <= 64 * 1024 && evidence.upstream.len() == 3 && evidence.events.len() == 32);
        assert_eq!((evidence.pods.len(), evidence.changes.len()), (20, 32));
        bound(&mut evidence, 100);
        assert!(evidence.upstream.is_empty() && evidence.workload.is_some());
    }

    #[test]
    fn the_workload_stays_whatever_the_bound() {
        let mut evidence = large();
        bound(&mut evidence, 100);
        assert!(evidence.workload.is_some() && evidence.logs.is_empty() && evidence.changes.is_empty());
    }
}
