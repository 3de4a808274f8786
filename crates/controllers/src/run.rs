//! The one loop that runs every kind: watches, concurrency, backoff, metrics and the result log.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::core::DeserializeGuard;
use kube::core::object::HasStatus;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Controller, WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use kubernaut_api::{MicroTime, RemediationRequest, Staged, labels};
use kubernaut_domain::request::is_over;
use kubernaut_domain::stage::{Next, after};
use tokio_util::sync::CancellationToken;

use crate::calls::{self, Object};
use crate::metrics::{ErrorLabels, KindLabels, Measured};
use crate::{Ctx, Error, analysis, execution, policies, processing, request, workflow};

/// Soonest look again at what is due already.
const SOONEST: Duration = Duration::from_millis(10);
/// Latest look again: timers do not run while a machine sleeps, deadlines do, and a timer cannot count years.
const LATEST: Duration = Duration::from_hours(1);
/// How long after a deadline has passed a failed read is still repeated, before it is decided without.
const PATIENCE: Duration = Duration::from_mins(2);

/// Objects that one page of a list has at most: finished ones may hold 64 KiB of evidence each.
const PAGE: u32 = 50;

/// An object of a watch that cannot be broken by one malformed object.
pub type Guarded<K> = DeserializeGuard<K>;

/// One kind of the pipeline.
pub trait Stage: Send + Sync + 'static {
    /// The kind.
    type Kind: Measured + Object + HasStatus + 'static;

    /// What else it watches.
    fn watches(ctx: &Arc<Ctx>, controller: Controller<Guarded<Self::Kind>>) -> Controller<Guarded<Self::Kind>>;

    /// Takes out of an object what is of no more use, before it is kept in memory.
    fn forget(_: &mut Self::Kind) {}

    /// Observe, decide, apply.
    fn reconcile(ctx: &Ctx, object: &Self::Kind) -> impl Future<Output = Result<Next, Error>> + Send;
}

/// Runs all controllers until the token is cancelled or one of them ends by itself, which is an error
/// of this program.
pub async fn run_all(ctx: Arc<Ctx>, token: CancellationToken) {
    // Whichever ends first ends the others: half a set of controllers would look alive and do half the work.
    let all = token.child_token();
    let policies = ends_all(policies::run(ctx.clone(), all.clone()), &all);
    let others = async {
        // A question that comes before the policies are known would be asked again, after a pause.
        policies::read(&ctx).await;
        Box::pin(controllers(ctx, &all)).await;
    };
    tokio::join!(policies, others);
}

async fn controllers(ctx: Arc<Ctx>, all: &CancellationToken) {
    tokio::join!(
        ends_all(run::<request::Requests>(ctx.clone(), all.clone()), all),
        ends_all(run::<processing::Processings>(ctx.clone(), all.clone()), all),
        ends_all(run::<analysis::Analyses>(ctx.clone(), all.clone()), all),
        ends_all(run::<workflow::Workflows>(ctx.clone(), all.clone()), all),
        ends_all(run::<execution::Executions>(ctx.clone(), all.clone()), all),
        ends_all(workflow::catalogue::run(ctx.clone(), all.clone()), all),
        ends_all(execution::orphans::run(ctx, all.clone()), all),
    );
}

async fn ends_all(part: impl Future<Output = ()>, all: &CancellationToken) {
    part.await;
    all.cancel();
}

async fn run<S: Stage>(ctx: Arc<Ctx>, token: CancellationToken) {
    let api = Api::<Guarded<S::Kind>>::namespaced(ctx.client.clone(), &ctx.namespace);
    let (reader, writer) = reflector::store();
    let watched = watcher(api, watcher::Config::default().page_size(PAGE)).modify(slim::<S>);
    let controller = Controller::for_stream(reflector::reflector(writer, watched).applied_objects(), reader)
        .with_config(Config::default().concurrency(ctx.concurrency))
        .graceful_shutdown_on({
            let token = token.clone();
            async move { token.cancelled().await }
        });
    let kind = S::Kind::kind(&());
    S::watches(&ctx, controller)
        .run(reconcile::<S>, back_off::<S>, ctx.clone())
        .for_each(|result| async {
            // Failed reconciliations are logged where they fail; here only the watch itself can fail.
            if let Err(kube::runtime::controller::Error::QueueError(error)) = result {
                tracing::warn!(%kind, %error, "watch interrupted, taken up again");
            }
        })
        .await;
}

