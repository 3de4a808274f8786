//! Which logs are worth reading, and their lines: redacted as a whole, then cut.

use std::collections::BTreeMap;

use kubernaut_api::evidence::{ContainerLog, ContainerState, PodEvidence};
use kubernaut_domain::redact::{bounded, redact};

use super::pods::is_failing;

/// Logs at most.
const LOGS: usize = 8;
/// Pods of one owner whose log of the same container is read: the third says what the first two say.
const ALIKE: usize = 2;

/// Logs of failing containers, still without lines: the run before first, then the present one.
pub fn wanted(pods: &[PodEvidence]) -> Vec<ContainerLog> {
    let mut alike: BTreeMap<(Option<&str>, &str), usize> = BTreeMap::new();
    let mut wanted = Vec::new();
    for pod in pods.iter().filter(|pod| !pod.terminating) {
        for container in pod.containers.iter().filter(|container| is_failing(container)) {
            let seen = alike.entry((pod.owner.as_deref(), container.name.as_str())).or_default();
            let runs = runs(container);
            if runs.is_empty() || *seen == ALIKE {
                continue;
            }
            *seen += 1;
            wanted.extend(runs.iter().map(|previous| ContainerLog {
                pod: pod.name.clone(),
                container: container.name.clone(),
                previous: *previous,
                lines: Vec::new(),
            }));
        }
    }
    wanted.truncate(LOGS);
    wanted
}

/// Lines of a log: redacted before they are cut, the last ones of the text.
pub fn lines(text: &str, at_most: i64) -> Vec<String> {
    let text = redact(text);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let at_most = usize::try_from(at_most).unwrap_or_default().min(50);
    lines[lines.len().saturating_sub(at_most)..].iter().map(|line| bounded(line, 512)).collect()
}

/// Of a container that ran: true for the run before the present one, false for the present one.
fn runs(container: &ContainerState) -> &'static [bool] {
    match (container.restarts > 0, container.state.as_str()) {
        (true, "Running") => &[true, false],
        (true, "Waiting") => &[true],
        // While it is ended, the present run is the last one.
        (true, _) | (false, "Running" | "Terminated") => &[false],
        (false, _) => &[],
    }
}
