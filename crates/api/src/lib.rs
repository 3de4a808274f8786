//! The custom resources of `kubernaut.io/v1alpha1`: data, schemas and names, nothing else.
//!
//! Deliberately absent: clients, clocks, decisions. The crate depends on kube's derive only, so that
//! whoever reads or writes these objects (also from outside) compiles no HTTP stack.

pub mod analysis;
pub mod approval;
pub mod event_reason;
pub mod evidence;
pub mod execution;
pub mod labels;
pub mod meta;
pub mod names;
pub mod policy;
pub mod processing;
pub mod remediation_workflow;
pub mod request;
pub mod sink;
pub mod workflow;

mod schema;

pub use k8s_openapi;
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, ObjectMeta, Time};
pub use kube::core::{Duration, Resource, ResourceExt};

pub use analysis::{AIAnalysis, AIAnalysisSpec, AIAnalysisStatus, AnalysisPhase};
pub use approval::{RemediationApproval, RemediationApprovalSpec, RemediationApprovalStatus};
pub use event_reason::EventReason;
pub use evidence::Evidence;
pub use execution::{ExecutionPhase, KubernetesExecution, KubernetesExecutionSpec, KubernetesExecutionStatus};
pub use meta::{Phase, Staged, TargetRef, Transition};
pub use policy::{PolicyDecision, PolicyRecord};
pub use processing::{ProcessingPhase, RemediationProcessing, RemediationProcessingSpec, RemediationProcessingStatus};
pub use remediation_workflow::{RemediationWorkflow, RemediationWorkflowSpec, RemediationWorkflowStatus};
pub use request::{
    BlockReason, Outcome, RemediationRequest, RemediationRequestSpec, RemediationRequestStatus, RequestPhase,
};
pub use sink::{EventSink, EventSinkSpec, EventSinkStatus};
pub use workflow::{WorkflowExecution, WorkflowExecutionSpec, WorkflowExecutionStatus, WorkflowPhase};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// API group of all resources.
pub const GROUP: &str = "kubernaut.io";

/// Every CustomResourceDefinition of the project, in the order in which the pipeline uses them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        RemediationRequest::crd(),
        RemediationProcessing::crd(),
        AIAnalysis::crd(),
        RemediationApproval::crd(),
        WorkflowExecution::crd(),
        KubernetesExecution::crd(),
        RemediationWorkflow::crd(),
        EventSink::crd(),
    ]
}
