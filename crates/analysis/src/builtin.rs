//! Diagnosis without a model: a list of diagnosers, asked in order (R4.1).
//!
//! Each file of the folder holds one [`Diagnoser`]: what it fits, what it proposes, and the signals that its
//! confidence is computed from, which `docs/reference/diagnosis.md` lists. The order of [`DIAGNOSERS`] is the
//! precedence: when two fit, the earlier one wins, because it stands further upstream or says more precisely what
//! happened.
//!
//! 1. `node` first: what runs on a node that is silent is its victim, and the states of its containers
//!    are those of long ago. Then `stateful_set`: how a pod of an older revision fails is of the past too.
//! 2. `image_pull` and `configuration` before `bad_rollout`: they come from a new revision too, and name
//!    what is missing.
//! 3. `dependency` before `bad_rollout`: what is broken upstream is the cause, and its victims recover with it.
//! 4. `changed_config` before `bad_rollout`: it fits only when the configuration was changed after the template.
//! 5. `bad_rollout` before `out_of_memory`: when a revision that changed the container brought the kills
//!    with it, the change is the cause and more memory would only hide it.
//! 6. `never_ready` after those that saw a container fail: that one says more.
//! 7. `claim` before `unschedulable`, which it explains, and `taint`, which has a remedy; `refused` is about pods
//!    that do not even exist.
//! 8. `permission` late: it rests on a log alone. `job` says how a run ended when nothing says why. `budget` and
//!    `autoscaler` when no pod fails: a workload that is broken has no use for more pods.
//! 9. What is no workload itself ([`TARGETS`]) is looked at when nothing fits the workload that it leads to, and
//!    `healthy` last: nothing is wrong only when nothing else fits.
//!
//! An action is proposed only where the evidence shows that it would help; everything else is left to
//! a person. What a program prints leads to no action by itself: only `dependency` and `permission` read logs, to
//! confirm what the cluster says.

mod autoscaler;
mod bad_rollout;
mod budget;
mod changed_config;
mod claim;
mod configuration;
mod dependency;
mod facts;
mod healthy;
mod image_pull;
mod job;
mod never_ready;
mod node;
mod out_of_memory;
mod permission;
mod reference;
mod refused;
mod rollback;
mod stateful_set;
mod taint;
mod unschedulable;

use async_trait::async_trait;
use kubernaut_api::analysis::ConfidenceSignal;
use kubernaut_api::labels;
use kubernaut_api::meta::TargetRef;
use kubernaut_api::workflow::Step;
use kubernaut_domain::catalogue;
use kubernaut_domain::diagnosis::{Diagnosis, Finding};

use crate::provider::{Provider, ProviderError, Question};
use facts::Facts;
pub use reference::reference;

/// The default provider: deterministic, without network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Builtin;

#[async_trait]
impl Provider for Builtin {
    fn name(&self) -> &'static str {
        "builtin"
    }

    async fn analyse(&self, question: &Question<'_>) -> Result<Diagnosis, ProviderError> {
        Ok(diagnose(question))
    }
}

/// One diagnoser: everything that is known about it without evidence, and the function itself.
pub struct Diagnoser {
    /// What it is called.
    pub name: &'static str,
    /// The causes that it tells.
    pub causes: &'static [&'static str],
    /// When it fits.
    pub fits: &'static str,
    /// What its confidence is computed from, with weights that sum up to 1; the first is always met.
    pub signals: &'static [(&'static str, f64)],
    /// What it proposes.
    pub proposes: &'static str,
    diagnose: fn(&Facts<'_>) -> Option<Finding>,
}

impl Diagnoser {
    /// The signals, each with whether it was met, in the order in which they are declared.
    fn signals(&self, met: &[bool]) -> Vec<ConfidenceSignal> {
        debug_assert_eq!(self.signals.len(), met.len(), "{}", self.name);
        let signal = |((name, weight), met): (&(&str, f64), &bool)| ConfidenceSignal {
            name: (*name).to_owned(),
            weight: *weight,
            met: *met,
        };
        self.signals.iter().zip(met).map(signal).collect()
    }
}

/// In order of precedence.
pub static DIAGNOSERS: &[&Diagnoser] = &[
    &node::DIAGNOSER,
    &stateful_set::DIAGNOSER,
    &image_pull::DIAGNOSER,
    &configuration::DIAGNOSER,
    &dependency::DIAGNOSER,
    &changed_config::DIAGNOSER,
    &bad_rollout::DIAGNOSER,
    &out_of_memory::DIAGNOSER,
    &never_ready::DIAGNOSER,
    &claim::DIAGNOSER,
    &taint::DIAGNOSER,
    &unschedulable::DIAGNOSER,
    &refused::DIAGNOSER,
    &permission::DIAGNOSER,
    &job::DIAGNOSER,
    &budget::DIAGNOSER,
    &autoscaler::DIAGNOSER,
];

/// For targets that are no workload.
const TARGETS: &[fn(&Question<'_>) -> Option<Diagnosis>] =
    &[node::diagnose_target, claim::diagnose_target, refused::diagnose_target];

/// The first finding that fits; that nothing is wrong; or that a person has to look.
pub fn diagnose(question: &Question<'_>) -> Diagnosis {
    let facts = Facts::of(question);
    if let Some(finding) = facts.as_ref().and_then(first) {
        return Diagnosis::Found(Box::new(within(question, finding)));
    }
    if let Some(diagnosis) = TARGETS.iter().find_map(|diagnose| diagnose(question)) {
        return diagnosis;
    }
    let Some(facts) = facts else {
        return Diagnosis::Unknown { summary: format!("{} is no workload that was found.", question.target) };
    };
    match healthy::diagnose(&facts, question.target) {
        Some(evidence) => Diagnosis::NothingWrong { evidence },
        None => Diagnosis::Unknown { summary: facts.summary() },
    }
}

/// The finding without a plan that reaches for what nobody has put into Kubernaut's hands.
fn within(question: &Question<'_>, mut finding: Finding) -> Finding {
    let Question { target, evidence, .. } = question;
    let same = |a: &TargetRef, b: &TargetRef| (&a.kind, &a.namespace, &a.name) == (&b.kind, &b.namespace, &b.name);
    let may = |step: &Step| same(&step.target, target) || evidence.may_change(target, &step.target);
    if let Some(step) = finding.steps.iter().find(|step| !may(step)) {
        finding.rationale =
            format!("Nobody has put {} into Kubernaut's hands by the label {}=true.", step.target, labels::MANAGED);
        finding.steps.clear();
    }
    finding
}

/// The first diagnoser that fits. A plan that the catalogue would refuse, for the evidence lacks a uid or the like, is
/// not proposed: a person has to look.
fn first(facts: &Facts<'_>) -> Option<Finding> {
    let mut finding = DIAGNOSERS.iter().find_map(|diagnoser| (diagnoser.diagnose)(facts))?;
    if finding.steps.iter().any(|step| catalogue::check(step).is_err()) {
        finding.steps.clear();
    }
    Some(finding)
}
