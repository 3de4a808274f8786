//! What no single setting can say: which values contradict each other.

use std::fmt;

use super::{AuthenticationMode, Config, ConfigError, Duration, Role};

/// One setting that cannot stay as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the setting, such as `gateway.maxInFlight`.
    pub setting: &'static str,
    /// What must hold, and the value that breaks it.
    pub remedy: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.remedy)
    }
}

impl Config {
    /// Checks the settings against each other; all violations at once, so that one look mends them.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut found = Vec::new();
        let mut need = |holds: bool, setting: &'static str, remedy: String| {
            if !holds {
                found.push(Violation { setting, remedy });
            }
        };

        let protected = self.budgets.protected_namespaces.iter().map(|name| ("budgets.protectedNamespaces", name));
        for (setting, name) in
            [("namespace", &self.namespace), ("leaderElection.leaseName", &self.leader_election.lease_name)]
                .into_iter()
                .chain(protected)
        {
            need(is_dns_label(name), setting, format!("must be a DNS label (a-z, 0-9, -), not `{name}`"));
        }
        need(!self.cluster.trim().is_empty(), "cluster", "must not be empty".to_owned());
        need(!self.roles.is_empty(), "roles", "must name at least one of gateway, controllers, relay".to_owned());
        for (setting, duration) in self.positive() {
            need(!duration.is_zero(), setting, "must be longer than 0s".to_owned());
        }
        for (setting, limit) in self.limits() {
            need(limit > 0, setting, "must be at least 1".to_owned());
        }
        for (setting, count) in [
            ("gateway.maxBodyBytes", self.gateway.max_body_bytes),
            ("gateway.maxInFlight", self.gateway.max_in_flight),
            ("store.retentionDays", usize::from(self.store.retention_days)),
            ("events.concurrency", self.events.concurrency),
            ("controllers.concurrency", usize::from(self.controllers.concurrency)),
            ("execution.blastRadius.maxPods", self.execution.blast_radius.max_pods as usize),
            ("execution.blastRadius.maxWorkloads", self.execution.blast_radius.max_workloads as usize),
            ("execution.blastRadius.maxNodes", self.execution.blast_radius.max_nodes as usize),
        ] {
            need(count > 0, setting, "must be at least 1".to_owned());
        }

        let authentication = &self.gateway.authentication;
        need(
            !self.runs(Role::Gateway)
                || authentication.mode == AuthenticationMode::None
                || !authentication.token_file.as_os_str().is_empty(),
            "gateway.authentication.tokenFile",
            "must name a file in mode token; to take signals from anyone, set mode: none".to_owned(),
        );
        // Port 0 asks the system for a free one, so two of them do not collide.
        need(
            self.gateway.listen != self.admin.listen || self.admin.listen.port() == 0,
            "admin.listen",
            format!("must differ from gateway.listen ({})", self.gateway.listen),
        );

        let window = self.verification.stabilization_window;
        need(
            window < self.timeouts.verification,
            "verification.stabilizationWindow",
            format!("({window}) must be shorter than timeouts.verification ({})", self.timeouts.verification),
        );
        need(
            self.execution.job_timeout <= self.timeouts.execution,
            "execution.jobTimeout",
            format!(
                "({}) must not be longer than timeouts.execution ({})",
                self.execution.job_timeout, self.timeouts.execution
            ),
        );

        let radius = &self.execution.blast_radius;
        for (setting, percent) in [
            ("execution.blastRadius.maxPodsPercent", radius.max_pods_percent),
            ("execution.blastRadius.maxNodesPercent", radius.max_nodes_percent),
        ] {
            need((1..=100).contains(&percent), setting, format!("must be from 1 to 100, not {percent}"));
        }

        let (reject, auto) = (self.approval.reject_below, self.approval.auto_above);
        need(
            (0.0..=1.0).contains(&reject) && (0.0..=1.0).contains(&auto) && reject <= auto,
            "approval",
            format!("needs 0 <= rejectBelow ({reject}) <= autoAbove ({auto}) <= 1"),
        );

        let approvers = self.approval.approvers;
        need((1..=2).contains(&approvers), "approval.approvers", format!("must be 1 or 2, not {approvers}"));

        let election = &self.leader_election;
        need(
            election.lease_duration >= Duration::from_secs(1),
            "leaderElection.leaseDuration",
            format!("({}) must be at least 1s", election.lease_duration),
        );
        // Else a leader could still be trying to renew while another already leads.
        need(
            election.renew_deadline < election.lease_duration,
            "leaderElection.renewDeadline",
            format!(
                "({}) must be shorter than leaderElection.leaseDuration ({})",
                election.renew_deadline, election.lease_duration
            ),
        );
        need(
            election.retry_period < election.renew_deadline,
            "leaderElection.retryPeriod",
            format!(
                "({}) must be shorter than leaderElection.renewDeadline ({})",
                election.retry_period, election.renew_deadline
            ),
        );

        if found.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(found)) }
    }

    /// Numbers of which none would be to do nothing at all.
    fn limits(&self) -> [(&'static str, u32); 7] {
        let (suppression, budgets) = (&self.suppression, &self.budgets);
        [
            ("suppression.failures", suppression.failures),
            ("suppression.ineffective", suppression.ineffective),
            ("budgets.perTarget", budgets.per_target),
            ("budgets.perNamespace", budgets.per_namespace),
            ("budgets.perCluster", budgets.per_cluster),
            ("budgets.nodes", budgets.nodes),
            ("budgets.actionsPerHour", budgets.actions_per_hour),
        ]
    }

    /// Durations for which zero has no meaning.
    fn positive(&self) -> [(&'static str, Duration); 13] {
        let (timeouts, election) = (&self.timeouts, &self.leader_election);
        [
            ("timeouts.request", timeouts.request),
            ("timeouts.processing", timeouts.processing),
            ("timeouts.analysis", timeouts.analysis),
            ("timeouts.approval", timeouts.approval),
            ("timeouts.execution", timeouts.execution),
            ("timeouts.verification", timeouts.verification),
            ("retention", self.retention),
            ("suppression.lookAgain", self.suppression.look_again),
            ("execution.jobTimeout", self.execution.job_timeout),
            ("execution.startTimeout", self.execution.start_timeout),
            ("leaderElection.renewDeadline", election.renew_deadline),
            ("leaderElection.retryPeriod", election.retry_period),
            ("kubernetes.requestTimeout", self.kubernetes.request_timeout),
        ]
    }
}

fn is_dns_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(yaml: &str) -> Vec<String> {
        let config: Config = serde_yaml_ng::from_str(yaml).unwrap();
        match config.validate() {
            Ok(()) => Vec::new(),
            Err(ConfigError::Invalid(found)) => found.iter().map(|v| v.setting.to_owned()).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        Config::default().validate().unwrap();
    }

    #[test]
    fn each_contradiction_is_named_by_its_setting() {
        for (yaml, setting) in [
            ("namespace: Kube_System", "namespace"),
            ("namespace: ''", "namespace"),
            ("cluster: ' '", "cluster"),
            ("roles: []", "roles"),
            ("timeouts: {analysis: 0s}", "timeouts.analysis"),
            ("retention: 0s", "retention"),
            ("kubernetes: {requestTimeout: 0s}", "kubernetes.requestTimeout"),
            ("gateway: {maxInFlight: 0}", "gateway.maxInFlight"),
            ("gateway: {authentication: {tokenFile: ''}}", "gateway.authentication.tokenFile"),
            ("admin: {listen: '0.0.0.0:8080'}", "admin.listen"),
            ("verification: {stabilizationWindow: 30m}", "verification.stabilizationWindow"),
            ("execution: {jobTimeout: 31m}", "execution.jobTimeout"),
            ("execution: {startTimeout: 0s}", "execution.startTimeout"),
            ("execution: {blastRadius: {maxPods: 0}}", "execution.blastRadius.maxPods"),
            ("execution: {blastRadius: {maxNodesPercent: 101}}", "execution.blastRadius.maxNodesPercent"),
            ("approval: {autoAbove: 0.6}", "approval"),
            ("approval: {autoAbove: 90}", "approval"),
            ("approval: {rejectBelow: .nan}", "approval"),
            ("controllers: {concurrency: 0}", "controllers.concurrency"),
            ("suppression: {failures: 0}", "suppression.failures"),
            ("suppression: {lookAgain: 0s}", "suppression.lookAgain"),
            ("budgets: {perTarget: 0}", "budgets.perTarget"),
            ("budgets: {protectedNamespaces: ['kube-*']}", "budgets.protectedNamespaces"),
            ("events: {concurrency: 0}", "events.concurrency"),
            ("leaderElection: {renewDeadline: 15s}", "leaderElection.renewDeadline"),
            ("leaderElection: {retryPeriod: 10s}", "leaderElection.retryPeriod"),
            ("store: {retentionDays: 0}", "store.retentionDays"),
        ] {
            assert_eq!(violations(yaml), [setting], "{yaml}");
        }
    }

    #[test]
    fn zero_is_legal_where_it_means_not_at_all() {
        let yaml = "suppression: {cooldown: {remediated: 0s}, failureHold: 0s}
gateway: {drainDelay: 0s}
budgets: {protectedNamespaces: []}
verification: {stabilizationWindow: 0s}";
        assert!(violations(yaml).is_empty());
    }

    #[test]
    fn a_token_file_is_not_asked_for_without_token_authentication() {
        assert!(violations("gateway: {authentication: {mode: none, tokenFile: ''}}").is_empty());
        assert!(violations("{roles: [relay], gateway: {authentication: {tokenFile: ''}}}").is_empty());
    }

    #[test]
    fn all_violations_come_at_once_with_their_values() {
        let config: Config = serde_yaml_ng::from_str("{cluster: '', leaderElection: {renewDeadline: 20s}}").unwrap();
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "the configuration cannot work: cluster must not be empty; leaderElection.renewDeadline \
             (20s) must be shorter than leaderElection.leaseDuration (15s)"
        );
    }
}
