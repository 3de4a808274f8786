//! The actions on real objects of a real API server, each under its own ServiceAccount: what they do, that their
//! inverse takes it back, and that no other account may. Then Jobs that do not start, die or vanish, on the real kubelet.
//!
//! What is played: nodes besides the only real one, and the pods on them, exist in the API alone. The action runs in
//! this process with a token of its ServiceAccount, as in its Job; that Jobs run it so, the pipeline's tests show.

mod effects;
mod jobs;
mod nodes;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use kubernaut_actions::Check;
use kubernaut_api::execution::{ActionResult, Effect};
use kubernaut_api::{TargetRef, names};
use kubernaut_domain::catalogue::{self, ActInput, Undo};
use kubernaut_testkit::Operator;
use serde_json::{Value, json};
use uuid::Uuid;

/// The operator of this file: Jobs have seconds to start, and one image and account may run scripts.
async fn operator() -> Result<Operator> {
    let images = json!([kubernaut_testkit::objects::image(), jobs::ABSENT]);
    let scripts = json!({ "images": images, "serviceAccounts": [jobs::ACCOUNT, jobs::NO_ACCOUNT] });
    Operator::installed_with(json!({ "startTimeout": "5s", "scripts": scripts })).await
}

/// One run of an action, to be sent by whichever account.
struct Run<'a> {
    operator: &'a Operator,
    input: ActInput,
}

impl<'a> Run<'a> {
    fn new(operator: &'a Operator, action: &str, target: TargetRef, parameters: &Value) -> Self {
        let input = ActInput {
            execution: format!("ke-{}", Uuid::new_v4().simple()),
            action: action.into(),
            target,
            parameters: parameters.as_object().cloned().unwrap_or_default().into_iter().collect(),
            dry_run: false,
            plan_hash: "0".repeat(64),
            start_before: None,
        };
        Self { operator, input }
    }

    /// With the ServiceAccount of an action, as its Job has it.
    async fn under(&self, action: &str) -> Result<ActionResult> {
        Ok(kubernaut_actions::run(client(self.operator, action).await?, &self.input).await)
    }

    /// Under its own account, with an effect.
    async fn changes(&self) -> Result<ActionResult> {
        let result = self.under(&self.input.action).await?;
        ensure!(result.effect == Effect::Changed, "{} under its own account: {result:?}", self.input.action);
        Ok(result)
    }

    /// Refused by the API server under the account of another action, without any effect.
    async fn is_forbidden_to(&self, action: &str) -> Result<()> {
        let result = self.under(action).await?;
        let (effect, error) = (result.effect, result.error.as_deref());
        ensure!((effect, error) == (Effect::None, Some("Forbidden")), "as {action}: {result:?}");
        Ok(())
    }

    /// Done, found as wanted by its own check, done again without effect, and taken back by its inverse.
    async fn changes_and_is_undone(&self) -> Result<()> {
        let result = self.changes().await?;
        let own = client(self.operator, &self.input.action).await?;
        let check = kubernaut_actions::check(own, &self.input).await;
        ensure!(matches!(check, Check::Holds | Check::Nothing), "{} right after: {check:?}", self.input.action);
        let again = self.under(&self.input.action).await?;
        ensure!(again.message.starts_with("an earlier run"), "a second run: {again:?}");
        let undo = self.inverse(&result)?;
        Run { operator: self.operator, input: self.undoing(undo) }.changes().await?;
        Ok(())
    }

    fn inverse(&self, result: &ActionResult) -> Result<Undo> {
        let spec = catalogue::find(&self.input.action).context("an action of the catalogue")?;
        spec.undo(&result.before).with_context(|| format!("no inverse of {result:?}"))
    }

    fn undoing(&self, undo: Undo) -> ActInput {
        ActInput {
            execution: format!("ku-{}", Uuid::new_v4().simple()),
            action: undo.action.into(),
            parameters: undo.parameters,
            ..self.input.clone()
        }
    }
}

/// A client with a short-lived token of an action's ServiceAccount and nothing else.
async fn client(operator: &Operator, action: &str) -> Result<Client> {
    let account = names::service_account("kubernaut-action-", action);
    let spec = TokenRequestSpec { expiration_seconds: Some(600), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let accounts = operator.api::<ServiceAccount>();
    let granted = accounts.create_token_request(&account, &PostParams::default(), &request).await?;
    let token = granted.status.and_then(|status| status.token).context("a token was granted")?;
    let file = Kubeconfig::read_from(&operator.cluster.kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
    Ok(Client::try_from(config)?)
}

/// An object that is there, with its uid.
async fn target(operator: &Operator, kind: &str, namespace: Option<&str>, name: &str) -> Result<TargetRef> {
    let mut arguments = vec!["get", kind, name, "-o", "jsonpath={.metadata.uid}"];
    arguments.extend(namespace.into_iter().flat_map(|namespace| ["-n", namespace]));
    let uid = operator.cluster.kubectl(arguments).await?;
    Ok(TargetRef {
        api_version: catalogue::api_version(kind).into(),
        kind: kind.into(),
        namespace: namespace.map(str::to_owned),
        name: name.into(),
        uid: Some(uid),
    })
}

/// One value of an object, by JSON path.
async fn value(operator: &Operator, target: &TargetRef, path: &str) -> Result<String> {
    let output = format!("jsonpath={path}");
    let mut arguments = vec!["get", &target.kind, &target.name, "-o", &output];
    arguments.extend(target.namespace.iter().flat_map(|namespace| ["-n", namespace.as_str()]));
    operator.cluster.kubectl(arguments).await
}