/// What is kept of an object for as long as it exists. The API server takes absent managed fields for unchanged ones.
fn slim<S: Stage>(object: &mut Guarded<S::Kind>) {
    object.meta_mut().managed_fields = None;
    if let Ok(object) = &mut object.0 {
        S::forget(object);
    }
}

async fn reconcile<S: Stage>(object: Arc<Guarded<S::Kind>>, ctx: Arc<Ctx>) -> Result<Action, Error> {
    let object = object.0.as_ref().map_err(|invalid| Error::Malformed {
        object: format!("{} {}", S::Kind::kind(&()), invalid.metadata.name.clone().unwrap_or_default()),
        message: invalid.error.clone(),
    })?;
    if object.meta().deletion_timestamp.is_some() {
        ctx.targets.leave(object);
        return Ok(Action::await_change());
    }
    if ctx.is_replaced(&key::<S::Kind>(object.meta().name.as_deref()), object.meta().resource_version.as_deref()) {
        // A child's watch was quicker than our own: what we wrote is on its way here.
        return Ok(Action::await_change());
    }
    let started = Instant::now();
    // Boxed: what it holds while it waits would else lie in the future of every reconciliation.
    let result = Box::pin(S::reconcile(&ctx, object)).await;
    ctx.metrics.reconciles.get_or_create(&KindLabels { kind: S::Kind::NOUN }).observe(started.elapsed().as_secs_f64());
    let next = result?;
    ctx.succeeded(&key::<S::Kind>(object.meta().name.as_deref()));
    Ok(match next {
        Next::OnChange => Action::await_change(),
        Next::At(time) => {
            let wait = time.0.duration_since(calls::now().0);
            Action::requeue(Duration::try_from(wait).unwrap_or_default().clamp(SOONEST, LATEST))
        }
    })
}

fn key<K: Staged>(name: Option<&str>) -> String {
    format!("{}/{}", K::NOUN, name.unwrap_or_default())
}

/// Waits longer after each failure in a row: 0.2 s, 0.4 s, … 60 s. A conflict is no failure: somebody
/// else was first, and the watch brings what they wrote; only while it does not come, the waits grow.
/// What no schema describes is not looked at before it changes.
#[allow(clippy::needless_pass_by_value)] // kube's signature
fn back_off<S: Stage>(object: Arc<Guarded<S::Kind>>, error: &Error, ctx: Arc<Ctx>) -> Action {
    let name = object.meta().name.clone().unwrap_or_default();
    ctx.metrics.errors.get_or_create(&ErrorLabels { kind: S::Kind::NOUN, reason: error.reason() }).inc();
    if matches!(error, Error::Malformed { .. }) {
        tracing::error!(kind = S::Kind::NOUN, name, %error, "left alone until it changes");
        return Action::await_change();
    }
    let failures = ctx.failed(&key::<S::Kind>(Some(&name)));
    if matches!(error, Error::Conflict { .. }) {
        tracing::debug!(kind = S::Kind::NOUN, name, %error, "decided on an older object, looking again");
        return Action::requeue(
            (Duration::from_millis(25) * 2u32.saturating_pow(failures.min(10))).min(Duration::from_secs(10)),
        );
    }
    let wait = Duration::from_millis(100) * 2u32.saturating_pow(failures.min(10));
    tracing::warn!(kind = S::Kind::NOUN, name, %error, failures, "not reconciled, trying again");
    Action::requeue(wait.min(Duration::from_mins(1)))
}

