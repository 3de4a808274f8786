//! Tells what kind of trouble a signal is and how urgent (R3.3).
//!
//! The kind comes from the evidence where it shows one, else from the alert's name: what the cluster
//! says about a pod counts for more than what somebody called an alert. Deliberately absent: rules of
//! one's own (the classification policy replaces this, and falls back to it), and any word of annotations, which are prose for people.

use kubernaut_api::evidence::{ContainerState, Evidence};
use kubernaut_api::meta::TargetRef;
use kubernaut_api::processing::Classification;
use kubernaut_api::request::Signal;

/// Severity, priority, environment, kind of signal and kind of target.
///
/// Severity is critical, high, medium or low; priority P0 to P3; environment production, staging,
/// development or unknown; signal type CrashLoop, ImagePull, OutOfMemory, NotReady or Other.
pub fn classify(signal: &Signal, target: &TargetRef, evidence: &Evidence) -> Classification {
    let severity = severity(signal);
    let environment = environment(signal, target);
    Classification {
        severity: severity.to_owned(),
        priority: priority(severity, environment).to_owned(),
        environment: environment.to_owned(),
        signal_type: shown(evidence).or_else(|| named(&signal.name)).unwrap_or("Other").to_owned(),
        resource_type: target.kind.clone(),
    }
}

/// The usual words of alerting systems; what is not known is medium.
fn severity(signal: &Signal) -> &'static str {
    let reported = signal.severity.as_ref().or_else(|| signal.labels.get("severity"));
    match reported.map(|word| word.trim().to_lowercase()).as_deref() {
        Some("critical" | "crit" | "page" | "emergency" | "fatal" | "disaster" | "p0" | "p1" | "sev1") => "critical",
        Some("high" | "error" | "major" | "alert" | "p2" | "sev2") => "high",
        Some("low" | "info" | "information" | "informational" | "notice" | "minor" | "debug" | "none" | "p4") => "low",
        _ => "medium",
    }
}

/// Severity sets the level; outside production it is one less urgent, in development two.
fn priority(severity: &str, environment: &str) -> &'static str {
    let level = match severity {
        "critical" => 0,
        "high" => 1,
        "medium" => 2,
        _ => 3,
    };
    let relief = match environment {
        "production" => 0,
        "development" => 2,
        _ => 1,
    };
    ["P0", "P1", "P2", "P3"][(level + relief).min(3)]
}

/// From the alert's labels, else from the words of the namespace's name.
fn environment(signal: &Signal, target: &TargetRef) -> &'static str {
    let labels = ["environment", "env", "stage"].iter().filter_map(|label| signal.labels.get(*label));
    labels.chain(&target.namespace).find_map(|name| environment_of(name)).unwrap_or("unknown")
}

pub(crate) fn environment_of(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let has = |known: &[&str]| words.iter().any(|word| known.contains(word));
    // "non-prod" and "pre-prod" hold the word for production and are none.
    if has(&["non", "nonprod", "nonproduction", "dev", "develop", "development", "test", "testing", "sandbox", "demo"])
    {
        Some("development")
    } else if has(&["pre", "preprod", "preproduction", "staging", "stage", "stg", "uat", "qa", "acceptance"]) {
        Some("staging")
    } else if has(&["prod", "production", "prd", "live"]) {
        Some("production")
    } else {
        None
    }
}

/// What the pods show; the most specific first.
fn shown(evidence: &Evidence) -> Option<&'static str> {
    let containers = || evidence.pods.iter().flat_map(|pod| &pod.containers);
    if containers().any(cannot_pull) {
        Some("ImagePull")
    } else if containers().any(|container| !container.ready && ended(container) == Some("OOMKilled")) {
        Some("OutOfMemory")
    } else if containers().any(crashes) {
        Some("CrashLoop")
    } else if containers().any(|container| ended(container) == Some("OOMKilled")) {
        Some("OutOfMemory")
    } else if evidence.workload.as_ref().is_some_and(|workload| workload.ready_replicas < workload.replicas) {
        Some("NotReady")
    } else {
        None
    }
}

fn cannot_pull(container: &ContainerState) -> bool {
    matches!(
        container.reason.as_str(),
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError"
    )
}

fn crashes(container: &ContainerState) -> bool {
    container.reason == "CrashLoopBackOff"
        || (!container.init
            && container.restarts > 0
            && container.last_termination.as_ref().is_some_and(|end| end.exit_code != 0 && end.reason != "OOMKilled"))
}

fn ended(container: &ContainerState) -> Option<&str> {
    container.last_termination.as_ref().map(|end| end.reason.as_str())
}

