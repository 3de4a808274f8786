//! The five controllers: observe as the real ones do, the real `decide`, apply effect by effect.

use kubernaut_api::evidence::Node;
use kubernaut_api::{
    AIAnalysis, AnalysisPhase, Evidence, ExecutionPhase, KubernetesExecution, Phase, RemediationProcessing,
    RemediationRequest, RequestPhase, ResourceExt, Staged, TargetRef, WorkflowExecution, WorkflowPhase, names,
};
use kubernaut_domain::blast::Reach;
use kubernaut_domain::diagnosis::{Diagnosis, Finding};
use kubernaut_domain::execution::{JobPlan, JobSeen};
use kubernaut_domain::processing::Found;
use kubernaut_domain::request::{Child, Neighbours, Working};
use kubernaut_domain::{analysis, execution, processing, request, workflow};

use super::{Lost, Running, World};
use crate::given::{allowed, changed, evidence, finding};

pub(super) fn reconcile_request(world: &mut World, name: &str) -> Result<(), Lost> {
    let Some(request) = world.watched::<RemediationRequest>(name) else { return Ok(()) };
    let phase = request.phase();
    let mut seen = request::Seen {
        request: request.clone(),
        processing: None,
        analysis: None,
        workflow: None,
        collision: None,
        health: None,
        drift: None,
        neighbours: Neighbours::default(),
        settings: world.settings.clone(),
        now: world.now(),
    };
    let planned = request.status.as_ref().is_some_and(|status| status.analysis_name.is_some());
    match phase {
        Some(RequestPhase::Blocked) if !planned => {}
        Some(RequestPhase::Processing) => seen.processing = world.get(&names::processing(name)),
        Some(RequestPhase::Analyzing | RequestPhase::AwaitingApproval | RequestPhase::Blocked) => {
            seen.analysis = world.get(&names::analysis(name));
            if seen.analysis.is_none() {
                seen.processing = world.get(&names::processing(name));
            }
        }
        Some(RequestPhase::Executing) => {
            seen.workflow = world.get(&names::workflow(name));
            if seen.workflow.is_none() {
                seen.analysis = world.get(&names::analysis(name));
            }
        }
        _ => {}
    }
    let executed = seen.workflow.as_ref().and_then(Staged::phase) == Some(WorkflowPhase::Completed);
    if executed || phase == Some(RequestPhase::Verifying) {
        seen.health = Some(world.health());
    }
    if seen.analysis.as_ref().and_then(Staged::phase) == Some(AnalysisPhase::Completed) {
        let status = request.status.clone().unwrap_or_default();
        let awaited = status.blocked_by.and_then(|name| world.get::<RemediationRequest>(&name));
        let others = world.all_requests().filter(|other| other.name_any() != name);
        seen.neighbours.working = others.filter(|other| Working::counts(other)).map(Working::of).collect();
        seen.neighbours.awaited = awaited.as_ref().map(Working::of);
        seen.neighbours.executions = world.ledger();
    }
    let plan = request::decide(&seen);
    world.write_status(&request, plan.status)?;
    match plan.child {
        Some(Child::Processing(child)) => world.create(child.as_ref()),
        Some(Child::Analysis(child)) => world.create(child.as_ref()),
        Some(Child::Workflow(child)) => world.create(child.as_ref()),
        None => Ok(()),
    }
}

pub(super) fn reconcile_processing(world: &mut World, name: &str) -> Result<(), Lost> {
    let Some(processing) = world.watched::<RemediationProcessing>(name) else { return Ok(()) };
    let request_over = world.request_is_over(&processing.spec.request);
    let found = (!request_over).then(|| Found {
        evidence: cluster_evidence(),
        degraded: vec![],
        classified: None,
        target_found: true,
    });
    let seen = processing::Seen { processing: processing.clone(), request_over, found, now: world.now() };
    world.write_status(&processing, processing::decide(&seen).status)
}

