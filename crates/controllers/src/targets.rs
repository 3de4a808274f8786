//! Watches of single targets, for as long as somebody waits for their health: no polling, and no
//! cache of the cluster's workloads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use kubernaut_api::TargetRef;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

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
        let (Some(namespace), "Deployment") = (&target.namespace, target.kind.as_str()) else { return };
        let waiter = key(waiter);
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.entry(waiter.clone()).or_insert_with(|| {
            let api = Api::<PartialObjectMeta<Deployment>>::namespaced(self.client.clone(), namespace);
            let config = watcher::Config::default().fields(&format!("metadata.name={}", target.name));
            let changed = self.changed.clone();
            Watch(tokio::spawn(async move {
                let stream = watcher(api, config).default_backoff().touched_objects();
                stream
                    .for_each(|_| {
                        // Nobody listens only while the program ends.
                        let _ = changed.send(waiter.clone());
                        std::future::ready(())
                    })
                    .await;
            }))
        });
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

fn key<K: Resource<DynamicType = ()>>(waiter: &K) -> Waiter {
    (K::kind(&()).into_owned(), waiter.meta().name.clone().unwrap_or_default())
}
