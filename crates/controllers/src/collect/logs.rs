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
    for pod in pods.iter().filter(|pod| !pod.terminating && pod.phase != "Succeeded") {
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

#[cfg(test)]
mod tests {
    use kubernaut_api::evidence::Termination;

    use super::*;

    fn pod(name: &str, restarts: i32, state: &str) -> PodEvidence {
        let ended = (restarts > 0).then(|| Termination { exit_code: 1, ..Termination::default() });
        let container = ContainerState {
            name: "app".into(),
            restarts,
            state: state.into(),
            last_termination: ended,
            ..ContainerState::default()
        };
        PodEvidence {
            name: name.into(),
            owner: Some("rs".into()),
            containers: vec![container],
            ..PodEvidence::default()
        }
    }

    #[track_caller]
    fn check(pods: &[PodEvidence], expected: &[(&str, bool)]) {
        let wanted = wanted(pods);
        let wanted: Vec<_> = wanted.iter().map(|log| (log.pod.as_str(), log.previous)).collect();
        assert_eq!(wanted, expected);
    }

    #[test]
    fn the_run_before_comes_first_and_what_never_ran_has_no_log() {
        check(&[pod("a", 2, "Running")], &[("a", true), ("a", false)]);
        check(&[pod("a", 2, "Waiting")], &[("a", true)]);
        check(&[pod("a", 2, "Terminated"), pod("b", 0, "Terminated")], &[("a", false), ("b", false)]);
        check(&[pod("a", 0, "Waiting")], &[]);
    }

    #[test]
    fn two_pods_of_a_kind_are_enough() {
        let pods: Vec<_> = ["a", "b", "c"].map(|name| pod(name, 1, "Waiting")).into();
        check(&pods, &[("a", true), ("b", true)]);
    }

    #[test]
    fn lines_are_the_last_ones_bounded_and_free_of_secrets() {
        let text =
            format!("first\n\nsecond token=c4n4ry\r\n{}\n-----BEGIN RSA PRIVATE KEY-----\nc4n4ry\n", "x".repeat(600));
        let lines = lines(&text, 3);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "second token=[redacted]");
        assert_eq!(lines[1].chars().count(), 512);
        assert!(!lines.concat().contains("c4n4ry"));
    }
}
