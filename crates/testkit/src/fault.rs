//! A seeded fault: how it is brought about, what must come of it, and one run that checks all of it.
//!
//! Every run has a [`Shop`] of its own. Whatever the fault, nothing but what is expected to change may change
//! from the moment the alert is sent: see [`assert_only_changed`].

use std::fmt::Write as _;
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use kubernaut_api::{Outcome, RemediationApproval, RequestPhase, TargetRef};
use serde_json::{Value, json};

use crate::snapshot::{Allowed, assert_only_changed};
use crate::{Alert, Operator, Remediation, Shop, until};

/// How long one remediation may take on a busy machine.
pub const LIMIT: Duration = Duration::from_mins(4);

/// A fault and what must come of it.
pub struct Fault {
    /// Part of its namespace's name; unique.
    pub id: &'static str,
    /// What is broken, for a person.
    pub what: &'static str,
    /// Brings it about in a shop that is well, and waits until an alert would fire.
    pub seed: Seed,
    /// What must come of it.
    pub expect: Expect,
}

/// Brings a fault about.
pub type Seed = for<'a> fn(&'a mut Shop) -> Seeding<'a>;
/// What a [`Seed`] does.
pub type Seeding<'a> = Pin<Box<dyn Future<Output = Result<Seeded>> + Send + 'a>>;

/// A fault that is there.
pub struct Seeded {
    /// What Alertmanager sends.
    pub alert: Alert,
    /// The parameters that the steps must have, in their order.
    pub parameters: Vec<Value>,
    /// What happens besides, in the world outside, once the steps are done.
    pub meanwhile: Option<Meanwhile>,
}

/// Something that happens in the world outside.
pub type Meanwhile = for<'a> fn(&'a Shop) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

impl Seeded {
    /// An alert about what is not to be touched.
    pub fn alert(alert: Alert) -> Self {
        Self { alert, parameters: vec![], meanwhile: None }
    }

    /// An alert about what one step with these parameters mends.
    pub fn mended_with(alert: Alert, parameters: Value) -> Self {
        Self { alert, parameters: vec![parameters], meanwhile: None }
    }
}

/// What must come of a fault.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// It is mended.
    Healed(Mended),
    /// Nothing is done, and nobody is asked to allow anything.
    Untouched {
        /// How the request ends.
        outcome: Outcome,
        /// Its reason.
        reason: &'static str,
        /// The cause that is found, if any.
        cause: Option<&'static str>,
    },
    /// A person has to look: nothing is done, and the request says why.
    Escalated {
        /// Its reason.
        reason: &'static str,
        /// The cause that is found, if any.
        cause: Option<&'static str>,
    },
    /// The gateway takes no request for it.
    Refused {
        /// Its reason.
        reason: &'static str,
    },
}

/// How a fault is mended.
#[derive(Clone, Copy, Debug)]
pub struct Mended {
    /// The cause that is found.
    pub cause: &'static str,
    /// Actions and the objects that they are done to.
    pub steps: &'static [(&'static str, &'static str)],
    /// Whether somebody has to allow it.
    pub allowed_by: AllowedBy,
    /// All that may differ from how it was when the alert was sent.
    pub changed: &'static [Allowed],
    /// Objects whose spec must be again as it was when all was well.
    pub restored: &'static [&'static str],
    /// Workloads that must be well at the end, as `Kind/name`.
    pub well: &'static [&'static str],
}

/// Who allows a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedBy {
    /// Nobody needs to.
    Itself,
    /// A person, which the test plays.
    Person,
}

