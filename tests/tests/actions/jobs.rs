//! KubernetesExecutions made by hand, on the real kubelet: scripts, Jobs that do not start, that die, and that vanish.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource, ResourceExt};
use kubernaut_api::{
    ExecutionPhase, KubernetesExecution, KubernetesExecutionStatus, RemediationRequest, RequestPhase, Staged, TargetRef,
};
use kubernaut_domain::execution::may_retry;
use kubernaut_domain::script::digest;
use kubernaut_testkit::{Namespace, Operator, SpareNode, objects, until};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{operator, target, value};

/// An image that is allowed and does not exist.
pub const ABSENT: &str = "localhost/absent:1";
/// The account of scripts: it may do nothing.
pub const ACCOUNT: &str = "script-runner";
/// An account that is allowed and does not exist.
pub const NO_ACCOUNT: &str = "script-nobody";
const LIMIT: Duration = Duration::from_mins(2);
/// Held by a test that limits the pods of the operator's namespace, and by those that such a limit would disturb.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A request that stays open, a ConfigMap to act upon, and what is made for both.
struct Bench {
    operator: Operator,
    namespace: Namespace,
    request: String,
    target: TargetRef,
}

impl Bench {
    async fn set_up(purpose: &str) -> Result<Self> {
        let operator = operator().await?;
        let namespace = Namespace::managed(&operator.cluster, purpose).await?;
        let map =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "data" }, "data": { "a": "1" } });
        objects::create(&operator.cluster, &namespace.name, &map).await?;
        let target = target(&operator, "ConfigMap", Some(&namespace.name), "data").await?;
        let account: ServiceAccount = serde_json::from_value(json!({ "metadata": { "name": ACCOUNT } }))?;
        if let Err(error) = operator.api::<ServiceAccount>().create(&PostParams::default(), &account).await {
            ensure!(matches!(&error, kube::Error::Api(status) if status.is_already_exists()), "{error}");
        }
        let request = open_request(&operator, &target).await?;
        Ok(Self { operator, namespace, request, target })
    }

    /// Registers a script; its name and digest.
    async fn register(&self, text: &str, image: &str, account: &str, parameters: &Value) -> Result<(String, String)> {
        let name = format!("script-{}", suffix());
        let map: ConfigMap = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": { "kubernaut.io/script": "true" },
                "annotations": {
                    "kubernaut.io/script-image": image,
                    "kubernaut.io/script-service-account": account,
                    "kubernaut.io/script-parameters": parameters.to_string(),
                },
            },
            "data": { "script": text },
        }))?;
        self.operator.api::<ConfigMap>().create(&PostParams::default(), &map).await?;
        Ok((name, digest(text)))
    }

    /// Makes an execution on a target; its name.
    async fn execute(&self, action: &str, target: &TargetRef, parameters: &Value) -> Result<String> {
        let step = suffix();
        let name = format!("ke-{}-{step}", self.request);
        let execution: KubernetesExecution = serde_json::from_value(json!({
            "apiVersion": "kubernaut.io/v1alpha1", "kind": "KubernetesExecution",
            "metadata": { "name": name, "labels": { "kubernaut.io/request": self.request } },
            "spec": {
                "request": self.request, "step": step, "action": action, "target": target,
                "parameters": parameters, "planHash": "0".repeat(64), "timeout": "60s", "verificationTimeout": "8s",
            },
        }))?;
        let api = Api::<KubernetesExecution>::namespaced(as_operator(&self.operator).await?, &self.operator.namespace);
        api.create(&PostParams::default(), &execution).await?;
        Ok(name)
    }

    async fn run(&self, script: &(String, String), arguments: &Value) -> Result<String> {
        let parameters = json!({ "script": script.0, "digest": script.1, "arguments": arguments });
        self.execute("run_script", &self.target, &parameters).await
    }

    async fn get(&self, name: &str) -> Result<KubernetesExecution> {
        Ok(self.operator.api::<KubernetesExecution>().get(name).await?)
    }

    /// The execution once it has ended, and how.
    async fn ended(&self, name: &str) -> Result<(KubernetesExecution, KubernetesExecutionStatus)> {
        until(&format!("{name} has ended"), LIMIT, || async {
            let execution = self.get(name).await?;
            let status = execution.status.clone().unwrap_or_default();
            ensure!(status.phase.is_some_and(kubernaut_api::Phase::is_terminal), "{:?}", execution.transitions());
            Ok((execution, status))
        })
        .await
    }

    /// Waits until the container of a Job of this name runs; its pod.
    async fn running(&self, job: &str) -> Result<Pod> {
        let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
        until(&format!("{job} runs"), LIMIT, || async {
            let pods = self.operator.api::<Pod>().list(&of_job).await?.items;
            let runs = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
            pods.into_iter().find(runs).context("no pod runs")
        })
        .await
    }

    /// Nothing of a Job is left that nobody records: its finalizer is off.
    async fn is_let_go(&self, job: &str) -> Result<()> {
        until(&format!("{job} is let go"), LIMIT, || async {
            match self.operator.api::<Job>().get_opt(job).await? {
                Some(job) if !job.finalizers().is_empty() => bail!("{:?}", job.finalizers()),
                _ => Ok(()),
            }
        })
        .await
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // With the request goes what it owns; the executions are nobody's, so by their label.
        let of_request = format!("kubernaut.io/request={}", self.request);
        let mut command = std::process::Command::new(self.operator.cluster.root.join(".local/bin/kubectl"));
        command.env("KUBECONFIG", &self.operator.cluster.kubeconfig);
        command.args([
            "delete",
            "kubernetesexecutions,remediationrequests",
            "--wait=false",
            "-n",
            &self.operator.namespace,
        ]);
        let _ = command.args(["-l", &of_request]).stdout(std::process::Stdio::null()).status();
    }
}

