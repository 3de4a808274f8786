//! The reads themselves: each with a limit, each failure as one line that says what is missing.
//! Deliberately absent: retries (the controller looks again) and watches.

use std::collections::BTreeMap;
use std::future::Future;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::api::{ListParams, LogParams};
use kube::core::Selector;
use kube::{Api, Resource};
use kubernaut_api::meta::TargetRef;
use serde::de::DeserializeOwned;

use super::Limits;

const PAGE: u32 = 500;
const NODES: u32 = 20;

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What, and why.
    pub text: String,
    /// True when it does not exist.
    pub not_found: bool,
}

/// A list, and what of it could not be read.
pub type Listed<T> = Result<(Vec<T>, Option<Gap>), Gap>;

/// Reads one namespace.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub client: &'a kube::Client,
    pub namespace: &'a str,
    pub limits: &'a Limits,
}

/// What was listed; the gaps are noted.
pub fn take<T>(listed: Listed<T>, gaps: &mut Vec<Gap>) -> Vec<T> {
    match listed {
        Ok((items, gap)) => {
            gaps.extend(gap);
            items
        }
        Err(gap) => {
            gaps.push(gap);
            Vec::new()
        }
    }
}

impl Reader<'_> {
    /// The target itself: one that was made anew under its name is another one.
    pub async fn wanted<K>(&self, resource: &str, target: &TargetRef) -> Result<K, Gap>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let object: K = self.get(resource, &target.name).await?;
        Self::is_same(target, object.meta())?;
        Ok(object)
    }

    /// An error when the object is not the one that is meant.
    pub fn is_same(target: &TargetRef, metadata: &ObjectMeta) -> Result<(), Gap> {
        if target.uid.is_some() && target.uid != metadata.uid {
            return Err(Gap { text: format!("{target}: was made anew since the signal"), not_found: true });
        }
        Ok(())
    }

    /// Labels of the namespace.
    pub async fn namespace_labels(&self) -> Result<BTreeMap<String, String>, Gap> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let what = format!("namespaces {}", self.namespace);
        let found = self.timed("get", &what, api.get_metadata(self.namespace)).await?;
        Ok(found.metadata.labels.unwrap_or_default())
    }

    /// One object.
    pub async fn get<K>(&self, resource: &str, name: &str) -> Result<K, Gap>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let api: Api<K> = self.api();
        self.timed("get", &format!("{resource} {}/{name}", self.namespace), api.get(name)).await
    }

    /// The objects that a selector takes; those beyond the limit are a gap. An empty selector takes none.
    pub async fn list<K>(&self, resource: &str, selector: &LabelSelector) -> Listed<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let what = format!("{resource} of {}", self.namespace);
        let selector: Selector = match selector.clone().try_into() {
            Ok(selector) if selector != Selector::default() => selector,
            _ => {
                return Err(Gap {
                    text: format!("{what}: the selector takes everything or is invalid"),
                    not_found: false,
                });
            }
        };
        let api: Api<K> = self.api();
        let parameters = ListParams::default().labels_from(&selector).limit(self.limits.objects);
        let list = self.timed("list", &what, api.list(&parameters)).await?;
        let more = list.metadata.continue_.is_some_and(|token| !token.is_empty());
        Ok((list.items, more.then(|| cut(&what, self.limits.objects))))
    }

    /// Every object of a kind in the namespace, of which there are few; those beyond the limit are a gap.
    pub async fn all<K>(&self, resource: &str) -> Listed<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let what = format!("{resource} of {}", self.namespace);
        let api: Api<K> = self.api();
        let list = self.timed("list", &what, api.list(&ListParams::default().limit(self.limits.objects))).await?;
        let more = list.metadata.continue_.is_some_and(|token| !token.is_empty());
        Ok((list.items, more.then(|| cut(&what, self.limits.objects))))
    }

    /// A node.
    pub async fn node(&self, name: &str) -> Result<Node, Gap> {
        let api: Api<Node> = Api::all(self.client.clone());
        self.timed("get", &format!("nodes {name}"), api.get(name)).await
    }

    /// Some nodes: a node is large, and one that would take pods is enough.
    pub async fn nodes(&self) -> Result<Vec<Node>, Gap> {
        let api: Api<Node> = Api::all(self.client.clone());
        Ok(self.timed("list", "nodes", api.list(&ListParams::default().limit(NODES))).await?.items)
    }

    /// The Events of the namespace. What they are about cannot be asked for: a field selector takes one
    /// uid, and a call for each pod would make the API server read them all each time.
    pub async fn events(&self) -> Listed<Event> {
        let what = format!("events of {}", self.namespace);
        let api: Api<Event> = self.api();
        let mut events = Vec::new();
        let mut parameters = ListParams::default().limit(PAGE.min(self.limits.events));
        loop {
            let page = match self.timed("list", &what, api.list(&parameters)).await {
                Ok(page) => page,
                Err(gap) if events.is_empty() => return Err(gap),
                Err(gap) => return Ok((events, Some(gap))),
            };
            events.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                None => return Ok((events, None)),
                Some(_) if events.len() >= self.limits.events as usize => {
                    return Ok((events, Some(cut(&what, self.limits.events))));
                }
                Some(token) => parameters = parameters.continue_token(&token),
            }
        }
    }

    /// Last lines of the log of one container, as they were written.
    pub async fn log(&self, pod: &str, container: &str, previous: bool) -> Result<String, Gap> {
        let api: Api<Pod> = self.api();
        let parameters = LogParams {
            container: Some(container.to_owned()),
            previous,
            tail_lines: Some(self.limits.log_lines),
            limit_bytes: Some(self.limits.log_bytes),
            ..LogParams::default()
        };
        self.timed("get", &format!("pods/log of {}/{pod}", self.namespace), api.logs(pod, &parameters)).await
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    /// One call; `what` begins with the resource, so that a refusal can name the permission that is missing.
    pub async fn timed<T>(
        &self,
        verb: &str,
        what: &str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Gap> {
        let (why, not_found) = match tokio::time::timeout(self.limits.call_timeout, call).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => {
                let resource = what.split(' ').next().unwrap_or_default();
                (format!("Forbidden (needs {verb} on {resource})"), false)
            }
            Ok(Err(kube::Error::Api(status))) => {
                let reason =
                    if status.reason.is_empty() { format!("status {}", status.code) } else { status.reason.clone() };
                (reason, status.is_not_found())
            }
            Ok(Err(kube::Error::SerdeError(_))) => ("is not what its schema says".to_owned(), false),
            Ok(Err(kube::Error::Discovery(_))) => ("is not served".to_owned(), false),
            Ok(Err(_)) => ("the API server could not be reached".to_owned(), false),
            Err(_) => (format!("no answer within {} ms", self.limits.call_timeout.as_millis()), false),
        };
        Err(Gap { text: format!("{what}: {why}"), not_found })
    }
}

fn cut(what: &str, limit: u32) -> Gap {
    Gap { text: format!("{what}: only the first {limit} were read"), not_found: false }
}
