//! The decision about a WorkflowExecution: is the plan sound, which steps may start, what is undone, and when all is over.
//!
//! Two kinds of workflows go the same way: those of a request, whose plan an analysis made and, where that was due, a
//! person approved; and those that a person made by hand, with steps or the name of a RemediationWorkflow. Of the
//! latter the targets' scope is checked here, and a person is asked where an action is of high risk.

mod approve;
mod check;
mod condition;
mod graph;
mod steps;
pub mod template;
mod undo;

use std::collections::{BTreeMap, BTreeSet};

use kubernaut_api::execution::{KubernetesExecution, KubernetesExecutionSpec};
use kubernaut_api::meta::Phase;
use kubernaut_api::workflow::{Expanded, Step, StepStatus, WorkflowExecutionStatus};
use kubernaut_api::{
    MicroTime, RemediationApproval, RemediationWorkflow, ResourceExt, TargetRef, WorkflowExecution, WorkflowPhase,
};

use crate::request::child_of;
use crate::settings::Settings;
use crate::stage::{Next, Notice, Why, after, enter};
use crate::{notices, plan};

/// Everything the decision depends on.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The object.
    pub workflow: WorkflowExecution,
    /// True when the request has ended or is cancelled: nothing new starts.
    pub request_over: bool,
    /// The RemediationWorkflow that `spec.workflowRef` names; looked up until its steps are in status.
    pub template: Option<RemediationWorkflow>,
    /// Why a target is not in Kubernaut's scope, one sentence a target; looked up before a workflow made by hand begins.
    pub out_of_scope: Vec<String>,
    /// The answer of the person who was asked, of a workflow made by hand.
    pub approval: Option<RemediationApproval>,
    /// The executions that exist, by name.
    pub executions: BTreeMap<String, KubernetesExecution>,
    /// Names of executions that somebody else has taken.
    pub taken: BTreeSet<String>,
    /// Settings.
    pub settings: Settings,
    /// The time.
    pub now: MicroTime,
}

impl Seen {
    /// True when nothing new starts.
    fn over(&self) -> bool {
        self.request_over || self.workflow.spec.cancelled
    }

    /// True when nothing is to be changed, by the workflow's own word or by the configuration's.
    pub(crate) fn is_dry(&self) -> bool {
        self.workflow.spec.dry_run || self.settings.dry_run
    }

    /// True when a person made it.
    fn by_hand(&self) -> bool {
        self.workflow.spec.request.is_none()
    }
}

/// Everything the decision wants done.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The status to write.
    pub status: WorkflowExecutionStatus,
    /// The executions to make after that, unless they exist.
    pub children: Vec<KubernetesExecution>,
    /// The question to ask after that, unless it was asked.
    pub question: Option<Box<RemediationApproval>>,
    /// Kubernetes Events to publish.
    pub notices: Vec<Notice>,
    /// When to look again.
    pub next: Next,
}

/// Decides about one WorkflowExecution.
pub fn decide(seen: &Seen) -> Plan {
    let mut status = seen.workflow.status.clone().unwrap_or_default();
    status.observed_generation = seen.workflow.metadata.generation;
    let recorded = status.transitions.len();
    match status.phase {
        None | Some(WorkflowPhase::Pending) => plan_out(&mut status, seen),
        Some(WorkflowPhase::Planning | WorkflowPhase::Validating) => approve::answer(&mut status, seen),
        Some(WorkflowPhase::Executing | WorkflowPhase::Monitoring) => steps::advance(&mut status, seen),
        Some(WorkflowPhase::RollingBack) => undo::advance(&mut status, seen),
        Some(WorkflowPhase::Completed | WorkflowPhase::Failed | WorkflowPhase::Cancelled) => {}
    }
    let children = match status.phase {
        Some(WorkflowPhase::Executing) => steps::missing(&status, seen),
        Some(WorkflowPhase::RollingBack) => undo::missing(&status, seen),
        _ => vec![],
    };
    let asks = status.phase == Some(WorkflowPhase::Validating) && seen.approval.is_none();
    let question = if asks { approve::question(&status, seen).map(Box::new) } else { None };
    let ended = status.phase.is_some_and(Phase::is_terminal);
    // Past the deadline only the end of what still runs is waited for.
    let ahead = |time: &&MicroTime| !ended && **time > seen.now;
    let retries = status.steps.iter().filter(|step| step.phase.is_none()).map(|step| step.not_before.as_ref());
    let next = Next::earliest(retries.chain([status.phase_deadline.as_ref()]).map(|time| time.filter(ahead)));
    Plan { notices: notices::of_workflow(&status.transitions[recorded..]), next, status, children, question }
}

/// The targets of a workflow's steps, for those who look whether they are in scope. None where the plan is not sound.
pub fn targets(workflow: &WorkflowExecution, template: Option<&RemediationWorkflow>) -> Vec<TargetRef> {
    let mut targets: Vec<_> = steps_of(workflow, template)
        .map(|(steps, _)| steps.into_iter().map(|step| step.target).collect())
        .unwrap_or_default();
    targets.push(workflow.spec.target.clone());
    targets.sort();
    targets.dedup();
    targets
}

