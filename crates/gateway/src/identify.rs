//! From a report to its target, fingerprint and whether it may be remediated at all (R2.4, R2.9).

use jiff::Timestamp;
use kubernaut_api::{RemediationRequest, TargetRef, labels};
use kubernaut_domain::suppression::Past;
use tokio::sync::OnceCell;

use crate::call::{CallError, Calls};
use crate::fingerprint::{Identity, fingerprint};
use crate::owner::{Located, Owners};
use crate::requests::Requests;
use crate::resolve::{self, Candidate, Subject};
use crate::signal::{Report, State};
use crate::verdict::{Reason, Status, Verdict};
use crate::{Gateway, Scope, Settings};

/// A report whose target is known.
pub struct Identified {
    /// Its place in the batch.
    pub index: usize,
    /// The report.
    pub report: Report,
    /// What identifies its trouble.
    pub fingerprint: String,
    /// The top-level owner, where one was found.
    pub target: Option<TargetRef>,
    /// The object that the report names.
    pub resource: Option<TargetRef>,
    /// What a person should know about how the target was found.
    pub note: Option<(Reason, String)>,
}

/// A request that is open or ended a moment ago: what a pod that is gone may have belonged to.
struct Recent {
    fingerprint: String,
    target: Option<TargetRef>,
    candidates: Vec<Candidate>,
}

/// Identifies the reports of one batch.
pub struct Identifier<'a> {
    settings: &'a Settings,
    owners: Owners<'a>,
    requests: &'a Requests<'a>,
    recent: OnceCell<Vec<Recent>>,
    now: Timestamp,
}

impl<'a> Identifier<'a> {
    /// For a batch that was received at `now`.
    pub fn new(gateway: &'a Gateway, calls: &'a Calls, requests: &'a Requests<'a>, now: Timestamp) -> Self {
        let owners = Owners::new(&gateway.client, calls, &gateway.kinds);
        Self { settings: &gateway.settings, owners, requests, recent: OnceCell::new(), now }
    }

    /// # Errors
    /// The verdict on a report that is refused or could not be identified.
    pub async fn identify(&self, index: usize, report: Result<Report, String>) -> Result<Identified, Verdict> {
        let malformed = |detail| Verdict::because(Status::Refused, Reason::Malformed, detail);
        let report = report.map_err(malformed)?;
        let subject = resolve::subject(&report.labels);
        let located = self.owners.locate(&subject).await.map_err(|error| Verdict::unjudged(&error))?;
        if located.target.is_none()
            && let Some(known) = self.known(&subject).await.map_err(|error| Verdict::unjudged(&error))?
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
            cluster: &self.settings.cluster,
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
        let cooldown = &self.settings.suppression.cooldown;
        let keep = |request: RemediationRequest| {
            let is_recent = Past::of(&request).is_none_or(|past| past.cools_until(cooldown).0 > self.now);
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
        if self.settings.scope == Scope::All {
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
        match self.owners.namespace_labels(namespace).await.map_err(|error| Verdict::unjudged(&error))? {
            None => refuse(format!("namespace {namespace} does not exist")),
            Some(found) if found.get(labels::MANAGED).is_some_and(|value| value == "true") => Ok(()),
            Some(_) => refuse(format!(
                "namespace {namespace} is not labelled as managed; opt in: kubectl label namespace {namespace} {}=true",
                labels::MANAGED
            )),
        }
    }
}

/// The command that opts in. Names are valid as such, so nothing in it needs quoting.
fn opt_in(target: &TargetRef) -> String {
    let namespace = target.namespace.as_ref().map(|namespace| format!("-n {namespace} ")).unwrap_or_default();
    format!("kubectl label {namespace}{} {} {}=true", target.kind.to_lowercase(), target.name, labels::MANAGED)
}
