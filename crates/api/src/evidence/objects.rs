//! Which objects stand in the evidence: what a diagnosis may cite, and what its steps may change.

use std::collections::BTreeSet;

use super::Evidence;
use crate::meta::TargetRef;

impl Evidence {
    /// Every object that stands in it, as `Kind/name`: a citation of another one voids a claim.
    pub fn objects(&self) -> BTreeSet<String> {
        let told = |object: &TargetRef| (object.kind.clone(), object.name.clone());
        let named = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
        let workload = self.workload.iter();
        let references = workload.clone().flat_map(|workload| &workload.references);
        let dependencies = self.dependencies.iter().chain(&self.service);
        let nodes = self.pods.iter().filter_map(|pod| pod.node.as_deref());
        let objects = (self.owner_chain.iter().map(told))
            .chain(workload.map(|workload| told(&workload.object)))
            .chain(self.revisions.iter().map(|revision| named(self.holder_kind(), &revision.holder)))
            .chain(self.pods.iter().map(|pod| named("Pod", &pod.name)))
            .chain(nodes.map(|node| named("Node", node)))
            .chain(self.nodes.iter().map(|node| told(&node.object)))
            .chain(self.autoscalers.iter().map(|autoscaler| told(&autoscaler.object)))
            .chain(references.map(|reference| named(&reference.kind, &reference.name)))
            .chain(self.claims.iter().map(|claim| named("PersistentVolumeClaim", &claim.name)))
            .chain(self.quotas.iter().map(|quota| named("ResourceQuota", &quota.name)))
            .chain(self.budgets.iter().map(|budget| named("PodDisruptionBudget", &budget.name)))
            .chain(self.schedule.iter().map(|schedule| told(&schedule.object)))
            .chain(self.jobs.iter().map(|job| told(&job.object)))
            .chain(self.configs.iter().map(|config| told(&config.object)))
            .chain(dependencies.clone().map(|dependency| told(&dependency.object)))
            .chain(dependencies.filter_map(|dependency| dependency.workload.as_ref()).map(told));
        let upstream = self.upstream.iter().flat_map(|one| one.evidence(Vec::new()).objects());
        objects
            .map(|(kind, name)| format!("{kind}/{name}"))
            .chain(self.events.iter().map(|event| event.object.clone()))
            .chain(upstream)
            .collect()
    }

    /// True for what a step may change besides the target: the workload that the target is about, its pods,
    /// their nodes, its autoscalers and ConfigMaps; and the workloads upstream with theirs, where somebody has put
    /// them into Kubernaut's hands.
    pub fn may_change(&self, target: &TargetRef, object: &TargetRef) -> bool {
        let same = |other: &TargetRef| {
            (&other.kind, &other.namespace, &other.name) == (&object.kind, &object.namespace, &object.name)
        };
        let managed = self.workload.as_ref().is_none_or(|workload| !workload.unmanaged);
        let workload = self.workload.iter().any(|workload| same(&workload.object));
        let pod = object.kind == "Pod"
            && object.namespace == target.namespace
            && self.pods.iter().any(|pod| pod.name == object.name);
        let config = self.configs.iter().any(|config| same(&config.object));
        let autoscaler = self.autoscalers.iter().any(|autoscaler| same(&autoscaler.object));
        (managed && (workload || pod || config || autoscaler))
            || self.nodes.iter().any(|node| same(&node.object))
            || self
                .upstream
                .iter()
                .filter(|one| !one.workload.unmanaged)
                .any(|one| same(&one.workload.object) || one.configs.iter().any(|config| same(&config.object)))
    }

    /// Kind of the objects that hold the workload's revisions.
    pub fn holder_kind(&self) -> &'static str {
        match &self.workload {
            Some(workload) if workload.object.kind != "Deployment" => "ControllerRevision",
            _ => "ReplicaSet",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::evidence::{
        Autoscaler, Claim, Config, Dependency, EventRecord, Job, Node, PodEvidence, Upstream, Workload,
    };

    use super::*;

    fn object(kind: &str, namespace: Option<&str>, name: &str) -> TargetRef {
        TargetRef { kind: kind.into(), namespace: namespace.map(Into::into), name: name.into(), ..TargetRef::default() }
    }

    fn upstream(name: &str, unmanaged: bool) -> Upstream {
        let workload = Workload { object: object("StatefulSet", Some("data"), name), unmanaged, ..Workload::default() };
        let config = Config { object: object("ConfigMap", Some("data"), name), ..Config::default() };
        Upstream { workload, configs: vec![config], ..Upstream::default() }
    }

    fn evidence() -> Evidence {
        let dependency = Dependency {
            object: object("Service", Some("data"), "db"),
            workload: Some(object("StatefulSet", Some("data"), "db")),
            ..Dependency::default()
        };
        Evidence {
            pods: vec![PodEvidence { name: "web-1".into(), node: Some("n2".into()), ..PodEvidence::default() }],
            nodes: vec![Node { object: object("Node", None, "n1"), ..Node::default() }],
            autoscalers: vec![Autoscaler {
                object: object("HorizontalPodAutoscaler", Some("shop"), "web"),
                ..Autoscaler::default()
            }],
            claims: vec![Claim { name: "data".into(), ..Claim::default() }],
            dependencies: vec![dependency],
            events: vec![EventRecord { object: "ReplicaSet/web-9".into(), ..EventRecord::default() }],
            jobs: vec![Job { object: object("Job", Some("shop"), "nightly-1"), ..Job::default() }],
            configs: vec![Config { object: object("ConfigMap", Some("shop"), "web"), ..Config::default() }],
            upstream: vec![upstream("db", false), upstream("queue", true)],
            ..Evidence::default()
        }
    }

    #[test]
    fn everything_that_was_found_can_be_cited() {
        let objects = evidence().objects();
        let expected = [
            "ConfigMap/db",
            "ConfigMap/queue",
            "ConfigMap/web",
            "HorizontalPodAutoscaler/web",
            "Job/nightly-1",
            "Node/n1",
            "Node/n2",
            "PersistentVolumeClaim/data",
            "Pod/web-1",
            "ReplicaSet/web-9",
            "Service/db",
            "StatefulSet/db",
            "StatefulSet/queue",
        ];
        assert!(objects.iter().eq(expected), "{objects:?}");
    }

    #[test]
    fn steps_may_change_what_belongs_to_the_target_and_what_is_managed_upstream() {
        let target = object("Deployment", Some("shop"), "web");
        for (changed, expected) in [
            (object("Pod", Some("shop"), "web-1"), true),
            (object("Pod", Some("data"), "web-1"), false),
            (object("Node", None, "n1"), true),
            (object("Node", None, "n2"), false),
            (object("HorizontalPodAutoscaler", Some("shop"), "web"), true),
            (object("HorizontalPodAutoscaler", Some("data"), "web"), false),
            (object("ConfigMap", Some("shop"), "web"), true),
            (object("ConfigMap", Some("data"), "web"), false),
            (object("StatefulSet", Some("data"), "db"), true),
            (object("ConfigMap", Some("data"), "db"), true),
            (object("StatefulSet", Some("shop"), "db"), false),
            (object("StatefulSet", Some("data"), "queue"), false),
            (object("ConfigMap", Some("data"), "queue"), false),
            (object("Service", Some("data"), "db"), false),
        ] {
            assert_eq!(evidence().may_change(&target, &changed), expected, "{changed}");
        }
    }
}
