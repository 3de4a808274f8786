//! What becomes of the reports of one fingerprint: reads the requests of it, decides, writes.
//!
//! Requests are read anew for each attempt, and each write fails when its object has changed since:
//! two gateways at once make one request.

use jiff::Timestamp;
use kubernaut_api::{RemediationRequest, ResourceExt};

use crate::Settings;
use crate::admit::{self, Admission, Existing, Settlement};
use crate::identify::Identified;
use crate::record::{self, Draft};
use crate::requests::{Made, Patched, Requests};
use crate::signal::State;
use crate::verdict::{Reason, Status, Verdict};

/// How often a request is read again when it changed in between, or its name was taken.
const ATTEMPTS: usize = 16;

/// Judges the groups of one batch.
pub struct Judge<'a> {
    /// How the gateway behaves.
    pub settings: &'a Settings,
    /// The requests that exist.
    pub requests: &'a Requests<'a>,
    /// When the batch was received.
    pub now: Timestamp,
}

impl Judge<'_> {
    /// Judges the reports of one fingerprint. Firing ones come first: what still fires is not resolved.
    pub async fn judge(&self, fingerprint: String, group: Vec<Identified>) -> Vec<(usize, Verdict)> {
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
            let mut found = self.requests.of(fingerprint).await.map_err(|error| Verdict::unjudged(&error))?;
            found.extend(stray.take().filter(|stray| found.iter().all(|one| one.name_any() != stray.name_any())));
            let existing: Vec<_> = found.iter().map(Existing::of).collect();
            match admit::admit(&existing, self.now, &self.settings.suppression) {
                Admission::Create { episode } => {
                    let episode = episode.max(foreign + 1);
                    let request = record::request(&self.draft(fingerprint, first), &self.settings.namespace, episode);
                    match self.requests.create(&request).await {
                        Ok(Made::New(made)) => answers.push((first.index, created(first, &made))),
                        Ok(Made::Taken) => {
                            match self
                                .requests
                                .get(&request.name_any())
                                .await
                                .map_err(|error| Verdict::unjudged(&error))?
                            {
                                Some(other) if other.spec.signal.fingerprint == fingerprint => stray = Some(other),
                                Some(_) => foreign = episode,
                                None => {}
                            }
                        }
                        Err(error) if error.is_rejected() => {
                            return Err(Verdict::because(Status::Refused, Reason::Rejected, error.public()));
                        }
                        Err(error) => return Err(Verdict::unjudged(&error)),
                    }
                }
                Admission::Duplicate { name } => {
                    if self.count(&found, &name, rest).await? {
                        let verdict = Verdict { request: Some(name), ..Verdict::new(Status::Duplicate) };
                        answers.extend(rest.iter().map(|one| (one.index, verdict.clone())));
                        return Ok(());
                    }
                }
                Admission::HeldBack(held) => {
                    if self.count(&found, &held.by, rest).await? {
                        let verdict = Verdict::because(Status::HeldBack, Reason::Cooldown, held.message);
                        let verdict = Verdict { request: Some(held.by), until: Some(held.until.0), ..verdict };
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
            let found = self.requests.of(fingerprint).await.map_err(|error| Verdict::unjudged(&error))?;
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
            dry_run: self.settings.dry_run,
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
            Err(error) => Err(Verdict::unjudged(&error)),
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
