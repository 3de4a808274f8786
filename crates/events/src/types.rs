//! Names of event types: the one place where a phase becomes a name (R7.2).
//!
//! A name is `<noun>.<phase>` in snake case; the phase `Completed` is called `complete`. Deliberately
//! absent: types that no phase stands behind (lifecycle, approval, learning); they join the
//! catalogue here when something emits them.

use kubernaut_api::meta::{Phase, Staged};
use kubernaut_api::{
    AIAnalysis, AnalysisPhase, ExecutionPhase, KubernetesExecution, ProcessingPhase, RemediationProcessing,
    RemediationRequest, RequestPhase, WorkflowExecution, WorkflowPhase,
};

/// What stands before a name in the CloudEvents attribute `type`.
pub const PREFIX: &str = "io.kubernaut.";

/// Nouns in the order in which the pipeline uses them: the order of events with equal times.
const NOUNS: [&str; 5] = [
    RemediationRequest::NOUN,
    RemediationProcessing::NOUN,
    AIAnalysis::NOUN,
    WorkflowExecution::NOUN,
    KubernetesExecution::NOUN,
];

/// Name of the event that says that an object of `noun` entered `phase`, such as `workflow.complete`.
pub fn name(noun: &str, phase: &str) -> String {
    match phase {
        "Completed" => format!("{noun}.complete"),
        other => format!("{noun}.{}", snake_case(other)),
    }
}

/// The CloudEvents `type` of a name.
pub fn qualified(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// Position of a name's noun in the pipeline; unknown nouns come last.
pub fn rank(name: &str) -> usize {
    let noun = name.split('.').next().unwrap_or(name);
    NOUNS.iter().position(|known| *known == noun).unwrap_or(NOUNS.len())
}

/// Every name that can occur, in the order of the pipeline.
pub fn catalogue() -> Vec<String> {
    let mut names = Vec::new();
    names.extend(of(RemediationRequest::NOUN, RequestPhase::ALL));
    names.extend(of(RemediationProcessing::NOUN, ProcessingPhase::ALL));
    names.extend(of(AIAnalysis::NOUN, AnalysisPhase::ALL));
    names.extend(of(WorkflowExecution::NOUN, WorkflowPhase::ALL));
    names.extend(of(KubernetesExecution::NOUN, ExecutionPhase::ALL));
    names
}

fn of<P: Phase>(noun: &str, phases: &[P]) -> Vec<String> {
    phases.iter().map(|phase| name(noun, &phase.to_string())).collect()
}

fn snake_case(word: &str) -> String {
    let mut out = String::with_capacity(word.len() + 2);
    for (index, letter) in word.chars().enumerate() {
        if letter.is_ascii_uppercase() && index > 0 {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_becomes_a_name_in_snake_case() {
        for (noun, phase, expect) in [
            ("workflow", "Completed", "workflow.complete"),
            ("workflow", "RollingBack", "workflow.rolling_back"),
            ("remediation", "AwaitingApproval", "remediation.awaiting_approval"),
            ("remediation", "TimedOut", "remediation.timed_out"),
            ("remediation", "Cancelled", "remediation.cancelled"),
            ("analysis", "Rejected", "analysis.rejected"),
            ("action", "Failed", "action.failed"),
        ] {
            assert_eq!(name(noun, phase), expect);
        }
    }

    #[test]
    fn the_catalogue_has_every_phase_once() {
        let names = catalogue();
        let mut unique = names.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
        assert_eq!(names.len(), 40);
        assert!(names.contains(&"action.complete".to_owned()));
    }

    #[test]
    fn a_request_ranks_before_its_action() {
        assert!(rank("remediation.executing") < rank("action.pending"));
        assert!(rank("action.pending") < rank("unheard.of"));
    }
}