/// The steps that a workflow asks for, with the record of where they are from.
fn steps_of(
    workflow: &WorkflowExecution,
    template: Option<&RemediationWorkflow>,
) -> Result<(Vec<Step>, Option<Expanded>), Why> {
    let Some(reference) = &workflow.spec.workflow_ref else { return Ok((workflow.spec.steps.clone(), None)) };
    let Some(template) = template else {
        let message = format!("spec.workflowRef.name: there is no RemediationWorkflow {}", reference.name);
        return Err(Why::new("WorkflowNotFound", message));
    };
    let problems = template::problems(&template.spec);
    if !problems.is_empty() {
        let message = format!("RemediationWorkflow {} is not sound: {}", reference.name, problems.join("; "));
        return Err(Why::new("WorkflowInvalid", message));
    }
    let steps = template::expand(&template.spec, &workflow.spec.target, &reference.parameters)
        .map_err(|problems| Why::new("InvalidParameters", problems.join("; ")))?;
    let expanded = Expanded {
        workflow: template.name_any(),
        generation: template.metadata.generation,
        hash: template::hash(&template.spec),
        steps: steps.clone(),
    };
    Ok((steps, Some(expanded)))
}

/// Takes the plan down, checks it, and begins or asks: all of it before anything runs.
fn plan_out(status: &mut WorkflowExecutionStatus, seen: &Seen) {
    let (now, spec) = (&seen.now, &seen.workflow.spec);
    if status.phase.is_none() {
        enter(status, WorkflowPhase::Pending, now, Why::new("Created", ""));
    }
    if seen.over() {
        enter(status, WorkflowPhase::Cancelled, now, over(seen, "before a step started"));
        return;
    }
    let from = spec.workflow_ref.as_ref().map(|reference| format!(" of RemediationWorkflow {}", reference.name));
    let (steps, expanded) = match steps_of(&seen.workflow, seen.template.as_ref()) {
        Ok(found) => found,
        Err(why) => {
            enter(status, WorkflowPhase::Planning, now, Why::new("Planning", from.unwrap_or_default().trim()));
            enter(status, WorkflowPhase::Failed, now, why);
            return;
        }
    };
    let count = format!("{} steps{}", steps.len(), from.unwrap_or_default());
    enter(status, WorkflowPhase::Planning, now, Why::new("Planning", count));
    if let Err(problem) = check::plan(&steps, seen) {
        enter(status, WorkflowPhase::Failed, now, Why::new("InvalidPlan", problem));
        return;
    }
    let hash = plan::hash(&steps);
    status.steps = steps.iter().map(|step| StepStatus { name: step.name.clone(), ..StepStatus::default() }).collect();
    status.plan_hash = Some(hash.clone());
    status.expanded = expanded;
    match check::steps(&steps, &hash, seen) {
        Ok(()) if approve::is_due(&steps, seen) => approve::ask(status, &steps, seen),
        verdict => {
            enter(status, WorkflowPhase::Validating, now, Why::new("GraphValid", ""));
            match verdict {
                Ok(()) => begin(status, seen, Why::new("PlanValid", "")),
                Err(why) => enter(status, WorkflowPhase::Failed, now, why),
            }
        }
    }
}

/// Starts what may start.
fn begin(status: &mut WorkflowExecutionStatus, seen: &Seen, why: Why) {
    enter(status, WorkflowPhase::Executing, &seen.now, why);
    status.phase_deadline = Some(after(&seen.now, seen.workflow.spec.timeout.into()));
    steps::advance(status, seen);
}

/// Why nothing new starts any more.
fn over(seen: &Seen, what: &str) -> Why {
    if seen.workflow.spec.cancelled {
        Why::new("CancelledByUser", format!("spec.cancelled was set; {what}"))
    } else {
        Why::new("RequestEnded", format!("the request ended; {what}"))
    }
}

/// The steps that are executed: those of the spec, or those that were taken down from a RemediationWorkflow.
fn steps<'a>(status: &'a WorkflowExecutionStatus, seen: &'a Seen) -> &'a [Step] {
    status.expanded.as_ref().map_or(&seen.workflow.spec.steps, |expanded| &expanded.steps)
}

/// An execution of this workflow, for a step.
fn execution(status: &WorkflowExecutionStatus, seen: &Seen, step: &Step, name: String) -> KubernetesExecution {
    let (spec, base) = (&seen.workflow.spec, seen.workflow.base_name());
    let limit: std::time::Duration = spec.timeout.into();
    KubernetesExecution {
        metadata: child_of(&seen.workflow, name, &base),
        spec: KubernetesExecutionSpec {
            request: base,
            step: step.name.clone(),
            action: step.action.clone(),
            target: step.target.clone(),
            parameters: step.parameters.clone(),
            plan_hash: status.plan_hash.clone().or_else(|| spec.plan_hash.clone()).unwrap_or_default(),
            dry_run: seen.is_dry(),
            timeout: step.timeout.unwrap_or_else(|| seen.settings.job.timeout.into()),
            // The other half is for undoing what did not help.
            verification_timeout: seen.settings.limits.verification.min(limit / 2).into(),
            undoes: None,
        },
        status: None,
    }
}
