//! What a target depends on: the Services that its variables, arguments, ConfigMaps and logs name, and whether
//! pods are behind them.
//!
//! Looked up only while the target is not well, at most [`LOOKED_UP`] of them, and only the readiness of
//! pods is told; `upstream` reads on about the workloads behind those that are broken.

use std::collections::BTreeMap;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, PodSpec, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::{Selector, SelectorExt};
use kubernaut_api::evidence::{Dependency, Evidence, Workload};
use kubernaut_api::meta::TargetRef;
use kubernaut_domain::redact::bounded;

use super::hosts::{Host, IsHost, hosts};
use super::read::{Gap, Reader, take};
use super::workload::{daemon_set_facts, stateful_set_facts, workload_facts};
use super::{owners, pods};

/// Services that are looked up at most.
const LOOKED_UP: usize = 10;
/// Services that are told at most.
const TOLD: usize = 5;

/// The Services that the target names, the broken ones first.
pub async fn dependencies(
    reader: &Reader<'_>,
    evidence: &Evidence,
    target_pods: &[Pod],
    in_configs: Vec<(Host, String)>,
    gaps: &mut Vec<Gap>,
) -> Vec<Dependency> {
    // The newest pods say best what the template names.
    let spec = target_pods.iter().max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let Some(spec) = spec.and_then(|pod| pod.spec.as_ref()) else { return Vec::new() };
    let mut named = named_in_template(spec);
    for log in &evidence.logs {
        let place = format!("log of container {}", log.container);
        named.extend(log.lines.iter().flat_map(|line| hosts(line, IsHost::Unknown)).map(|host| (host, place.clone())));
    }
    named.extend(in_configs);
    let services = take(reader.all::<Service>("services").await, gaps);
    let wanted = wanted(named, reader.namespace, &services);
    let found =
        join_all(wanted.into_iter().map(|(host, place)| lookup(reader, host, place, &services, target_pods))).await;
    let mut told: Vec<Dependency> = Vec::new();
    for result in found {
        match result {
            Ok(dependency) => told.extend(dependency),
            Err(gap) => gaps.push(gap),
        }
    }
    told.sort_by_key(|one| one.exists && one.ready_endpoints > 0);
    told.truncate(TOLD);
    told
}

fn named_in_template(spec: &PodSpec) -> Vec<(Host, String)> {
    let mut named = Vec::new();
    for container in &spec.containers {
        for variable in container.env.iter().flatten() {
            let text = variable.value.as_deref().unwrap_or_default();
            let place = format!("env {} of container {}", variable.name, container.name);
            let is_host = IsHost::of_variable(&variable.name);
            named.extend(hosts(text, is_host).into_iter().map(|host| (host, place.clone())));
        }
        let words = container.command.iter().chain(&container.args).flatten();
        let place = format!("arguments of container {}", container.name);
        named.extend(words.flat_map(|word| hosts(word, IsHost::Unknown)).map(|host| (host, place.clone())));
    }
    named
}

/// Each Service once; a bare name only when there is such a Service in the namespace.
fn wanted(named: Vec<(Host, String)>, namespace: &str, services: &[Service]) -> Vec<(Host, String)> {
    let mut wanted: BTreeMap<(String, String), (Host, String)> = BTreeMap::new();
    let mut order = Vec::new();
    for (host, place) in named {
        let own = host.namespace.as_deref().is_none_or(|one| one == namespace);
        let known = services.iter().any(|one| one.metadata.name.as_deref() == Some(host.service.as_str()));
        if own && !known && !host.certain {
            continue;
        }
        let key = (host.namespace.clone().unwrap_or_else(|| namespace.to_owned()), host.service.clone());
        if let std::collections::btree_map::Entry::Vacant(entry) = wanted.entry(key.clone()) {
            entry.insert((host, place));
            order.push(key);
        }
    }
    order.truncate(LOOKED_UP);
    order.into_iter().filter_map(|key| wanted.remove(&key)).collect()
}

