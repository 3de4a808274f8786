//! What an alert is about, read from its labels: the conventions of kube-prometheus, as one table.
//!
//! Two traps of Prometheus are known here. `job` is the scrape job, never a Kubernetes Job. And an
//! exporter's own `pod` and `namespace` may stand beside (or instead of) those of the subject: then
//! the subject's have the prefix `exported_`, or the container says that it is the exporter.
//! Pure: whether the objects exist is not asked here.

use std::collections::BTreeMap;

use crate::kinds::{self, Builtin};
use crate::names::{is_label, is_subdomain};

/// Label to kind, most specific first. Controllers come before pods: an alert that has both is about
/// the controller, and the pod may be the exporter's.
const TABLE: &[(&str, &Builtin)] = &[
    ("persistentvolumeclaim", &kinds::CLAIM),
    ("horizontalpodautoscaler", &kinds::AUTOSCALER),
    ("poddisruptionbudget", &kinds::BUDGET),
    ("resourcequota", &kinds::QUOTA),
    ("deployment", &kinds::DEPLOYMENT),
    ("statefulset", &kinds::STATEFUL_SET),
    ("daemonset", &kinds::DAEMON_SET),
    ("cronjob", &kinds::CRON_JOB),
    ("job_name", &kinds::JOB),
    ("replicaset", &kinds::REPLICA_SET),
    ("pod", &kinds::POD),
];

/// Scrape jobs whose own pod's labels end up on metrics about other objects.
const EXPORTERS: &[&str] = &["kube-state-metrics", "node-exporter"];
/// Scrape jobs whose Service is only the way to them: no workload is behind it.
const COMPONENTS: &[&str] =
    &["kubelet", "apiserver", "kube-proxy", "kube-scheduler", "kube-controller-manager", "etcd", "kube-etcd"];

const EXPORTED: &str = "exported_";

/// An object that an alert names.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its kind.
    pub kind: &'static Builtin,
    /// Its namespace, unless cluster-scoped.
    pub namespace: Option<String>,
    /// Its name, valid as one.
    pub name: String,
}

/// What an alert is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
    /// The namespace that it names, valid as one.
    pub namespace: Option<String>,
    /// The objects that it names, most specific first.
    pub candidates: Vec<Candidate>,
}

/// The labels that resolution reads: they stay when others are cut.
pub fn needed_labels() -> Vec<&'static str> {
    let fixed = [
        "alertname",
        "severity",
        "namespace",
        "exported_namespace",
        "exported_pod",
        "node",
        "instance",
        "job",
        "container",
        "service",
    ];
    fixed.into_iter().chain(TABLE.iter().map(|(label, _)| *label)).collect()
}

/// Reads the subject of an alert.
///
/// A node counts only when nothing in a namespace is named, a Service (on most alerts the one that was scraped) only
/// when neither is, and a namespace only when nothing else is: an alert about a pod that cannot be found must not
/// become one about its node.
pub fn subject(labels: &BTreeMap<String, String>) -> Subject {
    let labels = Labels(labels);
    let namespace = labels.get("namespace").filter(|name| is_label(name)).map(str::to_owned);
    let named: Vec<_> = TABLE.iter().filter_map(|(label, kind)| labels.get(label).map(|name| (*kind, name))).collect();
    let candidates = if !named.is_empty() {
        let Some(namespace) = &namespace else { return Subject::default() };
        named
            .into_iter()
            .filter(|(_, name)| is_subdomain(name))
            .map(|(kind, name)| Candidate { kind, namespace: Some(namespace.clone()), name: name.to_owned() })
            .collect()
    } else if let Some(node) = labels.node() {
        cluster_scoped(&kinds::NODE, node)
    } else if let (Some(namespace), Some(name)) = (&namespace, labels.get("service").filter(|name| is_label(name))) {
        vec![Candidate { kind: &kinds::SERVICE, namespace: Some(namespace.clone()), name: name.to_owned() }]
    } else if let Some(namespace) = &namespace {
        cluster_scoped(&kinds::NAMESPACE, namespace)
    } else {
        Vec::new()
    };
    Subject { namespace, candidates }
}