fn suffix() -> String {
    Uuid::new_v4().simple().to_string()[..6].to_owned()
}

/// A client in the operator's name: nobody else may make executions, or say how far a request is.
async fn as_operator(operator: &Operator) -> Result<Client> {
    let file = Kubeconfig::read_from(&operator.cluster.kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{}:{}", operator.namespace, operator.name));
    Ok(Client::try_from(config)?)
}

/// A request that is being verified, so that executions may run for it: the health of a ConfigMap is nobody's to tell,
/// and no alert is resolved.
async fn open_request(operator: &Operator, target: &TargetRef) -> Result<String> {
    let name = format!("rr-by-hand-{}", suffix());
    let fingerprint = Uuid::new_v4().simple().to_string().repeat(2);
    let request: RemediationRequest = serde_json::from_value(json!({
        "apiVersion": "kubernaut.io/v1alpha1", "kind": "RemediationRequest",
        "metadata": { "name": name, "labels": { "kubernaut.io/request": name } },
        "spec": { "signal": { "source": "test", "name": "ByHand", "fingerprint": fingerprint }, "target": target, "episode": 1 },
    }))?;
    let api = Api::<RemediationRequest>::namespaced(as_operator(operator).await?, &operator.namespace);
    api.create(&PostParams::default(), &request).await?;
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(20);
    let later = format!("{later:.6}");
    let status = json!({ "status": { "phase": "Verifying", "deadline": later, "phaseDeadline": later } });
    until("the request is left alone", LIMIT, || async {
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let phase = api.get(&name).await?.phase();
        ensure!(phase == Some(RequestPhase::Verifying), "{phase:?}");
        Ok(())
    })
    .await?;
    Ok(name)
}

fn ended_as(execution: &KubernetesExecution, phase: ExecutionPhase, reason: &str) -> Result<String> {
    let status = execution.status.clone().unwrap_or_default();
    let found = (status.phase, status.reason.as_deref());
    ensure!(found == (Some(phase), Some(reason)), "{}: {:?}", execution.name_any(), execution.transitions());
    Ok(status.message.unwrap_or_default())
}

#[tokio::test]
async fn a_registered_script_runs_with_its_arguments_and_its_last_line_is_the_message() -> Result<()> {
    let _alone = ALONE.lock().await;
    let bench = Bench::set_up("script").await?;
    let text = "echo first\n[ $(busybox id -u) = 65532 ] || exit 8\ntouch /tmp/scratch\nif touch /etc/x 2>/dev/null; then exit 9; fi\necho \"$TARGET_KIND $PARAM_WHAT $$HOME\"\n";
    let parameters = json!({ "WHAT": "[a-z; $()]+" });
    let script = bench.register(text, &objects::image(), ACCOUNT, &parameters).await?;
    let name = bench.run(&script, &json!({ "WHAT": "$(id); reboot" })).await?;
    // What becomes of the registration now has no effect.
    let running = bench.get(&name).await?;
    let (execution, status) = bench.ended(&name).await?;
    let message = ended_as(&execution, ExecutionPhase::Completed, "ActionDone")?;
    assert!(message.contains("ConfigMap $(id); reboot "), "{message}");
    assert!(message.ends_with("HOME"), "the shell alone has replaced what it found: {message}");
    assert!(status.rehearsal.is_some_and(|said| said.contains("cannot be rehearsed")));
    assert_eq!(running.uid(), execution.uid());
    bench.is_let_go(&name).await?;
    let job = bench.operator.api::<Job>().get(&name).await?;
    assert_eq!(job.status.and_then(|status| status.succeeded), Some(1));
    Ok(())
}

#[tokio::test]
async fn a_script_that_fails_leaves_the_outcome_unknown_and_is_not_run_again() -> Result<()> {
    let _alone = ALONE.lock().await;
    let bench = Bench::set_up("fails").await?;
    let script = bench.register("echo half done; exit 3", &objects::image(), ACCOUNT, &json!({})).await?;
    let name = bench.run(&script, &json!({})).await?;
    let (execution, _) = bench.ended(&name).await?;
    let message = ended_as(&execution, ExecutionPhase::Failed, "OutcomeUnknown")?;
    assert!(message.contains("exit code 3") && message.contains("half done"), "{message}");
    assert!(!may_retry(&execution));
    Ok(())
}

#[tokio::test]
async fn a_script_is_refused_when_its_text_or_an_argument_is_not_as_registered() -> Result<()> {
    let bench = Bench::set_up("refused").await?;
    let parameters = json!({ "WHAT": "[a-z]+" });
    let script = bench.register("echo ok", &objects::image(), ACCOUNT, &parameters).await?;
    let changed = (script.0.clone(), digest("echo something else"));
    let foreign = bench.register("echo ok", "localhost/busybox:1-evil", ACCOUNT, &json!({})).await?;
    for (script, arguments, reason) in [
        (&changed, json!({ "WHAT": "a" }), "ScriptChanged"),
        (&script, json!({ "WHAT": "a; reboot" }), "Invalid"),
        (&script, json!({ "WHAT": "a", "MORE": "b" }), "Invalid"),
        (&script, json!({}), "Invalid"),
        (&foreign, json!({}), "ScriptImageRefused"),
        (&("settings".to_owned(), digest("x")), json!({}), "ScriptNotRegistered"),
    ] {
        let name = bench.run(script, &arguments).await?;
        let (execution, status) = bench.ended(&name).await?;
        ended_as(&execution, ExecutionPhase::Failed, reason)?;
        ensure!(status.job.is_none() && bench.operator.api::<Job>().get_opt(&name).await?.is_none(), "a Job was made");
    }
    Ok(())
}

#[tokio::test]
async fn a_job_whose_image_cannot_be_pulled_ends_by_the_deadline_with_the_reason_in_words() -> Result<()> {
    let _alone = ALONE.lock().await;
    let bench = Bench::set_up("image").await?;
    let script = bench.register("echo never", ABSENT, ACCOUNT, &json!({})).await?;
    let name = bench.run(&script, &json!({})).await?;
    let (execution, status) = bench.ended(&name).await?;
    let message = ended_as(&execution, ExecutionPhase::Failed, "JobNotStarted")?;
    assert!(message.contains("ImagePull") && message.contains("absent"), "{message}");
    assert!(may_retry(&execution) && status.result.is_none());
    until("the Job is gone", LIMIT, || async {
        ensure!(bench.operator.api::<Job>().get_opt(&name).await?.is_none(), "it is still there");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_job_that_gets_no_pod_says_whether_quota_or_account_is_missing() -> Result<()> {
    let _alone = ALONE.lock().await;
    let bench = Bench::set_up("quota").await?;
    let nobody = bench.register("echo never", &objects::image(), NO_ACCOUNT, &json!({})).await?;
    let name = bench.run(&nobody, &json!({})).await?;
    let (execution, _) = bench.ended(&name).await?;
    let message = ended_as(&execution, ExecutionPhase::Failed, "JobNotStarted")?;
    assert!(message.contains(NO_ACCOUNT), "{message}");

    // Enough for the pods that are there, and none more.
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "tests-no-more-pods" },
        "spec": { "hard": { "count/pods": "0" } },
    });
    objects::create(&bench.operator.cluster, &bench.operator.namespace, &quota).await?;
    let script = bench.register("echo never", &objects::image(), ACCOUNT, &json!({})).await?;
    let ended = async {
        let name = bench.run(&script, &json!({})).await?;
        bench.ended(&name).await
    }
    .await;
    let delete = ["delete", "resourcequota", "tests-no-more-pods", "-n", &bench.operator.namespace];
    bench.operator.cluster.kubectl(delete).await?;
    let (execution, _) = ended?;
    let message = ended_as(&execution, ExecutionPhase::Failed, "JobNotStarted")?;
    assert!(message.contains("exceeded quota"), "{message}");
    assert!(may_retry(&execution));
    Ok(())
}

#[tokio::test]
async fn a_job_that_is_deleted_while_it_runs_still_has_its_result_taken() -> Result<()> {
    let _alone = ALONE.lock().await;
    let bench = Bench::set_up("deleted").await?;
    let script = bench.register("sleep 6; echo survived", &objects::image(), ACCOUNT, &json!({})).await?;
    let name = bench.run(&script, &json!({})).await?;
    bench.running(&name).await?;
    bench.operator.api::<Job>().delete(&name, &DeleteParams::background()).await?;
    let (execution, _) = bench.ended(&name).await?;
    let message = ended_as(&execution, ExecutionPhase::Completed, "ActionDone")?;
    assert!(message.contains("survived"), "{message}");
    bench.is_let_go(&name).await
}

#[tokio::test]
async fn a_job_whose_finalizer_is_torn_off_is_never_made_again() -> Result<()> {
    let _alone = ALONE.lock().await;
    let bench = Bench::set_up("torn").await?;
    let script = bench.register("sleep 30; echo late", &objects::image(), ACCOUNT, &json!({})).await?;
    let name = bench.run(&script, &json!({})).await?;
    let pod = bench.running(&name).await?;
    until("the Job is recorded", LIMIT, || async {
        let status = bench.get(&name).await?.status.unwrap_or_default();
        ensure!(status.job.is_some(), "not yet");
        Ok(())
    })
    .await?;
    let jobs = bench.operator.api::<Job>();
    let none = json!({ "metadata": { "finalizers": null } });
    jobs.patch(&name, &PatchParams::default(), &Patch::Merge(none)).await?;
    jobs.delete(&name, &DeleteParams::background()).await?;
    let (execution, _) = bench.ended(&name).await?;
    ended_as(&execution, ExecutionPhase::Failed, "OutcomeUnknown")?;
    assert!(!may_retry(&execution));
    assert!(jobs.get_opt(&name).await?.is_none(), "it was made again");
    assert_ne!(pod.uid(), None);
    Ok(())
}

#[tokio::test]
async fn a_drain_whose_pod_is_killed_is_found_by_its_mark_and_what_it_began_is_undone() -> Result<()> {
    let _alone = ALONE.lock().await;
    let bench = Bench::set_up("killed").await?;
    let node = SpareNode::make(&bench.operator.cluster, "killed", None, &[]).await?;
    // A pod that no eviction ends, for something holds it: the drain goes on until it is killed.
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "stuck", "finalizers": ["example.com/held"] },
        "spec": {
            "nodeName": node.name, "terminationGracePeriodSeconds": 600, "tolerations": [{ "operator": "Exists" }],
            "containers": [{ "name": "app", "image": objects::image() }],
        },
    });
    objects::create(&bench.operator.cluster, &bench.namespace.name, &pod).await?;
    let target = target(&bench.operator, "Node", None, &node.name).await?;
    let parameters = json!({ "deleteBarePods": true, "timeoutSeconds": 50 });
    let name = bench.execute("drain_node", &target, &parameters).await?;
    let runner = bench.running(&name).await?;
    until("the node is cordoned", LIMIT, || async {
        ensure!(value(&bench.operator, &target, "{.spec.unschedulable}").await? == "true", "not yet");
        Ok(())
    })
    .await?;
    // At once and without a word, as when a node is lost.
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    bench.operator.api::<Pod>().delete(&runner.name_any(), &now).await?;
    let (execution, _) = bench.ended(&name).await?;
    let phases: Vec<_> = execution.transitions().iter().map(|transition| transition.to.as_str()).collect();
    let unfinished = ["Pending", "Validating", "Executing", "Verifying", "RollingBack", "Failed"];
    ensure!(
        phases == unfinished || phases == ["Pending", "Validating", "Executing", "Failed"],
        "{:?}",
        execution.transitions()
    );
    if phases == unfinished {
        ended_as(&execution, ExecutionPhase::Failed, "RolledBack")?;
        assert_eq!(value(&bench.operator, &target, "{.spec.unschedulable}").await?, "", "what it began is undone");
    } else {
        // Its last word came through: what it had begun is not finished, and it says so.
        ended_as(&execution, ExecutionPhase::Failed, "OutcomeUnknown")?;
    }
    assert!(!may_retry(&execution));
    let free = r#"{"metadata":{"finalizers":null}}"#;
    let patch = ["patch", "pod", "stuck", "-n", &bench.namespace.name, "--type=merge", "-p", free];
    bench.operator.cluster.kubectl(patch).await?;
    Ok(())
}