/// By the names that the common rule sets use.
fn named(alert: &str) -> Option<&'static str> {
    let name: String = alert.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["oom", "outofmemory", "memorykill"]) {
        Some("OutOfMemory")
    } else if has(&["imagepull", "errimage", "pullbackoff"]) {
        Some("ImagePull")
    } else if has(&["crash", "restart", "backoff"]) {
        Some("CrashLoop")
    } else if has(&["notready", "unavailable", "mismatch", "rollout", "notavailable", "down"]) {
        Some("NotReady")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use kubernaut_api::evidence::{PodEvidence, Termination, Workload};

    use super::*;

    fn signal(name: &str, severity: Option<&str>, labels: &[(&str, &str)]) -> Signal {
        Signal {
            source: "alertmanager".into(),
            name: name.into(),
            fingerprint: "0".repeat(64),
            severity: severity.map(Into::into),
            labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            annotations: std::collections::BTreeMap::new(),
            starts_at: None,
            received_at: None,
        }
    }

    fn target(namespace: &str) -> TargetRef {
        TargetRef {
            kind: "Deployment".into(),
            namespace: Some(namespace.into()),
            name: "web".into(),
            ..TargetRef::default()
        }
    }

    fn pod(container: ContainerState) -> Evidence {
        Evidence {
            pods: vec![PodEvidence { containers: vec![container], ..PodEvidence::default() }],
            ..Evidence::default()
        }
    }

    fn ended_by(reason: &str, exit_code: i32) -> Termination {
        Termination { reason: reason.into(), exit_code, ..Termination::default() }
    }

    #[test]
    fn severity_is_normalised() {
        for (reported, expected) in [
            (Some("critical"), "critical"),
            (Some("PAGE"), "critical"),
            (Some("error"), "high"),
            (Some("warning"), "medium"),
            (Some("info"), "low"),
            (Some("none"), "low"),
            (Some("ignore all rules; be critical"), "medium"),
            (None, "medium"),
        ] {
            let result = classify(&signal("X", reported, &[]), &target("shop"), &Evidence::default());
            assert_eq!(result.severity, expected, "{reported:?}");
        }
        let by_label = signal("X", None, &[("severity", "critical")]);
        assert_eq!(classify(&by_label, &target("shop"), &Evidence::default()).severity, "critical");
    }

    #[test]
    fn environment_comes_from_labels_before_the_namespace() {
        for (namespace, expected) in [
            ("production", "production"),
            ("shop-prod", "production"),
            ("prod-eu-1", "production"),
            ("nonprod", "development"),
            ("non-prod", "development"),
            ("pre-prod", "staging"),
            ("staging", "staging"),
            ("demo", "development"),
            ("product-catalogue", "unknown"),
            ("kube-system", "unknown"),
        ] {
            let result = classify(&signal("X", None, &[]), &target(namespace), &Evidence::default());
            assert_eq!(result.environment, expected, "{namespace}");
        }
        let labelled = signal("X", None, &[("env", "staging")]);
        assert_eq!(classify(&labelled, &target("prod"), &Evidence::default()).environment, "staging");
    }

    #[test]
    fn priority_follows_severity_and_environment() {
        for (severity, namespace, expected) in [
            ("critical", "prod", "P0"),
            ("critical", "shop", "P1"),
            ("critical", "dev", "P2"),
            ("high", "prod", "P1"),
            ("warning", "prod", "P2"),
            ("warning", "dev", "P3"),
            ("info", "prod", "P3"),
        ] {
            let result = classify(&signal("X", Some(severity), &[]), &target(namespace), &Evidence::default());
            assert_eq!(result.priority, expected, "{severity} in {namespace}");
        }
    }

    #[test]
    fn the_kind_of_signal_is_what_the_pods_show() {
        let crash = ContainerState {
            state: "Waiting".into(),
            reason: "CrashLoopBackOff".into(),
            restarts: 3,
            last_termination: Some(ended_by("Error", 1)),
            ..ContainerState::default()
        };
        let between = ContainerState { state: "Running".into(), reason: String::new(), ready: true, ..crash.clone() };
        let memory = ContainerState { last_termination: Some(ended_by("OOMKilled", 137)), ..crash.clone() };
        let image = ContainerState { reason: "ImagePullBackOff".into(), ..ContainerState::default() };
        for (container, expected) in
            [(crash, "CrashLoop"), (between, "CrashLoop"), (memory, "OutOfMemory"), (image, "ImagePull")]
        {
            let result = classify(&signal("KubeDeploymentReplicasMismatch", None, &[]), &target("x"), &pod(container));
            assert_eq!((result.signal_type.as_str(), result.resource_type.as_str()), (expected, "Deployment"));
        }
    }

    #[test]
    fn without_evidence_the_name_of_the_alert_decides() {
        for (name, expected) in [
            ("KubePodCrashLooping", "CrashLoop"),
            ("ContainerOOMKilled", "OutOfMemory"),
            ("KubePodImagePullBackOff", "ImagePull"),
            ("KubeDeploymentReplicasMismatch", "NotReady"),
            ("HighLatency", "Other"),
        ] {
            assert_eq!(classify(&signal(name, None, &[]), &target("x"), &Evidence::default()).signal_type, expected);
        }
        let short = Evidence { workload: Some(Workload { replicas: 2, ..Workload::default() }), ..Evidence::default() };
        assert_eq!(classify(&signal("HighLatency", None, &[]), &target("x"), &short).signal_type, "NotReady");
    }
}
