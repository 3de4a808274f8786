//! What a provider answers: a finding with its evidence, that nothing is wrong, or that it does not know.

use kubernaut_api::analysis::{Citation, ConfidenceSignal};
use kubernaut_api::workflow::Step;

/// Answer of one provider to one body of evidence.
#[derive(Clone, Debug, PartialEq)]
pub enum Diagnosis {
    /// A cause was found.
    Found(Box<Finding>),
    /// The target is healthy and nothing in the evidence contradicts it.
    NothingWrong {
        /// What shows it.
        evidence: Vec<Citation>,
    },
    /// No cause was found; a person has to look.
    Unknown {
        /// What was looked at, in one sentence.
        summary: String,
    },
}

/// A cause with what it rests on and what would mend it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Kind of cause as a CamelCase word, such as `BadRollout`.
    pub cause: String,
    /// One sentence for the person on call.
    pub summary: String,
    /// What it rests on; at least one citation.
    pub evidence: Vec<Citation>,
    /// What made it worse.
    pub contributing_factors: Vec<String>,
    /// What the confidence is computed from; the weights sum up to 1.
    pub signals: Vec<ConfidenceSignal>,
    /// What to do; empty when no action of the catalogue helps and a person is needed.
    pub steps: Vec<Step>,
    /// Why these steps.
    pub rationale: String,
}

impl Finding {
    /// Sum of the weights of the signals that were met, 0 to 1, rounded to two digits.
    pub fn confidence(&self) -> f64 {
        let sum: f64 = self.signals.iter().filter(|signal| signal.met).map(|signal| signal.weight).sum();
        (sum.clamp(0.0, 1.0) * 100.0).round() / 100.0
    }
}
