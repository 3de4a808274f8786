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

use kubernaut_events::types;

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

/// What a watch brings.
enum News {
    /// An object of one kind with everything that has happened to it.
    Seen(Sighting),
    /// All objects of a kind that were there already have been brought.
    Listed,
}

struct Sighting {
    noun: &'static str,
    name: String,
    request: String,
    target_namespace: Option<String>,
    transitions: Vec<Transition>,
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
    let streams = [
        stream::<RemediationRequest>(&client, &options.namespace),
        stream::<RemediationProcessing>(&client, &options.namespace),
        stream::<AIAnalysis>(&client, &options.namespace),
        stream::<WorkflowExecution>(&client, &options.namespace),
        stream::<KubernetesExecution>(&client, &options.namespace),
    ];
    let mut unlisted = streams.len();
    let mut news = select_all(streams);
    let mut followed = Followed { request: options.request.clone(), ..Followed::default() };
    // What came before its request was chosen; first all that was there when the watch began.
    let mut waiting: Vec<Sighting> = vec![];
    let mut old = BTreeSet::new();
    while let Some(item) = news.next().await {
        match item? {
            News::Seen(sighting) => {
                if unlisted > 0 && sighting.noun == RemediationRequest::NOUN && sighting.ended {
                    old.insert(sighting.name.clone());
                }
                waiting.push(sighting);
            }
            // Taken up again after an interruption, a watch lists once more.
            News::Listed => unlisted = unlisted.saturating_sub(1),
        }
        if unlisted > 0 {
            continue;
        }
        if followed.request.is_none() {
            let wanted = |sighting: &&Sighting| {
                let namespace = options.target_namespace.as_ref();
                sighting.noun == RemediationRequest::NOUN
                    && !old.contains(&sighting.name)
                    && namespace.is_none_or(|namespace| Some(namespace) == sighting.target_namespace.as_ref())
            };
            followed.request = waiting.iter().find(wanted).map(|sighting| sighting.name.clone());
        }
        if let Some(end) = followed.print(&mut waiting) {
            return finish(&end, followed.start);
        }
    }
    bail!("the watch ended")
}

/// The request that is followed, and what of it has been printed.
#[derive(Default)]
struct Followed {
    request: Option<String>,
    printed: BTreeMap<(&'static str, String), u32>,
    start: Option<Timestamp>,
}

impl Followed {
    /// Prints what is new about the followed request, in the order in which it happened; the request once
    /// it has ended. Takes everything else away, once it is known what is followed.
    fn print(&mut self, waiting: &mut Vec<Sighting>) -> Option<Sighting> {
        let request = self.request.clone()?;
        let mut sightings: Vec<_> = waiting.drain(..).filter(|sighting| sighting.request == request).collect();
        let mut lines = vec![];
        for sighting in &sightings {
            let last = self.printed.entry((sighting.noun, sighting.name.clone())).or_default();
            let new = sighting.transitions.iter().filter(|transition| transition.seq > *last);
            lines.extend(new.map(|transition| (transition.seq, line(sighting.noun, transition))));
            *last = sighting.transitions.last().map_or(*last, |transition| transition.seq.max(*last));
        }
        lines.sort_by_key(|(seq, line)| (line.at, types::rank(&line.noun), *seq));
        for (_, line) in &lines {
            anstream::println!("{}", line.render(*self.start.get_or_insert(line.at)));
        }
        let end = sightings.iter().position(|sighting| sighting.noun == RemediationRequest::NOUN && sighting.ended)?;
        Some(sightings.swap_remove(end))
    }
}

fn finish(request: &Sighting, start: Option<Timestamp>) -> anyhow::Result<()> {
    let last = request.transitions.last().context("a request that ended has a transition")?;
    let took = start.map_or_else(String::new, |start| {
        format!(" after {}", elapsed(last.at.0.duration_since(start)).trim_start_matches('+'))
    });
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

fn stream<K>(client: &Client, namespace: &str) -> BoxStream<'static, anyhow::Result<News>>
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
                Ok(Event::InitApply(object) | Event::Apply(object)) => Some(Ok(News::Seen(sighting(&object)))),
                Ok(Event::InitDone) => Some(Ok(News::Listed)),
                Ok(Event::Init | Event::Delete(_)) => None,
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

fn sighting<K: Staged + Resource<DynamicType = ()> + serde::Serialize>(object: &K) -> Sighting {
    let outcome = serde_json::to_value(object).ok();
    Sighting {
        noun: K::NOUN,
        name: object.name_any(),
        request: object.request_name(),
        target_namespace: object.target().and_then(|target| target.namespace.clone()),
        transitions: object.transitions().to_vec(),
        ended: object.phase().is_some_and(Phase::is_terminal),
        outcome: outcome
            .as_ref()
            .and_then(|value| value.pointer("/status/outcome"))
            .and_then(|value| value.as_str())
            .map(str::to_owned),
    }
}
