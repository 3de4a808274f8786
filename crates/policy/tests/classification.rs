//! The embedded classification policy says what the built-in rules say, whatever comes in.

use std::sync::LazyLock;

use kubernaut_api::Evidence;
use kubernaut_api::TargetRef;
use kubernaut_api::evidence::{ContainerState, PodEvidence, Termination, Workload};
use kubernaut_api::request::Signal;
use kubernaut_domain::classify::classify;
use kubernaut_domain::policy::classification_input;
use kubernaut_policy::{Kind, Policies, Program};
use proptest::prelude::*;
use tokio::runtime::Runtime;

static POLICIES: LazyLock<(Runtime, Policies)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let policies = Policies::new(Program { path: "/none".into(), arguments: vec![] });
    runtime.block_on(policies.load(Kind::Classification, &[]));
    (runtime, policies)
});

fn check(signal: &Signal, target: &TargetRef, evidence: &Evidence) {
    let (runtime, policies) = &*POLICIES;
    let (class, _) = runtime
        .block_on(policies.classification(classification_input(signal, target, evidence)))
        .expect("it is known")
        .expect("it answers");
    assert_eq!(class, classify(signal, target, evidence), "{signal:?} {target:?}");
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "critical",
            "CRIT",
            "page",
            "p0",
            "sev2",
            "error",
            "warning",
            "info",
            "none",
            "p4",
            " High ",
            "production",
            "shop-prod",
            "prod-eu-1",
            "nonprod",
            "non-prod",
            "pre-prod",
            "staging",
            "qa",
            "demo",
            "product-catalogue",
            "dev",
            "LIVE",
            "uat.x",
            "KubePodCrashLooping",
            "ContainerOOMKilled",
            "Kube Pod Image-Pull BackOff",
            "KubeDeploymentReplicasMismatch",
            "TargetDown",
            "HighLatency",
            "Restarting",
            "",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,12}",
    ]
}

fn container() -> impl Strategy<Value = ContainerState> {
    let reasons = prop::sample::select(vec![
        "",
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ErrImagePull",
        "InvalidImageName",
        "Other",
    ]);
    let end = prop::option::of((prop::sample::select(vec!["", "OOMKilled", "Error", "Completed"]), -1..3i32));
    (reasons, any::<bool>(), any::<bool>(), 0..3i32, end).prop_map(|(reason, ready, init, restarts, end)| {
        ContainerState {
            reason: reason.into(),
            ready,
            init,
            restarts,
            last_termination: end.map(|(reason, exit_code)| Termination {
                reason: reason.into(),
                exit_code,
                ..Termination::default()
            }),
            ..ContainerState::default()
        }
    })
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let pods = prop::collection::vec(prop::collection::vec(container(), 0..3), 0..3);
    (pods, prop::option::of((0..3i32, 0..3i32))).prop_map(|(pods, replicas)| Evidence {
        pods: pods.into_iter().map(|containers| PodEvidence { containers, ..PodEvidence::default() }).collect(),
        workload: replicas.map(|(replicas, ready_replicas)| Workload {
            replicas,
            ready_replicas,
            ..Workload::default()
        }),
        ..Evidence::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_embedded_policy_is_the_built_in_rules(
        name in word(),
        severity in prop::option::of(word()),
        labels in prop::collection::btree_map(
            prop::sample::select(vec!["severity", "environment", "env", "stage", "team"]).prop_map(str::to_owned), word(), 0..4,
        ),
        namespace in prop::option::of(word()),
        evidence in evidence(),
    ) {
        let signal = Signal { name, severity, labels, ..Signal::default() };
        let target = TargetRef { kind: "Deployment".into(), namespace, name: "web".into(), ..TargetRef::default() };
        check(&signal, &target, &evidence);
    }
}