fn cluster_scoped(kind: &'static Builtin, name: &str) -> Vec<Candidate> {
    let name = Some(name).filter(|name| is_subdomain(name));
    name.map(|name| Candidate { kind, namespace: None, name: name.to_owned() }).into_iter().collect()
}

/// The controllers that a pod which is gone can have had, by the way in which they name their pods.
/// Only one that exists counts, so this is a look-up and not a guess.
pub fn controllers_of(pod: &Candidate) -> Vec<Candidate> {
    let Some((base, suffix)) = pod.name.rsplit_once('-') else { return Vec::new() };
    let is_ordinal = !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_digit());
    // The alphabet of the API server's random suffixes: no vowels, no digits that look like letters.
    let is_random = suffix.len() == 5 && suffix.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte));
    let mut kinds: Vec<&'static Builtin> = Vec::new();
    if is_random {
        kinds.extend([&kinds::REPLICA_SET, &kinds::DAEMON_SET, &kinds::JOB]);
    }
    if is_ordinal {
        kinds.push(&kinds::STATEFUL_SET);
    }
    let candidate = |kind| Candidate { kind, namespace: pod.namespace.clone(), name: base.to_owned() };
    kinds.into_iter().map(candidate).collect()
}

/// The labels of an alert as its subject's, without those of the exporter.
struct Labels<'a>(&'a BTreeMap<String, String>);

