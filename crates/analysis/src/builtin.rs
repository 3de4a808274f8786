//! Diagnosis without a model: a list of diagnosers, asked in order (R4.1).
//!
//! Each file of the folder holds one diagnoser, `diagnose(&Facts) -> Option<Finding>`, with the signals
//! that its confidence is computed from in its `//!`. The order of [`DIAGNOSERS`] is the precedence:
//! when two fit, the earlier one wins, because it stands further upstream or says more precisely what
//! happened.
//!
//! 1. `node` first: what runs on a node that is silent is its victim, and the states of its containers
//!    are those of long ago. Then `stateful_set`: how a pod of an older revision fails is of the past too.
//! 2. `image_pull` and `configuration` before `bad_rollout`: they come from a new revision too, and name
//!    what is missing.
//! 3. `dependency` before `bad_rollout`: what is broken upstream is the cause, and its victims recover with it.
//! 4. `bad_rollout` before `out_of_memory`: when a revision that changed the container brought the kills
//!    with it, the change is the cause and more memory would only hide it.
//! 5. `never_ready` after those that saw a container fail: that one says more.
//! 6. `claim` before `unschedulable`, which it explains; `refused` is about pods that do not even exist.
//! 7. `permission` late: it rests on a log alone. `budget` and `autoscaler` when no pod fails: a workload
//!    that is broken has no use for more pods.
//! 8. `healthy` last: nothing is wrong only when nothing else fits.
//!
//! An action is proposed only where the evidence shows that it would help; everything else is left to
//! a person. What a program prints leads to no action: only `dependency` and `permission` read logs, to
//! confirm, and both propose nothing.

mod autoscaler;
mod bad_rollout;
mod budget;
mod claim;
mod configuration;
mod dependency;
mod facts;
mod healthy;
mod image_pull;
mod never_ready;
mod node;
mod out_of_memory;
mod permission;
mod refused;
mod rollback;
mod stateful_set;
mod unschedulable;

use async_trait::async_trait;
use kubernaut_api::analysis::ConfidenceSignal;
use kubernaut_domain::diagnosis::{Diagnosis, Finding};

use crate::provider::{Provider, ProviderError, Question};
use facts::Facts;

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

/// In order of precedence.
const DIAGNOSERS: &[fn(&Facts<'_>) -> Option<Finding>] = &[
    node::diagnose,
    stateful_set::diagnose,
    image_pull::diagnose,
    configuration::diagnose,
    dependency::diagnose,
    bad_rollout::diagnose,
    out_of_memory::diagnose,
    never_ready::diagnose,
    claim::diagnose,
    unschedulable::diagnose,
    refused::diagnose,
    permission::diagnose,
    budget::diagnose,
    autoscaler::diagnose,
];

/// The first finding that fits; that nothing is wrong; or that a person has to look.
pub fn diagnose(question: &Question<'_>) -> Diagnosis {
    let Some(facts) = Facts::of(question) else {
        if let Some(finding) = node::diagnose_target(question) {
            return Diagnosis::Found(Box::new(finding));
        }
        return Diagnosis::Unknown { summary: format!("{} is no workload that was found.", question.target) };
    };
    if let Some(finding) = DIAGNOSERS.iter().find_map(|diagnose| diagnose(&facts)) {
        return Diagnosis::Found(Box::new(finding));
    }
    match healthy::diagnose(&facts) {
        Some(evidence) => Diagnosis::NothingWrong { evidence },
        None => Diagnosis::Unknown { summary: facts.summary() },
    }
}

/// One signal that the confidence is computed from.
fn signal(name: &str, weight: f64, met: bool) -> ConfidenceSignal {
    ConfidenceSignal { name: name.to_owned(), weight, met }
}