impl Fault {
    /// Seeds it, sends its alert, and fails unless everything comes as expected. How long it took from the alert to the end.
    pub async fn run(&self, operator: &Operator) -> Result<(Duration, Option<Remediation>)> {
        let mut shop = match self.expect {
            Expect::Refused { reason: "OutOfScope" } => Shop::open_unmanaged(operator, self.id).await?,
            _ => Shop::open(operator, self.id).await?,
        };
        let seeded = (self.seed)(&mut shop).await.context("seeding")?;
        let broken = shop.snapshot().await?;
        let begun = Instant::now();
        let answer = operator.alert(std::slice::from_ref(&seeded.alert)).await?;
        if let Expect::Refused { reason } = self.expect {
            let verdict = answer.only()?;
            ensure!(verdict["status"] == "refused" && verdict["reason"] == reason, "{answer:?}");
            assert_only_changed(&broken, &shop.snapshot().await?, &[])?;
            return Ok((begun.elapsed(), None));
        }
        let request = answer.created()?;
        if let Expect::Healed(mended) = &self.expect {
            if mended.allowed_by == AllowedBy::Person {
                let asked = asked(operator, &request).await?;
                assert_only_changed(&broken, &shop.snapshot().await?, &[]).context("before anybody allowed it")?;
                operator.approve(&asked).await?;
            }
            settle(&shop, &request, &seeded, mended).await?;
        }
        let remediation = operator.ended(&request, LIMIT).await?;
        let took = begun.elapsed();
        let checked = self.check(&shop, &seeded, &remediation).await;
        checked.with_context(|| format!("{request}:\n{}", remediation.history()))?;
        let allowed = if let Expect::Healed(mended) = &self.expect { mended.changed } else { &[] };
        let after = shop.snapshot().await?;
        assert_only_changed(&broken, &after, allowed)?;
        if let Expect::Healed(mended) = &self.expect {
            for object in mended.restored {
                let (good, now) = (shop.good.spec(object), after.spec(object));
                ensure!(
                    good.is_some() && good == now,
                    "{object} is not as it was when all was well:\n{good:?}\n{now:?}"
                );
            }
        }
        Ok((took, Some(remediation)))
    }

    async fn check(&self, shop: &Shop, seeded: &Seeded, remediation: &Remediation) -> Result<()> {
        remediation.check()?;
        let status = remediation.request.status.clone().unwrap_or_default();
        let cause = cause(remediation);
        match self.expect {
            Expect::Healed(mended) => {
                remediation.ended_as(RequestPhase::Completed, Some(Outcome::Remediated))?;
                ensure!(cause.as_deref() == Some(mended.cause), "found {cause:?}, not {}", mended.cause);
                let asked = remediation.approval.is_some();
                ensure!(asked == (mended.allowed_by == AllowedBy::Person), "a person was asked: {asked}");
                let workflow = remediation.workflow.as_ref().context("no workflow")?;
                let done: Vec<_> =
                    workflow.spec.steps.iter().map(|step| (step.action.clone(), named(shop, &step.target))).collect();
                let expected: Vec<_> =
                    mended.steps.iter().map(|(action, object)| ((*action).to_owned(), (*object).to_owned())).collect();
                ensure!(done == expected, "did {done:?}, not {expected:?}");
                for (step, expected) in workflow.spec.steps.iter().zip(&seeded.parameters) {
                    let parameters = json!(step.parameters);
                    ensure!(parameters == *expected, "{}: {parameters}, not {expected}", step.name);
                }
                let counts = (remediation.executions.len(), remediation.jobs.len());
                ensure!(counts == (done.len(), done.len()), "{counts:?} executions and Jobs");
                for object in mended.well {
                    let (kind, name) = object.split_once('/').context("Kind/name")?;
                    shop.is_healthy(kind, name).await?;
                }
                return Ok(());
            }
            Expect::Untouched { outcome, reason, cause: expected } => {
                remediation.ended_as(RequestPhase::Completed, Some(outcome))?;
                ensure!(status.reason.as_deref() == Some(reason), "ended for {:?}, not {reason}", status.reason);
                ensure!(cause.as_deref() == expected, "found {cause:?}, not {expected:?}");
            }
            Expect::Escalated { reason, cause: expected } => {
                remediation.ended_as(RequestPhase::Completed, Some(Outcome::ManualReviewRequired))?;
                ensure!(status.reason.as_deref() == Some(reason), "ended for {:?}, not {reason}", status.reason);
                ensure!(cause.as_deref() == expected, "found {cause:?}, not {expected:?}");
                ensure!(status.message.as_deref().is_some_and(|text| !text.is_empty()), "it does not say why");
            }
            Expect::Refused { .. } => bail!("a request was made"),
        }
        let nothing =
            remediation.workflow.is_none() && remediation.executions.is_empty() && remediation.jobs.is_empty();
        ensure!(nothing && remediation.approval.is_none(), "something was begun or asked");
        Ok(())
    }

