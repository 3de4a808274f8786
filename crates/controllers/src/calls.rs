//! Calls to the API server, each with a limit and an error that names it.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::core::object::HasStatus;
use kube::{Api, Resource, ResourceExt};
use kubernaut_api::{MicroTime, labels};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Ctx, Error};

/// The time, as fine as the API server keeps it: what is written equals what is read back.
pub fn now() -> MicroTime {
    let now = jiff::Timestamp::now();
    MicroTime(jiff::Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now))
}

/// Waits for a call at most so long.
pub async fn timed<T>(
    limit: Duration,
    call: &str,
    future: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) if status.is_conflict() => Err(Error::Conflict { call: call.into() }),
        Ok(Err(source)) => Err(Error::Api { call: call.into(), source: Box::new(source) }),
        Err(_) => Err(Error::Timeout { call: call.into(), seconds: limit.as_secs() }),
    }
}

/// Everything of a resource of the operator's own namespace that these functions need.
pub trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize + Send + Sync
{
}

impl<K> Object for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
{
}

pub(crate) fn api<K: Object>(ctx: &Ctx) -> Api<K> {
    Api::namespaced(ctx.client.clone(), &ctx.namespace)
}

/// Reads an object of the operator's namespace; `None` when there is none.
pub async fn get<K: Object>(ctx: &Ctx, name: &str) -> Result<Option<K>, Error> {
    let call = format!("get {} {name}", K::kind(&()));
    timed(ctx.call_timeout, &call, api::<K>(ctx).get_opt(name)).await
}

/// The owner that an object of a derived name must have.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Kind of the owner.
    pub kind: &'a str,
    /// Name of the owner.
    pub name: &'a str,
    /// Uid of the owner, where it is known.
    pub uid: Option<&'a str>,
}

/// What stands under a derived name.
#[derive(Debug)]
pub enum Found<K> {
    /// Nothing.
    Absent,
    /// Our own object.
    Own(K),
    /// An object that somebody else made.
    Foreign,
}

impl<K> Found<K> {
    /// Our own object, if it is there.
    pub fn own(self) -> Option<K> {
        match self {
            Self::Own(object) => Some(object),
            Self::Absent | Self::Foreign => None,
        }
    }
}

/// Reads what stands under a derived name and tells whether it is ours.
///
/// # Errors
/// [`Error::Leftover`] while an object of an earlier owner of the same name waits for its deletion.
pub async fn find<K: Object>(ctx: &Ctx, name: &str, owner: Owner<'_>) -> Result<Found<K>, Error> {
    let Some(object) = get::<K>(ctx, name).await? else { return Ok(Found::Absent) };
    let reference = object.owner_references().iter().find(|reference| reference.controller == Some(true));
    let Some(reference) = reference.filter(|reference| reference.kind == owner.kind && reference.name == owner.name)
    else {
        return Ok(Found::Foreign);
    };
    if owner.uid.is_some_and(|uid| uid != reference.uid) {
        return Err(Error::Leftover { object: format!("{} {name}", K::kind(&())) });
    }
    Ok(Found::Own(object))
}

/// Makes an object unless one of its name exists; whose that is, the next look tells.
pub async fn create<K: Object>(ctx: &Ctx, object: &K) -> Result<(), Error> {
    let call = format!("create {} {}", K::kind(&()), object.name_any());
    let parameters = PostParams { field_manager: Some(labels::CONTROLLER_MANAGER.into()), ..PostParams::default() };
    let create = async {
        match api::<K>(ctx).create(&parameters, object).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            other => other.map(|_| ()),
        }
    };
    timed(ctx.call_timeout, &call, create).await
}

/// Writes a status, if it differs, and returns the object as it stands then. The write carries the
/// `resourceVersion` that was decided upon: whoever decided on an older object gets [`Error::Conflict`].
pub async fn write_status<K>(ctx: &Ctx, object: &K, status: K::Status) -> Result<Option<K>, Error>
where
    K: Object + HasStatus,
    K::Status: PartialEq,
{
    if object.status() == Some(&status) {
        return Ok(None);
    }
    let mut changed = object.clone();
    *changed.status_mut() = Some(status);
    let name = object.name_any();
    let call = format!("update status of {} {name}", K::kind(&()));
    let parameters = PostParams { field_manager: Some(labels::CONTROLLER_MANAGER.into()), ..PostParams::default() };
    timed(ctx.call_timeout, &call, api::<K>(ctx).replace_status(&name, &parameters, &changed)).await.map(Some)
}

/// Deletes an object and, in the background, what it owns; fine when it is gone already.
pub async fn delete<K: Object>(ctx: &Ctx, name: &str) -> Result<(), Error> {
    let call = format!("delete {} {name}", K::kind(&()));
    let delete = async {
        match api::<K>(ctx).delete(name, &DeleteParams::background()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => other.map(|_| ()),
        }
    };
    timed(ctx.call_timeout, &call, delete).await
}

/// Puts a finalizer on an object; false when it is there already.
pub async fn put_finalizer_on<K: Object>(ctx: &Ctx, object: &K, finalizer: &str) -> Result<bool, Error> {
    if object.finalizers().iter().any(|own| own == finalizer) {
        return Ok(false);
    }
    let all: Vec<_> = object.finalizers().iter().map(String::as_str).chain([finalizer]).collect();
    let patch = serde_json::json!({
        "metadata": {"resourceVersion": object.resource_version(), "finalizers": all},
    });
    let name = object.name_any();
    let call = format!("put {finalizer} on {} {name}", K::kind(&()));
    let (api, parameters) = (api::<K>(ctx), PatchParams::default());
    timed(ctx.call_timeout, &call, api.patch_metadata(&name, &parameters, &Patch::Merge(patch))).await.map(|_| true)
}

/// Takes one finalizer off an object; fine when it, or the object, is gone already.
pub async fn take_finalizer_off<K: Object>(ctx: &Ctx, object: &K, finalizer: &str) -> Result<(), Error> {
    if !object.finalizers().iter().any(|own| own == finalizer) {
        return Ok(());
    }
    let left: Vec<_> = object.finalizers().iter().filter(|own| *own != finalizer).collect();
    let patch = serde_json::json!({
        "metadata": {"resourceVersion": object.resource_version(), "finalizers": left},
    });
    let name = object.name_any();
    let call = format!("take {finalizer} off {} {name}", K::kind(&()));
    let release = async {
        match api::<K>(ctx).patch_metadata(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => other.map(|_| ()),
        }
    };
    timed(ctx.call_timeout, &call, release).await
}
