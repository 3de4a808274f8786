//! Completion events: every recorded transition reaches an EventSink and the store, and nothing else does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use kube::api::DeleteParams;
use kubernaut_api::{Outcome, RemediationRequest, RequestPhase};
use kubernaut_testkit::app::Strategy;
use kubernaut_testkit::receiver::{Delivery, Event};
use kubernaut_testkit::{Alert, App, Namespace, Operator, Receiver, Remediation, Step, until};
use serde_json::json;
use uuid::Uuid;

/// How long one remediation, and then the delivery of its events, may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// The id that the event of a transition must have.
fn id(step: &Step) -> Result<String> {
    let uid = Uuid::parse_str(&step.uid)?;
    Ok(Uuid::new_v5(&uid, step.transition.seq.to_string().as_bytes()).to_string())
}

/// The type that the event of a transition must have.
fn type_of(step: &Step) -> String {
    let phase = match step.transition.to.as_str() {
        "Completed" => "complete",
        "TimedOut" => "timed_out",
        "RollingBack" => "rolling_back",
        "AwaitingApproval" => "awaiting_approval",
        other => return format!("io.kubernaut.{}.{}", step.noun, other.to_ascii_lowercase()),
    };
    format!("io.kubernaut.{}.{phase}", step.noun)
}

/// Fails unless the event says what was recorded.
fn tells(event: &Event, step: &Step, request: &str) -> Result<()> {
    let transition = &step.transition;
    assert_eq!(event.type_, type_of(step));
    assert_eq!((event.subject.as_str(), event.request.as_str()), (step.subject.as_str(), request));
    assert_eq!(event.sequence, format!("{:010}", transition.seq));
    assert_eq!(event.time.parse::<Timestamp>()?, transition.at.0);
    for (field, value) in [
        ("uid", json!(step.uid)),
        ("from", json!(transition.from)),
        ("to", json!(transition.to)),
        ("seq", json!(transition.seq)),
        ("reason", json!(transition.reason)),
        ("message", json!(transition.message)),
    ] {
        assert_eq!(event.data[field], value, "{field} of {event:?}");
    }
    Ok(())
}

/// Waits until every transition was taken, then looks at all that was sent.
async fn all_arrived(receiver: &Receiver, remediation: &Remediation, request: &str) -> Result<Vec<Delivery>> {
    let recorded: BTreeMap<String, Step> =
        remediation.steps().into_iter().map(|step| Ok((id(&step)?, step))).collect::<Result<_>>()?;
    let deliveries = until("every event has arrived", LIMIT, || async {
        let deliveries = receiver.deliveries(request);
        let taken: BTreeSet<_> =
            deliveries.iter().filter(|one| one.answer.is_success()).map(|one| &one.event.id).collect();
        let missing: Vec<_> =
            recorded.iter().filter(|(id, _)| !taken.contains(id)).map(|(_, step)| type_of(step)).collect();
        ensure!(missing.is_empty(), "of {} events these are missing: {missing:?}", recorded.len());
        Ok(deliveries)
    })
    .await?;

    let mut bodies = BTreeMap::new();
    let mut last: BTreeMap<&str, u32> = BTreeMap::new();
    for delivery in &deliveries {
        let event = &delivery.event;
        let step = recorded.get(&event.id).with_context(|| format!("invented: {event:?}"))?;
        tells(event, step, request)?;
        let first = bodies.entry(&event.id).or_insert(&delivery.body);
        ensure!(*first == &delivery.body, "sent again with other bytes: {event:?}");
        if delivery.answer.is_success() {
            let (seen, seq) = (last.entry(&event.subject).or_default(), step.transition.seq);
            ensure!(seq <= *seen + 1, "{} came before what it follows", event.type_);
            *seen = seq.max(*seen);
        }
    }
    Ok(deliveries)
}

/// A remediation of an app whose image cannot be pulled.
async fn remediate(operator: &Operator, namespace: &Namespace) -> Result<String> {
    let app = App::healthy(namespace, "app", Strategy::Rolling).await?;
    app.break_image().await?;
    let pod = app.pod_without_image().await?;
    operator.alert(&[Alert::about_pod(&namespace.name, &pod)]).await?.created()
}

#[tokio::test]
async fn every_recorded_transition_is_sent_once_in_order_and_nothing_is_invented() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "events").await?;
    let receiver = Receiver::start(&operator.cluster).await?;
    let _sink = receiver.subscribe(&operator).await?;
    let request = remediate(&operator, &namespace).await?;
    let remediation = operator.ended(&request, LIMIT).await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
    remediation.check()?;
    let deliveries = all_arrived(&receiver, &remediation, &request).await?;
    assert_eq!(deliveries.len(), remediation.steps().len(), "a sink that works is told each thing once");
    Ok(())
}

#[tokio::test]
async fn a_sink_that_was_away_misses_nothing_and_a_resend_has_the_same_bytes() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "away").await?;
    let receiver = Receiver::start(&operator.cluster).await?;
    let _sink = receiver.subscribe(&operator).await?;
    let request = remediate(&operator, &namespace).await?;
    receiver.fail(&request);
    until("it was tried three times", LIMIT, || async {
        let tried = receiver.deliveries(&request).iter().filter(|one| !one.answer.is_success()).count();
        ensure!(tried >= 3, "{tried} times");
        Ok(())
    })
    .await?;
    receiver.recover();
    let remediation = operator.ended(&request, LIMIT).await?;
    remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
    all_arrived(&receiver, &remediation, &request).await?;
    Ok(())
}

#[tokio::test]
async fn the_timeline_tells_the_same_after_the_request_is_gone() -> Result<()> {
    let operator = Operator::installed().await?;
    let namespace = Namespace::managed(&operator.cluster, "timeline").await?;
    let request = remediate(&operator, &namespace).await?;
    let remediation = operator.ended(&request, LIMIT).await?;
    let steps: BTreeMap<_, _> =
        remediation.steps().into_iter().map(|step| Ok((id(&step)?, step))).collect::<Result<_>>()?;
    let timeline = || async {
        let text = operator.exec(&["timeline", &request, "--json"]).await?;
        let events: Vec<Event> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let ids: BTreeSet<_> = events.iter().map(|event| event.id.clone()).collect();
        ensure!(ids == steps.keys().cloned().collect(), "{} events of {} transitions", ids.len(), steps.len());
        Ok(events)
    };
    let before = until("the store has everything", LIMIT, timeline).await?;
    for event in &before {
        tells(event, &steps[&event.id], &request)?;
    }
    ensure!(before.is_sorted_by_key(|event| &event.time), "oldest first");

    operator.api::<RemediationRequest>().delete(&request, &DeleteParams::default()).await?;
    operator.is_gone(&request, Duration::from_mins(1)).await?;
    assert_eq!(timeline().await?, before);
    let shown = operator.exec(&["timeline", &request]).await?;
    ensure!(shown.lines().count() > steps.len() && shown.contains("TargetHealthy"), "for people:\n{shown}");
    Ok(())
}
