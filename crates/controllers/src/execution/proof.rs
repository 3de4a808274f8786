//! What proves that an effect helped: the health of the target and of what it reached, containers that are not
//! restarted again, and the action's own check (R6.5). The cheap comes first; all of it only reads.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use kube::core::Selector;
use kubernaut_actions::Check;
use kubernaut_api::{KubernetesExecution, Staged, TargetRef};
use kubernaut_domain::execution::{Seen, needs_health_of_target};
use kubernaut_domain::health::{self, Health};

use crate::{Ctx, Error, calls, health as read, rehearsal};

pub(super) async fn look(ctx: &Ctx, execution: &KubernetesExecution, seen: &mut Seen) -> Result<(), Error> {
    let target = &execution.spec.target;
    let radius = execution.status.as_ref().and_then(|status| status.blast_radius.as_ref());
    let watched: Vec<&TargetRef> =
        radius.into_iter().flat_map(|radius| &radius.watched).filter(|one| !is_same(one, target)).collect();
    // Watch first, then look: a change in between is not missed.
    ctx.targets.await_changes(execution, watched.iter().copied().chain([target]));

    let looked = read::of(ctx, target).await?;
    seen.live = looked.mark;
    let own = needs_health_of_target(&execution.spec.action, &target.kind);
    let mut parts = vec![(String::new(), if own { looked.health } else { Health::NotApplicable })];
    for workload in &watched {
        parts.push((workload.to_string(), read::of(ctx, workload).await?.health));
    }
    let mut health = health::all(parts);
    if health == Health::Healthy {
        let since = execution.transitions().last().map_or_else(|| seen.now.clone(), |last| last.at.clone());
        for workload in own.then_some(target).into_iter().chain(watched) {
            let pods = pods_of(ctx, workload).await?;
            let Some(restart) = health::newest_restart(&pods, &since, &calls::now()) else { continue };
            seen.settles_at = restart.settles_at;
            health = Health::Unhealthy(restart.why);
            break;
        }
    }
    if matches!(health, Health::Healthy | Health::NotApplicable) {
        health = match rehearsal::check(ctx, execution).await? {
            Check::Holds => Health::Healthy,
            Check::NotYet(why) => Health::Unhealthy(why),
            Check::Nothing | Check::Unread(_) => health,
        };
    }
    seen.health = Some(health);
    Ok(())
}

fn is_same(left: &TargetRef, right: &TargetRef) -> bool {
    (&left.kind, &left.namespace, &left.name) == (&right.kind, &right.namespace, &right.name)
}

/// The pods of a workload; none for what is no workload.
async fn pods_of(ctx: &Ctx, workload: &TargetRef) -> Result<Vec<Pod>, Error> {
    let Some(namespace) = workload.namespace.as_deref().filter(|_| is_workload(&workload.kind)) else {
        return Ok(vec![]);
    };
    let Some(object) = read::object(ctx, workload).await? else { return Ok(vec![]) };
    let selector = object.data.pointer("/spec/selector").cloned().unwrap_or_default();
    let selector: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector> =
        serde_json::from_value(selector).ok();
    let selector: Option<Selector> = selector.and_then(|selector| selector.try_into().ok());
    // An empty one would take the pods of all.
    let Some(selector) = selector.filter(|selector| *selector != Selector::default()) else { return Ok(vec![]) };
    let api = Api::<Pod>::namespaced(ctx.client.clone(), namespace);
    let parameters = ListParams::default().labels_from(&selector).limit(500);
    Ok(calls::timed(ctx.call_timeout, &format!("list pods of {workload}"), api.list(&parameters)).await?.items)
}

fn is_workload(kind: &str) -> bool {
    matches!(kind, "Deployment" | "StatefulSet" | "DaemonSet")
}
