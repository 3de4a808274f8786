//! Registered scripts: what is refused, what the Job is, what its end means.

use std::process::Command;

use kubernaut_api::execution::Effect;
use kubernaut_api::k8s_openapi::api::batch::v1::Job;
use kubernaut_api::k8s_openapi::api::core::v1::{ConfigMap, Container, PodSpec};
use kubernaut_api::{ExecutionPhase, KubernetesExecution, ResourceExt};
use kubernaut_domain::catalogue::{self, RunScript};
use kubernaut_domain::execution::{JobPlan, Seen, wanted_script};
use kubernaut_domain::health::Health;
use kubernaut_domain::job;
use kubernaut_domain::script::{Refusal, Script, digest, prepare, rehearse, result};
use kubernaut_domain::settings::ScriptSettings;
use serde_json::{Value, json};

use crate::execution::{advance, begun, ended, execution};
use crate::given::{REQUEST, at, later, settings};

const TEXT: &str = "echo flushed \"$PARAM_QUEUE\"\n";

fn registered() -> Value {
    json!({
        "metadata": {
            "name": "flush",
            "labels": {"kubernaut.io/script": "true"},
            "annotations": {
                "kubernaut.io/script-image": "registry.example/tools:1",
                "kubernaut.io/script-service-account": "script-flush",
                "kubernaut.io/script-parameters": r#"{"QUEUE": "[a-z-]{1,20}"}"#,
            },
        },
        "data": {"script": TEXT},
    })
}

fn wanted() -> RunScript {
    RunScript {
        script: "flush".into(),
        digest: digest(TEXT),
        arguments: [("QUEUE".to_owned(), "orders".to_owned())].into(),
    }
}

fn allowed() -> ScriptSettings {
    ScriptSettings { images: vec!["registry.example/tools:1".into()], service_accounts: vec!["script-flush".into()] }
}

fn prepared(map: &Value, wanted: &RunScript) -> Result<Script, Refusal> {
    let map: ConfigMap = serde_json::from_value(map.clone()).expect("a ConfigMap");
    prepare(Some(&map), wanted, &allowed())
}

fn script() -> Script {
    prepared(&registered(), &wanted()).expect("it is sound")
}

fn running() -> KubernetesExecution {
    let mut execution = execution();
    execution.spec.action = "run_script".into();
    let parameters = serde_json::to_value(wanted()).expect("JSON");
    execution.spec.parameters = parameters.as_object().cloned().unwrap_or_default().into_iter().collect();
    execution
}

fn seen() -> Seen {
    Seen { execution: running(), rehearsal: Some(rehearse(&Ok(script()))), script: Some(Ok(script())), ..begun() }
}

fn pod(job: &Job) -> PodSpec {
    job.spec.as_ref().and_then(|spec| spec.template.spec.clone()).expect("a pod")
}

fn container(job: &Job) -> Container {
    pod(job).containers.into_iter().next().expect("a container")
}

fn variable(container: &Container, name: &str) -> Option<String> {
    let variables = container.env.clone().unwrap_or_default();
    variables.into_iter().find(|variable| variable.name == name).and_then(|variable| variable.value)
}

#[test]
fn what_is_registered_allowed_and_unchanged_may_run() {
    let script = script();
    assert_eq!((script.text.as_str(), script.image.as_str()), (TEXT, "registry.example/tools:1"));
    assert_eq!(script.service_account, "script-flush");
}

