//! Runs a batch of reports: identify each, put those of one fingerprint together, judge, write.
//!
//! A failure costs the reports that it concerns; the others go on, and sending the whole batch again
//! is safe. Deliberately absent: an answer before the object is durable.

use std::collections::HashMap;

use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use kubernaut_api::{RemediationRequest, ResourceExt, TargetRef, labels};
use tokio::sync::OnceCell;

use crate::admit::{self, Admission, Existing, Settlement};
use crate::call::{CallError, Calls};
use crate::fingerprint::{Identity, fingerprint};
use crate::owner::{Located, Owners};
use crate::record::{self, Draft};
use crate::requests::{Made, Patched, Requests};
use crate::resolve::{self, Candidate, Subject};
use crate::signal::{Report, State};
use crate::verdict::{Reason, Status, Verdict};
use crate::{Gateway, Scope};

/// Reports of one batch that are worked on at once.
const WIDTH: usize = 16;
/// How often a request is read again when it changed in between, or its name was taken.
const ATTEMPTS: usize = 8;

/// A report whose target is known.
struct Identified {
    index: usize,
    report: Report,
    fingerprint: String,
    target: Option<TargetRef>,
    resource: Option<TargetRef>,
    note: Option<(Reason, String)>,
}

/// A request that is open or ended a moment ago: what a pod that is gone may have belonged to.
struct Recent {
    fingerprint: String,
    target: Option<TargetRef>,
    candidates: Vec<Candidate>,
}

struct Batch<'a> {
    gateway: &'a Gateway,
    owners: Owners<'a>,
    requests: Requests<'a>,
    recent: OnceCell<Vec<Recent>>,
    now: Timestamp,
}

