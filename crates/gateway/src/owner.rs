//! From what an alert names to the top-level owner, by asking the API server.
//!
//! Only metadata is read, each object once per batch. "It is not there" is an answer; a failed
//! look-up is an error, never another answer, or the fingerprint would change with the weather.
//! The one exception: an owner of a custom kind that the gateway may not read, or that is not served,
//! is the end of the chain, since its kind and name are known from the reference.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::DynamicObject;
use kube::{Api, Client};
use kubernaut_api::TargetRef;

use crate::call::{CallError, Calls};
use crate::kinds::{self, Builtin, Discovered, Served};
use crate::names::{is_api_version, is_subdomain};
use crate::resolve::{self, Candidate, Subject};

/// Longer chains of owners are taken for a cycle.
const MAX_DEPTH: usize = 8;

/// What an alert is about, as far as it exists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Located {
    /// The top-level owner; `None` when nothing that was named exists.
    pub target: Option<TargetRef>,
    /// Labels of the target.
    pub labels: BTreeMap<String, String>,
    /// The object that the alert named, whether it exists or not.
    pub resource: Option<TargetRef>,
    /// Whether the target runs pods.
    pub workload: bool,
    /// The object named is gone, its controller was found by the way in which it names pods.
    pub gone: bool,
}

/// The metadata of an object that counts here.
#[derive(Debug)]
struct Meta {
    uid: Option<String>,
    labels: BTreeMap<String, String>,
    owner: Option<OwnerReference>,
}

impl Meta {
    fn of(metadata: ObjectMeta) -> Self {
        let controls = |owner: &OwnerReference| owner.controller == Some(true);
        Self {
            uid: metadata.uid,
            labels: metadata.labels.unwrap_or_default(),
            owner: metadata.owner_references.unwrap_or_default().into_iter().find(controls),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    api_version: String,
    kind: String,
    namespace: Option<String>,
    name: String,
}

/// Look-ups of one batch.
pub struct Owners<'a> {
    client: &'a Client,
    calls: &'a Calls,
    discovered: &'a Discovered,
    seen: Mutex<HashMap<Key, Option<Arc<Meta>>>>,
}

/// One object on the way up.
struct Link {
    object: TargetRef,
    meta: Arc<Meta>,
}

enum Up {
    /// The object has no owner that counts.
    Top,
    /// The owner is known by reference only.
    Opaque(TargetRef),
    /// The owner does not exist: the object is about to be collected.
    Gone,
    To(Link),
}

impl<'a> Owners<'a> {
    /// Nothing is known at first.
    pub fn new(client: &'a Client, calls: &'a Calls, discovered: &'a Discovered) -> Self {
        Self { client, calls, discovered, seen: Mutex::default() }
    }

    /// Finds the target of an alert.
    pub async fn locate(&self, subject: &Subject) -> Result<Located, CallError> {
        for candidate in &subject.candidates {
            if let Some(found) = self.climb(candidate).await? {
                return Ok(found);
            }
        }
        let named = subject.candidates.first().map(reference);
        for pod in subject.candidates.iter().filter(|candidate| *candidate.kind == kinds::POD) {
            for controller in resolve::controllers_of(pod) {
                if let Some(found) = self.climb(&controller).await? {
                    return Ok(Located { resource: named, gone: true, ..found });
                }
            }
        }
        Ok(Located { resource: named, ..Located::default() })
    }

    /// Labels of a namespace; `None` when it does not exist. `name` has to be valid as one.
    pub async fn namespace_labels(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, CallError> {
        let namespace = Candidate { kind: &kinds::NAMESPACE, namespace: None, name: name.to_owned() };
        let meta = self.look_up(&kinds::NAMESPACE.served(), &reference(&namespace)).await?;
        Ok(meta.map(|meta| meta.labels.clone()))
    }

    async fn climb(&self, start: &Candidate) -> Result<Option<Located>, CallError> {
        let Some(mut link) = self.link(&start.kind.served(), reference(start)).await? else { return Ok(None) };
        let resource = Some(link.object.clone());
        let workload = start.kind.workload;
        for _ in 0..MAX_DEPTH {
            match if workload { self.up(&link).await? } else { Up::Top } {
                Up::Gone => return Ok(None),
                Up::To(owner) => link = owner,
                Up::Opaque(owner) => {
                    let target = Some(owner);
                    return Ok(Some(Located { target, resource, workload, ..Located::default() }));
                }
                Up::Top => {
                    let (target, labels) = (Some(link.object), link.meta.labels.clone());
                    return Ok(Some(Located { target, labels, resource, workload, gone: false }));
                }
            }
        }
        tracing::warn!(object = %link.object, "owners form a cycle");
        Ok(None)
    }

    async fn up(&self, child: &Link) -> Result<Up, CallError> {
        let Some(owner) = &child.meta.owner else { return Ok(Up::Top) };
        // A static pod is owned by its node, which is no workload.
        let leads_up = owner.kind != kinds::NODE.kind && owner.kind != kinds::NAMESPACE.kind;
        if !leads_up || !is_subdomain(&owner.name) || !is_api_version(&owner.api_version) {
            return Ok(Up::Top);
        }
        let mut object = TargetRef {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            namespace: child.object.namespace.clone(),
            name: owner.name.clone(),
            uid: Some(owner.uid.clone()),
        };
        let builtin = kinds::owner_kind(&owner.api_version, &owner.kind);
        let served = match builtin.map(Builtin::served) {
            Some(served) => served,
            None => match self.discovered.find(self.client, self.calls, &owner.api_version, &owner.kind).await? {
                Some(served) => served,
                None => return Ok(Up::Opaque(object)),
            },
        };
        if !served.namespaced {
            object.namespace = None;
        }
        match self.link(&served, object.clone()).await {
            Ok(Some(link)) if link.meta.uid.as_deref() == Some(&owner.uid) => Ok(Up::To(link)),
            Ok(_) => Ok(Up::Gone),
            Err(error) if builtin.is_none() && error.is_forbidden() => {
                tracing::warn!(owner = %object, %error, "cannot read an owner of a custom kind: taken for the top");
                Ok(Up::Opaque(object))
            }
            Err(error) => Err(error),
        }
    }

    async fn link(&self, served: &Served, mut object: TargetRef) -> Result<Option<Link>, CallError> {
        let Some(meta) = self.look_up(served, &object).await? else { return Ok(None) };
        object.api_version.clone_from(&served.api.api_version);
        object.uid.clone_from(&meta.uid);
        Ok(Some(Link { object, meta }))
    }

    async fn look_up(&self, served: &Served, object: &TargetRef) -> Result<Option<Arc<Meta>>, CallError> {
        let key = Key {
            api_version: served.api.api_version.clone(),
            kind: served.api.kind.clone(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
        };
        if let Some(known) = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(known.clone());
        }
        let api: Api<DynamicObject> = match (&object.namespace, served.namespaced) {
            (Some(namespace), true) => Api::namespaced_with(self.client.clone(), namespace, &served.api),
            _ => Api::all_with(self.client.clone(), &served.api),
        };
        let found = self.calls.run("look up the target", api.get_metadata_opt(&object.name)).await?;
        let meta = found.map(|found| Arc::new(Meta::of(found.metadata)));
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key, meta.clone());
        Ok(meta)
    }
}

/// A candidate as a reference, before it was looked up.
fn reference(candidate: &Candidate) -> TargetRef {
    TargetRef {
        api_version: candidate.kind.api_version.to_owned(),
        kind: candidate.kind.kind.to_owned(),
        namespace: candidate.namespace.clone(),
        name: candidate.name.clone(),
        uid: None,
    }
}
