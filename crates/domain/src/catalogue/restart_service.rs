//! restart_service: new pods for everything behind a Service.

use kubernaut_api::analysis::Risk;

use super::{ActionSpec, PolicyRule, called, nothing_more};

pub(super) static SPEC: ActionSpec = ActionSpec {
    name: "restart_service",
    summary: "Restarts the workloads behind a Service, each by its own rolling update.",
    risk: Risk::Medium,
    target_kinds: &["Service"],
    parameters: &[],
    precondition: "The Service selects pods, at most 10 Deployments, StatefulSets and DaemonSets own them, and each \
                   of those rolls out a new template: none is paused or updates on delete.",
    effect: "Sets kubernaut.io/restarted-by in each workload's pod template; its own strategy rolls the pods over.",
    verification: "The rollouts complete, no container is restarted again, and the Service's endpoints are ready.",
    inverse: None,
    rules: &[
        PolicyRule { api_groups: &[""], resources: &["services"], verbs: &["get"] },
        PolicyRule { api_groups: &[""], resources: &["pods"], verbs: &["list"] },
        PolicyRule { api_groups: &["apps"], resources: &["replicasets"], verbs: &["get"] },
        PolicyRule {
            api_groups: &["apps"],
            resources: &["deployments", "statefulsets", "daemonsets"],
            verbs: &["get", "patch"],
        },
    ],
    sentence: |target, _| format!("Restart the workloads behind {}", called(target)),
    check: nothing_more,
    undo: |_| None,
};
