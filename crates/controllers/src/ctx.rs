//! What all controllers share: client, settings, providers, metrics, Events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use kubernaut_analysis::Provider;
use kubernaut_domain::settings::Settings;
use kubernaut_domain::stage::Notice;
use kubernaut_policy::Policies;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::rehearsal::Rehearsals;
use crate::request::Others;
use crate::targets::Targets;
use crate::{calls, policies};

/// What all controllers share.
pub struct Ctx {
    /// Client under the operator's own ServiceAccount.
    pub client: Client,
    /// Namespace of all resources of the pipeline.
    pub namespace: String,
    /// Settings of the decisions.
    pub settings: Settings,
    /// Limit of one call to the API server.
    pub call_timeout: Duration,
    /// Reconciliations at once, per kind.
    pub concurrency: u16,
    /// Who is asked for a diagnosis.
    pub provider: Arc<dyn Provider>,
    /// Metrics.
    pub metrics: Metrics,
    /// What Rego decides.
    pub policies: Policies,
    /// Whether the ConfigMaps of policies have been listed.
    pub(crate) policies_read: watch::Sender<bool>,
    pub(crate) rehearsals: Rehearsals,
    pub(crate) targets: Targets,
    pub(crate) requests: Others,
    /// Held by who decides whether its Job may be made, until that is written.
    pub(crate) ledger: tokio::sync::Mutex<()>,
    recorder: Recorder,
    failures: Mutex<HashMap<String, u32>>,
    superseded: Mutex<HashMap<String, String>>,
}

impl Ctx {
    /// Puts the shared parts together.
    pub fn new(
        client: Client,
        namespace: String,
        settings: Settings,
        call_timeout: Duration,
        concurrency: u16,
        provider: Arc<dyn Provider>,
        metrics: Metrics,
    ) -> Self {
        let reporter = Reporter { controller: "kubernaut".into(), instance: std::env::var("POD_NAME").ok() };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            rehearsals: Rehearsals::default(),
            targets: Targets::new(client.clone()),
            policies: Policies::new(policies::this_program()),
            policies_read: watch::Sender::new(false),
            requests: Others::default(),
            ledger: tokio::sync::Mutex::default(),
            failures: Mutex::default(),
            superseded: Mutex::default(),
            client,
            namespace,
            settings,
            call_timeout,
            concurrency,
            provider,
            metrics,
        }
    }

    /// Publishes Kubernetes Events about an object. An Event that is refused is logged and no more:
    /// the transition itself is recorded already.
    pub async fn notify<K>(&self, object: &K, notices: Vec<Notice>)
    where
        K: Resource<DynamicType = ()>,
    {
        for notice in notices {
            let event = Event {
                type_: if notice.warning { EventType::Warning } else { EventType::Normal },
                reason: notice.reason.as_str().to_owned(),
                note: Some(notice.note.chars().take(1000).collect()),
                action: "Reconcile".into(),
                secondary: None,
            };
            let reference = object.object_ref(&());
            let publish = self.recorder.publish(&event, &reference);
            if let Err(error) = calls::timed(self.call_timeout, "create Event", publish).await {
                tracing::warn!(%error, reason = event.reason, "Event not published");
            }
        }
    }

    /// How often in a row an object could not be reconciled, this time included.
    pub(crate) fn failed(&self, key: &str) -> u32 {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        // Bounded: forgetting how often something failed only makes the next try sooner.
        if failures.len() > 10_000 {
            failures.clear();
        }
        let count = failures.entry(key.to_owned()).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }

    /// Remembers which version of an object our own write has replaced.
    pub(crate) fn replaced(&self, key: String, version: String) {
        let mut superseded = self.superseded.lock().unwrap_or_else(PoisonError::into_inner);
        // Bounded: forgetting only costs a write that the API server refuses.
        if superseded.len() > 10_000 {
            superseded.clear();
        }
        superseded.insert(key, version);
    }

    /// True when the cache still holds the version that our own write has replaced.
    pub(crate) fn is_replaced(&self, key: &str, version: Option<&str>) -> bool {
        let superseded = self.superseded.lock().unwrap_or_else(PoisonError::into_inner);
        version.is_some() && superseded.get(key).map(String::as_str) == version
    }

    pub(crate) fn succeeded(&self, key: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
