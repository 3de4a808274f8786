//! One call to the API server: its limit in time, and what its failure means for the target.
//!
//! The only distinction that counts afterwards is "nothing was changed" against "cannot be told"
//! (R6.6). Deliberately absent: retries; a repeated write is decided anew by [`crate::workload`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
    Preconditions,
};
use kube::core::Status;
use kube::{Client, ResourceExt};
use kubernaut_api::execution::{ActionResult, Effect};
use kubernaut_api::labels::ACTION_MANAGER;
use kubernaut_domain::catalogue::{self, ActInput, Values};
use serde_json::{Value, json};

/// Limit of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Objects of one page of a list: the runner has little memory, and keeps only what it asked for.
const PAGE: u32 = 100;

/// Why an action did not do its work, and whether the target may have been changed all the same.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing was changed.
    #[error("{message}")]
    Refused {
        /// CamelCase word.
        error: &'static str,
        /// In words.
        message: String,
    },
    /// A write was sent and what became of it is not known.
    #[error("{message}")]
    Unknown {
        /// CamelCase word.
        error: &'static str,
        /// In words.
        message: String,
    },
}

impl Failure {
    pub fn refused(error: &'static str, message: impl Into<String>) -> Self {
        Self::Refused { error, message: message.into() }
    }

    /// True when somebody else wrote first: look again and decide anew.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { error: "Conflict", .. })
    }

    /// True when the object is not there.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Refused { error: "TargetGone", .. })
    }
}

impl From<Failure> for ActionResult {
    fn from(failure: Failure) -> Self {
        let (effect, error, message) = match failure {
            Failure::Refused { error, message } => (Effect::None, error, message),
            Failure::Unknown { error, message } => (Effect::Unknown, error, message),
        };
        Self { effect, message, error: Some(error.into()), before: Values::new(), target: None }
    }
}

/// A request to end early, and whether a write has been sent by then.
#[derive(Debug, Default)]
pub struct Stop {
    requested: AtomicBool,
    sent: AtomicBool,
}

impl Stop {
    /// From now on no mutation is begun.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
    }

    /// What is to be said when the work could not be waited for any longer.
    pub fn interrupted(&self) -> Failure {
        let message = "terminated before the end".to_owned();
        if self.sent.load(Ordering::SeqCst) {
            Failure::Unknown { error: "Terminated", message }
        } else {
            Failure::Refused { error: "Terminated", message }
        }
    }
}

/// Everything that an action needs to talk to the API server.
pub struct Call<'a> {
    pub input: &'a ActInput,
    client: Client,
    stop: &'a Stop,
    looking: bool,
}

impl<'a> Call<'a> {
    pub fn new(client: Client, input: &'a ActInput, stop: &'a Stop) -> Self {
        Self { input, client, stop, looking: false }
    }

    /// A run that only looks whether all is as the action wants it: marks of earlier runs count for nothing, and no
    /// change is sent, not even as a rehearsal.
    pub fn looking(client: Client, input: &'a ActInput, stop: &'a Stop) -> Self {
        Self { input, client, stop, looking: true }
    }

    /// True when this run only looks.
    pub fn only_looks(&self) -> bool {
        self.looking
    }

