//! A container is killed for want of memory under its own limit: double the limit, once.
//!
//! Nothing is proposed above 4Gi, or when the limit was raised before, by Kubernaut (as its mark on the workload
//! says) or by the current revision: a leak is not mended by memory, and a person has to look. The request stays as it is; where there is none the old
//! limit is written as the request, because Kubernetes takes the limit for it and the pod would ask its
//! node for twice as much.

use kubernaut_api::evidence::{ContainerSpec, ContainerState};
use kubernaut_api::workflow::{OnFailure, Step};
use kubernaut_domain::catalogue::Quantity;
use kubernaut_domain::diagnosis::Finding;
use serde_json::json;

use super::Diagnoser;
use super::facts::{Facts, Failing, Failure, ends};

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "out of memory",
    causes: &["OutOfMemory"],
    fits: "A container is killed for want of memory under its own limit.",
    signals: &[
        ("a container was killed for want of memory", 0.40),
        ("it has a memory limit", 0.20),
        ("it was killed more than once", 0.20),
        ("no new revision changed it in the last hour", 0.10),
        ("twice the limit is within bounds, and it was not raised before", 0.10),
    ],
    proposes: "`update_resources` to twice the limit, up to 4Gi and only once; a second time a person.",
    diagnose,
};

/// No limit is raised above it.
const CAP: &str = "4Gi";

fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let mut failing = facts.failing(&facts.current_pods());
    failing.retain(|failing| failing.failure == Failure::OutOfMemory);
    let worst = *failing.iter().max_by_key(|failing| failing.ends())?;
    let container = worst.container;
    failing.retain(|failing| (&failing.container.name, failing.container.init) == (&container.name, container.init));

    let spec = facts.workload.containers.iter().find(|spec| !container.init && spec.name == container.name);
    let limit = spec.and_then(|spec| spec.memory_limit.as_deref());
    let (by_us, by_revision) = (raised_by_us(facts, container), raised_before(facts, &worst));
    let raised_before = by_us || by_revision;
    let can_be_raised = matches!(facts.object().kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet");
    let raised = limit.filter(|_| !raised_before && can_be_raised && !facts.workload.paused).and_then(doubled);
    let step = spec.zip(raised.as_deref()).map(|(spec, raised)| step(facts, spec, raised));
    let untouched = !facts.fresh() || facts.changes_in(container).is_empty();

    let (object, name) = (facts.object(), &container.name);
    let under = limit.map_or(String::new(), |limit| format!(" under its limit of {limit}"));
    Some(Finding {
        cause: "OutOfMemory".into(),
        summary: format!("Container {name} of {object} is killed for want of memory{under}."),
        evidence: vec![worst.cite(), facts.cite_workload()],
        contributing_factors: match (by_us, by_revision) {
            (true, _) => vec!["Kubernaut raised the limit before.".into()],
            (_, true) => vec!["The newest revision already raised the limit.".into()],
            _ => vec![],
        },
        signals: DIAGNOSER.signals(&[true, limit.is_some(), ends(&failing) >= 2, untouched, step.is_some()]),
        rationale: match &raised {
            Some(raised) if step.is_some() => format!("Twice the memory, {raised}, gives it room; if that is not enough a person is asked."),
            _ => "More memory was given before, is out of bounds or would not be in effect: a person has to look for the leak.".into(),
        },
        steps: step.into_iter().collect(),
    })
}

fn step(facts: &Facts<'_>, spec: &ContainerSpec, raised: &str) -> Step {
    let mut parameters = vec![("container".to_owned(), json!(spec.name)), ("memoryLimit".to_owned(), json!(raised))];
    if spec.memory_request.is_none() {
        parameters.push(("memoryRequest".to_owned(), json!(spec.memory_limit)));
    }
    Step {
        name: "raise-memory".into(),
        action: "update_resources".into(),
        target: facts.object().clone(),
        parameters: parameters.into_iter().collect(),
        depends_on: Vec::new(),
        on_failure: OnFailure::Fail,
        ..Step::default()
    }
}

/// Whether the mark on the workload says that Kubernaut set this container's limit: it records what it was.
fn raised_by_us(facts: &Facts<'_>, container: &ContainerState) -> bool {
    let Some(record) = &facts.workload.changed_from else { return false };
    match serde_json::from_str::<serde_json::Value>(record) {
        Ok(record) => record.get("memoryLimit").is_some() && record["container"] == container.name.as_str(),
        // A record that was cut says less: in doubt a person is asked.
        Err(_) => record.contains("memoryLimit"),
    }
}

fn raised_before(facts: &Facts<'_>, failing: &Failing<'_>) -> bool {
    facts.changes_in(failing.container).iter().any(|(path, change)| {
        let amount = |text: &str| Quantity::parse(text).ok();
        *path == "resources.limits.memory"
            && !change.before.is_empty()
            && amount(&change.after) > amount(&change.before)
    })
}

/// Twice the quantity in the same notation; `None` above the cap and for what is no quantity.
fn doubled(quantity: &str) -> Option<String> {
    let end = quantity.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let twice = format!("{whole}{fraction}").parse::<u64>().ok()?.checked_mul(2)?.to_string();
    let twice = format!("{twice:0>width$}", width = fraction.len() + 1);
    let (whole, fraction) = twice.split_at(twice.len() - fraction.len());
    let point = if fraction.is_empty() { "" } else { "." };
    let text = format!("{whole}{point}{fraction}{suffix}");
    let within = Quantity::parse(&text).ok().filter(|amount| amount.is_positive())? <= Quantity::parse(CAP).ok()?;
    within.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::doubled;

    #[test]
    fn a_limit_is_doubled_in_its_own_notation_and_never_above_the_cap() {
        for (limit, expected) in [
            ("128Mi", Some("256Mi")),
            ("2Gi", Some("4Gi")),
            ("2.5Gi", None),
            ("3Gi", None),
            ("0.5Gi", Some("1.0Gi")),
            ("1.75Gi", Some("3.50Gi")),
            ("134217728", Some("268435456")),
            ("100M", Some("200M")),
            ("1e8", Some("2e8")),
            ("128974848000m", Some("257949696000m")),
            ("0", None),
            ("", None),
            ("lots", None),
        ] {
            assert_eq!(doubled(limit).as_deref(), expected, "{limit}");
        }
    }
}
