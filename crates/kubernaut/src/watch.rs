//! `kubernaut watch`: one line per phase transition, live, until a remediation ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use futures::stream::{BoxStream, select_all};
use jiff::Timestamp;
use kube::core::NamespaceResourceScope;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use kubernaut_api::{
    AIAnalysis, KubernetesExecution, Phase, RemediationProcessing, RemediationRequest, Staged, Transition,
    WorkflowExecution,
};

use crate::lines::{Line, elapsed};

/// What to follow.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Name of the RemediationRequest to follow; the next new one when absent
    pub request: Option<String>,
    /// Namespace of the operator
    #[arg(long, short, default_value = "kubernaut-system", env = "KUBERNAUT_NAMESPACE")]
    pub namespace: String,
    /// Follow the next request about a target in this namespace only
    #[arg(long)]
    pub target_namespace: Option<String>,
    /// Give up after so many seconds
    #[arg(long, default_value_t = 600)]
    pub timeout: u64,
}

/// What a watch brings: an object of one kind with everything that has happened to it.
struct Sighting {
    noun: &'static str,
    name: String,
    request: String,
    target_namespace: Option<String>,
    transitions: Vec<Transition>,
    /// True when it was there before the watch began.
    before: bool,
    ended: bool,
    outcome: Option<String>,
}

/// Prints transitions until the followed request ends. The exit code says how: an error when it did
/// not end as Completed or in time.
pub async fn run(client: Client, options: &Options) -> anyhow::Result<()> {
    let limit = Duration::from_secs(options.timeout);
    match tokio::time::timeout(limit, follow(client, options)).await {
        Ok(result) => result,
        Err(_) => bail!("no remediation ended within {} s", options.timeout),
    }
}

async fn follow(client: Client, options: &Options) -> anyhow::Result<()> {
    let mut sightings = select_all([
        stream::<RemediationRequest>(&client, &options.namespace),
        stream::<RemediationProcessing>(&client, &options.namespace),
        stream::<AIAnalysis>(&client, &options.namespace),
        stream::<WorkflowExecution>(&client, &options.namespace),
        stream::<KubernetesExecution>(&client, &options.namespace),
    ]);
    let mut followed = options.request.clone();
    let mut old = BTreeSet::new();
    let mut printed: BTreeMap<(&'static str, String), u32> = BTreeMap::new();
    let mut waiting: Vec<Sighting> = vec![];
    let mut start: Option<Timestamp> = None;
    while let Some(sighting) = sightings.next().await {
        let sighting = sighting?;
        if sighting.noun == RemediationRequest::NOUN && followed.is_none() {
            if sighting.before && sighting.ended {
                old.insert(sighting.name.clone());
            }
            let wanted = options.target_namespace.is_none() || options.target_namespace == sighting.target_namespace;
            if wanted && !old.contains(&sighting.name) {
                followed = Some(sighting.name.clone());
            }
        }
        waiting.push(sighting);
        let Some(request) = followed.clone() else { continue };
        let ready: Vec<_> = waiting.drain(..).filter(|sighting| sighting.request == request).collect();
        for sighting in ready {
            let last = printed.entry((sighting.noun, sighting.name.clone())).or_default();
            for transition in sighting.transitions.iter().filter(|transition| transition.seq > *last) {
                let start = *start.get_or_insert(transition.at.0);
                anstream::println!("{}", line(sighting.noun, transition).render(start));
            }
            *last = sighting.transitions.last().map_or(*last, |transition| transition.seq.max(*last));
            if sighting.noun == RemediationRequest::NOUN && sighting.ended {
                return finish(&sighting, start);
            }
        }
    }
    bail!("the watch ended")
}

fn finish(request: &Sighting, start: Option<Timestamp>) -> anyhow::Result<()> {
    let last = request.transitions.last().context("a request that ended has a transition")?;
    let took = start.map_or_else(String::new, |start| format!(" after {}", elapsed(last.at.0.duration_since(start))));
    let outcome = request.outcome.as_deref().map_or_else(String::new, |outcome| format!(", {outcome}"));
    anstream::println!("\n{} ended: {}{outcome}{took}", request.name, last.to);
    if last.to == "Completed" { Ok(()) } else { bail!("{}: {}", last.reason, last.message) }
}

/// A transition of an object of this kind, as a line.
pub fn line(noun: &str, transition: &Transition) -> Line {
    Line {
        at: transition.at.0,
        noun: noun.to_owned(),
        to: transition.to.clone(),
        reason: transition.reason.clone(),
        message: transition.message.clone(),
    }
}

fn stream<K>(client: &Client, namespace: &str) -> BoxStream<'static, anyhow::Result<Sighting>>
where
    K: Staged
        + Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + serde::Serialize
        + Send
        + 'static,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    watcher(api, watcher::Config::default())
        .default_backoff()
        .filter_map(|event| async {
            match event {
                Ok(Event::InitApply(object)) => Some(Ok(sighting(&object, true))),
                Ok(Event::Apply(object)) => Some(Ok(sighting(&object, false))),
                Ok(Event::Init | Event::InitDone | Event::Delete(_)) => None,
                // A watch that is cut is taken up again; one that is refused never works.
                Err(watcher::Error::InitialListFailed(error)) => {
                    Some(Err(anyhow::Error::new(error).context(format!("list {}", K::plural(&())))))
                }
                Err(error) => {
                    tracing::debug!(%error, "watch interrupted");
                    None
                }
            }
        })
        .boxed()
}

fn sighting<K: Staged + Resource<DynamicType = ()> + serde::Serialize>(object: &K, before: bool) -> Sighting {
    let outcome = serde_json::to_value(object).ok();
    Sighting {
        noun: K::NOUN,
        name: object.name_any(),
        request: object.request_name(),
        target_namespace: object.target().and_then(|target| target.namespace.clone()),
        transitions: object.transitions().to_vec(),
        before,
        ended: object.phase().is_some_and(Phase::is_terminal),
        outcome: outcome
            .as_ref()
            .and_then(|value| value.pointer("/status/outcome"))
            .and_then(|value| value.as_str())
            .map(str::to_owned),
    }
}
