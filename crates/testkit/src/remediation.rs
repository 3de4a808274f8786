//! One remediation with all its objects: reading, waiting, and what must hold for every one.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use kubernaut_api::meta::{Phase, Staged, Transition};
use kubernaut_api::{
    AIAnalysis, KubernetesExecution, Outcome, RemediationApproval, RemediationProcessing, RemediationRequest,
    RequestPhase, WorkflowExecution, labels, names,
};
use serde::de::DeserializeOwned;

use crate::{Operator, until};

/// A request and what belongs to it.
#[derive(Clone, Debug)]
pub struct Remediation {
    /// The request.
    pub request: RemediationRequest,
    /// Its processing.
    pub processing: Option<RemediationProcessing>,
    /// Its analysis.
    pub analysis: Option<AIAnalysis>,
    /// What a person is asked.
    pub approval: Option<RemediationApproval>,
    /// Its workflow.
    pub workflow: Option<WorkflowExecution>,
    /// Its executions.
    pub executions: Vec<KubernetesExecution>,
    /// Its Jobs.
    pub jobs: Vec<Job>,
}

/// One recorded transition.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Noun of the kind, such as `workflow`.
    pub noun: &'static str,
    /// Uid of the object.
    pub uid: String,
    /// Kind in lower case, namespace and name of the object.
    pub subject: String,
    /// The transition.
    pub transition: Transition,
}

impl Operator {
    /// The remediation as it is now.
    pub async fn remediation(&self, request: &str) -> Result<Remediation> {
        let of_request = ListParams::default().labels(&format!("{}={request}", labels::REQUEST));
        let (name, list) = (request.to_owned(), &of_request);
        Ok(Remediation {
            request: self.api::<RemediationRequest>().get(&name).await?,
            processing: self.one(list).await?,
            analysis: self.one(list).await?,
            approval: self.one(list).await?,
            workflow: self.one(list).await?,
            executions: self.api::<KubernetesExecution>().list(list).await?.items,
            jobs: self.api::<Job>().list(list).await?.items,
        })
    }

    async fn one<K>(&self, list: &ListParams) -> Result<Option<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let mut found = self.api::<K>().list(list).await?.items;
        ensure!(found.len() <= 1, "{} {} belong to one request", found.len(), K::plural(&()));
        Ok(found.pop())
    }

    /// Waits until the request is over.
    pub async fn ended(&self, request: &str, limit: Duration) -> Result<Remediation> {
        until(&format!("{request} is over"), limit, || async {
            let remediation = self.remediation(request).await?;
            let over = remediation.request.phase().is_some_and(Phase::is_terminal);
            ensure!(over, "so far:\n{}", remediation.history());
            Ok(remediation)
        })
        .await
    }

    /// Waits until the request has entered a phase, whether or not it is still in it.
    pub async fn reached(&self, request: &str, phase: RequestPhase, limit: Duration) -> Result<Remediation> {
        until(&format!("{request} is {phase}"), limit, || async {
            let remediation = self.remediation(request).await?;
            let reached = remediation.request.transitions().iter().any(|step| step.to == phase.to_string());
            ensure!(reached, "so far:\n{}", remediation.history());
            Ok(remediation)
        })
        .await
    }

    /// Waits until nothing of a request is left.
    pub async fn is_gone(&self, request: &str, limit: Duration) -> Result<()> {
        let of_request = format!("{}={request}", labels::REQUEST);
        until(&format!("nothing is left of {request}"), limit, || async {
            let kinds = "rp,aia,rap,we,ke,jobs,pods";
            let call = ["get", kinds, "-n", &self.namespace, "-l", &of_request, "-o", "name", "--ignore-not-found"];
            let children = self.cluster.kubectl(call).await?;
            ensure!(children.trim().is_empty(), "still there: {children}");
            let itself = self.api::<RemediationRequest>().get_opt(request).await?;
            ensure!(
                itself.is_none(),
                "{request} is still there, held by {:?}",
                itself.map(|one| one.finalizers().to_vec())
            );
            Ok(())
        })
        .await
    }
}

impl Remediation {
    /// How it ended, as one comparable value.
    pub fn end(&self) -> (Option<RequestPhase>, Option<Outcome>) {
        let status = self.request.status.as_ref();
        (self.request.phase(), status.and_then(|status| status.outcome))
    }

    /// Fails unless it ended so.
    pub fn ended_as(&self, phase: RequestPhase, outcome: Option<Outcome>) -> Result<()> {
        ensure!(self.end() == (Some(phase), outcome), "not {phase} {outcome:?}:\n{}", self.history());
        Ok(())
    }

