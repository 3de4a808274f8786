//! A container is killed for want of memory under its own limit: double the limit, once.
//!
//! Nothing is proposed above 4Gi, or when the current revision already raised the limit: a leak is not
//! mended by memory, and a person has to look. The request stays as it is; where there is none the old
//! limit is written as the request, because Kubernetes takes the limit for it and the pod would ask its
//! node for twice as much.
//!
//! | Signal | Weight |
//! |---|---|
//! | A container was killed for want of memory | 0.40 |
//! | It has a memory limit | 0.20 |
//! | It was killed more than once | 0.20 |
//! | No new revision changed it in the last hour | 0.10 |
//! | Twice the limit is within bounds, and it was not raised before | 0.10 |

use kubernaut_api::evidence::ContainerSpec;
use kubernaut_api::workflow::{OnFailure, Step};
use kubernaut_domain::catalogue::Quantity;
use kubernaut_domain::diagnosis::Finding;
use serde_json::json;

use super::facts::{Facts, Failing, Failure, ends};
use super::signal;

/// No limit is raised above it.
const CAP: &str = "4Gi";

pub fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let mut failing = facts.failing(&facts.current_pods());
    failing.retain(|failing| failing.failure == Failure::OutOfMemory);
    let worst = *failing.iter().max_by_key(|failing| failing.ends())?;
    let container = worst.container;
    failing.retain(|failing| (&failing.container.name, failing.container.init) == (&container.name, container.init));

    let spec = facts.workload.containers.iter().find(|spec| !container.init && spec.name == container.name);
    let limit = spec.and_then(|spec| spec.memory_limit.as_deref());
    let raised_before = raised_before(facts, &worst);
    let raised = limit.filter(|_| !raised_before && !facts.workload.paused).and_then(doubled);
    let step = spec.zip(raised.as_deref()).map(|(spec, raised)| step(facts, spec, raised));
    let untouched = !facts.fresh() || facts.changes_in(container).is_empty();

    let (object, name) = (facts.object(), &container.name);
    let under = limit.map_or(String::new(), |limit| format!(" under its limit of {limit}"));
    Some(Finding {
        cause: "OutOfMemory".into(),
        summary: format!("Container {name} of {object} is killed for want of memory{under}."),
        evidence: vec![worst.cite(), facts.cite_workload()],
        contributing_factors: if raised_before { vec!["The newest revision already raised the limit.".into()] } else { vec![] },
        signals: vec![
            signal("a container was killed for want of memory", 0.40, true),
            signal("it has a memory limit", 0.20, limit.is_some()),
            signal("it was killed more than once", 0.20, ends(&failing) >= 2),
            signal("no new revision changed it in the last hour", 0.10, untouched),
            signal("twice the limit is within bounds, and it was not raised before", 0.10, step.is_some()),
        ],
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
