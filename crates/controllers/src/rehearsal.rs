//! Rehearsal of an action with `dryRun=All`, under the action's own ServiceAccount: what the Job may
//! not do is refused here, before anything runs (R5.2; ARCHITECTURE.md, invariant 6).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::AuthInfo;
use kube::{Api, Client, Config};
use kubernaut_actions::Check;
use kubernaut_api::execution::{ActionResult, Effect};
use kubernaut_api::{KubernetesExecution, names};
use kubernaut_domain::catalogue::ActInput;
use kubernaut_domain::execution::Trace;
use kubernaut_domain::script::RUN_SCRIPT;

use crate::{Ctx, Error, calls};

/// Clients of the actions' ServiceAccounts, kept while their tokens are good.
#[derive(Default)]
pub struct Rehearsals(Mutex<HashMap<String, (Client, Timestamp)>>);

/// Shortest life that the API server grants a token.
const TOKEN_LIFE: Duration = Duration::from_mins(10);

/// What the action would do now. A refusal is a result; an API server that cannot be reached is an error.
pub(crate) async fn rehearse(ctx: &Ctx, execution: &KubernetesExecution) -> Result<ActionResult, Error> {
    let input = ActInput { dry_run: true, ..ActInput::of(execution) };
    let account = names::service_account(&ctx.settings.job.service_account_prefix, &input.action);
    let client = match client_of(ctx, &account).await {
        Ok(client) => client,
        Err(Error::Api { call, source }) if matches!(&*source, kube::Error::Api(status) if status.is_not_found() || status.is_forbidden()) =>
        {
            return Ok(ActionResult {
                effect: Effect::None,
                message: format!("{call}: {source}; is the chart's RBAC of action {} installed?", input.action),
                error: Some("ServiceAccountMissing".into()),
                before: BTreeMap::default(),
                target: None,
            });
        }
        Err(error) => return Err(error),
    };
    let result = kubernaut_actions::run(client, &input).await;
    if kubernaut_actions::is_transient(&result) {
        // A rehearsal changes nothing, so it can simply be held again.
        return Err(Error::Timeout { call: format!("rehearse {}", input.action), seconds: ctx.call_timeout.as_secs() });
    }
    Ok(result)
}

/// Whether the target is as the action left it, seen with the action's own rights.
pub(crate) async fn check(ctx: &Ctx, execution: &KubernetesExecution) -> Result<Check, Error> {
    let input = ActInput::of(execution);
    if input.action == RUN_SCRIPT {
        return Ok(Check::Nothing);
    }
    let account = names::service_account(&ctx.settings.job.service_account_prefix, &input.action);
    let client = client_of(ctx, &account).await?;
    match kubernaut_actions::check(client, &input).await {
        Check::Unread(why) => Err(Error::Unread { what: format!("target of {}", input.execution), message: why }),
        told => Ok(told),
    }
}

/// What the target says about a Job that left no result.
pub(crate) async fn trace(ctx: &Ctx, execution: &KubernetesExecution) -> Result<Trace, Error> {
    let input = ActInput::of(execution);
    if input.action == RUN_SCRIPT {
        return Ok(Trace::Unclear("a script leaves no mark".into()));
    }
    let account = names::service_account(&ctx.settings.job.service_account_prefix, &input.action);
    let client = client_of(ctx, &account).await?;
    let unread = |message| Error::Unread { what: format!("target of {}", input.execution), message };
    kubernaut_actions::trace(client, &input).await.map_err(unread)
}

async fn client_of(ctx: &Ctx, account: &str) -> Result<Client, Error> {
    let now = Timestamp::now();
    {
        let known = ctx.rehearsals.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((client, _)) = known.get(account).filter(|(_, until)| *until > now) {
            return Ok(client.clone());
        }
    }
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: i64::try_from(TOKEN_LIFE.as_secs()).ok(),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let api = Api::<ServiceAccount>::namespaced(ctx.client.clone(), &ctx.namespace);
    let call = format!("request a token of ServiceAccount {account}");
    let parameters = PostParams::default();
    let granted =
        calls::timed(ctx.call_timeout, &call, api.create_token_request(account, &parameters, &request)).await?;
    let token = granted.status.and_then(|status| status.token).unwrap_or_default();
    let failed = |source: kube::Error| Error::Api { call: call.clone(), source: Box::new(source) };
    let mut config = Config::infer().await.map_err(|error| failed(kube::Error::InferConfig(error)))?;
    config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
    let client = Client::try_from(config).map_err(failed)?;
    let until = now.saturating_add(TOKEN_LIFE / 2).unwrap_or(now);
    ctx.rehearsals.0.lock().unwrap_or_else(PoisonError::into_inner).insert(account.to_owned(), (client.clone(), until));
    Ok(client)
}
