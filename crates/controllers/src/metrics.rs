//! Metrics of the controllers: one file a stage, each filled from what a status write has made stand.
//!
//! Deliberately absent: numbers that are counted anywhere else than where the API server has taken the write:
//! what is seen here has happened, and once.

mod analysis;
mod execution;
mod processing;
mod remediation;
mod workflow;

use std::time::Duration;

use kubernaut_api::{MicroTime, Phase, Staged, Transition};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

pub(crate) type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TransitionLabels {
    pub kind: &'static str,
    pub phase: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KindLabels {
    pub kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ErrorLabels {
    pub kind: &'static str,
    pub reason: &'static str,
}

/// A kind whose status writes are measured.
pub trait Measured: Staged {
    /// Counts what this object's newest write has made stand: its transitions from `recorded` on.
    fn measure(&self, recorded: usize, metrics: &Metrics);

    /// Makes one series of each metric, so that the reference can list names and labels.
    fn sample(metrics: &Metrics);
}

/// Metrics of the controllers.
#[derive(Clone, Debug)]
pub struct Metrics {
    transitions: Family<TransitionLabels, Counter>,
    phases: Histograms<TransitionLabels>,
    pub(crate) reconciles: Histograms<KindLabels>,
    pub(crate) errors: Family<ErrorLabels, Counter>,
    pub(crate) remediation: remediation::Metrics,
    pub(crate) processing: processing::Metrics,
    pub(crate) analysis: analysis::Metrics,
    pub(crate) workflow: workflow::Metrics,
    pub(crate) execution: execution::Metrics,
}

impl Metrics {
    /// Registers the metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            transitions: Family::default(),
            phases: seconds(),
            reconciles: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 14))),
            errors: Family::default(),
            remediation: remediation::Metrics::new(registry),
            processing: processing::Metrics::new(registry),
            analysis: analysis::Metrics::new(registry),
            workflow: workflow::Metrics::new(registry),
            execution: execution::Metrics::new(registry),
        };
        registry.register(
            "kubernaut_phase_transitions",
            "Phase transitions recorded, by kind and the phase entered",
            metrics.transitions.clone(),
        );
        registry.register(
            "kubernaut_phase_duration_seconds",
            "Time from entering a phase to leaving it, by kind and phase",
            metrics.phases.clone(),
        );
        registry.register(
            "kubernaut_reconcile_duration_seconds",
            "Time that one reconciliation took, by kind",
            metrics.reconciles.clone(),
        );
        registry.register(
            "kubernaut_reconcile_errors",
            "Reconciliations that could not be finished and are tried again, by kind and reason",
            metrics.errors.clone(),
        );
        metrics
    }

    /// Counts what the newest status write of an object has made stand.
    pub(crate) fn record<K: Measured>(&self, stands: &K, recorded: usize) {
        let all = stands.transitions();
        for (index, transition) in all.iter().enumerate().skip(recorded) {
            let labels = TransitionLabels { kind: K::NOUN, phase: transition.to.clone() };
            self.transitions.get_or_create(&labels).inc();
            if let Some(before) = index.checked_sub(1).map(|index| &all[index]) {
                let labels = TransitionLabels { kind: K::NOUN, phase: before.to.clone() };
                self.phases.get_or_create(&labels).observe(between(&before.at, &transition.at));
            }
        }
        stands.measure(recorded, self);
    }

    /// Makes one series of each metric, so that the reference can list names and labels. Not for a running server.
    pub fn sample(&self) {
        let labels = TransitionLabels { kind: "workflow", phase: "Completed".into() };
        drop(self.transitions.get_or_create(&labels));
        drop(self.phases.get_or_create(&labels));
        drop(self.reconciles.get_or_create(&KindLabels { kind: "workflow" }));
        drop(self.errors.get_or_create(&ErrorLabels { kind: "workflow", reason: "Timeout" }));
        kubernaut_api::RemediationRequest::sample(self);
        kubernaut_api::RemediationProcessing::sample(self);
        kubernaut_api::AIAnalysis::sample(self);
        kubernaut_api::WorkflowExecution::sample(self);
        kubernaut_api::KubernetesExecution::sample(self);
    }
}

/// Histograms of seconds, from 50 ms to over an hour.
pub(crate) fn seconds<L: Clone + std::hash::Hash + Eq>() -> Histograms<L> {
    Family::new_with_constructor(seconds_alone)
}

/// As [`seconds`], without labels.
pub(crate) fn seconds_alone() -> Histogram {
    Histogram::new(exponential_buckets(0.05, 2.0, 18))
}

/// A histogram of a count of things, from one on.
pub(crate) fn amounts() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 12))
}

/// Seconds from one time to another; none before the other is none.
pub(crate) fn between(from: &MicroTime, to: &MicroTime) -> f64 {
    Duration::try_from(to.0.duration_since(from.0)).unwrap_or_default().as_secs_f64()
}

/// The last of the new transitions, if it ended the object: how it ended and how long that took from the first on.
pub(crate) fn end<K: Staged>(object: &K, recorded: usize) -> Option<(&Transition, f64)> {
    let all = object.transitions();
    let last = all.last().filter(|_| all.len() > recorded && object.phase().is_some_and(Phase::is_terminal))?;
    Some((last, all.first().map_or(0.0, |first| between(&first.at, &last.at))))
}

/// Action of the catalogue as a label. What somebody writes into a resource by hand must not make series at will.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ActionLabels {
    pub action: Action,
}

/// An action's name, or `unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Action(&'static str);

impl Action {
    pub(crate) fn of(name: &str) -> Self {
        Self(kubernaut_domain::catalogue::find(name).map_or("unknown", |spec| spec.name))
    }
}

impl EncodeLabelValue for Action {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

#[cfg(test)]
mod tests;