/// Watches another kind whose objects carry the name of their request as a label.
pub(crate) fn by_request<K, O>(ctx: &Ctx, controller: Controller<Guarded<K>>) -> Controller<Guarded<K>>
where
    K: Object + 'static,
    O: Object + 'static,
{
    let namespace = ctx.namespace.clone();
    let api = Api::<kube::core::PartialObjectMeta<O>>::namespaced(ctx.client.clone(), &ctx.namespace);
    controller.watches(api, watcher::Config::default(), move |object| {
        object.labels().get(labels::REQUEST).map(|name| ObjectRef::new(name).within(&namespace))
    })
}

/// Watches requests, and looks at all that serves a request when it has ended or is cancelled.
pub(crate) fn when_request_is_over<K>(ctx: &Ctx, controller: Controller<Guarded<K>>) -> Controller<Guarded<K>>
where
    K: Object + 'static,
{
    when_over::<K, RemediationRequest>(ctx, controller, is_over)
}

/// Watches what others serve (by its name, in their label), and looks at all that serves it when it is over.
pub(crate) fn when_over<K, O>(
    ctx: &Ctx,
    controller: Controller<Guarded<K>>,
    is_over: fn(&O) -> bool,
) -> Controller<Guarded<K>>
where
    K: Object + 'static,
    O: Object + 'static,
{
    let store: Store<Guarded<K>> = controller.store();
    let api = Api::<Guarded<O>>::namespaced(ctx.client.clone(), &ctx.namespace);
    controller.watches(api, watcher::Config::default(), move |served| {
        let over = served.0.as_ref().is_ok_and(is_over);
        let name = served.name_any();
        let serves = |object: &Arc<Guarded<K>>| object.labels().get(labels::REQUEST) == Some(&name);
        let objects = if over { store.state() } else { vec![] };
        objects.into_iter().filter(serves).map(|object| ObjectRef::from_obj(&*object)).collect::<Vec<_>>()
    })
}

/// As [`is_over`], of the request of this name; a request that is gone is over.
pub(crate) async fn request_is_over(ctx: &Ctx, request: &str) -> Result<bool, Error> {
    Ok(calls::get::<RemediationRequest>(ctx, request).await?.is_none_or(|request| is_over(&request)))
}

/// As [`request_is_over`], but of a request whose alert is only resolved what was begun is still seen to its end.
pub(crate) async fn request_is_given_up(ctx: &Ctx, request: &str) -> Result<bool, Error> {
    let request = calls::get::<RemediationRequest>(ctx, request).await?;
    Ok(request.is_none_or(|request| kubernaut_domain::request::is_given_up(&request)))
}

/// True when a deadline passed so long ago that what cannot be read must not keep it from being kept.
pub(crate) fn is_overdue(deadline: Option<&MicroTime>, now: &MicroTime) -> bool {
    deadline.is_some_and(|deadline| after(deadline, PATIENCE) <= *now)
}

/// Writes a status and, once it stands, counts and logs its new transitions. False when there was
/// nothing to write: then nobody has checked that the object is still as it was decided upon.
pub(crate) async fn commit<K>(ctx: &Ctx, object: &K, status: K::Status) -> Result<bool, Error>
where
    K: Measured + Object + HasStatus,
    K::Status: PartialEq,
{
    let Some(stands) = calls::write_status(ctx, object, status).await? else { return Ok(false) };
    // A write that the API server finds to change nothing keeps the version and brings no watch event:
    // waiting for one would be waiting for ever.
    if let Some(version) =
        object.resource_version().filter(|version| stands.resource_version().as_ref() != Some(version))
    {
        ctx.replaced(key::<K>(object.meta().name.as_deref()), version);
    }
    ctx.metrics.record(&stands, object.transitions().len());
    for transition in stands.transitions().iter().skip(object.transitions().len()) {
        tracing::info!(
            kind = K::NOUN,
            name = object.name_any(),
            request = object.request_name(),
            from = transition.from.as_deref().unwrap_or_default(),
            to = transition.to,
            reason = transition.reason,
            message = transition.message,
            "phase"
        );
    }
    Ok(true)
}

#[cfg(test)]
pub(crate) mod tests;
