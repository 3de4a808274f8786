//! The Job of an execution: `kubernaut act` under the ServiceAccount of its action, or a registered script (R6.2,
//! R6.3).
//!
//! Both are told by the environment alone. Kubernetes itself replaces `$(NAME)` there, so every `$` is doubled.

use std::time::Duration;

use kubernaut_api::execution::Rollback;
use kubernaut_api::k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use kubernaut_api::k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, EnvVar, PodSecurityContext, PodSpec, PodTemplateSpec,
    ResourceRequirements, SeccompProfile, SecurityContext, Volume, VolumeMount,
};
use kubernaut_api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kubernaut_api::{KubernetesExecution, MicroTime, ObjectMeta, ResourceExt, labels, names};

use crate::catalogue::{ACT_INPUT_ENV, ActInput};
use crate::request::owned_by;
use crate::script::{self, Script};
use crate::settings::JobSettings;
use crate::stage::after;

/// Name of the container that runs a script.
pub const SCRIPT_CONTAINER: &str = "script";
/// Time in which a Job that has not started is looked at, before its own deadline takes its pod away.
const LOOK: Duration = Duration::from_secs(45);

/// Runs the text, passes its output on as the container's log, and leaves its last line as the termination message.
/// A shell and `date` are all that it needs. Past the time for its start, or without a
/// clock to tell, it runs nothing.
const WRAPPER: &str = r#"if ! [ "$(date +%s)" -lt "$KUBERNAUT_START_BEFORE" ]; then
  echo "started too late" >/dev/termination-log; exit 97
fi
code=$(
  {
    { /bin/sh -c "$KUBERNAUT_SCRIPT" 2>&1 3>&-; echo "$?" >&3; } | {
      last=
      while IFS= read -r line || [ -n "$line" ]; do printf '%s\n' "$line" >&2; last=$line; done
      printf '%.1000s' "$last" >/dev/termination-log
    }
  } 3>&1
)
exit "${code:-1}""#;

/// How long a Job with this limit may wait for its start.
pub fn start_wait(timeout: Duration, settings: &JobSettings) -> Duration {
    settings.start_timeout.min(timeout)
}

/// The Job of this execution: same name, owned by it, never retried by itself. `since` is when it was decided on.
pub fn of(execution: &KubernetesExecution, settings: &JobSettings, since: &MicroTime) -> Job {
    act(execution, ActInput::of(execution), settings, since)
}

/// As [`of`], for an execution whose action is a registered script.
pub fn of_script(execution: &KubernetesExecution, script: &Script, settings: &JobSettings, since: &MicroTime) -> Job {
    run(execution, &execution.name_any(), script, settings, since)
}

/// The Job that undoes this execution. It has a name of its own: under the same one, the mark on the
/// target would make it look done already.
pub fn undoing(execution: &KubernetesExecution, rollback: &Rollback, settings: &JobSettings, since: &MicroTime) -> Job {
    let input = ActInput {
        execution: names::rollback(&execution.spec.request, &execution.spec.step),
        action: rollback.action.clone(),
        parameters: rollback.parameters.clone(),
        ..ActInput::of(execution)
    };
    act(execution, input, settings, since)
}

/// As [`undoing`], by a registered script.
pub fn undoing_by_script(
    execution: &KubernetesExecution,
    script: &Script,
    settings: &JobSettings,
    since: &MicroTime,
) -> Job {
    let name = names::rollback(&execution.spec.request, &execution.spec.step);
    run(execution, &name, script, settings, since)
}

fn act(execution: &KubernetesExecution, mut input: ActInput, settings: &JobSettings, since: &MicroTime) -> Job {
    let start_before = after(since, start_wait(execution.spec.timeout.into(), settings));
    input.start_before = Some(start_before.clone());
    let pod = PodSpec {
        service_account_name: Some(names::service_account(&settings.service_account_prefix, &input.action)),
        containers: vec![Container {
            name: "act".into(),
            image: Some(settings.image.clone()),
            image_pull_policy: Some(settings.image_pull_policy.clone()),
            args: Some(vec!["act".into()]),
            env: Some(vec![variable(ACT_INPUT_ENV, &serde_json::to_string(&input).unwrap_or_default())]),
            resources: Some(resources("64Mi")),
            security_context: Some(restricted()),
            ..Container::default()
        }],
        ..pod()
    };
    build(execution, &input.execution, pod, settings, &start_before)
}