    /// Every recorded transition of all objects.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = recorded(&self.request);
        steps.extend(self.processing.iter().flat_map(recorded));
        steps.extend(self.analysis.iter().flat_map(recorded));
        steps.extend(self.workflow.iter().flat_map(recorded));
        steps.extend(self.executions.iter().flat_map(recorded));
        steps
    }

    /// What happened, for a person.
    pub fn history(&self) -> String {
        self.steps().iter().fold(String::new(), |mut text, step| {
            let Transition { seq, to, at, reason, message, .. } = &step.transition;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {} {} {seq} {to} {reason} {message}", at.0, step.noun);
            text
        })
    }

    /// What must hold for every remediation, at any time: the chain of owners, transitions without gaps, no
    /// phase twice, at most one Job a step.
    pub fn check(&self) -> Result<()> {
        record(&self.request)?;
        if let Some(processing) = &self.processing {
            owned(processing, &self.request)?;
            record(processing)?;
        }
        if let Some(analysis) = &self.analysis {
            owned(analysis, self.processing.as_ref().context("an analysis without processing")?)?;
            record(analysis)?;
        }
        if let Some(approval) = &self.approval {
            owned(approval, self.analysis.as_ref().context("an approval without analysis")?)?;
        }
        if let Some(workflow) = &self.workflow {
            owned(workflow, self.analysis.as_ref().context("a workflow without analysis")?)?;
            record(workflow)?;
        }
        for execution in &self.executions {
            owned(execution, self.workflow.as_ref().context("an execution without workflow")?)?;
            record(execution)?;
        }
        // An execution has one Job of its name that acts and, if that did not help, one that undoes.
        for job in &self.jobs {
            let of = |execution: &&KubernetesExecution| {
                let spec = &execution.spec;
                let undone = execution.status.as_ref().is_some_and(|status| status.rollback.is_some());
                execution.name_any() == job.name_any()
                    || (undone && names::rollback(&spec.request, &spec.step) == job.name_any())
            };
            let execution = self.executions.iter().find(of);
            owned(job, execution.with_context(|| format!("Job {} without execution", job.name_any()))?)?;
        }
        Ok(())
    }
}

fn recorded<K: Staged + ResourceExt>(object: &K) -> Vec<Step> {
    let subject = format!(
        "{}/{}/{}",
        K::kind(&()).to_ascii_lowercase(),
        object.namespace().unwrap_or_default(),
        object.name_any()
    );
    let uid = object.uid().unwrap_or_default();
    let step = |transition: &Transition| Step {
        noun: K::NOUN,
        uid: uid.clone(),
        subject: subject.clone(),
        transition: transition.clone(),
    };
    object.transitions().iter().map(step).collect()
}

fn owned<C: ResourceExt, O: Resource<DynamicType = ()> + ResourceExt>(child: &C, owner: &O) -> Result<()> {
    let (child_name, owner_name) = (child.name_any(), owner.name_any());
    let [reference] = child.owner_references() else {
        bail!("{child_name} has not one owner: {:?}", child.owner_references());
    };
    ensure!(
        reference.kind == O::kind(&())
            && reference.name == owner_name
            && Some(&reference.uid) == owner.uid().as_ref()
            && reference.controller == Some(true)
            && reference.block_owner_deletion == Some(true),
        "{child_name} is not owned by {owner_name}: {reference:?}"
    );
    Ok(())
}

fn record<K: Staged + ResourceExt>(object: &K) -> Result<()> {
    let name = object.name_any();
    let transitions = object.transitions();
    for (index, transition) in transitions.iter().enumerate() {
        ensure!(usize::try_from(transition.seq)? == index + 1, "{name}: gap at {transition:?}");
        let before = index.checked_sub(1).map(|index| &transitions[index]);
        ensure!(transition.from.as_ref() == before.map(|before| &before.to), "{name}: torn at {transition:?}");
        ensure!(before.is_none_or(|before| before.at <= transition.at), "{name}: back in time at {transition:?}");
        // It may be held back before it begins, and once more before its plan is executed.
        let held = transition.to == RequestPhase::Blocked.to_string();
        let again = !held && transitions[..index].iter().any(|earlier| earlier.to == transition.to);
        ensure!(!again, "{name}: entered {} again", transition.to);
    }
    let last = transitions.last().map(|transition| transition.to.clone());
    ensure!(last == object.phase().map(|phase| phase.to_string()), "{name}: phase and transitions differ");
    Ok(())
}
