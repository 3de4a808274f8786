//! Policies from ConfigMaps of the operator's namespace, by the label `kubernaut.io/policy` alone: taken over when
//! they change, given up when they go (R5.2). Asking them, with what they have to know of namespaces.
//!
//! A policy that is broken is not replaced by the one before it: it denies, and its ConfigMap has an Event.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use kubernaut_api::{EventReason, TargetRef, labels};
use kubernaut_domain::policy::{Namespaces, namespaces_of};
use kubernaut_domain::stage::Notice;
use kubernaut_policy::{Kind, Loaded, Program, Text};
use tokio_util::sync::CancellationToken;

use crate::{Ctx, Error, calls};

/// How long the controllers wait for the first list of policies. After that questions wait, each by itself.
const FIRST: Duration = Duration::from_secs(10);

/// This program, as the one that evaluates policies.
pub fn this_program() -> Program {
    let path = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    Program { path, arguments: vec!["policy-worker".into()] }
}

/// Follows the ConfigMaps until the token is cancelled.
pub(crate) async fn run(ctx: Arc<Ctx>, token: CancellationToken) {
    let config = watcher::Config::default().labels(labels::POLICY);
    let events = watcher(calls::api::<ConfigMap>(&ctx), config).default_backoff();
    let mut events = std::pin::pin!(events.take_until(token.cancelled()));
    let mut maps: BTreeMap<String, ConfigMap> = BTreeMap::new();
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(map)) => {
                listed.insert(map.name_any());
                maps.insert(map.name_any(), map);
            }
            Ok(watcher::Event::InitDone) => {
                maps.retain(|name, _| listed.contains(name));
                take_over(&ctx, &maps).await;
                ctx.policies_read.send_replace(true);
            }
            Ok(watcher::Event::Apply(map)) => {
                maps.insert(map.name_any(), map);
                take_over(&ctx, &maps).await;
            }
            Ok(watcher::Event::Delete(map)) => {
                maps.remove(&map.name_any());
                take_over(&ctx, &maps).await;
            }
            Err(error) => tracing::warn!(%error, "watch of policies interrupted, taken up again"),
        }
    }
}

/// Waits for the first list of policies, within bounds.
pub(crate) async fn read(ctx: &Ctx) {
    let mut read = ctx.policies_read.subscribe();
    if tokio::time::timeout(FIRST, read.wait_for(|read| *read)).await.is_err() {
        tracing::warn!("the policies cannot be read: may the operator list and watch ConfigMaps of its namespace?");
    }
}

async fn take_over(ctx: &Ctx, maps: &BTreeMap<String, ConfigMap>) {
    for map in maps.values().filter(|map| kind_of(map).is_none()) {
        let value = map.labels().get(labels::POLICY).map(String::as_str).unwrap_or_default();
        tracing::error!(configmap = map.name_any(), value, "there is no such policy: approval, safety, classification");
    }
    for kind in Kind::ALL {
        let found: Vec<_> = maps.values().filter(|map| kind_of(map) == Some(kind)).collect();
        let texts: Vec<_> = found.iter().map(|map| text(map)).collect();
        let notice = match ctx.policies.load(kind, &texts).await {
            Loaded::Unchanged => continue,
            Loaded::Default => {
                tracing::info!(policy = %kind, "the embedded policy is in force");
                continue;
            }
            Loaded::InForce(hash) => {
                tracing::info!(policy = %kind, source = texts[0].source, hash, "a policy is in force");
                let note = format!("the {kind} policy is in force, hash {hash}");
                Notice { warning: false, reason: EventReason::PolicyLoaded, note }
            }
            Loaded::Broken(why) => {
                let sources: Vec<_> = texts.iter().map(|text| text.source.as_str()).collect();
                tracing::error!(policy = %kind, source = sources.join(", "), why, "a policy is broken, so it denies");
                let note = format!("the {kind} policy cannot be used, so it denies: {why}");
                Notice { warning: true, reason: EventReason::PolicyBroken, note }
            }
        };
        for map in found {
            ctx.notify(map, vec![notice.clone()]).await;
        }
    }
}

fn kind_of(map: &ConfigMap) -> Option<Kind> {
    map.labels().get(labels::POLICY).and_then(|name| Kind::named(name))
}

fn text(map: &ConfigMap) -> Text {
    let files =
        map.data.iter().flatten().filter(|(name, _)| Path::new(name).extension().is_some_and(|end| end == "rego"));
    Text {
        source: format!("ConfigMap {}", map.name_any()),
        files: files.map(|(name, text)| (name.clone(), text.clone())).collect(),
    }
}

/// The labels of the namespaces of some targets; of one that is gone or may not be read there are none, which is
/// for the policy to judge. An API server that cannot be reached is an error.
pub(crate) async fn namespaces(ctx: &Ctx, targets: impl IntoIterator<Item = &TargetRef>) -> Result<Namespaces, Error> {
    let mut namespaces = Namespaces::new();
    for name in namespaces_of(targets) {
        let api = Api::<Namespace>::all(ctx.client.clone());
        let call = format!("get Namespace {name}");
        let found = calls::timed(ctx.call_timeout, &call, api.get_metadata_opt(&name)).await;
        let labels = match found {
            Ok(found) => found.map(|found| found.labels().clone()),
            Err(Error::Api { source, .. }) if matches!(&*source, kube::Error::Api(status) if status.is_forbidden()) => {
                None
            }
            Err(error) => return Err(error),
        };
        namespaces.insert(name, labels);
    }
    Ok(namespaces)
}