fn run(execution: &KubernetesExecution, name: &str, script: &Script, settings: &JobSettings, since: &MicroTime) -> Job {
    let start_before = after(since, start_wait(execution.spec.timeout.into(), settings));
    let target = &execution.spec.target;
    let mut env = vec![
        variable("KUBERNAUT_SCRIPT", &script.text),
        variable("KUBERNAUT_START_BEFORE", &start_before.0.as_second().to_string()),
        variable("KUBERNAUT_EXECUTION", name),
        variable("TARGET_KIND", &target.kind),
        variable("TARGET_NAMESPACE", target.namespace.as_deref().unwrap_or_default()),
        variable("TARGET_NAME", &target.name),
    ];
    env.extend(script.arguments.iter().map(|(name, value)| variable(&format!("PARAM_{name}"), value)));
    let scratch = "scratch".to_owned();
    let pod = PodSpec {
        service_account_name: Some(script.service_account.clone()),
        volumes: Some(vec![Volume {
            name: scratch.clone(),
            empty_dir: Some(EmptyDirVolumeSource { size_limit: Some(Quantity("16Mi".into())), medium: None }),
            ..Volume::default()
        }]),
        containers: vec![Container {
            name: SCRIPT_CONTAINER.into(),
            image: Some(script.image.clone()),
            command: Some(vec!["/bin/sh".into(), "-c".into(), doubled(WRAPPER)]),
            env: Some(env),
            resources: Some(resources("128Mi")),
            security_context: Some(restricted()),
            volume_mounts: Some(vec![VolumeMount {
                name: scratch,
                mount_path: "/tmp".into(),
                ..VolumeMount::default()
            }]),
            ..Container::default()
        }],
        ..pod()
    };
    let mut job = build(execution, name, pod, settings, &start_before);
    if let Some(inverse) = &script.inverse {
        job.annotations_mut().insert(script::INVERSE.to_owned(), inverse.clone());
    }
    job
}

fn build(
    execution: &KubernetesExecution,
    name: &str,
    pod: PodSpec,
    settings: &JobSettings,
    start_before: &MicroTime,
) -> Job {
    let spec = &execution.spec;
    let marks = [
        (labels::REQUEST.to_owned(), spec.request.clone()),
        (labels::EXECUTION.to_owned(), execution.name_any()),
        ("app.kubernetes.io/managed-by".to_owned(), "kubernaut".to_owned()),
    ];
    let annotations = [
        (labels::PLAN_HASH.to_owned(), spec.plan_hash.clone()),
        (labels::START_BEFORE.to_owned(), start_before.0.to_string()),
    ];
    let timeout: Duration = spec.timeout.into();
    // The Job's own deadline takes its pod away, and with it the word why it never started.
    let limit = start_wait(timeout, settings) + LOOK + timeout;
    Job {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: execution.namespace(),
            owner_references: Some(owned_by(execution)),
            labels: Some(marks.clone().into()),
            annotations: Some(annotations.into()),
            finalizers: Some(vec![labels::RESULT_FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            active_deadline_seconds: Some(i64::try_from(limit.as_secs()).unwrap_or(i64::MAX).max(1)),
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
                spec: Some(pod),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// What the pods of all Jobs have in common.
fn pod() -> PodSpec {
    PodSpec {
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
        ..PodSpec::default()
    }
}

/// An environment variable with just this value: what looks like `$(NAME)` stays as it is.
fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.into(), value: Some(doubled(value)), value_from: None }
}

fn doubled(text: &str) -> String {
    text.replace('$', "$$")
}

fn resources(memory_limit: &str) -> ResourceRequirements {
    let quantity = |text: &str| Quantity(text.into());
    let requests = [("memory".to_owned(), quantity("16Mi")), ("cpu".to_owned(), quantity("10m"))];
    ResourceRequirements {
        requests: Some(requests.into()),
        limits: Some([("memory".to_owned(), quantity(memory_limit))].into()),
        ..ResourceRequirements::default()
    }
}

fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        ..SecurityContext::default()
    }
}