    /// Its line of the table in docs/faults.md.
    pub fn row(&self) -> String {
        let steps = |mended: &Mended| {
            let steps: Vec<_> = mended.steps.iter().map(|(action, object)| format!("`{action}` {object}")).collect();
            steps.join(", then ")
        };
        let (cause, done, end) = match &self.expect {
            Expect::Healed(mended) => {
                let by = if mended.allowed_by == AllowedBy::Person { "; a person allows it" } else { "" };
                (Some(mended.cause), format!("{}{by}", steps(mended)), "Remediated".to_owned())
            }
            Expect::Untouched { outcome, reason, cause } => {
                (*cause, "nothing".into(), format!("{outcome:?}, {reason}"))
            }
            Expect::Escalated { reason, cause } => {
                (*cause, "nothing".into(), format!("ManualReviewRequired, {reason}"))
            }
            Expect::Refused { reason } => (None, "nothing".into(), format!("no request: {reason}")),
        };
        format!("| {} | {} | {done} | {end} |", self.what, cause.unwrap_or("–"))
    }
}

/// The table of docs/faults.md.
pub fn table(faults: &[Fault]) -> String {
    faults.iter().fold("| Fault | Cause found | Done | End |\n|---|---|---|---|\n".to_owned(), |mut text, fault| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", fault.row());
        text
    })
}

/// The cause that the analysis found.
pub fn cause(remediation: &Remediation) -> Option<String> {
    Some(remediation.analysis.as_ref()?.status.as_ref()?.root_cause.as_ref()?.cause.clone())
}

/// Waits until a person is asked.
pub async fn asked(operator: &Operator, request: &str) -> Result<RemediationApproval> {
    until(&format!("{request} asks a person"), LIMIT, || async {
        let remediation = operator.remediation(request).await?;
        let history = remediation.history();
        remediation.approval.with_context(|| format!("no RemediationApproval so far:\n{history}"))
    })
    .await
}

/// As soon as what was broken is well, its alert ends: Prometheus would see that too.
async fn settle(shop: &Shop, request: &str, seeded: &Seeded, mended: &Mended) -> Result<()> {
    until(&format!("{request} verifies"), LIMIT, || async {
        let remediation = shop.operator.remediation(request).await?;
        let (phase, _) = remediation.end();
        let over = phase.is_some_and(kubernaut_api::Phase::is_terminal);
        ensure!(over || phase == Some(RequestPhase::Verifying), "so far:\n{}", remediation.history());
        Ok(())
    })
    .await?;
    for object in mended.well {
        let (kind, name) = object.split_once('/').context("Kind/name")?;
        shop.is_healthy(kind, name).await?;
    }
    if let Some(meanwhile) = seeded.meanwhile {
        meanwhile(shop).await?;
    }
    shop.operator.alert(&[seeded.alert.resolved()]).await?;
    Ok(())
}

/// The name of an object in snapshots and expectations.
fn named(shop: &Shop, object: &TargetRef) -> String {
    let beside = shop.beside.iter().find(|(_, beside)| object.namespace.as_ref() == Some(&beside.name));
    match (beside, &object.namespace) {
        (Some((alias, _)), _) => format!("{}/{alias}/{}", object.kind, object.name),
        (None, Some(namespace)) if *namespace != shop.namespace.name => object.to_string(),
        (None, _) if shop.nodes.iter().any(|node| node.name == object.name) => format!("{}/spare", object.kind),
        (None, _) => format!("{}/{}", object.kind, object.name),
    }
}

impl Operator {
    /// Allows a plan, as whoever the kubeconfig names.
    pub async fn approve(&self, asked: &RemediationApproval) -> Result<()> {
        let user = self.cluster.user().await?;
        let answer = Patch::Merge(json!({ "status": { "decision": "Approved", "decidedBy": user } }));
        self.api::<RemediationApproval>().patch_status(&asked.name_any(), &PatchParams::default(), &answer).await?;
        Ok(())
    }
}
