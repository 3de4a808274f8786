//! What an action reaches, read before it runs: only what that action needs, and only with the operator's own rights
//! to read (R6.4). How far is too far is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Resource, ResourceExt};
use kubernaut_api::{KubernetesExecution, TargetRef};
use kubernaut_domain::blast::{Reach, Reached};
use kubernaut_domain::catalogue::{self, RestartPod, ScaleDeployment, UpdateConfig, UpdateHpa};
use kubernaut_domain::health::{Health, of_node, of_workload};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Ctx, Error, calls, health};

/// Kinds that own pods and can be restarted.
const WORKLOADS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];
/// Objects of one page of a list.
const PAGE: u32 = 200;
/// Most controllers of pods whose workload is looked at; the others only count.
const LOOKED_AT: usize = 20;

type Labels = BTreeMap<String, String>;

/// Reads what the action of this execution reaches.
pub(super) async fn of(ctx: &Ctx, execution: &KubernetesExecution) -> Result<Reach, Error> {
    let target = &execution.spec.target;
    let reader = Reader { ctx, target };
    match execution.spec.action.as_str() {
        "cordon_node" | "uncordon_node" | "remove_taint" => reader.node(vec![]).await,
        "drain_node" => reader.node(reader.evicted().await?).await,
        "restart_pod" => {
            let named = parameters::<RestartPod>(execution).pod.unwrap_or_else(|| target.name.clone());
            reader.pod(&named, true).await
        }
        "delete_pod" => reader.pod(&target.name, false).await,
        "restart_service" => reader.service(true).await,
        "clear_cache" => reader.service(false).await,
        "update_config" => {
            let wanted = parameters::<UpdateConfig>(execution);
            reader.consumers(&wanted.data.keys().map(String::as_str).collect()).await
        }
        "update_hpa" => reader.autoscaled(parameters::<UpdateHpa>(execution)).await,
        "scale_deployment" => reader.scaled(parameters::<ScaleDeployment>(execution).replicas).await,
        _ if WORKLOADS.contains(&target.kind.as_str()) => reader.whole().await,
        _ if target.kind == "Node" => reader.node(vec![]).await,
        // A script on another kind: only whoever registered it knows what it reaches.
        _ => Ok(Reach::default()),
    }
}

/// Parameters in the action's own type; the catalogue has found them sound, or the decision refuses them.
fn parameters<T: DeserializeOwned + Default>(execution: &KubernetesExecution) -> T {
    catalogue::parse(&execution.spec.parameters).unwrap_or_default()
}

struct Reader<'a> {
    ctx: &'a Ctx,
    target: &'a TargetRef,
}

