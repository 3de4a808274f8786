//! Reads a target and says how it is.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kubernaut_api::TargetRef;
use kubernaut_domain::health::{Health, of_workload};

use crate::{Ctx, Error, calls, collect};

/// Health of a target now. An object made anew under the same name is another one: the target is gone.
pub(crate) async fn of(ctx: &Ctx, target: &TargetRef) -> Result<Health, Error> {
    let (Some(namespace), "Deployment") = (&target.namespace, target.kind.as_str()) else {
        return Ok(Health::NotApplicable);
    };
    let api = Api::<Deployment>::namespaced(ctx.client.clone(), namespace);
    let deployment = calls::timed(ctx.call_timeout, &format!("get {target}"), api.get_opt(&target.name)).await?;
    Ok(match deployment {
        Some(found) if target.uid.is_none() || target.uid == found.metadata.uid => {
            of_workload(&collect::workload_facts(&found))
        }
        Some(_) | None => Health::Gone,
    })
}