    /// The same run, as seen from another object: to change it by the same rules as the target.
    pub fn on<'b>(&self, input: &'b ActInput) -> Call<'b>
    where
        'a: 'b,
    {
        Call { input, client: self.client.clone(), stop: self.stop, looking: self.looking }
    }

    /// True when no mutation will be begun any more.
    pub fn is_stopping(&self) -> bool {
        self.stop.requested.load(Ordering::SeqCst)
    }

    /// Reads one object of the target's namespace.
    pub async fn get(&self, kind: &str, name: &str) -> Result<DynamicObject, Failure> {
        read(self.api(kind).get(name)).await
    }

    /// Reads the target, and refuses when it is another object than the one that was meant, or on its way out.
    pub async fn target(&self) -> Result<DynamicObject, Failure> {
        let target = &self.input.target;
        let live = self.get(&target.kind, &target.name).await?;
        let uid = live.uid().unwrap_or_default();
        if let Some(meant) = target.uid.as_deref().filter(|meant| *meant != uid) {
            return Err(Failure::refused("TargetReplaced", format!("{target} has uid {uid}, not {meant} as planned")));
        }
        if live.metadata.deletion_timestamp.is_some() {
            return Err(Failure::refused("TargetGone", format!("{target} is being deleted")));
        }
        Ok(live)
    }

    /// Lists objects of the target's namespace.
    pub async fn list(&self, kind: &str, selector: &kube::core::Selector) -> Result<Vec<DynamicObject>, Failure> {
        let parameters = ListParams::default().labels_from(selector);
        Ok(read(self.api(kind).list(&parameters)).await?.items)
    }

    /// Lists objects of the target's namespace page by page, and keeps those that `keep` says.
    pub async fn list_where(
        &self,
        kind: &str,
        selector: &kube::core::Selector,
        keep: impl Fn(&DynamicObject) -> bool,
    ) -> Result<Vec<DynamicObject>, Failure> {
        pages(&self.api(kind), ListParams::default().labels_from(selector), keep).await
    }

    /// Lists the pods on a node, of all namespaces.
    pub async fn pods_on(&self, node: &str) -> Result<Vec<DynamicObject>, Failure> {
        let api = Api::all_with(self.client.clone(), &resource("Pod"));
        pages(&api, ListParams::default().fields(&format!("spec.nodeName={node}")), |_| true).await
    }

    /// Sends one JSON patch to the target, and returns it as it is then.
    pub async fn patch(&self, operations: Vec<Value>) -> Result<DynamicObject, Failure> {
        let operations = serde_json::from_value(Value::Array(operations))
            .map_err(|error| Failure::refused("Invalid", format!("no JSON patch: {error}")))?;
        let parameters = PatchParams {
            dry_run: self.input.dry_run,
            field_manager: Some(ACTION_MANAGER.into()),
            ..PatchParams::default()
        };
        let target = &self.input.target;
        let patch = Patch::Json::<()>(operations);
        self.mutate(self.api(&target.kind).patch(&target.name, &parameters, &patch)).await
    }

    /// Deletes one object of the target's namespace if it still has that uid; `grace` in seconds instead of its own.
    pub async fn delete(&self, kind: &str, name: &str, uid: &str, grace: Option<u32>) -> Result<(), Failure> {
        let parameters = DeleteParams {
            dry_run: self.input.dry_run,
            grace_period_seconds: grace,
            preconditions: Some(Preconditions { uid: Some(uid.into()), resource_version: None }),
            ..DeleteParams::default()
        };
        self.mutate(self.api(kind).delete(name, &parameters)).await.map(|_| ())
    }

    /// Asks the API server to evict one pod if it still has that uid and its disruption budgets allow it.
    ///
    /// Not by [`kube::Api::evict`]: that one spells `delete_options` in a way that the API server ignores, and
    /// the uid with it.
    pub async fn evict(&self, namespace: &str, name: &str, uid: &str) -> Result<(), Failure> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource("Pod"));
        let eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        });
        let parameters = PostParams { dry_run: self.input.dry_run, ..PostParams::default() };
        self.mutate(api.create_subresource::<_, Status>("eviction", name, &parameters, &eviction)).await.map(|_| ())
    }

    /// Awaits a change of something outside the API server, which cannot rehearse: never called by a dry run.
    pub async fn outside<T>(&self, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.begin()?;
        call.await
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let resource = resource(kind);
        if !catalogue::is_namespaced(kind) {
            return Api::all_with(self.client.clone(), &resource);
        }
        let namespace = self.input.target.namespace.as_deref().unwrap_or_default();
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    fn begin(&self) -> Result<(), Failure> {
        if self.is_stopping() {
            return Err(Failure::refused("Terminated", "terminated before anything was changed"));
        }
        self.stop.sent.fetch_or(!self.input.dry_run, Ordering::SeqCst);
        Ok(())
    }

    async fn mutate<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
        if self.looking {
            return Err(Failure::refused("Invalid", "a look must not change anything"));
        }
        self.begin()?;
        let (error, message, certain) = match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => classify(&error),
            Err(_) => timed_out(),
        };
        if certain || self.input.dry_run {
            Err(Failure::Refused { error, message })
        } else {
            Err(Failure::Unknown { error, message })
        }
    }
}

fn resource(kind: &str) -> ApiResource {
    let (group, version) = catalogue::api_version(kind).split_once('/').unwrap_or(("", "v1"));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

async fn pages(
    api: &Api<DynamicObject>,
    parameters: ListParams,
    keep: impl Fn(&DynamicObject) -> bool,
) -> Result<Vec<DynamicObject>, Failure> {
    let mut parameters = parameters.limit(PAGE);
    let mut kept = Vec::new();
    loop {
        let page = read(api.list(&parameters)).await?;
        kept.extend(page.items.into_iter().filter(&keep));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(kept),
        }
    }
}

async fn read<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    let (error, message, _) = match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => classify(&error),
        Err(_) => timed_out(),
    };
    Err(Failure::Refused { error, message })
}

fn timed_out() -> (&'static str, String, bool) {
    ("Timeout", format!("the API server did not answer within {} s", CALL_TIMEOUT.as_secs()), false)
}

/// Name of an error, its text, and whether it proves that a write with this answer was not done.
fn classify(error: &kube::Error) -> (&'static str, String, bool) {
    let kube::Error::Api(status) = error else {
        let built = matches!(error, kube::Error::BuildRequest(_));
        return (if built { "Invalid" } else { "ApiUnreachable" }, error.to_string(), built);
    };
    let name = match status.code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "TargetGone",
        409 => "Conflict",
        400 | 413 | 415 | 422 => "Invalid",
        429 => "TooManyRequests",
        504 => "Timeout",
        _ => "ApiError",
    };
    (name, status.message.clone(), (400..500).contains(&status.code))
}
