//! Labels, annotations, finalizers and field managers: every name that other programs may rely on.

/// On a namespace or a resource, with the value `true`: Kubernaut may remediate it.
pub const MANAGED: &str = "kubernaut.io/managed";
/// On a ConfigMap of the operator's namespace, with the value `approval`, `safety` or `classification`: it
/// holds that policy in its keys `*.rego`, in place of the embedded default.
pub const POLICY: &str = "kubernaut.io/policy";
/// On a request that a person made: who. Checked by admission, and that person cannot approve its plan.
pub const REQUESTED_BY: &str = "kubernaut.io/requested-by";
/// On every child: the name of the RemediationRequest it serves, or of the WorkflowExecution where that has none.
pub const REQUEST: &str = "kubernaut.io/request";
/// On a request: the first 32 hex digits of its fingerprint (a label holds at most 63 characters).
pub const FINGERPRINT: &str = "kubernaut.io/fingerprint";
/// On a Job and its pods: the KubernetesExecution it belongs to.
pub const EXECUTION: &str = "kubernaut.io/execution";
/// On a Job: the hash of the plan it was made for, checked before the Job is adopted.
pub const PLAN_HASH: &str = "kubernaut.io/plan-hash";
/// On a changed workload: the KubernetesExecution that changed it last. Makes effects idempotent.
pub const CHANGED_BY: &str = "kubernaut.io/changed-by";
/// On a Job: the time after which its runner begins nothing any more, in RFC 3339.
pub const START_BEFORE: &str = "kubernaut.io/start-before";

/// On a ConfigMap of the operator's namespace, with the value `true`: an administrator registered a script there.
pub const SCRIPT: &str = "kubernaut.io/script";

/// Holds an object of the pipeline until the relay has stored its last transition.
pub const OUTBOX_FINALIZER: &str = "kubernaut.io/outbox";
/// Holds a Job until its result is recorded in the KubernetesExecution.
pub const RESULT_FINALIZER: &str = "kubernaut.io/result";

/// Field manager of the controllers.
pub const CONTROLLER_MANAGER: &str = "kubernaut-controller";
/// Field manager of the gateway.
pub const GATEWAY_MANAGER: &str = "kubernaut-gateway";
/// Field manager of actions, seen in `managedFields` of what they changed.
pub const ACTION_MANAGER: &str = "kubernaut-action";
