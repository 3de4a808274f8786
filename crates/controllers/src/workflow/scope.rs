//! Is a target of a workflow that a person made by hand in Kubernaut's scope? The gateway asks the same of what
//! alerts are about (R2.9).

use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt};

use k8s_openapi::api::core::v1::Namespace;
use kubernaut_api::{TargetRef, labels};
use kubernaut_domain::settings::Scope;

use crate::{Ctx, Error, calls};

/// Why targets are not in scope, one sentence a target with the command that opts in.
pub(super) async fn problems(ctx: &Ctx, targets: &[TargetRef]) -> Result<Vec<String>, Error> {
    let mut problems = vec![];
    if ctx.settings.scope == Scope::All {
        return Ok(problems);
    }
    for target in targets {
        if !namespace_is_managed(ctx, target).await? && !is_managed(ctx, target).await? {
            let opt_in = match &target.namespace {
                Some(namespace) => format!("kubectl label namespace {namespace} {}=true", labels::MANAGED),
                None => {
                    format!("kubectl label {} {} {}=true", target.kind.to_lowercase(), target.name, labels::MANAGED)
                }
            };
            problems.push(format!("{target} is not in Kubernaut's scope: {opt_in}"));
        }
    }
    Ok(problems)
}

async fn namespace_is_managed(ctx: &Ctx, target: &TargetRef) -> Result<bool, Error> {
    let Some(name) = &target.namespace else { return Ok(false) };
    let api = Api::<Namespace>::all(ctx.client.clone());
    let found = calls::timed(ctx.call_timeout, &format!("get Namespace {name}"), api.get_metadata_opt(name)).await?;
    Ok(found.is_some_and(|found| marked(&found)))
}

/// The object's own label. What may not be read is not labelled: the namespace's label is the way then.
async fn is_managed(ctx: &Ctx, target: &TargetRef) -> Result<bool, Error> {
    let (group, version) = target.api_version.rsplit_once('/').unwrap_or(("", &target.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &target.kind));
    let api: Api<DynamicObject> = match &target.namespace {
        Some(namespace) => Api::namespaced_with(ctx.client.clone(), namespace, &resource),
        None => Api::all_with(ctx.client.clone(), &resource),
    };
    match calls::timed(ctx.call_timeout, &format!("get {target}"), api.get_metadata_opt(&target.name)).await {
        Ok(found) => Ok(found.is_some_and(|found| marked(&found))),
        Err(Error::Api { source, .. }) if matches!(&*source, kube::Error::Api(status) if status.is_forbidden()) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn marked(object: &impl ResourceExt) -> bool {
    object.labels().get(labels::MANAGED).is_some_and(|value| value == "true")
}
