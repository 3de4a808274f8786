//! Whether somebody has put an object under Kubernaut's care, by label (R2.9). The gateway asks the same of
//! what alerts name; here it is asked of everything that would be changed, whoever made the request.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kubernaut_api::{TargetRef, labels};
use kubernaut_domain::settings::Scope;

use crate::{Ctx, Error, calls};

/// A sentence, with the command that mends it, for each of the targets that is not under Kubernaut's care.
///
/// A label on the object counts more than one on its namespace. What has none of its own follows `own`,
/// the object that the remediation is about, where both are in one namespace.
pub(crate) async fn unmanaged(
    ctx: &Ctx,
    targets: &[&TargetRef],
    own: Option<&TargetRef>,
) -> Result<Vec<String>, Error> {
    if ctx.settings.scope == Scope::All {
        return Ok(vec![]);
    }
    let mut looks = Looks { ctx, namespaces: BTreeMap::new() };
    let mut found: Vec<String> = vec![];
    for target in targets {
        if let Some(why) = looks.judge(target, own).await?
            && !found.contains(&why)
        {
            found.push(why);
        }
    }
    Ok(found)
}

/// Look-ups of one reconciliation.
struct Looks<'a> {
    ctx: &'a Ctx,
    namespaces: BTreeMap<String, Option<bool>>,
}

impl Looks<'_> {
    async fn judge(&mut self, target: &TargetRef, own: Option<&TargetRef>) -> Result<Option<String>, Error> {
        match self.label(target).await? {
            Some(true) => return Ok(None),
            Some(false) => {
                return Ok(Some(format!(
                    "{target} is labelled as not managed; opt in: {} --overwrite",
                    opt_in(target)
                )));
            }
            None => {}
        }
        let Some(namespace) = &target.namespace else {
            return Ok(Some(format!("{target} is not labelled as managed; opt in: {}", opt_in(target))));
        };
        if self.namespace(namespace).await? == Some(true) {
            return Ok(None);
        }
        if let Some(own) = own.filter(|own| own.namespace.as_ref() == Some(namespace) && *own != target)
            && self.label(own).await? == Some(true)
        {
            return Ok(None);
        }
        Ok(Some(format!(
            "namespace {namespace} is not labelled as managed; opt in: kubectl label namespace {namespace} {}=true",
            labels::MANAGED
        )))
    }

    /// What the label on an object says. One that does not exist, or whose kind may not be read, says nothing.
    async fn label(&self, target: &TargetRef) -> Result<Option<bool>, Error> {
        let (group, version) = target.api_version.split_once('/').unwrap_or(("", &target.api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &target.kind));
        let client = self.ctx.client.clone();
        let api: Api<DynamicObject> = match &target.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let call = format!("get labels of {target}");
        match calls::timed(self.ctx.call_timeout, &call, api.get_metadata_opt(&target.name)).await {
            Ok(found) => Ok(found.and_then(|found| said(found.metadata.labels.as_ref()))),
            Err(Error::Api { source, .. }) if matches!(&*source, kube::Error::Api(status) if status.is_forbidden()) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn namespace(&mut self, name: &str) -> Result<Option<bool>, Error> {
        if let Some(known) = self.namespaces.get(name) {
            return Ok(*known);
        }
        let api = Api::<Namespace>::all(self.ctx.client.clone());
        let call = format!("get labels of namespace {name}");
        let found = calls::timed(self.ctx.call_timeout, &call, api.get_metadata_opt(name)).await?;
        let says = found.and_then(|found| said(found.metadata.labels.as_ref()));
        self.namespaces.insert(name.to_owned(), says);
        Ok(says)
    }
}

fn said(labels: Option<&BTreeMap<String, String>>) -> Option<bool> {
    labels.and_then(|labels| labels.get(labels::MANAGED)).map(|value| value == "true")
}

/// The command that opts in.
fn opt_in(target: &TargetRef) -> String {
    let namespace = target.namespace.as_ref().map(|namespace| format!("-n {namespace} ")).unwrap_or_default();
    format!("kubectl label {namespace}{} {} {}=true", target.kind.to_lowercase(), target.name, labels::MANAGED)
}