/// Judges reports that were received at `now`. The verdicts are in the order of the reports.
pub async fn ingest(
    gateway: &Gateway,
    source: &'static str,
    reports: Vec<Result<Report, String>>,
    now: Timestamp,
) -> Vec<Verdict> {
    let calls = Calls::new(gateway.settings.call_timeout);
    let batch = Batch {
        gateway,
        owners: Owners::new(&gateway.client, &calls, &gateway.kinds),
        requests: Requests::new(&gateway.client, &gateway.settings.namespace, &calls),
        recent: OnceCell::new(),
        now,
    };
    let names: Vec<_> = reports.iter().map(|report| report.as_ref().map(|report| report.name.clone()).ok()).collect();
    let mut verdicts: Vec<_> = names.iter().map(|_| Verdict::new(Status::Unjudged)).collect();

    let mut groups: HashMap<String, Vec<Identified>> = HashMap::new();
    let identify = |(index, report)| {
        let batch = &batch;
        async move { (index, batch.identify(index, report).await) }
    };
    let mut identified = stream::iter(reports.into_iter().enumerate()).map(identify).buffered(WIDTH);
    while let Some((index, outcome)) = identified.next().await {
        match outcome {
            Ok(one) => groups.entry(one.fingerprint.clone()).or_default().push(one),
            Err(verdict) => verdicts[index] = verdict,
        }
    }
    drop(identified);

    let mut judged =
        stream::iter(groups).map(|(fingerprint, group)| batch.judge(fingerprint, group)).buffer_unordered(WIDTH);
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

fn unjudged(error: &CallError) -> Verdict {
    tracing::debug!(%error, "a call failed");
    Verdict::because(Status::Unjudged, Reason::Unavailable, error.public())
}

impl Batch<'_> {
    async fn identify(&self, index: usize, report: Result<Report, String>) -> Result<Identified, Verdict> {
        let malformed = |detail| Verdict::because(Status::Refused, Reason::Malformed, detail);
        let report = report.map_err(malformed)?;
        let subject = resolve::subject(&report.labels);
        let located = self.owners.locate(&subject).await.map_err(|error| unjudged(&error))?;
        if located.target.is_none()
            && let Some(known) = self.known(&subject).await.map_err(|error| unjudged(&error))?
        {
            let (fingerprint, target) = (known.fingerprint.clone(), known.target.clone());
            let note = Some((Reason::TargetGone, "what the alert names is gone, a request about it exists".to_owned()));
            return Ok(Identified { index, report, fingerprint, target, resource: located.resource, note });
        }
        if report.state == State::Firing {
            self.check_scope(&subject, &located).await?;
        }
        let target = located.target.as_ref();
        let fingerprint = fingerprint(&Identity {
            cluster: &self.gateway.settings.cluster,
            namespace: target
                .map_or(subject.namespace.as_ref(), |target| target.namespace.as_ref())
                .map_or("", String::as_str),
            kind: target.map_or("", |target| &target.kind),
            name: target.map_or("", |target| &target.name),
            alert: (!located.workload).then_some(&report.name),
        });
        let note = match &located.resource {
            _ if located.target.is_none() => {
                Some((Reason::TargetNotFound, "nothing that the alert names exists: a person has to look".to_owned()))
            }
            Some(resource) if located.gone => {
                Some((Reason::TargetGone, format!("{resource} is gone, its controller was found by its name")))
            }
            _ => None,
        };
        let Located { target, resource, .. } = located;
        Ok(Identified { index, report, fingerprint, target, resource, note })
    }

    /// The recent request that is about an object which no longer exists.
    async fn known(&self, subject: &Subject) -> Result<Option<&Recent>, CallError> {
        let Some(named) = subject.candidates.first() else { return Ok(None) };
        let cooldown = self.gateway.settings.cooldown;
        let keep = |request: RemediationRequest| {
            let until = admit::held_until(admit::stage(&request), cooldown);
            let is_recent = until.is_none_or(|until| until > self.now);
            is_recent.then(|| Recent {
                candidates: resolve::subject(&request.spec.signal.labels).candidates,
                fingerprint: request.spec.signal.fingerprint,
                target: request.spec.target,
            })
        };
        let recent = self.recent.get_or_try_init(|| self.requests.all(keep)).await?;
        Ok(recent.iter().find(|one| one.target.is_some() && one.candidates.contains(named)))
    }

    /// R2.9. A label on the target counts more than one on its namespace, so that one can opt out.
    async fn check_scope(&self, subject: &Subject, located: &Located) -> Result<(), Verdict> {
        let refuse = |detail: String| Err(Verdict::because(Status::Refused, Reason::OutOfScope, detail));
        if self.gateway.settings.scope == Scope::All {
            return Ok(());
        }
        let target = located.target.as_ref();
        match (target, located.labels.get(labels::MANAGED).map(String::as_str)) {
            (_, Some("true")) => return Ok(()),
            (Some(target), Some(_)) => {
                return refuse(format!("{target} is labelled as not managed; opt in: {} --overwrite", opt_in(target)));
            }
            _ => {}
        }
        let namespace = match target {
            Some(target) => target.namespace.as_deref(),
            None => subject.namespace.as_deref(),
        };
        let Some(namespace) = namespace else {
            return refuse(target.map_or_else(
                || "the alert names no object that could be labelled as managed; only scope: all takes it".to_owned(),
                |target| format!("{target} is not labelled as managed; opt in: {}", opt_in(target)),
            ));
        };
        match self.owners.namespace_labels(namespace).await.map_err(|error| unjudged(&error))? {
            None => refuse(format!("namespace {namespace} does not exist")),
            Some(found) if found.get(labels::MANAGED).is_some_and(|value| value == "true") => Ok(()),
            Some(_) => refuse(format!(
                "namespace {namespace} is not labelled as managed; opt in: kubectl label namespace {namespace} {}=true",
                labels::MANAGED
            )),
        }
    }

    /// Judges the reports of one fingerprint. Firing ones come first: what still fires is not resolved.
    async fn judge(&self, fingerprint: String, group: Vec<Identified>) -> Vec<(usize, Verdict)> {
        let (firing, resolved): (Vec<_>, Vec<_>) = group.into_iter().partition(|one| one.report.state == State::Firing);
        let mut answers = Vec::new();
        if firing.is_empty() {
            let outcome = self.resolve(&fingerprint, &resolved, &mut answers).await;
            close(outcome, &resolved, &mut answers);
        } else {
            let outcome = self.fire(&fingerprint, &firing, &mut answers).await;
            close(outcome, &firing, &mut answers);
            let detail = "the same batch holds a firing alert about the target";
            answers.extend(
                resolved.iter().map(|one| (one.index, Verdict::because(Status::Resolved, Reason::StillFiring, detail))),
            );
        }
        for (_, verdict) in &mut answers {
            verdict.fingerprint = Some(fingerprint.clone());
        }
        answers
    }

    async fn fire(
        &self,
        fingerprint: &str,
        firing: &[Identified],
        answers: &mut Vec<(usize, Verdict)>,
    ) -> Result<(), Verdict> {
        let mut stray: Option<RemediationRequest> = None;
        let mut foreign = 0;
        for _ in 0..ATTEMPTS {
            let rest = &firing[answers.len()..];
            let Some(first) = rest.first() else { return Ok(()) };
            let mut found = self.requests.of(fingerprint).await.map_err(|error| unjudged(&error))?;
            found.extend(stray.take().filter(|stray| found.iter().all(|one| one.name_any() != stray.name_any())));
            let existing: Vec<_> = found.iter().map(Existing::of).collect();
            match admit::admit(&existing, self.now, self.gateway.settings.cooldown) {
                Admission::Create { episode } => {
                    let episode = episode.max(foreign + 1);
                    let request =
                        record::request(&self.draft(fingerprint, first), &self.gateway.settings.namespace, episode);
                    match self.requests.create(&request).await {
                        Ok(Made::New(made)) => answers.push((first.index, created(first, &made))),
                        Ok(Made::Taken) => {
                            match self.requests.get(&request.name_any()).await.map_err(|error| unjudged(&error))? {
                                Some(other) if other.spec.signal.fingerprint == fingerprint => stray = Some(other),
                                Some(_) => foreign = episode,
                                None => {}
                            }
                        }
                        Err(error) if error.is_rejected() => {
                            return Err(Verdict::because(Status::Refused, Reason::Rejected, error.public()));
                        }
                        Err(error) => return Err(unjudged(&error)),
                    }
                }
                Admission::Duplicate { name } => {
                    if self.count(&found, &name, rest).await? {
                        let verdict = Verdict { request: Some(name), ..Verdict::new(Status::Duplicate) };
                        answers.extend(rest.iter().map(|one| (one.index, verdict.clone())));
                        return Ok(());
                    }
                }
                Admission::HeldBack { name, until } => {
                    if self.count(&found, &name, rest).await? {
                        let detail = format!("{name} ended a moment ago: held back until {until}");
                        let verdict = Verdict::because(Status::HeldBack, Reason::Cooldown, detail);
                        let verdict = Verdict { request: Some(name), until: Some(until), ..verdict };
                        answers.extend(rest.iter().map(|one| (one.index, verdict.clone())));
                        return Ok(());
                    }
                }
            }
        }
        Err(if foreign > 0 {
            Verdict::because(
                Status::Refused,
                Reason::NameCollision,
                "requests of this name exist and are about something else",
            )
        } else {
            Verdict::because(Status::Unjudged, Reason::Unavailable, "the request kept changing")
        })
    }

    async fn resolve(
        &self,
        fingerprint: &str,
        resolved: &[Identified],
        answers: &mut Vec<(usize, Verdict)>,
    ) -> Result<(), Verdict> {
        for _ in 0..ATTEMPTS {
            let found = self.requests.of(fingerprint).await.map_err(|error| unjudged(&error))?;
            let existing: Vec<_> = found.iter().map(Existing::of).collect();
            let settle = |one: &Identified| admit::settle(&existing, &one.report.name, one.resource.as_ref());
            let settled: Vec<_> = resolved.iter().map(settle).collect();
            let over = settled.iter().find_map(|one| match one {
                Settlement::Resolve { name } => found.iter().find(|request| request.name_any() == *name),
                Settlement::StillFiring { .. } | Settlement::Ignore => None,
            });
            if let Some((request, patch)) =
                over.and_then(|request| Some((request, record::resolve(request, self.now)?)))
                && !self.patch(request, &patch).await?
            {
                continue;
            }
            let verdict = |settlement| match settlement {
                Settlement::Resolve { name } => Verdict { request: Some(name), ..Verdict::new(Status::Resolved) },
                Settlement::StillFiring { name } => Verdict {
                    request: Some(name),
                    ..Verdict::because(
                        Status::Resolved,
                        Reason::StillFiring,
                        "the request was made for another alert or object",
                    )
                },
                Settlement::Ignore => Verdict::because(Status::Resolved, Reason::NoOpenRequest, "no request is open"),
            };
            answers.extend(resolved.iter().zip(settled).map(|(one, settlement)| (one.index, verdict(settlement))));
            return Ok(());
        }
        Err(Verdict::because(Status::Unjudged, Reason::Unavailable, "the request kept changing"))
    }

    fn draft<'b>(&self, fingerprint: &'b str, first: &'b Identified) -> Draft<'b> {
        Draft {
            fingerprint,
            report: &first.report,
            target: first.target.as_ref(),
            resource: first.resource.as_ref(),
            now: self.now,
            dry_run: self.gateway.settings.dry_run,
        }
    }

    /// Counts reports on a request; false when it changed meanwhile.
    async fn count(&self, found: &[RemediationRequest], name: &str, group: &[Identified]) -> Result<bool, Verdict> {
        let Some(request) = found.iter().find(|request| request.name_any() == name) else { return Ok(false) };
        let alerts = group.iter().map(|one| one.report.name.as_str());
        self.patch(request, &record::count(request, alerts, self.now)).await
    }

    async fn patch(&self, request: &RemediationRequest, patch: &serde_json::Value) -> Result<bool, Verdict> {
        match self.requests.patch(request, patch).await {
            Ok(Patched::Done) => Ok(true),
            Ok(Patched::Stale) => Ok(false),
            Err(error) if error.is_rejected() => {
                tracing::warn!(request = request.name_any(), %error, "could not count a signal");
                Ok(true)
            }
            Err(error) => Err(unjudged(&error)),
        }
    }
}

/// Gives the reports that have no verdict yet the one that the outcome makes.
fn close(outcome: Result<(), Verdict>, group: &[Identified], answers: &mut Vec<(usize, Verdict)>) {
    if let Err(verdict) = outcome {
        let open = group.iter().skip(answers.len()).map(|one| (one.index, verdict.clone()));
        answers.extend(open.collect::<Vec<_>>());
    }
}

fn created(first: &Identified, made: &RemediationRequest) -> Verdict {
    let (reason, detail) = first.note.clone().unzip();
    Verdict { request: Some(made.name_any()), reason, detail, ..Verdict::new(Status::Created) }
}

/// The command that opts in. Names are valid as such, so nothing in it needs quoting.
fn opt_in(target: &TargetRef) -> String {
    let namespace = target.namespace.as_ref().map(|namespace| format!("-n {namespace} ")).unwrap_or_default();
    format!("kubectl label {namespace}{} {} {}=true", target.kind.to_lowercase(), target.name, labels::MANAGED)
}
