//! RemediationRequests at the API server: found by fingerprint or by what they are about, made, patched.

use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::DeserializeGuard;
use kube::{Api, Client, ResourceExt};
use kubernaut_api::{RemediationRequest, labels};
use serde_json::Value;

use crate::call::{CallError, Calls};
use crate::record;

/// Objects per page when all are read.
const PAGE: u32 = 200;

/// The requests of one namespace, for one batch.
pub struct Requests<'a> {
    api: Api<RemediationRequest>,
    guarded: Api<DeserializeGuard<RemediationRequest>>,
    calls: &'a Calls,
}

/// What became of a create.
pub enum Made {
    /// It is durable.
    New(Box<RemediationRequest>),
    /// An object of this name exists.
    Taken,
}

/// What became of a patch.
pub enum Patched {
    /// It is durable.
    Done,
    /// The object changed meanwhile, or is gone: look again.
    Stale,
}

impl<'a> Requests<'a> {
    /// The requests in `namespace`.
    pub fn new(client: &Client, namespace: &str, calls: &'a Calls) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            guarded: Api::namespaced(client.clone(), namespace),
            calls,
        }
    }

    /// All requests of a fingerprint. The label holds a part of it, the object the whole.
    pub async fn of(&self, fingerprint: &str) -> Result<Vec<RemediationRequest>, CallError> {
        let selector = format!("{}={}", labels::FINGERPRINT, record::label(fingerprint));
        let is_of = |request: RemediationRequest| (request.spec.signal.fingerprint == fingerprint).then_some(request);
        self.each(ListParams::default().labels(&selector), is_of).await
    }

    /// What `keep` makes of every request. One page of requests is in memory at a time.
    pub async fn all<T>(&self, keep: impl Fn(RemediationRequest) -> Option<T>) -> Result<Vec<T>, CallError> {
        self.each(ListParams::default(), keep).await
    }

    async fn each<T>(
        &self,
        params: ListParams,
        keep: impl Fn(RemediationRequest) -> Option<T>,
    ) -> Result<Vec<T>, CallError> {
        let mut params = params.limit(PAGE);
        let mut kept = Vec::new();
        loop {
            let page = self.calls.run("list the requests", self.guarded.list(&params)).await?;
            for DeserializeGuard(item) in page.items {
                match item {
                    Ok(request) => kept.extend(keep(request)),
                    Err(error) => {
                        let name = error.metadata.name.as_deref().unwrap_or_default();
                        tracing::warn!(name, %error, "skipped a request that cannot be read");
                    }
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(kept),
            }
        }
    }

    /// The request of this name.
    pub async fn get(&self, name: &str) -> Result<Option<RemediationRequest>, CallError> {
        self.calls.run("read a request", self.api.get_opt(name)).await
    }

    /// Makes a request.
    pub async fn create(&self, request: &RemediationRequest) -> Result<Made, CallError> {
        let params = PostParams { field_manager: Some(labels::GATEWAY_MANAGER.into()), ..PostParams::default() };
        match self.calls.run("make the request", self.api.create(&params, request)).await {
            Ok(made) => Ok(Made::New(Box::new(made))),
            Err(error) if error.is_already_exists() => Ok(Made::Taken),
            Err(error) => Err(error),
        }
    }

    /// Patches the status of a request that was read before.
    pub async fn patch(&self, request: &RemediationRequest, patch: &Value) -> Result<Patched, CallError> {
        let params = PatchParams { field_manager: Some(labels::GATEWAY_MANAGER.into()), ..PatchParams::default() };
        let (name, patch) = (request.name_any(), Patch::Merge(patch));
        let call = self.guarded.patch_status(&name, &params, &patch);
        match self.calls.run("record the signal", call).await {
            Ok(_) => Ok(Patched::Done),
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(Patched::Stale),
            Err(error) => Err(error),
        }
    }
}
