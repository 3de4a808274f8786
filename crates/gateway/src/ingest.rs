//! Runs a batch of reports: identify each, put those of one fingerprint together, judge, write.
//!
//! A failure costs the reports that it concerns; the others go on, and sending the whole batch again
//! is safe. Deliberately absent: an answer before the object is durable.

use std::collections::HashMap;

use futures::{StreamExt, stream};
use jiff::Timestamp;

use crate::Gateway;
use crate::call::Calls;
use crate::identify::{Identified, Identifier};
use crate::judge::Judge;
use crate::requests::Requests;
use crate::signal::Report;
use crate::verdict::{Reason, Status, Verdict};

/// Reports of one batch that are worked on at once.
const WIDTH: usize = 16;

/// Judges reports that were received at `now`. The verdicts are in the order of the reports.
pub async fn ingest(
    gateway: &Gateway,
    source: &'static str,
    reports: Vec<Result<Report, String>>,
    now: Timestamp,
) -> Vec<Verdict> {
    let calls = Calls::new(gateway.settings.call_timeout);
    let requests = Requests::new(&gateway.client, &gateway.settings.namespace, &calls);
    let identifier = Identifier::new(gateway, &calls, &requests, now);
    let judge = Judge { settings: &gateway.settings, requests: &requests, now };
    let names: Vec<_> = reports.iter().map(|report| report.as_ref().map(|report| report.name.clone()).ok()).collect();
    let mut verdicts: Vec<_> = names.iter().map(|_| Verdict::new(Status::Unjudged)).collect();

    let mut groups: HashMap<String, Vec<Identified>> = HashMap::new();
    let identify = |(index, report)| {
        let identifier = &identifier;
        async move { (index, identifier.identify(index, report).await) }
    };
    let mut located = stream::iter(reports.into_iter().enumerate()).map(identify).buffered(WIDTH);
    while let Some((index, outcome)) = located.next().await {
        match outcome {
            Ok(one) => groups.entry(one.fingerprint.clone()).or_default().push(one),
            Err(verdict) => verdicts[index] = verdict,
        }
    }
    drop(located);

    let mut judged =
        stream::iter(groups).map(|(fingerprint, group)| judge.judge(fingerprint, group)).buffer_unordered(WIDTH);
    while let Some(group) = judged.next().await {
        for (index, verdict) in group {
            verdicts[index] = verdict;
        }
    }
    drop(judged);
    for (name, verdict) in names.iter().zip(&verdicts) {
        note(gateway, source, name.as_deref().unwrap_or_default(), verdict);
    }
    verdicts
}

/// One metric and one line for each report.
fn note(gateway: &Gateway, source: &'static str, alert: &str, verdict: &Verdict) {
    gateway.metrics.signal(source, verdict.status.as_str());
    let reason = verdict.reason.map_or("", Reason::as_str);
    let detail = verdict.detail.as_deref().unwrap_or_default();
    let request = verdict.request.as_deref().unwrap_or_default();
    let fingerprint = verdict.fingerprint.as_deref().unwrap_or_default();
    match verdict.status {
        Status::Created => tracing::info!(source, ?alert, request, fingerprint, reason, "made a request"),
        Status::HeldBack => tracing::info!(source, ?alert, request, reason, detail, "held back a signal"),
        Status::Refused => {
            gateway.metrics.refused(reason);
            tracing::info!(source, ?alert, reason, ?detail, "refused a signal");
        }
        Status::Unjudged => tracing::warn!(source, ?alert, reason, detail, "could not judge a signal"),
        Status::Duplicate => tracing::debug!(source, ?alert, request, "counted a signal"),
        Status::Resolved => tracing::debug!(source, ?alert, request, reason, "a signal is resolved"),
    }
}
