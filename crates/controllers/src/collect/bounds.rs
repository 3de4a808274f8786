//! Keeps evidence within its size: what says least goes first.
//!
//! In this order: the oldest lines of the longest log, the oldest Events, the healthiest pods, the last
//! changes. The workload and its revisions stay.

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
    if let Some(log) = evidence.logs.iter_mut().max_by_key(|log| length(log)) {
        if log.lines.len() > 1 {
            return Some(size(&log.lines.remove(0)));
        }
        return evidence.logs.pop().map(|log| size(&log));
    }
    let event = evidence.events.pop().map(|event| size(&event));
    let pod = || evidence.pods.pop().map(|pod| size(&pod));
    event.or_else(pod).or_else(|| evidence.changes.pop().map(|change| size(&change)))
}

fn length(log: &ContainerLog) -> usize {
    log.lines.iter().map(String::len).sum()
}

fn size(value: &impl Serialize) -> usize {
    serde_json::to_string(value).map_or(0, |json| json.len())
}
