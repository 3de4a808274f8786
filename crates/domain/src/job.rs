//! The Job of an execution: `kubernaut act` under the ServiceAccount of its action (R6.2).

use kubernaut_api::execution::Rollback;
use kubernaut_api::k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use kubernaut_api::k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements,
    SeccompProfile, SecurityContext,
};
use kubernaut_api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kubernaut_api::{KubernetesExecution, ObjectMeta, ResourceExt, labels, names};

use crate::catalogue::{ACT_INPUT_ENV, ActInput};
use crate::request::owned_by;
use crate::settings::JobSettings;

/// The Job of this execution: same name, owned by it, never retried by itself.
pub fn of(execution: &KubernetesExecution, settings: &JobSettings) -> Job {
    build(execution, &ActInput::of(execution), settings)
}

/// The Job that undoes this execution. It has a name of its own: under the same one, the mark on the
/// target would make it look done already.
pub fn undoing(execution: &KubernetesExecution, rollback: &Rollback, settings: &JobSettings) -> Job {
    let input = ActInput {
        execution: names::rollback(&execution.spec.request, &execution.spec.step),
        action: rollback.action.clone(),
        parameters: rollback.parameters.clone(),
        ..ActInput::of(execution)
    };
    build(execution, &input, settings)
}

fn build(execution: &KubernetesExecution, input: &ActInput, settings: &JobSettings) -> Job {
    let spec = &execution.spec;
    let marks = [
        (labels::REQUEST.to_owned(), spec.request.clone()),
        (labels::EXECUTION.to_owned(), execution.name_any()),
        ("app.kubernetes.io/managed-by".to_owned(), "kubernaut".to_owned()),
    ];
    let timeout: std::time::Duration = spec.timeout.into();
    Job {
        metadata: ObjectMeta {
            name: Some(input.execution.clone()),
            namespace: execution.namespace(),
            owner_references: Some(owned_by(execution)),
            labels: Some(marks.clone().into()),
            annotations: Some([(labels::PLAN_HASH.to_owned(), spec.plan_hash.clone())].into()),
            finalizers: Some(vec![labels::RESULT_FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            active_deadline_seconds: Some(i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX).max(1)),
            pod_failure_policy: Some(PodFailurePolicy {
                // A disrupted pod may have acted: it is never replaced (R6.6).
                rules: vec![PodFailurePolicyRule {
                    action: "FailJob".into(),
                    on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
                        type_: "DisruptionTarget".into(),
                        status: Some("True".into()),
                    }]),
                    on_exit_codes: None,
                }],
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(marks.into()), ..ObjectMeta::default() }),
                spec: Some(pod(input, settings)),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn pod(input: &ActInput, settings: &JobSettings) -> PodSpec {
    let quantities = |memory: &str, cpu: Option<&str>| {
        let memory = ("memory".to_owned(), Quantity(memory.into()));
        Some(std::iter::once(memory).chain(cpu.map(|cpu| ("cpu".to_owned(), Quantity(cpu.into())))).collect())
    };
    PodSpec {
        service_account_name: Some(names::service_account(&settings.service_account_prefix, &input.action)),
        restart_policy: Some("Never".into()),
        // The effect is written down in the same moment as it happens; there is nothing to wait for.
        termination_grace_period_seconds: Some(15),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(65532),
            run_as_group: Some(65532),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        containers: vec![Container {
            name: "act".into(),
            image: Some(settings.image.clone()),
            image_pull_policy: Some(settings.image_pull_policy.clone()),
            args: Some(vec!["act".into()]),
            env: Some(vec![EnvVar {
                name: ACT_INPUT_ENV.into(),
                value: serde_json::to_string(input).ok(),
                value_from: None,
            }]),
            resources: Some(ResourceRequirements {
                requests: quantities("16Mi", Some("10m")),
                limits: quantities("64Mi", None),
                ..ResourceRequirements::default()
            }),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(true),
                capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
                ..SecurityContext::default()
            }),
            ..Container::default()
        }],
        ..PodSpec::default()
    }
}