#[tokio::test]
async fn an_action_that_reaches_too_far_is_refused_with_the_number_and_the_setting() -> Result<()> {
    let bench = Bench::set_up("reach").await?;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "wide" },
        "spec": {
            // None of them is to run: paused, so that no ReplicaSet is made.
            "paused": true, "replicas": 101, "selector": { "matchLabels": { "app": "wide" } },
            "template": { "metadata": { "labels": { "app": "wide" } }, "spec": { "containers": [
                { "name": "app", "image": objects::image() },
            ] } },
        },
    });
    objects::create(&bench.operator.cluster, &bench.namespace.name, &deployment).await?;
    let target = target(&bench.operator, "Deployment", Some(&bench.namespace.name), "wide").await?;
    let name = bench.execute("scale_deployment", &target, &json!({ "replicas": 0 })).await?;
    let (execution, status) = bench.ended(&name).await?;
    let message = ended_as(&execution, ExecutionPhase::Failed, "BlastRadiusExceeded")?;
    assert!(message.contains("101 pods") && message.contains("execution.blastRadius.maxPods"), "{message}");
    let radius = status.blast_radius.context("it is recorded")?;
    assert_eq!((radius.pods, radius.replicas, radius.workloads), (101, 101, 1));
    assert_eq!(value(&bench.operator, &target, "{.spec.replicas}").await?, "101");
    assert_eq!(KubernetesExecution::kind(&()), "KubernetesExecution");
    Ok(())
}
