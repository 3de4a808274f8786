//! The children of a request, each owned by the one before: derived names, and a snapshot of what they need.

use kubernaut_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kubernaut_api::workflow::WorkflowOnFailure;
use kubernaut_api::{
    AIAnalysis, AIAnalysisSpec, ObjectMeta, RemediationProcessing, RemediationProcessingSpec, RemediationRequest,
    Resource, ResourceExt, TargetRef, WorkflowExecution, WorkflowExecutionSpec, labels, names,
};

use super::Seen;
use super::hold::is_dry;
use crate::settings::Limits;

/// Metadata of a child: derived name, owner, labels, and the finalizer that the relay takes off.
pub(crate) fn child_of<O>(owner: &O, name: String, request: &str) -> ObjectMeta
where
    O: Resource<DynamicType = ()>,
{
    ObjectMeta {
        name: Some(name),
        namespace: owner.meta().namespace.clone(),
        owner_references: Some(owned_by(owner)),
        labels: Some([(labels::REQUEST.to_owned(), request.to_owned())].into()),
        finalizers: Some(vec![labels::OUTBOX_FINALIZER.to_owned()]),
        ..ObjectMeta::default()
    }
}

/// The reference to its owner that every child carries: deleted with it, and before it (R1.1).
pub(crate) fn owned_by<O>(owner: &O) -> Vec<OwnerReference>
where
    O: Resource<DynamicType = ()>,
{
    let reference = owner.controller_owner_ref(&());
    reference.into_iter().map(|own| OwnerReference { block_owner_deletion: Some(true), ..own }).collect()
}

pub(super) fn processing(request: &RemediationRequest, target: TargetRef, limits: &Limits) -> RemediationProcessing {
    let name = request.name_any();
    RemediationProcessing {
        metadata: child_of(request, names::processing(&name), &name),
        spec: RemediationProcessingSpec {
            request: name,
            signal: request.spec.signal.clone(),
            target,
            resource: request.spec.resource.clone(),
            timeout: limits.processing.into(),
        },
        status: None,
    }
}

pub(super) fn analysis(
    request: &RemediationRequest,
    processing: &RemediationProcessing,
    target: TargetRef,
    limits: &Limits,
) -> AIAnalysis {
    let name = request.name_any();
    AIAnalysis {
        metadata: child_of(processing, names::analysis(&name), &name),
        spec: AIAnalysisSpec {
            request: name,
            processing: processing.name_any(),
            signal: request.spec.signal.clone(),
            target,
            timeout: limits.analysis.into(),
            approval_timeout: limits.approval.into(),
            ask_person: request.status.as_ref().and_then(|status| status.ask_person.clone()),
        },
        status: None,
    }
}

pub(super) fn workflow(seen: &Seen, analysis: &AIAnalysis, limits: &Limits) -> Option<WorkflowExecution> {
    let request = &seen.request;
    let name = request.name_any();
    let plan = analysis.status.as_ref()?.plan.as_ref()?;
    Some(WorkflowExecution {
        metadata: child_of(analysis, names::workflow(&name), &name),
        spec: WorkflowExecutionSpec {
            request: Some(name),
            target: analysis.spec.target.clone(),
            plan_hash: Some(plan.hash.clone()),
            steps: plan.steps.clone(),
            workflow_ref: None,
            on_failure: WorkflowOnFailure::Fail,
            parallelism: 5,
            cancelled: false,
            dry_run: is_dry(seen),
            timeout: limits.execution.into(),
        },
        status: None,
    })
}
