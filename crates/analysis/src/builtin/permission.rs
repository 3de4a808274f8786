//! The workload's own ServiceAccount may not do what the workload tries: a person has to grant it, or not.
//!
//! Only the log can tell, so nothing is proposed: no text widens a permission. The line has to name the
//! ServiceAccount that the pods really run under.

use kubernaut_domain::diagnosis::Finding;
use kubernaut_domain::redact::bounded;

use super::Diagnoser;
use super::facts::{Facts, cite};

pub static DIAGNOSER: Diagnoser = Diagnoser {
    name: "permission",
    causes: &["PermissionMissing"],
    fits: "The log of a failing container tells that the API server refused the pods' own ServiceAccount.",
    signals: &[
        ("the log of a failing container tells that the API server refused its account", 0.60),
        ("the container fails", 0.20),
        ("no revision was made within the last hour", 0.20),
    ],
    proposes: "Nothing: what an account may do is decided by a person.",
    diagnose,
};

fn diagnose(facts: &Facts<'_>) -> Option<Finding> {
    let pods = facts.current_pods();
    let ill: Vec<&str> = pods
        .iter()
        .filter(|pod| !pod.ready || !facts.failing(&[pod]).is_empty())
        .map(|pod| pod.name.as_str())
        .collect();
    let account = facts.workload.service_account.as_deref().unwrap_or("default");
    let namespace = facts.object().namespace.as_deref()?;
    let user = format!("system:serviceaccount:{namespace}:{account}\" cannot ");
    let (log, refused) = facts.evidence.logs.iter().filter(|log| ill.contains(&log.pod.as_str())).find_map(|log| {
        let line = log.lines.iter().rev().map(|line| line.replace('\\', "")).find(|line| line.contains(&user))?;
        let (_, rest) = line.split_once(&user)?;
        Some((log, bounded(rest, 160)))
    })?;
    let fails = !facts.failing(&pods).is_empty();
    Some(Finding {
        cause: "PermissionMissing".into(),
        summary: format!(
            "ServiceAccount {account} of {} is refused by the API server: it cannot {refused}",
            facts.object()
        ),
        evidence: vec![
            cite(
                "Pod",
                &log.pod,
                format!("the log of container {} says that {account} cannot {refused}", log.container),
            ),
            facts.cite_workload(),
        ],
        contributing_factors: Vec::new(),
        signals: DIAGNOSER.signals(&[true, fails, !facts.fresh()]),
        steps: Vec::new(),
        rationale: "What an account may do is decided by a person, never by what a program writes.".into(),
    })
}
