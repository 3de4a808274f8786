//! What the target depends on is broken, and the target says so: the cause is there.
//!
//! What is proposed is what the diagnosis of the workload behind the Service says, where that is known and somebody
//! has put it into Kubernaut's hands; else its owner has to look. That a Service has no
//! ready pod is what the cluster says; the log of the failing container only has to confirm, in one of
//! its last lines, that a connection to it failed. A Service that the current revision began to name is
//! the revision's mistake and left to the other diagnosers.

use kubernaut_api::evidence::{ContainerLog, Dependency, PodEvidence, Upstream};
use kubernaut_api::workflow::Step;
use kubernaut_domain::diagnosis::Finding;
use kubernaut_domain::redact::bounded;

use super::Diagnoser;
use super::facts::{Facts, cite};

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "dependency",
    causes: &["DependencyBroken"],
    fits: "A Service that the target names has no ready pod or does not exist, and the last lines of a failing container tell of a failed connection.",
    signals: &[
        ("a Service that the target names does not exist or has no ready pod", 0.40),
        ("one of the last lines of a failing container tells of a failed connection", 0.20),
        ("that line names the Service", 0.20),
        ("the workload behind it wants pods and has none ready", 0.10),
        ("no revision of the target was made within the last hour", 0.10),
    ],
    proposes: "What mends the workload behind the Service, where its own diagnosis says so and somebody has put it into Kubernaut's hands; else a person. The confidence is the lower one of this and of that diagnosis.",
    diagnose,
};

/// What a container says when it ends stands in its last lines.
const LAST_LINES: usize = 5;

fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let ill: Vec<&PodEvidence> =
        facts.current_pods().into_iter().filter(|pod| !pod.ready || !facts.failing(&[pod]).is_empty()).collect();
    let broken: Vec<&Dependency> =
        facts.evidence.dependencies.iter().filter(|one| is_broken(one) && !began_to_name(facts, one)).collect();
    let errors: Vec<(&ContainerLog, &str)> = (facts.evidence.logs.iter())
        .filter(|log| ill.iter().any(|pod| pod.name == log.pod))
        .flat_map(|log| log.lines.iter().rev().take(LAST_LINES).map(move |line| (log, line.as_str())))
        .filter(|(_, line)| is_connection_error(line))
        .collect();
    let naming = errors.iter().find_map(|error| Some((*broken.iter().find(|one| names(error.1, one))?, *error)));
    let (dependency, (log, _), named) = match naming {
        Some((dependency, error)) => (dependency, error, true),
        // An error that names no host is about the only one that is broken, if there is only one.
        None => match (&broken[..], errors.first()) {
            ([only], Some(error)) if !facts.evidence.dependencies.iter().any(|one| names(error.1, one)) => {
                (*only, *error, false)
            }
            _ => return None,
        },
    };
    let wants = dependency.replicas.is_some_and(|replicas| replicas > 0) && dependency.ready_replicas == Some(0);
    let service = &dependency.object;
    let state = match (dependency.exists, &dependency.workload) {
        (false, _) => "does not exist".to_owned(),
        (true, Some(workload)) => format!(
            "has no ready pod: {workload} has {} of {} replicas ready",
            dependency.ready_replicas.unwrap_or_default(),
            dependency.replicas.unwrap_or_default()
        ),
        (true, None) => "has no ready pod and no workload behind it".to_owned(),
    };
    let mut evidence = vec![cite("Service", &service.name, format!("{}, {state}", dependency.named_in))];
    if let Some(workload) = &dependency.workload {
        let ailment = if dependency.ailment.is_empty() { "no pod of it was seen" } else { &dependency.ailment };
        evidence.push(cite(&workload.kind, &workload.name, ailment));
    }
    evidence.push(cite(
        "Pod",
        &log.pod,
        format!("container {} tells of a failed connection in its last lines", log.container),
    ));
    evidence.push(facts.cite_workload());
    let finding = Finding {
        cause: "DependencyBroken".into(),
        summary: format!("{} fails because {service}, which it depends on, {state}.", facts.object()),
        evidence,
        contributing_factors: Vec::new(),
        signals: DIAGNOSER.signals(&[true, true, named, wants, !facts.fresh()]),
        steps: Vec::new(),
        rationale: format!("Changing {} would not bring {service} back: its owner has to.", facts.object()),
    };
    Some(match upstream(facts, dependency) {
        Some(cause) => with_cause(facts, finding, cause),
        None => finding,
    })
}

