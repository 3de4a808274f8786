//! Derived names: the API server's uniqueness of names is the lock against doing a thing twice
//!. A Job's name is a label value, hence the limit of 63 characters.

/// Longest name of a request, or of a workflow without one: `ke-<request>-<step>` must fit 63 characters.
pub const MAX_REQUEST_NAME: usize = 39;
/// Longest name of a workflow step.
pub const MAX_STEP_NAME: usize = 20;

/// Name of the request for one episode of a fingerprint (hex SHA-256; its first 12 digits count).
pub fn request(fingerprint: &str, episode: u32) -> String {
    let short: String = fingerprint.chars().take(12).collect();
    format!("rr-{short}-{episode}")
}

/// Name of the RemediationProcessing of a request.
pub fn processing(request: &str) -> String {
    format!("rp-{request}")
}

/// Name of the AIAnalysis of a request.
pub fn analysis(request: &str) -> String {
    format!("aia-{request}")
}

/// Name of the RemediationApproval of a request.
pub fn approval(request: &str) -> String {
    format!("rap-{request}")
}

/// Name of the WorkflowExecution of a request.
pub fn workflow(request: &str) -> String {
    format!("we-{request}")
}

/// Name of the KubernetesExecution of one step, and of its Job.
pub fn execution(request: &str, step: &str) -> String {
    format!("ke-{request}-{step}")
}

/// Name of the KubernetesExecution of a further attempt of one step, the first of which is 1: as long as the first
/// attempt's. That one failed before it ran, so at most one of them ever acts.
pub fn retry(request: &str, step: &str, retried: u8) -> String {
    format!("k{}-{request}-{step}", u16::from(retried) + 1)
}

/// Name of the KubernetesExecution that undoes one finished step, and of its Job.
pub fn undoing(request: &str, step: &str) -> String {
    format!("kr-{request}-{step}")
}

/// Name of the Job with which an execution undoes its own effect.
pub fn rollback(request: &str, step: &str) -> String {
    format!("ku-{request}-{step}")
}

/// ServiceAccount of an action: `rollback_deployment` runs as `<prefix>rollback-deployment`.
pub fn service_account(prefix: &str, action: &str) -> String {
    format!("{prefix}{}", action.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_execution_name_fits_a_label() {
        let name = execution(&"r".repeat(MAX_REQUEST_NAME), &"s".repeat(MAX_STEP_NAME));
        assert_eq!(name.len(), 63);
        for retried in 0..=5 {
            let other = retry(&"r".repeat(MAX_REQUEST_NAME), &"s".repeat(MAX_STEP_NAME), retried);
            assert_eq!(other.len(), 63);
        }
    }

    #[test]
    fn no_two_attempts_share_a_name_nor_does_what_undoes_them() {
        let mut names: Vec<_> = (1..=5).map(|retried| retry("rr-1", "a", retried)).collect();
        names.extend([execution("rr-1", "a"), rollback("rr-1", "a"), undoing("rr-1", "a")]);
        assert_eq!(names[0], "k2-rr-1-a");
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 8);
    }

    #[test]
    fn a_request_is_named_by_fingerprint_and_episode() {
        assert_eq!(request("0123456789abcdef0123", 7), "rr-0123456789ab-7");
    }
}