#[test]
fn each_way_not_to_be_registered_is_refused_by_its_name() {
    let table = [
        ("/metadata/labels", json!({}), "ScriptNotRegistered"),
        ("/metadata/labels", json!({"kubernaut.io/script": "yes"}), "ScriptNotRegistered"),
        ("/data", json!({}), "ScriptNotRegistered"),
        ("/data/script", json!("echo something else"), "ScriptChanged"),
        ("/data/script", json!(format!("{TEXT} ")), "ScriptChanged"),
        // A prefix of what is allowed, and what has the allowed one as its prefix.
        ("/script-image", json!("registry.example/tools:1.evil/x"), "ScriptImageRefused"),
        ("/script-image", json!("registry.example/tools"), "ScriptImageRefused"),
        ("/script-image", json!(""), "ScriptImageRefused"),
        ("/script-service-account", json!("kubernaut"), "ScriptAccountRefused"),
        ("/script-service-account", json!("script-flush2"), "ScriptAccountRefused"),
        ("/script-parameters", json!("[]"), "ScriptInvalid"),
        ("/script-parameters", json!(r#"{"QUEUE": "("}"#), "ScriptInvalid"),
        ("/script-parameters", json!(r#"{"QUEUE": "a)|(.*"}"#), "ScriptInvalid"),
        ("/script-inverse", json!("unflush"), "ScriptInvalid"),
    ];
    for (place, value, expect) in table {
        let mut map = registered();
        match map.pointer_mut(place) {
            Some(field) => *field = value.clone(),
            None => map["metadata"]["annotations"][format!("kubernaut.io{place}")] = value.clone(),
        }
        assert_eq!(prepared(&map, &wanted()).expect_err("refused").error, expect, "{place} {value}");
    }
    assert_eq!(prepare(None, &wanted(), &allowed()).expect_err("refused").error, "ScriptNotRegistered");
    let map: ConfigMap = serde_json::from_value(registered()).expect("a ConfigMap");
    let none = prepare(Some(&map), &wanted(), &ScriptSettings::default());
    assert_eq!(none.expect_err("by default no script runs").error, "ScriptImageRefused");
}

#[test]
fn an_argument_fits_as_a_whole_and_none_is_missing_or_unknown() {
    for value in ["orders", "a", "dead-letters"] {
        let wanted = RunScript { arguments: [("QUEUE".to_owned(), value.to_owned())].into(), ..wanted() };
        assert!(prepared(&registered(), &wanted).is_ok(), "{value}");
    }
    for value in ["", "Orders", "orders; reboot", "orders\n", "\norders", "orders\nX", "$(id)", "x".repeat(21).as_str()]
    {
        let wanted = RunScript { arguments: [("QUEUE".to_owned(), value.to_owned())].into(), ..wanted() };
        let refusal = prepared(&registered(), &wanted).expect_err(value);
        assert!(refusal.message.contains("parameters.arguments.QUEUE: must fit"), "{refusal}");
    }
    let missing = RunScript { arguments: [].into(), ..wanted() };
    assert!(prepared(&registered(), &missing).expect_err("missing").message.contains("QUEUE: is required"));
    let mut more = wanted();
    more.arguments.insert("PATH".into(), "/tmp".into());
    assert!(
        prepared(&registered(), &more).expect_err("unknown").message.contains("arguments.PATH: is not a parameter")
    );
}

#[test]
fn the_catalogue_checks_the_shape_before_anything_is_read() {
    let problems = |parameters: Value| -> Vec<String> {
        let values = parameters.as_object().cloned().unwrap_or_default().into_iter().collect();
        let found = catalogue::check_parts("run_script", &crate::given::target(), &values).err().unwrap_or_default();
        found.iter().map(ToString::to_string).collect()
    };
    let sound = digest(TEXT);
    assert!(problems(json!({"script": "flush", "digest": sound, "arguments": {"A_1": "x"}})).is_empty());
    for (parameters, field) in [
        (json!({"digest": sound}), "parameters.script"),
        (json!({"script": "../flush", "digest": sound}), "parameters.script"),
        (json!({"script": "flush", "digest": sound.to_uppercase()}), "parameters.digest"),
        (json!({"script": "flush", "digest": format!("{sound}0")}), "parameters.digest"),
        (json!({"script": "flush", "digest": sound, "arguments": {"lower": "x"}}), "parameters.arguments"),
        (json!({"script": "flush", "digest": sound, "arguments": {"A=B": "x"}}), "parameters.arguments"),
        (json!({"script": "flush", "digest": sound, "arguments": {"A": 1}}), "parameters.arguments"),
        (json!({"script": "flush", "digest": sound, "command": "id"}), "parameters.command"),
    ] {
        let found = problems(parameters.clone());
        assert!(found.len() == 1 && found[0].starts_with(field), "{parameters}: {found:?}");
    }
}

#[test]
fn the_job_holds_a_copy_of_the_text_and_hands_values_over_by_the_environment_alone() {
    let script = Script {
        text: "echo $(PARAM_QUEUE) $$\n".into(),
        arguments: [("QUEUE".to_owned(), "$(TARGET_NAME); reboot".to_owned())].into(),
        ..script()
    };
    let job = job::of_script(&running(), &script, &settings().job, &at(0));
    let container = container(&job);
    // Kubernetes replaces `$(NAME)`, and `$$` by `$`: so it arrives as it was written.
    assert_eq!(variable(&container, "KUBERNAUT_SCRIPT").as_deref(), Some("echo $$(PARAM_QUEUE) $$$$\n"));
    assert_eq!(variable(&container, "PARAM_QUEUE").as_deref(), Some("$$(TARGET_NAME); reboot"));
    assert_eq!(variable(&container, "TARGET_NAME").as_deref(), Some("web"));
    let command = container.command.clone().unwrap_or_default().join("\n");
    assert!(!command.contains("reboot") && !command.contains("PARAM_"), "{command}");
    assert!(!command.replace("$$", "").contains('$'), "every $ is doubled: {command}");
    assert_eq!(container.image.as_deref(), Some("registry.example/tools:1"));
    assert_eq!(pod(&job).service_account_name.as_deref(), Some("script-flush"));
}

#[test]
fn the_job_of_a_script_is_as_restricted_and_as_final_as_any() {
    let execution = running();
    let job = job::of_script(&execution, &script(), &settings().job, &at(0));
    assert_eq!(job.metadata.name, execution.metadata.name);
    let spec = job.spec.clone().expect("a spec");
    assert_eq!((spec.backoff_limit, spec.active_deadline_seconds), (Some(0), Some(465)));
    let (pod, container) = (pod(&job), container(&job));
    assert_eq!(pod.security_context.and_then(|context| context.run_as_non_root), Some(true));
    let context = container.security_context.expect("a security context");
    assert_eq!((context.allow_privilege_escalation, context.read_only_root_filesystem), (Some(false), Some(true)));
    assert_eq!(context.capabilities.and_then(|capabilities| capabilities.drop), Some(vec!["ALL".into()]));
    assert!(
        pod.volumes.unwrap_or_default().iter().all(|volume| volume.empty_dir.is_some() && volume.host_path.is_none())
    );
}

/// Runs the Job's command with this machine's shell: exit code and last line.
fn play(script: &Script, since: i64) -> (i32, String) {
    play_in(script, since, &std::env::var("PATH").expect("a PATH"))
}

fn play_in(script: &Script, since: i64, path: &str) -> (i32, String) {
    let job = job::of_script(&running(), script, &settings().job, &at(since));
    let container = container(&job);
    let command = container.command.clone().expect("a command");
    let report = std::env::temp_dir().join(format!("kubernaut-script-{}-{:p}", std::process::id(), &raw const command));
    let wrapper = command[2].replace("$$", "$").replace("/dev/termination-log", &report.to_string_lossy());
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(wrapper).env("PATH", path);
    for variable in container.env.unwrap_or_default() {
        shell.env(variable.name, variable.value.unwrap_or_default().replace("$$", "$"));
    }
    let code = shell.output().expect("a shell").status.code().expect("a code");
    let line = std::fs::read_to_string(&report).unwrap_or_default();
    let _ = std::fs::remove_file(&report);
    (code, line)
}

#[test]
fn the_wrapper_keeps_exit_code_and_last_line_whatever_the_script_does() {
    // Far in the future, so that it has not begun too late.
    let late = 10_000_000_000;
    for (text, code, line) in [
        ("echo one; echo two", 0, "two"),
        ("printf 'no newline'", 0, "no newline"),
        ("echo oops >&2; exit 3", 3, "oops"),
        ("true", 0, ""),
        ("sh -c 'exit 9'", 9, ""),
        ("echo \"$PARAM_QUEUE\"", 0, "a b; echo c"),
        ("echo 'back\\slash %s $HOME'", 0, "back\\slash %s $HOME"),
    ] {
        let arguments = [("QUEUE".to_owned(), "a b; echo c".to_owned())].into();
        let script = Script { text: text.into(), arguments, ..script() };
        assert_eq!(play(&script, late), (code, line.to_owned()), "{text}");
    }
}

#[test]
fn a_script_that_would_begin_too_late_does_not_begin() {
    let marker = std::env::temp_dir().join(format!("kubernaut-script-ran-{}", std::process::id()));
    let script = Script { text: format!("touch {}", marker.display()), ..script() };
    assert_eq!(play(&script, 0), (97, "started too late\n".to_owned()));
    assert_eq!(play_in(&script, 10_000_000_000, "/nowhere").0, 97, "without a clock it cannot tell");
    assert!(!marker.exists());
}

#[test]
fn only_exit_code_zero_is_success_and_all_else_leaves_the_outcome_open() {
    let good = result(0, "3 messages\n", None, &wanted());
    assert_eq!((good.effect, good.message.as_str()), (Effect::Changed, "ran script flush: 3 messages"));
    assert!(good.before.is_empty(), "it names no inverse");
    for code in [1, 97, 137, 143, -1] {
        let bad = result(code, "oops", None, &wanted());
        assert_eq!((bad.effect, bad.error.as_deref()), (Effect::Unknown, Some("ScriptFailed")));
    }
}

#[test]
fn what_a_script_says_is_redacted_and_bounded() {
    let said = result(0, &format!("password=hunter2 {}", "x".repeat(4000)), None, &wanted()).message;
    assert!(!said.contains("hunter2") && said.chars().count() < 600, "{said}");
}

#[test]
fn a_script_becomes_a_job_after_its_digest_and_arguments_were_checked() {
    let mut seen = seen();
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail.last().map(String::as_str), Some("Executing RehearsalPassed"));
    assert!(plan.status.rehearsal.is_some_and(|said| said.contains("cannot be rehearsed")));
    let JobPlan::Create(job) = plan.job else { panic!("no Job") };
    assert_eq!(container(&job).name, "script");
}

#[test]
fn a_script_that_is_refused_fails_before_there_is_a_job() {
    let mut seen = seen();
    let refusal = Refusal { error: "ScriptChanged", message: "another digest".into() };
    (seen.rehearsal, seen.script) = (Some(rehearse(&Err(refusal.clone()))), Some(Err(refusal)));
    let (plan, trail) = advance(&mut seen);
    assert_eq!((trail.last().map(String::as_str), plan.job), (Some("Failed ScriptChanged"), JobPlan::Leave));
}

#[test]
fn a_script_that_changes_before_its_job_is_made_is_not_run() {
    let mut seen = seen();
    advance(&mut seen);
    // A crash came between the status and the Job.
    seen.script = Some(Err(Refusal { error: "ScriptChanged", message: "another digest".into() }));
    let (plan, trail) = advance(&mut seen);
    assert_eq!((trail, plan.job), (vec!["Failed ScriptChanged".to_owned()], JobPlan::Leave));
}

#[test]
fn a_dry_run_of_a_script_runs_nothing_and_says_so() {
    let mut seen = seen();
    seen.execution.spec.dry_run = true;
    let (plan, trail) = advance(&mut seen);
    assert_eq!((trail.last().map(String::as_str), plan.job), (Some("Completed DryRun"), JobPlan::Leave));
    assert!(plan.status.message.is_some_and(|message| message.contains("cannot be rehearsed")));
}

#[test]
fn a_script_is_undone_by_the_one_that_its_registration_names() {
    let inverse = format!("unflush@{}", digest("undo"));
    let script = Script { inverse: Some(inverse.clone()), ..script() };
    let made = job::of_script(&running(), &script, &settings().job, &at(0));
    assert_eq!(made.annotations().get("kubernaut.io/script-inverse"), Some(&inverse), "snapshotted with the text");

    let mut seen = seen();
    advance(&mut seen);
    seen.job = ended(Some(result(0, "", Some(&inverse), &wanted())));
    assert_eq!(advance(&mut seen).1, ["Verifying ActionDone"]);
    let deadline = seen.execution.status.as_ref().and_then(|status| status.phase_deadline.clone()).expect("one");
    seen.now = later(&deadline, 1);
    seen.job = kubernaut_domain::execution::JobSeen::Absent;
    seen.health = Some(Health::Unhealthy("0 of 1".into()));
    let (plan, trail) = advance(&mut seen);
    assert_eq!((trail, plan.job), (vec!["RollingBack VerifyingTimedOut".to_owned()], JobPlan::Leave));
    let undoing = wanted_script(&seen.execution).expect("a script undoes it");
    assert_eq!((undoing.script.as_str(), undoing.digest), ("unflush", digest("undo")));
    assert_eq!(undoing.arguments, wanted().arguments, "with the same arguments");

    seen.script = Some(Ok(Script { name: "unflush".into(), text: "undo".into(), ..script }));
    let JobPlan::Create(job) = advance(&mut seen).0.job else { panic!("no Job") };
    assert_eq!(job.metadata.name, Some(format!("ku-{REQUEST}-rollback")));
    assert_eq!(variable(&container(&job), "KUBERNAUT_SCRIPT").as_deref(), Some("undo"));
    seen.script = Some(Err(Refusal { error: "ScriptChanged", message: "no".into() }));
    assert_eq!(advance(&mut seen).1, ["Failed RollbackFailed"]);
}

#[test]
fn a_script_without_an_inverse_is_not_undone() {
    let mut seen = seen();
    advance(&mut seen);
    seen.job = ended(Some(result(0, "", None, &wanted())));
    advance(&mut seen);
    assert_eq!(seen.execution.status.as_ref().and_then(|status| status.phase), Some(ExecutionPhase::Verifying));
    seen.now = at(100_000);
    seen.job = kubernaut_domain::execution::JobSeen::Absent;
    seen.health = Some(Health::Unhealthy("0 of 1".into()));
    assert_eq!(advance(&mut seen).1, ["Failed VerifyingTimedOut"]);
}