impl Reader<'_> {
    /// The target is a workload, all of whose pods are made anew.
    async fn whole(&self) -> Result<Reach, Error> {
        let mut reach = Reach::default();
        let mut selected = vec![];
        if let Some((reached, labels)) = self.workload(self.target, true).await? {
            reach.pods = reached.replicas;
            reach.workloads.push(reached);
            selected.push(labels);
        }
        self.surroundings(reach, &selected).await
    }

    /// The target is a Deployment that is to have so many replicas.
    async fn scaled(&self, wanted: i32) -> Result<Reach, Error> {
        let mut reach = self.whole().await?;
        let wanted = count(i64::from(wanted));
        for one in &mut reach.workloads {
            reach.pods = one.replicas.abs_diff(wanted);
            one.replicas = one.replicas.max(wanted);
        }
        Ok(reach)
    }

    /// The target is an autoscaler: nothing ends, and its workload may grow.
    async fn autoscaled(&self, wanted: UpdateHpa) -> Result<Reach, Error> {
        let mut reach = Reach::default();
        let Some(autoscaler) = health::object(self.ctx, self.target).await? else { return Ok(reach) };
        let text = |field: &str| {
            let pointer = format!("/spec/scaleTargetRef/{field}");
            autoscaler.data.pointer(&pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let workload = TargetRef {
            api_version: text("apiVersion"),
            kind: text("kind"),
            namespace: self.target.namespace.clone(),
            name: text("name"),
            uid: None,
        };
        if let Some((mut reached, _)) = self.workload(&workload, false).await? {
            reached.replicas = reached.replicas.max(count(wanted.max_replicas.unwrap_or_default().into()));
            reach.workloads.push(reached);
        }
        Ok(reach)
    }

    /// One pod, by name in the target's namespace; whether its controller is to make it anew.
    async fn pod(&self, name: &str, restarts: bool) -> Result<Reach, Error> {
        let pod = TargetRef {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: self.target.namespace.clone(),
            name: name.into(),
            uid: None,
        };
        let Some(pod) = health::object(self.ctx, &pod).await? else { return Ok(Reach::default()) };
        let labels = pod.labels().clone();
        let mut reach = self.owners(&[pod], restarts).await?;
        reach.pods = 1;
        self.surroundings(reach, &[labels]).await
    }

    /// The target is a Service; its pods are made anew, or only asked.
    async fn service(&self, restarts: bool) -> Result<Reach, Error> {
        let Some(service) = health::object(self.ctx, self.target).await? else { return Ok(Reach::default()) };
        let selector: Labels = service
            .data
            .pointer("/spec/selector")
            .and_then(|selector| serde_json::from_value(selector.clone()).ok())
            .unwrap_or_default();
        if !restarts || selector.is_empty() {
            return Ok(Reach { services: 1, ..Reach::default() });
        }
        let text = selector.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
        let pods = self.list("Pod", self.target.namespace.as_deref(), &ListParams::default().labels(&text)).await?;
        let labels: Vec<Labels> = pods.iter().map(|pod| pod.labels().clone()).collect();
        let mut reach = self.owners(&pods, true).await?;
        reach.pods = count_of(&pods);
        self.surroundings(reach, &labels).await
    }

    /// The target is a ConfigMap: the workloads that read one of the keys.
    async fn consumers(&self, keys: &BTreeSet<&str>) -> Result<Reach, Error> {
        let (mut reach, mut selected) = (Reach::default(), vec![]);
        for kind in WORKLOADS {
            for workload in self.list(kind, self.target.namespace.as_deref(), &ListParams::default()).await? {
                let spec = workload.data.pointer("/spec/template/spec");
                if !spec.is_some_and(|spec| kubernaut_actions::reads_config(spec, &self.target.name, keys)) {
                    continue;
                }
                selected.push(template_labels(&workload));
                let reached = reached(&reference(kind, &workload), &workload, true);
                reach.pods = reach.pods.saturating_add(reached.replicas);
                reach.workloads.push(reached);
            }
        }
        self.surroundings(reach, &selected).await
    }

    /// The target is a node, and these pods are to leave it.
    async fn node(&self, evicted: Vec<DynamicObject>) -> Result<Reach, Error> {
        let mut reach = self.owners(&evicted, false).await?;
        reach.pods = count_of(&evicted);
        reach.nodes = 1;
        if !evicted.is_empty() {
            let services = Api::<Service>::all(self.ctx.client.clone());
            let services = self.pages(&services, "list Services", &ListParams::default()).await?;
            let touched = services.iter().filter(|service| {
                evicted.iter().any(|pod| pod.namespace() == service.namespace() && selects(service, pod.labels()))
            });
            reach.services = count_of(&touched.collect::<Vec<_>>());
        }
        let nodes = Api::<Node>::all(self.ctx.client.clone());
        let nodes = self.pages(&nodes, "list Nodes", &ListParams::default()).await?;
        reach.nodes_in_cluster = Some(count_of(&nodes));
        let out = nodes.iter().filter(|node| {
            let cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
            node.name_any() != self.target.name && (cordoned || of_node(node) != Health::Healthy)
        });
        reach.nodes_out = count_of(&out.collect::<Vec<_>>());
        Ok(reach)
    }

    /// The pods that a drain would evict.
    async fn evicted(&self) -> Result<Vec<DynamicObject>, Error> {
        let on_node = ListParams::default().fields(&format!("spec.nodeName={}", self.target.name));
        let pods = self.list("Pod", None, &on_node).await?;
        Ok(pods.into_iter().filter(|pod| !kubernaut_actions::stays_on_drained_node(pod)).collect())
    }

    /// The workloads that own these pods. Those that are only disturbed have to be well afterwards if they are now.
    async fn owners(&self, pods: &[DynamicObject], restarts: bool) -> Result<Reach, Error> {
        let mut controllers = BTreeSet::new();
        for pod in pods {
            if let Some(owner) = pod.owner_references().iter().find(|owner| owner.controller == Some(true)) {
                controllers.insert((pod.namespace(), owner.kind.clone(), owner.name.clone()));
            }
        }
        let (mut workloads, mut others) = (BTreeMap::new(), BTreeSet::new());
        for (namespace, kind, name) in controllers.iter().take(LOOKED_AT) {
            let mut workload = TargetRef {
                api_version: catalogue::api_version(kind).into(),
                kind: kind.clone(),
                namespace: namespace.clone(),
                name: name.clone(),
                uid: None,
            };
            if kind == "ReplicaSet"
                && let Some(set) = health::object(self.ctx, &workload).await?
                && let Some(owner) = set.owner_references().iter().find(|owner| owner.controller == Some(true))
            {
                (workload.kind, workload.name) = (owner.kind.clone(), owner.name.clone());
                workload.api_version.clone_from(&owner.api_version);
            }
            let key = (namespace.clone(), workload.kind.clone(), workload.name.clone());
            if workloads.contains_key(&key) || others.contains(&key) {
                continue;
            }
            match self.workload(&workload, restarts).await? {
                Some((reached, _)) => drop(workloads.insert(key, reached)),
                None => drop(others.insert(key)),
            }
        }
        let more = controllers.len().saturating_sub(LOOKED_AT) + others.len();
        Ok(Reach {
            workloads: workloads.into_values().collect(),
            more_workloads: u32::try_from(more).unwrap_or(u32::MAX),
            ..Reach::default()
        })
    }

    /// One workload and the labels of its pods; `None` for what is none, or is gone.
    async fn workload(&self, workload: &TargetRef, restarts: bool) -> Result<Option<(Reached, Labels)>, Error> {
        if !WORKLOADS.contains(&workload.kind.as_str()) {
            return Ok(None);
        }
        let found = health::object(self.ctx, workload).await?;
        Ok(found.map(|live| {
            let named = TargetRef { uid: live.uid(), ..workload.clone() };
            (reached(&named, &live, restarts), template_labels(&live))
        }))
    }

    /// Adds the Services that select pods with these labels, and the number of pods in the namespace.
    async fn surroundings(&self, mut reach: Reach, selected: &[Labels]) -> Result<Reach, Error> {
        let Some(namespace) = self.target.namespace.as_deref() else { return Ok(reach) };
        let services = Api::<Service>::namespaced(self.ctx.client.clone(), namespace);
        let services = self.pages(&services, "list Services", &ListParams::default()).await?;
        let touched = services.iter().filter(|service| selected.iter().any(|labels| selects(service, labels)));
        reach.services = count_of(&touched.collect::<Vec<_>>());
        reach.pods_in_namespace = Some(self.pods_in(namespace).await?);
        Ok(reach)
    }

    /// How many pods a namespace has: the API server counts what it does not send.
    async fn pods_in(&self, namespace: &str) -> Result<u32, Error> {
        let api =
            Api::<PartialObjectMeta<k8s_openapi::api::core::v1::Pod>>::namespaced(self.ctx.client.clone(), namespace);
        let mut parameters = ListParams::default().limit(PAGE);
        let mut count = 0;
        loop {
            let page =
                calls::timed(self.ctx.call_timeout, &format!("count pods of {namespace}"), api.list(&parameters))
                    .await?;
            count += count_of(&page.items);
            match (page.metadata.continue_.filter(|token| !token.is_empty()), page.metadata.remaining_item_count) {
                (None, _) => return Ok(count),
                (Some(_), Some(more)) => return Ok(count.saturating_add(self::count(more))),
                (Some(token), None) => parameters.continue_token = Some(token),
            }
        }
    }

    async fn list(
        &self,
        kind: &str,
        namespace: Option<&str>,
        parameters: &ListParams,
    ) -> Result<Vec<DynamicObject>, Error> {
        let (group, version) = catalogue::api_version(kind).split_once('/').unwrap_or(("", "v1"));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(self.ctx.client.clone(), namespace, &resource),
            None => Api::all_with(self.ctx.client.clone(), &resource),
        };
        self.pages(&api, &format!("list {kind}s"), parameters).await
    }

    async fn pages<K>(&self, api: &Api<K>, call: &str, parameters: &ListParams) -> Result<Vec<K>, Error>
    where
        K: Resource + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let mut parameters = parameters.clone().limit(PAGE);
        let mut items = Vec::new();
        loop {
            let page = calls::timed(self.ctx.call_timeout, call, api.list(&parameters)).await?;
            items.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters.continue_token = Some(token),
                None => return Ok(items),
            }
        }
    }
}

fn reached(workload: &TargetRef, live: &DynamicObject, restarts: bool) -> Reached {
    let json = serde_json::to_value(live).unwrap_or_default();
    let facts = health::facts(&workload.kind, &json).unwrap_or_default();
    Reached {
        workload: workload.clone(),
        replicas: count(facts.replicas.max(facts.total_replicas).into()),
        watched: restarts || of_workload(&facts) == Health::Healthy,
    }
}

fn reference(kind: &str, workload: &DynamicObject) -> TargetRef {
    TargetRef {
        api_version: catalogue::api_version(kind).into(),
        kind: kind.into(),
        namespace: workload.namespace(),
        name: workload.name_any(),
        uid: workload.uid(),
    }
}

fn template_labels(workload: &DynamicObject) -> Labels {
    let labels = workload.data.pointer("/spec/template/metadata/labels");
    labels.and_then(|labels| serde_json::from_value(labels.clone()).ok()).unwrap_or_default()
}

/// Whether a Service sends to pods with these labels.
fn selects(service: &Service, labels: &Labels) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
    })
}

fn count_of<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

fn count(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