pub(super) fn reconcile_analysis(world: &mut World, name: &str) -> Result<(), Lost> {
    let Some(analysis) = world.watched::<AIAnalysis>(name) else { return Ok(()) };
    let mut seen = analysis::Seen {
        analysis: analysis.clone(),
        request_over: world.request_is_over(&analysis.spec.request),
        evidence: None,
        answer: None,
        policy: Some(allowed()),
        requested_by: None,
        approval: None,
        settings: world.settings.clone(),
        now: world.now(),
    };
    if analysis.phase() == Some(AnalysisPhase::Approval) {
        seen.approval = world.get(&names::approval(&analysis.spec.request));
    } else if !seen.request_over {
        seen.evidence = world
            .get::<RemediationProcessing>(&analysis.spec.processing)
            .and_then(|processing| processing.status)
            .and_then(|status| status.evidence);
        let finding = Finding { steps: world.story.steps.clone(), ..finding(world.story.confidence) };
        seen.answer = Some(("builtin".into(), Diagnosis::Found(Box::new(finding))));
    }
    let plan = analysis::decide(&seen);
    world.write_status(&analysis, plan.status)?;
    plan.child.map_or(Ok(()), |child| world.create(child.as_ref()))
}

pub(super) fn reconcile_workflow(world: &mut World, name: &str) -> Result<(), Lost> {
    let Some(workflow) = world.watched::<WorkflowExecution>(name) else { return Ok(()) };
    let executions = world.executions.values().filter_map(|versions| versions.last());
    let seen = workflow::Seen {
        executions: executions
            .filter(|(_, execution)| execution.spec.request == workflow.base_name())
            .map(|(_, execution)| (execution.name_any(), execution.clone()))
            .collect(),
        request_over: world.request_is_over(&workflow.base_name()),
        template: None,
        out_of_scope: vec![],
        approval: None,
        taken: [].into(),
        workflow: workflow.clone(),
        settings: world.settings.clone(),
        now: world.now(),
    };
    let plan = workflow::decide(&seen);
    world.write_status(&workflow, plan.status)?;
    plan.children.iter().try_for_each(|child| world.create(child))
}

pub(super) fn reconcile_execution(world: &mut World, name: &str) -> Result<(), Lost> {
    let Some(execution) = world.watched::<KubernetesExecution>(name) else { return Ok(()) };
    let phase = execution.phase();
    let before = matches!(phase, None | Some(ExecutionPhase::Pending | ExecutionPhase::Validating));
    let seen = execution::Seen {
        request_over: !phase.is_some_and(Phase::is_terminal)
            && execution.spec.undoes.is_none()
            && match phase {
                Some(ExecutionPhase::Verifying) => world.request_is_given_up(&execution.spec.request),
                _ => world.request_is_over(&execution.spec.request),
            },
        policy: before.then(allowed),
        request_deadline: None,
        rehearsal: before.then(changed),
        reach: before.then(Reach::default),
        left: None,
        script: None,
        trace: None,
        live: None,
        settles_at: None,
        ledger: world.ledger(),
        unmanaged: None,
        job: if before { JobSeen::Absent } else { world.job_seen(&execution) },
        health: (phase == Some(ExecutionPhase::Verifying)).then(|| world.health()),
        execution: execution.clone(),
        settings: world.settings.clone(),
        now: world.now(),
    };
    let plan = execution::decide(&seen);
    world.write_status(&execution, plan.status)?;
    match plan.job {
        JobPlan::Leave => Ok(()),
        JobPlan::Create(mut job) => {
            if world.jobs.contains_key(name) {
                return Ok(());
            }
            let count = world.creates.entry(format!("Job {name}")).or_default();
            *count += 1;
            job.metadata.uid = Some(format!("uid-job-{name}-{count}"));
            world.jobs.insert(name.to_owned(), Running { job: *job, rounds: 0, released: false });
            world.effect(format!("create Job {name}"))
        }
        JobPlan::Release => {
            if let Some(running) = world.jobs.get_mut(name) {
                running.released = true;
            }
            world.effect(format!("release Job {name}"))
        }
        JobPlan::Stop => {
            world.jobs.remove(name);
            world.effect(format!("stop Job {name}"))
        }
    }
}

/// What is collected about any target: besides its own, a node that it shares with others.
fn cluster_evidence() -> Evidence {
    let object = TargetRef { api_version: "v1".into(), kind: "Node".into(), name: "n1".into(), ..TargetRef::default() };
    Evidence { nodes: vec![Node { object, ..Node::default() }], ..evidence() }
}