impl<'a> Labels<'a> {
    fn raw(&self, label: &str) -> Option<&'a str> {
        self.0.get(label).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn exported(&self, label: &str) -> Option<&'a str> {
        self.raw(&format!("{EXPORTED}{label}"))
    }

    fn get(&self, label: &str) -> Option<&'a str> {
        let own = self.raw(label).filter(|_| !self.is_exporters(label));
        self.exported(label).or(own)
    }

    /// Whether the plain label is the exporter's own.
    fn is_exporters(&self, label: &str) -> bool {
        let told_apart = self.exported("namespace").is_some() || self.exported("pod").is_some();
        let job = self.raw("job").filter(|job| EXPORTERS.contains(job));
        let own_container = job.is_some() && job == self.raw("container");
        match label {
            "pod" => told_apart || own_container,
            "service" => {
                let of_others =
                    self.raw("job").is_some_and(|job| EXPORTERS.contains(&job) || COMPONENTS.contains(&job));
                told_apart || own_container || of_others
            }
            "daemonset" => own_container && job == Some("node-exporter"),
            "namespace" => own_container && self.node().is_some(),
            _ => false,
        }
    }

    fn node(&self) -> Option<&'a str> {
        let scraped = self.raw("instance").filter(|_| self.raw("job") == Some("node-exporter"));
        self.raw("node").or(scraped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(labels: &[(&str, &str)], expect: &[&str]) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let found: Vec<_> = subject(&labels)
            .candidates
            .iter()
            .map(|c| format!("{}/{}/{}", c.kind.kind, c.namespace.as_deref().unwrap_or("-"), c.name))
            .collect();
        assert_eq!(found, expect, "{labels:?}");
    }

    #[test]
    fn the_subject_is_read_from_the_conventional_labels() {
        check(&[("namespace", "shop"), ("pod", "web-1"), ("job", "kube-state-metrics")], &["Pod/shop/web-1"]);
        check(&[("namespace", "shop"), ("deployment", "web")], &["Deployment/shop/web"]);
        check(&[("namespace", "shop"), ("statefulset", "db")], &["StatefulSet/shop/db"]);
        check(&[("namespace", "shop"), ("daemonset", "log")], &["DaemonSet/shop/log"]);
        check(&[("namespace", "shop"), ("job_name", "nightly-1")], &["Job/shop/nightly-1"]);
        check(&[("namespace", "shop"), ("cronjob", "nightly")], &["CronJob/shop/nightly"]);
        check(&[("namespace", "shop"), ("horizontalpodautoscaler", "web")], &["HorizontalPodAutoscaler/shop/web"]);
        check(
            &[("namespace", "shop"), ("persistentvolumeclaim", "data"), ("node", "n1"), ("job", "kubelet")],
            &["PersistentVolumeClaim/shop/data"],
        );
        check(
            &[("namespace", "shop"), ("resourcequota", "compute"), ("resource", "pods")],
            &["ResourceQuota/shop/compute"],
        );
        check(&[("namespace", "shop"), ("job", "web"), ("service", "web")], &["Service/shop/web"]);
        check(&[("namespace", "shop"), ("pod", "web-1"), ("service", "web"), ("job", "web")], &["Pod/shop/web-1"]);
        check(&[("node", "n1")], &["Node/-/n1"]);
        check(&[("namespace", "shop")], &["Namespace/-/shop"]);
        check(&[("namespace", "shop"), ("job", "web")], &["Namespace/-/shop"]);
        check(&[("severity", "critical")], &[]);
        check(&[], &[]);
    }

    #[test]
    fn a_controller_comes_before_a_pod_and_a_pod_before_its_node() {
        check(
            &[("namespace", "shop"), ("pod", "web-1"), ("deployment", "web")],
            &["Deployment/shop/web", "Pod/shop/web-1"],
        );
        check(&[("namespace", "shop"), ("pod", "web-1"), ("node", "n1")], &["Pod/shop/web-1"]);
    }

    #[test]
    fn the_exporters_own_labels_are_not_the_subjects() {
        let exporter = [("job", "kube-state-metrics"), ("container", "kube-state-metrics"), ("pod", "ksm-1")];
        check(&[exporter.as_slice(), &[("namespace", "monitoring"), ("node", "n1")]].concat(), &["Node/-/n1"]);
        check(
            &[exporter.as_slice(), &[("namespace", "shop"), ("deployment", "web")]].concat(),
            &["Deployment/shop/web"],
        );
        check(
            &[("namespace", "monitoring"), ("pod", "ksm-1"), ("exported_namespace", "shop"), ("exported_pod", "web-1")],
            &["Pod/shop/web-1"],
        );
        check(
            &[("namespace", "monitoring"), ("pod", "ksm-1"), ("exported_namespace", "shop"), ("deployment", "web")],
            &["Deployment/shop/web"],
        );
        check(
            &[
                ("job", "node-exporter"),
                ("container", "node-exporter"),
                ("pod", "ne-1"),
                ("namespace", "monitoring"),
                ("instance", "n1"),
            ],
            &["Node/-/n1"],
        );
    }

    #[test]
    fn the_service_that_was_scraped_is_not_the_subject_of_an_exporters_alert() {
        for job in ["kube-state-metrics", "node-exporter", "kubelet", "apiserver"] {
            check(&[("job", job), ("service", job), ("namespace", "monitoring"), ("node", "n1")], &["Node/-/n1"]);
            check(
                &[("job", job), ("service", job), ("namespace", "shop"), ("deployment", "web")],
                &["Deployment/shop/web"],
            );
        }
        check(
            &[("exported_namespace", "shop"), ("namespace", "monitoring"), ("service", "push")],
            &["Namespace/-/shop"],
        );
    }

    #[test]
    fn hostile_names_are_inert() {
        for bad in ["../kube-system", "$(id)", "{{ .Values.x }}", "a\r\nHost: b", "web/status", "%2e%2e", "WEB"] {
            check(&[("namespace", "shop"), ("pod", bad)], &[]);
            check(&[("namespace", bad), ("pod", "web-1")], &[]);
            check(&[("node", bad)], &[]);
            check(&[("namespace", bad)], &[]);
        }
    }

    #[test]
    fn the_controllers_of_a_pod_that_is_gone_are_those_that_name_pods_so() {
        let kinds = |name: &str| -> Vec<String> {
            let pod = Candidate { kind: &kinds::POD, namespace: Some("shop".into()), name: name.into() };
            controllers_of(&pod).iter().map(|c| format!("{}/{}", c.kind.kind, c.name)).collect()
        };
        assert_eq!(
            kinds("web-7d4b9c6f5d-x2k4j"),
            ["ReplicaSet/web-7d4b9c6f5d", "DaemonSet/web-7d4b9c6f5d", "Job/web-7d4b9c6f5d"]
        );
        assert_eq!(kinds("db-0"), ["StatefulSet/db"]);
        assert!(kinds("web").is_empty());
        assert!(kinds("web-hello").is_empty());
    }
}
