//! Watches of single targets, for as long as somebody waits for their health: no polling, and no
//! cache of the cluster's workloads.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use kubernaut_api::TargetRef;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use crate::health::SERVICE_NAME;

/// Watches, by the kind and name of who waits.
pub struct Targets {
    client: Client,
    /// Full: the oldest is dropped and who lags is told to look at all it waits for.
    changed: broadcast::Sender<Waiter>,
    watches: Arc<Mutex<HashMap<Waiter, Watch>>>,
}

/// Kind and name of an object of the pipeline that waits.
type Waiter = (String, String);

#[derive(Debug)]
struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Targets {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, changed: broadcast::channel(1024).0, watches: Arc::default() }
    }

    /// Watches a target until [`Targets::leave`]; a second call for the same waiter does nothing.
    pub(crate) fn await_change<K: Resource<DynamicType = ()>>(&self, waiter: &K, target: &TargetRef) {
        self.await_changes(waiter, [target]);
    }

    /// As [`Targets::await_change`], of several objects.
    pub(crate) fn await_changes<'a, K: Resource<DynamicType = ()>>(
        &self,
        waiter: &K,
        targets: impl IntoIterator<Item = &'a TargetRef>,
    ) {
        let touched: Vec<_> = targets.into_iter().filter_map(|target| self.touched(target)).collect();
        if touched.is_empty() {
            return;
        }
        let touched = futures::stream::select_all(touched);
        let waiter = key(waiter);
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.entry(waiter.clone()).or_insert_with(|| {
            let changed = self.changed.clone();
            Watch(tokio::spawn(async move {
                touched
                    .for_each(|()| {
                        // Nobody listens only while the program ends.
                        let _ = changed.send(waiter.clone());
                        std::future::ready(())
                    })
                    .await;
            }))
        });
    }

    /// Tells of each change of a target whose health can be read; `None` for other kinds.
    fn touched(&self, target: &TargetRef) -> Option<BoxStream<'static, ()>> {
        let (client, name) = (self.client.clone(), target.name.as_str());
        let one = watcher::Config::default().fields(&format!("metadata.name={name}"));
        if target.kind == "Node" {
            return Some(touched(Api::<PartialObjectMeta<Node>>::all(client), one));
        }
        let namespace = target.namespace.as_deref()?;
        match target.kind.as_str() {
            "Deployment" => Some(touched(within::<Deployment>(client, namespace), one)),
            "StatefulSet" => Some(touched(within::<StatefulSet>(client, namespace), one)),
            "DaemonSet" => Some(touched(within::<DaemonSet>(client, namespace), one)),
            "Pod" => Some(touched(within::<Pod>(client, namespace), one)),
            "Job" => Some(touched(within::<Job>(client, namespace), one)),
            "CronJob" => Some(touched(within::<CronJob>(client, namespace), one)),
            "PersistentVolumeClaim" => Some(touched(within::<PersistentVolumeClaim>(client, namespace), one)),
            "HorizontalPodAutoscaler" => Some(touched(within::<HorizontalPodAutoscaler>(client, namespace), one)),
            "Service" => {
                let own = watcher::Config::default().labels(&format!("{SERVICE_NAME}={name}"));
                Some(touched(within::<EndpointSlice>(client, namespace), own))
            }
            _ => None,
        }
    }

    /// Ends the watch of this waiter.
    pub(crate) fn leave<K: Resource<DynamicType = ()>>(&self, waiter: &K) {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(waiter));
    }

    #[cfg(test)]
    pub(crate) fn watched(&self) -> usize {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The objects of kind `K` whose target has changed.
    pub(crate) fn changes<K, G>(&self, namespace: &str) -> impl Stream<Item = ObjectRef<G>> + Send + use<K, G>
    where
        K: Resource<DynamicType = ()>,
        G: Resource<DynamicType = ()>,
    {
        let namespace = namespace.to_owned();
        let watches = self.watches.clone();
        let kind = K::kind(&()).into_owned();
        futures::stream::unfold(self.changed.subscribe(), move |mut receiver| {
            let (watches, kind) = (watches.clone(), kind.clone());
            async move {
                let waiters = match receiver.recv().await {
                    Ok(waiter) => vec![waiter],
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        watches.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
                    }
                    Err(broadcast::error::RecvError::Closed) => return None,
                };
                let names: Vec<_> = waiters.into_iter().filter(|(own, _)| *own == kind).map(|(_, name)| name).collect();
                Some((futures::stream::iter(names), receiver))
            }
        })
        .flatten()
        .map(move |name| ObjectRef::new(&name).within(&namespace))
    }
}

fn within<K>(client: Client, namespace: &str) -> Api<PartialObjectMeta<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client, namespace)
}

fn touched<K>(api: Api<PartialObjectMeta<K>>, config: watcher::Config) -> BoxStream<'static, ()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + 'static,
{
    watcher(api, config).default_backoff().touched_objects().map(|_| ()).boxed()
}

fn key<K: Resource<DynamicType = ()>>(waiter: &K) -> Waiter {
    (K::kind(&()).into_owned(), waiter.meta().name.clone().unwrap_or_default())
}
