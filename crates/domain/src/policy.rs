//! What policies are asked, as they read it, and how their answer joins what was decided without them.
//!
//! These documents are a contract with whoever writes Rego: docs/policies.md describes them. Text from outside is
//! in them as data. Deliberately absent: evaluation.

use std::collections::BTreeMap;

use kubernaut_api::evidence::Evidence;
use kubernaut_api::execution::BlastRadius;
use kubernaut_api::processing::Classification;
use kubernaut_api::request::Signal;
use kubernaut_api::{AIAnalysis, KubernetesExecution, PolicyDecision, PolicyRecord, RemediationRequest, TargetRef};
use serde_json::{Value, json};

use crate::approval::requested_by;
use crate::classify::{classify, environment_of};
use crate::diagnosis::Finding;
use crate::{catalogue, plan};

/// Labels of namespaces, by name; `None` where they could not be read.
pub type Namespaces = BTreeMap<String, Option<BTreeMap<String, String>>>;

/// Labels of a namespace that tell its environment.
const ENVIRONMENT: [&str; 2] = ["environment", "kubernaut.io/environment"];

/// The namespaces that a policy has to know the labels of before it is asked about these targets.
pub fn namespaces_of<'a>(targets: impl IntoIterator<Item = &'a TargetRef>) -> Vec<String> {
    let mut names: Vec<_> = targets.into_iter().filter_map(|target| target.namespace.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// What the approval policy is asked about a finding.
pub fn approval_input(
    analysis: &AIAnalysis,
    request: Option<&RemediationRequest>,
    classification: &Classification,
    (provider, finding): (&str, &Finding),
    namespaces: &Namespaces,
) -> Value {
    let spec = &analysis.spec;
    let risk = plan::risk(&finding.steps);
    let steps: Vec<_> = finding
        .steps
        .iter()
        .map(|step| {
            json!({
                "name": step.name,
                "action": step.action,
                "risk": catalogue::find(&step.action).map(|action| action.risk),
                "target": step.target,
                "namespace": namespace(&step.target, namespaces),
                "parameters": step.parameters,
            })
        })
        .collect();
    json!({
        "request": spec.request,
        "requestedBy": request.and_then(requested_by),
        "dryRun": request.is_some_and(|request| request.spec.dry_run),
        "signal": signal(&spec.signal),
        "target": spec.target,
        "classification": classification,
        "provider": provider,
        "cause": finding.cause,
        "confidence": finding.confidence(),
        "risk": risk,
        "steps": steps,
    })
}

/// What the safety policy is asked about an action.
pub fn safety_input(execution: &KubernetesExecution, namespaces: &Namespaces, reach: Option<&BlastRadius>) -> Value {
    let spec = &execution.spec;
    let labels = spec.target.namespace.as_ref().and_then(|name| namespaces.get(name)?.as_ref());
    let environment = ENVIRONMENT.iter().find_map(|key| labels?.get(*key)).and_then(|name| environment_of(name));
    json!({
        "request": spec.request,
        "step": spec.step,
        "action": spec.action,
        "risk": catalogue::find(&spec.action).map(|action| action.risk),
        "target": spec.target,
        "parameters": spec.parameters,
        "namespace": namespace(&spec.target, namespaces),
        "environment": environment.unwrap_or("unknown"),
        "dryRun": spec.dry_run,
        "undoes": spec.undoes,
        "blastRadius": reach,
    })
}

/// What the classification policy is asked about a signal.
pub fn classification_input(signal: &Signal, target: &TargetRef, evidence: &Evidence) -> Value {
    json!({
        "signal": self::signal(signal),
        "target": target,
        "evidence": evidence,
        "builtin": classify(signal, target, evidence),
    })
}

/// A signal without its annotations, which are prose for people.
fn signal(signal: &Signal) -> Value {
    let severity = signal.severity.as_ref().or_else(|| signal.labels.get("severity"));
    json!({
        "source": signal.source,
        "name": signal.name,
        "severity": severity.map_or("", String::as_str),
        "labels": signal.labels,
    })
}

/// Absent for what is in no namespace; labels are null where they could not be read.
fn namespace(target: &TargetRef, namespaces: &Namespaces) -> Value {
    let Some(name) = &target.namespace else { return Value::Null };
    json!({"name": name, "labels": namespaces.get(name).and_then(Option::as_ref)})
}

/// The stricter of what is allowed without the policy and what the policy says: no answer of a policy, nor its
/// absence, ever loosens.
pub fn tightened(allowed: PolicyDecision, policy: Option<&PolicyRecord>) -> PolicyDecision {
    allowed.max(policy.map_or(PolicyDecision::Ask, |policy| policy.decision))
}

/// What a policy said, in one line.
pub fn words(record: &PolicyRecord) -> String {
    if record.messages.is_empty() {
        format!("the policy ({}) gives no reason", record.source)
    } else {
        record.messages.join("; ")
    }
}