async fn lookup(
    reader: &Reader<'_>,
    host: Host,
    named_in: String,
    services: &[Service],
    target_pods: &[Pod],
) -> Result<Option<Dependency>, Gap> {
    let namespace = host.namespace.as_deref().unwrap_or(reader.namespace).to_owned();
    let own = namespace == reader.namespace;
    let reader = Reader { namespace: &namespace, ..*reader };
    let here = services.iter().find(|one| own && one.metadata.name.as_deref() == Some(host.service.as_str())).cloned();
    let service = match here {
        Some(service) => Some(service),
        None => match reader.get::<Service>("services", &host.service).await {
            Ok(service) => Some(service),
            // Another host of the world that looks like one of ours.
            Err(gap) if gap.not_found && !host.certain => return Ok(None),
            Err(gap) if gap.not_found => None,
            Err(gap) => return Err(gap),
        },
    };
    let object = TargetRef {
        api_version: "v1".into(),
        kind: "Service".into(),
        namespace: Some(namespace.clone()),
        name: host.service.clone(),
        uid: service.as_ref().and_then(|service| service.metadata.uid.clone()),
    };
    let mut told = Dependency {
        object,
        host: bounded(&host.written, 253),
        named_in: bounded(&named_in, 256),
        exists: service.is_some(),
        ..Dependency::default()
    };
    let Some(spec) = service.and_then(|service| service.spec) else { return Ok(Some(told)) };
    let labels = spec.selector.unwrap_or_default();
    if labels.is_empty() {
        return Ok(None);
    }
    let selector: Selector = labels.clone().into_iter().collect();
    let empty = BTreeMap::new();
    if own && target_pods.iter().any(|pod| selector.matches(pod.metadata.labels.as_ref().unwrap_or(&empty))) {
        // The target itself.
        return Ok(None);
    }
    told.selects = true;
    let by_labels = LabelSelector { match_labels: Some(labels), match_expressions: None };
    let (behind, _) = reader.list::<Pod>("pods", &by_labels).await?;
    (told.ready_endpoints, told.unready_endpoints) = endpoints(&behind);
    if told.ready_endpoints == 0 {
        told.ailment = ailment(&behind);
        match selected(&reader, &selector).await {
            Some((object, facts)) => {
                told.replicas = Some(facts.replicas);
                told.ready_replicas = Some(facts.ready_replicas);
                told.workload = Some(object);
            }
            // Pods that no such workload's template makes have an owner all the same.
            None => told.workload = owners::of_pods(&reader, &behind).await?,
        }
    }
    Ok(Some(told))
}

/// How many of these pods are ready, and how many are not.
pub fn endpoints(behind: &[Pod]) -> (i32, i32) {
    let ready = behind.iter().filter(|pod| pods::is_ready(pod) && pod.metadata.deletion_timestamp.is_none()).count();
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    (count(ready), count(behind.len() - ready))
}

/// The workload whose template makes pods that a selector takes; none is no gap.
pub async fn selected(reader: &Reader<'_>, selector: &Selector) -> Option<(TargetRef, Workload)> {
    let (deployments, sets, daemons) = futures::join!(
        reader.all::<Deployment>("deployments"),
        reader.all::<StatefulSet>("statefulsets"),
        reader.all::<DaemonSet>("daemonsets"),
    );
    let takes = |metadata: Option<&ObjectMeta>| {
        metadata.and_then(|one| one.labels.as_ref()).is_some_and(|labels| selector.matches(labels))
    };
    let deployments = deployments.unwrap_or_default().0;
    let sets = sets.unwrap_or_default().0;
    let daemons = daemons.unwrap_or_default().0;
    let deployment = deployments
        .iter()
        .find(|one| takes(one.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref())))
        .map(workload_facts);
    let set = || {
        let mut sets = sets.iter();
        sets.find(|one| takes(one.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref())))
            .map(stateful_set_facts)
    };
    let daemon = || {
        let mut daemons = daemons.iter();
        daemons
            .find(|one| takes(one.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref())))
            .map(daemon_set_facts)
    };
    deployment.or_else(set).or_else(daemon).map(|facts| (facts.object.clone(), facts))
}

/// What one pod says of itself.
fn ailment(behind: &[Pod]) -> String {
    let shown = pods::evidence(behind);
    let told = shown.iter().find_map(|pod| {
        let container = pod.containers.iter().find(|one| !one.ready && !one.reason.is_empty());
        let reason = container.map(|one| one.reason.clone()).or_else(|| pod.unschedulable.clone())?;
        Some(format!("Pod/{}: {reason}", pod.name))
    });
    bounded(&told.unwrap_or_default(), 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str) -> Service {
        serde_yaml_ng::from_str(&format!("{{metadata: {{name: {name}}}}}")).unwrap()
    }

    #[test]
    fn services_are_wanted_once_and_bare_names_only_when_they_exist() {
        let spec: PodSpec = serde_yaml_ng::from_str(
            "{containers: [{name: app, args: ['--cache=cache:6379', '--level=info:1'], env: [{name: DB_URL, value: 'pg://u:p@db.data:5432/x'}, \
               {name: API_HOST, value: api}, {name: MODE, value: api}, {name: OTHER, value: 'http://gone.shop.svc/'}, \
               {name: MAIL, value: 'smtp://nobody:25'}, {name: AGAIN, value: 'db.data.svc:5432'}]}]}",
        )
        .unwrap();
        let found = wanted(named_in_template(&spec), "shop", &[service("api"), service("cache")]);
        let found: Vec<String> = found
            .iter()
            .map(|(host, place)| format!("{}/{} in {place}", host.namespace.as_deref().unwrap_or("."), host.service))
            .collect();
        assert_eq!(
            found,
            [
                "data/db in env DB_URL of container app",
                "./api in env API_HOST of container app",
                "shop/gone in env OTHER of container app",
                "./cache in arguments of container app",
            ]
        );
    }

    #[test]
    fn what_ails_a_dependency_is_told_by_one_of_its_pods() {
        let pod: Pod = serde_yaml_ng::from_str(
            "{metadata: {name: db-0}, status: {phase: Running, containerStatuses: [{name: db, image: i, imageID: '', ready: false, \
              restartCount: 4, state: {waiting: {reason: CrashLoopBackOff}}}]}}",
        )
        .unwrap();
        assert_eq!(ailment(&[pod]), "Pod/db-0: CrashLoopBackOff");
        assert_eq!(ailment(&[]), "");
    }
}
