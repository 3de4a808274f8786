//! A RemediationWorkflow in the place of no plan: when an analysis found no cause, or one that no action mends, and the
//! user's own catalogue has an entry for such trouble, its steps are proposed to a person.
//!
//! What comes out is a finding like any other, and is checked like any other. Its confidence is the least one with
//! which a person is asked, so it never runs by itself.

use kubernaut_api::analysis::{Citation, ConfidenceSignal};
use kubernaut_api::workflow::Step;
use kubernaut_api::{RemediationWorkflow, ResourceExt, TargetRef};

use crate::catalogue::Values;
use crate::diagnosis::{Diagnosis, Finding};
use crate::settings::Settings;
use crate::workflow::template;

/// What the trouble is about.
#[derive(Clone, Copy, Debug)]
pub struct Trouble<'a> {
    /// Name of the alert.
    pub alert: &'a str,
    /// What the signal is about.
    pub target: &'a TargetRef,
}

/// True when the user's own catalogue is worth a look.
pub fn is_due(diagnosis: &Diagnosis) -> bool {
    match diagnosis {
        Diagnosis::Unknown { .. } => true,
        Diagnosis::Found(finding) => finding.steps.is_empty(),
        Diagnosis::NothingWrong { .. } => false,
    }
}

/// The diagnosis with the steps of the first workflow, by name, that fits; the same where none does.
pub fn consider(
    diagnosis: Diagnosis,
    workflows: &[RemediationWorkflow],
    trouble: Trouble<'_>,
    settings: &Settings,
) -> Diagnosis {
    if !is_due(&diagnosis) {
        return diagnosis;
    }
    let cause = match &diagnosis {
        Diagnosis::Found(finding) => Some(finding.cause.as_str()),
        _ => None,
    };
    let mut fitting: Vec<_> = workflows
        .iter()
        .filter(|workflow| template::fits(workflow, trouble.alert, cause, trouble.target))
        .filter_map(|workflow| Some((workflow, template::expand(&workflow.spec, trouble.target, &Values::new()).ok()?)))
        .collect();
    fitting.sort_by_key(|(workflow, _)| workflow.name_any());
    let Some((workflow, steps)) = fitting.into_iter().next() else { return diagnosis };
    let found = match diagnosis {
        Diagnosis::Found(finding) => *finding,
        Diagnosis::Unknown { summary } => unknown(summary, trouble),
        Diagnosis::NothingWrong { .. } => return diagnosis,
    };
    Diagnosis::Found(Box::new(with(found, workflow, steps, settings)))
}

/// A finding whose cause nobody knows.
fn unknown(summary: String, trouble: Trouble<'_>) -> Finding {
    Finding {
        cause: "Unknown".into(),
        summary,
        evidence: vec![Citation {
            object: format!("{}/{}", trouble.target.kind, trouble.target.name),
            observation: format!("alert {}", trouble.alert),
        }],
        contributing_factors: vec![],
        signals: vec![],
        steps: vec![],
        rationale: String::new(),
    }
}

fn with(found: Finding, workflow: &RemediationWorkflow, steps: Vec<Step>, settings: &Settings) -> Finding {
    let name = workflow.name_any();
    let rationale = format!("RemediationWorkflow {name} is meant for it: {}", workflow.spec.when_to_use);
    // In whole hundredths, as confidence is kept: not below the one limit, not above the other.
    let asked = (settings.reject_below * 100.0).ceil().min((settings.approve_above * 100.0).floor()) / 100.0;
    let signal = |name: &str, weight: f64, met: bool| ConfidenceSignal { name: name.into(), weight, met };
    let signals = vec![
        signal("a RemediationWorkflow is meant for such trouble", asked, true),
        signal("an action is known to mend the cause", 1.0 - asked, false),
    ];
    Finding { signals, steps, rationale, ..found }
}
