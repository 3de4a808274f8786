//! Reads a target and says how it is.

use std::fmt::Debug;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::Api;
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use kubernaut_api::TargetRef;
use kubernaut_api::evidence::Workload;
use kubernaut_domain::health::{Health, of_workload};
use serde::de::DeserializeOwned;

use crate::{Ctx, Error, calls, collect};

/// Health of a target now. An object made anew under the same name is another one: the target is gone.
pub(crate) async fn of(ctx: &Ctx, target: &TargetRef) -> Result<Health, Error> {
    match target.kind.as_str() {
        "Deployment" => read::<Deployment>(ctx, target, collect::workload_facts).await,
        "StatefulSet" => read::<StatefulSet>(ctx, target, collect::stateful_set_facts).await,
        "DaemonSet" => read::<DaemonSet>(ctx, target, collect::daemon_set_facts).await,
        _ => Ok(Health::NotApplicable),
    }
}

async fn read<K>(ctx: &Ctx, target: &TargetRef, facts: fn(&K) -> Workload) -> Result<Health, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let Some(namespace) = &target.namespace else { return Ok(Health::NotApplicable) };
    let api = Api::<K>::namespaced(ctx.client.clone(), namespace);
    let found = calls::timed(ctx.call_timeout, &format!("get {target}"), api.get_opt(&target.name)).await?;
    Ok(match found {
        Some(found) if target.uid.is_none() || target.uid == found.uid() => of_workload(&facts(&found)),
        Some(_) | None => Health::Gone,
    })
}