/// What is wrong with the workload behind the Service, by the same diagnosers; it may in turn be a victim.
fn upstream(facts: &Facts<'_>, dependency: &Dependency) -> Option<Finding> {
    let behind = dependency.workload.as_ref()?;
    let is_behind = |one: &&Upstream| {
        let object = &one.workload.object;
        (&object.kind, &object.namespace, &object.name) == (&behind.kind, &behind.namespace, &behind.name)
    };
    let at = facts.evidence.upstream.iter().position(|one| is_behind(&one))?;
    let mut others = facts.evidence.upstream.clone();
    let evidence = others.remove(at).evidence(others);
    super::first(&Facts::about(&evidence, facts.now)?)
}

/// The victim's finding with the cause upstream, and with what mends that where it may be changed. It is only as
/// sure as the less sure one of both.
fn with_cause(facts: &Facts<'_>, mut finding: Finding, cause: Finding) -> Finding {
    let may = |step: &Step| facts.evidence.may_change(facts.object(), &step.target);
    let is_less_sure = cause.confidence() < finding.confidence();
    finding.summary = bounded(&format!("{} {}", finding.summary, cause.summary), 1024);
    finding.contributing_factors.push(bounded(&format!("Upstream: {}: {}", cause.cause, cause.rationale), 512));
    finding.evidence.extend(cause.evidence);
    finding.evidence.truncate(16);
    if cause.steps.is_empty() {
        return finding;
    }
    if !cause.steps.iter().all(may) {
        let there = cause.steps.iter().find(|step| !may(step)).map(|step| step.target.to_string()).unwrap_or_default();
        finding.rationale = format!(
            "{there} is known to be the cause, and nobody has put it into Kubernaut's hands: its owner has to mend it."
        );
        return finding;
    }
    finding.rationale = cause.rationale;
    finding.steps = cause.steps;
    if is_less_sure {
        finding.signals = cause.signals;
    }
    finding
}

fn is_broken(dependency: &Dependency) -> bool {
    !dependency.exists || (dependency.selects && dependency.ready_endpoints == 0)
}

fn began_to_name(facts: &Facts<'_>, dependency: &Dependency) -> bool {
    facts.changes().any(|change| names(&change.after, dependency) && !names(&change.before, dependency))
}

/// Whether a text holds the host as it was written, or the Service's name as a word of its own.
fn names(text: &str, dependency: &Dependency) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let text = text.to_lowercase();
    let whole = |word: &str| {
        text.match_indices(word).any(|(at, _)| {
            let (before, after) = (&text[..at], &text[at + word.len()..]);
            !before.ends_with(part) && !before.ends_with('.') && !after.starts_with(part)
        })
    };
    !dependency.object.name.is_empty() && (whole(&dependency.host) || whole(&dependency.object.name))
}

/// What programs of all kinds write when they cannot connect.
fn is_connection_error(line: &str) -> bool {
    const WORDS: &[&str] = &[
        "connection refused",
        "econnrefused",
        "no such host",
        "enotfound",
        "eai_again",
        "name or service not known",
        "name resolution",
        "could not connect",
        "couldn't connect",
        "cannot connect",
        "can't connect",
        "failed to connect",
        "unable to connect",
        "connection timed out",
        "connect timeout",
        "etimedout",
        "i/o timeout",
        "no route to host",
        "host unreachable",
        "connection reset",
        "bad address",
        "could not translate host name",
        "unknown host",
        "unknownhost",
        "dial tcp",
        "connection error",
    ];
    let line = line.to_lowercase();
    WORDS.iter().any(|word| line.contains(word))
}
