//! The Job of an execution: what it may do and how it is told what to do.

use kubernaut_api::k8s_openapi::api::batch::v1::{Job, JobSpec};
use kubernaut_api::k8s_openapi::api::core::v1::{Container, PodSpec};
use kubernaut_domain::catalogue::{ACT_INPUT_ENV, ActInput};
use kubernaut_domain::job;
use serde_json::json;

use crate::execution::execution;
use crate::given::{REQUEST, assert_owned, at, settings};

fn job() -> Job {
    job::of(&execution(), &settings().job, &at(0))
}

fn spec() -> JobSpec {
    job().spec.expect("a Job has a spec")
}

fn pod() -> PodSpec {
    spec().template.spec.expect("a pod has a spec")
}

fn container() -> Container {
    let containers = pod().containers;
    assert_eq!(containers.len(), 1);
    containers.into_iter().next().expect("one")
}

#[test]
fn a_job_belongs_to_its_execution_and_is_held_until_its_result_is_recorded() {
    let (job, execution) = (job(), execution());
    assert_eq!(job.metadata.name, execution.metadata.name);
    assert_owned(&job, &execution, &["kubernaut.io/result"]);
    let annotations = job.metadata.annotations.expect("annotations");
    assert_eq!(annotations.get("kubernaut.io/plan-hash"), Some(&execution.spec.plan_hash));
    let name = Some(format!("ke-{REQUEST}-rollback"));
    let labels = job.metadata.labels.expect("labels");
    assert_eq!(labels.get("kubernaut.io/execution"), name.as_ref());
    let on_pod = spec().template.metadata.and_then(|meta| meta.labels).expect("labels of the pod");
    assert_eq!(on_pod, labels);
}

#[test]
fn a_job_is_never_repeated_by_itself() {
    let spec = spec();
    assert_eq!(spec.backoff_limit, Some(0));
    // Two minutes to start, 45 s in which its pod can still be asked why it did not, and 300 s to run.
    assert_eq!(spec.active_deadline_seconds, Some(465));
    assert_eq!((spec.parallelism, spec.completions, spec.ttl_seconds_after_finished), (None, None, None));
    assert_eq!(pod().restart_policy.as_deref(), Some("Never"));
    let rules = spec.pod_failure_policy.expect("a policy").rules;
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].action, "FailJob");
    let conditions = rules[0].on_pod_conditions.clone().unwrap_or_default();
    assert_eq!((conditions.len(), conditions[0].type_.as_str()), (1, "DisruptionTarget"));
}

#[test]
fn a_job_runs_under_the_account_of_its_action_alone() {
    assert_eq!(pod().service_account_name.as_deref(), Some("kubernaut-action-rollback-deployment"));
}

#[test]
fn a_job_meets_the_restricted_pod_security_standard() {
    let pod = pod();
    let own = pod.security_context.clone().expect("a security context");
    assert_eq!((own.run_as_non_root, own.run_as_user), (Some(true), Some(65532)));
    assert_eq!(own.seccomp_profile.map(|profile| profile.type_).as_deref(), Some("RuntimeDefault"));
    assert_eq!((pod.host_network, pod.host_pid, pod.host_ipc), (None, None, None));
    assert!(pod.volumes.is_none() && pod.init_containers.is_none());
    let context = container().security_context.expect("a security context");
    assert_eq!(context.allow_privilege_escalation, Some(false));
    assert_eq!(context.read_only_root_filesystem, Some(true));
    assert_eq!(context.privileged, None);
    let capabilities = context.capabilities.expect("capabilities");
    assert_eq!((capabilities.drop, capabilities.add), (Some(vec!["ALL".into()]), None));
}

#[test]
fn a_job_is_bounded_in_memory() {
    let resources = container().resources.expect("resources");
    let limits = resources.limits.expect("limits");
    assert_eq!(limits.get("memory").map(|quantity| quantity.0.as_str()), Some("64Mi"));
}

#[test]
fn the_input_is_json_in_the_environment_and_never_meets_a_shell() {
    let nasty = "$(id); `reboot` \"'\\ \n{{x}} $(KUBERNETES_SERVICE_HOST)";
    let mut execution = execution();
    execution.spec.parameters.insert("note".into(), json!(nasty));
    execution.spec.dry_run = true;
    let job = job::of(&execution, &settings().job, &at(0));
    let pod = job.spec.and_then(|spec| spec.template.spec).expect("a pod");
    let container = &pod.containers[0];
    assert_eq!(container.command, None, "the image's own entry point, no shell");
    assert_eq!(container.args, Some(vec!["act".into()]));
    assert_eq!(container.image.as_deref(), Some("kubernaut:test"));
    let environment = container.env.clone().expect("an environment");
    assert_eq!(environment.len(), 1);
    assert_eq!(environment[0].name, ACT_INPUT_ENV);
    // The kubelet replaces `$(NAME)` in values, also by names of the API server's Service, and `$$` by `$`.
    assert_eq!(pod.enable_service_links, Some(false));
    let raw = environment[0].value.clone().expect("a value");
    assert_eq!(raw.matches('$').count(), 2 * nasty.matches('$').count(), "every one is doubled: {raw}");
    let text = raw.replace("$$", "$");
    let input: ActInput = serde_json::from_str(&text).expect("an input");
    assert_eq!(input, ActInput { start_before: Some(at(120)), ..ActInput::of(&execution) });
    assert_eq!(input.parameters.get("note"), Some(&json!(nasty)));
    assert!(input.dry_run);
}

#[test]
fn a_limit_below_a_second_still_is_a_limit() {
    let mut execution = execution();
    execution.spec.timeout = std::time::Duration::from_millis(10).into();
    let job = job::of(&execution, &settings().job, &at(0));
    assert_eq!(job.spec.and_then(|spec| spec.active_deadline_seconds), Some(45));
}
