//! A ConfigMap was changed and its consumers fail since: restore what was declared.
//!
//! Fits when the pods of the workload crash, or run and do not become ready, and a ConfigMap that the template names
//! was written within the last hour and after the template. What it held before is known from one place only: what
//! `kubectl apply` was told to write. Where that is what stands there, where it may hold a secret, or where more than
//! one ConfigMap was written lately, a person has to look. Restoring is of high risk, so a person is always asked.

use jiff::SignedDuration;
use kubernaut_api::evidence::{Config, PodEvidence};
use kubernaut_api::workflow::{OnFailure, Step};
use kubernaut_domain::diagnosis::Finding;
use kubernaut_domain::redact::bounded;
use serde_json::{Map, Value, json};

use super::Diagnoser;
use super::facts::{FRESH, Facts, Failure, cite};

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "changed configuration",
    causes: &["ConfigurationChanged"],
    fits: "The pods fail, and a ConfigMap that the template names was written within the last hour and after the template.",
    signals: &[
        ("a ConfigMap that the template names was written within the last hour, and after the template", 0.30),
        ("a container failed after that", 0.20),
        ("what was declared is known, and is not what stands there", 0.30),
        ("no other ConfigMap of the template was written in that time", 0.10),
        ("no pod of the workload is well", 0.10),
    ],
    proposes: "`update_config` back to what `kubectl apply` declared; a person where that is not known.",
    diagnose,
};

/// A pod has so long to become ready.
const PATIENCE: SignedDuration = SignedDuration::from_mins(1);

fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let pods = facts.current_pods();
    let ill: Vec<&PodEvidence> = pods.iter().copied().filter(|pod| is_ill(facts, pod)).collect();
    let first = *ill.first()?;
    let changed: Vec<&Config> = facts.evidence.configs.iter().filter(|config| was_changed(facts, config)).collect();
    // The one that can be restored says most.
    let config = *changed.iter().find(|config| restored(config).is_some()).or(changed.first())?;
    let at = config.changed_at.as_ref()?;
    let failed_since = ill.iter().flat_map(|pod| &pod.containers).any(|container| {
        let end = container.last_termination.as_ref().filter(|end| end.exit_code != 0);
        end.and_then(|end| end.finished_at.as_ref()).is_some_and(|end| end.0 > at.0)
    }) || facts
        .warnings("Pod", &first.name)
        .any(|event| event.last_seen.as_ref().is_some_and(|seen| seen.0 > at.0));
    let known = restored(config);
    let alone = changed.len() == 1;
    let way_back = known.clone().filter(|_| alone && !facts.workload.paused);

    let name = &config.object.name;
    let keys: Vec<String> = config.drift.iter().map(|one| bounded(&one.key, 64)).collect();
    let by = if config.changed_by.is_empty() { "somebody".to_owned() } else { bounded(&config.changed_by, 64) };
    let minutes = facts.now.duration_since(at.0).as_mins();
    let told = match keys.as_slice() {
        [] => format!("was written {minutes} minutes ago by {by}"),
        keys => format!("was written {minutes} minutes ago by {by}; not as declared: {}", keys.join(", ")),
    };
    Some(Finding {
        cause: "ConfigurationChanged".into(),
        summary: format!("{} fails since ConfigMap {name} was changed {minutes} minutes ago.", facts.object()),
        evidence: vec![
            cite("ConfigMap", name, told),
            cite("Pod", &first.name, describe(facts, first)),
            facts.cite_workload(),
        ],
        contributing_factors: Vec::new(),
        signals: DIAGNOSER.signals(&[true, failed_since, known.is_some(), alone, ill.len() == pods.len()]),
        rationale: match &way_back {
            Some(_) => format!("What was declared of {} worked, and nothing else was changed since.", keys.join(", ")),
            None => format!("What ConfigMap {name} held before is not known for certain: a person has to restore it."),
        },
        steps: way_back.map(|data| step(config, &data)).into_iter().collect(),
    })
}

/// Crashes, cannot start, or runs for a while without becoming ready. Want of memory and of an image have causes of
/// their own.
fn is_ill(facts: &Facts<'_>, pod: &PodEvidence) -> bool {
    let failing = facts.failing(&[pod]);
    let fails = failing.iter().any(|one| matches!(one.failure, Failure::Crash | Failure::Start));
    let old = pod.created_at.as_ref().is_some_and(|at| facts.now.duration_since(at.0) >= PATIENCE);
    let mut main = pod.containers.iter().filter(|container| !container.init).peekable();
    let runs = main.peek().is_some() && main.all(|container| container.state == "Running");
    fails || (failing.is_empty() && !pod.ready && old && runs)
}

/// Written lately, and after the template that names it.
fn was_changed(facts: &Facts<'_>, config: &Config) -> bool {
    let Some(at) = &config.changed_at else { return false };
    let named = (facts.workload.references.iter())
        .any(|reference| reference.kind == "ConfigMap" && reference.name == config.object.name);
    named
        && at.0 <= facts.now
        && facts.now.duration_since(at.0) <= FRESH
        && facts.template_made().is_none_or(|made| at.0 > made)
}

/// The keys as they were declared, when all that differ are known.
fn restored(config: &Config) -> Option<Map<String, Value>> {
    let whole = config.declared && !config.immutable && config.drift.iter().all(|one| !one.hidden);
    let data: Map<String, Value> =
        config.drift.iter().map(|one| (one.key.clone(), one.declared.clone().into())).collect();
    (whole && !data.is_empty()).then_some(data)
}

fn describe(facts: &Facts<'_>, pod: &PodEvidence) -> String {
    facts.failing(&[pod]).first().map_or("runs and is not ready".to_owned(), |failing| failing.cite().observation)
}

fn step(config: &Config, data: &Map<String, Value>) -> Step {
    Step {
        name: "restore-config".into(),
        action: "update_config".into(),
        target: config.object.clone(),
        parameters: [("data".to_owned(), json!(data))].into(),
        depends_on: Vec::new(),
        on_failure: OnFailure::Fail,
        ..Step::default()
    }
}
