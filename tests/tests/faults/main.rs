//! Seeded faults on the real cluster with the real kubelet: each is mended, left alone or handed to a person as
//! docs/faults.md says, and nothing but the culprit changes.
//!
//! Each fault has a namespace of its own and they run side by side: FAULTS_AT_ONCE sets how many, FAULT runs
//! only those whose id contains it. Waiting for pods to fail takes most of the time.

mod escalated;
mod flows;
mod healed;
mod hostile;
mod untouched;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, stream};
use kubernaut_testkit::Operator;
use kubernaut_testkit::fault::{Expect, Fault, table};

/// Faults that are under way at once; each has half a dozen pods.
const AT_ONCE: usize = 8;

/// Every fault, those that take longest first.
fn all() -> Vec<Fault> {
    healed::FAULTS.into_iter().chain(untouched::FAULTS).chain(escalated::FAULTS).collect()
}

#[tokio::test]
async fn every_seeded_fault_ends_as_the_documentation_says_and_only_the_culprit_changes() -> Result<()> {
    let operator = Operator::installed().await?;
    let setting = |name: &str| std::env::var(name).ok();
    let at_once = setting("FAULTS_AT_ONCE").and_then(|text| text.parse().ok()).unwrap_or(AT_ONCE);
    let only = setting("FAULT").unwrap_or_default();
    let mut chosen = all();
    chosen.retain(|fault| fault.id.contains(&only));
    ensure!(!chosen.is_empty(), "no fault is called {only:?}");

    let run = |fault: Fault| {
        let operator = &operator;
        async move {
            let result = fault.run(operator).await;
            match &result {
                Ok((took, _)) => eprintln!("{}: as expected, {:.1} s after the alert", fault.id, took.as_secs_f64()),
                Err(error) => eprintln!("{}: {error:#}", fault.id),
            }
            (fault, result)
        }
    };
    let results: Vec<_> = stream::iter(chosen).map(run).buffer_unordered(at_once).collect().await;
    summary(&results);
    let failed: Vec<String> = (results.iter())
        .filter_map(|(fault, result)| Some(format!("{}: {:#}", fault.id, result.as_ref().err()?)))
        .collect();
    ensure!(
        failed.is_empty(),
        "{} of {} faults did not end as expected:\n{}",
        failed.len(),
        results.len(),
        failed.join("\n")
    );
    Ok(())
}

/// What docs/faults.md tells of one run.
fn summary<T>(results: &[(Fault, Result<(Duration, T)>)]) {
    let of = |is_one: fn(&Expect) -> bool| {
        let chosen: Vec<_> = results.iter().filter(|(fault, _)| is_one(&fault.expect)).collect();
        let good = chosen.iter().filter(|(_, result)| result.is_ok()).count();
        let mut times: Vec<Duration> = chosen.iter().filter_map(|(_, result)| Some(result.as_ref().ok()?.0)).collect();
        times.sort();
        let median =
            times.get(times.len() / 2).map_or_else(|| "–".into(), |time| format!("{:.1} s", time.as_secs_f64()));
        let longest = times.last().map_or_else(|| "–".into(), |time| format!("{:.1} s", time.as_secs_f64()));
        format!("{good} of {} | {median} | {longest} |", chosen.len())
    };
    eprintln!("| Faults | As expected | Alert to end, median | Longest |\n|---|---|---|---|");
    eprintln!("| that are mended | {}", of(|expect| matches!(expect, Expect::Healed(_))));
    eprintln!(
        "| that need nothing | {}",
        of(|expect| matches!(expect, Expect::Untouched { .. } | Expect::Refused { .. }))
    );
    eprintln!("| that need a person | {}", of(|expect| matches!(expect, Expect::Escalated { .. })));
}

/// `UPDATE_DOCS=1` writes what is missing.
#[test]
fn the_tables_of_the_documentation_are_those_of_the_code() -> Result<()> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md");
    let found = std::fs::read_to_string(&path)?;
    let mut expected = found.clone();
    for (heading, faults) in [
        ("## Mended\n\n", healed::FAULTS.as_slice()),
        ("## Left alone\n\n", untouched::FAULTS.as_slice()),
        ("## Handed to a person\n\n", escalated::FAULTS.as_slice()),
    ] {
        let begin =
            expected.find(heading).with_context(|| format!("docs/faults.md lacks {heading:?}"))? + heading.len();
        // A table ends with an empty line.
        let end = expected[begin..].find("\n\n").map_or(expected.len(), |end| begin + end + 1);
        expected.replace_range(begin..end, &table(faults));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected)?;
    } else {
        ensure!(
            found == expected,
            "docs/faults.md is not up to date: UPDATE_DOCS=1 cargo test -p kubernaut-tests --test faults tables"
        );
    }
    Ok(())
}

#[test]
fn there_are_as_many_faults_as_were_promised_and_each_has_a_name_of_its_own() {
    assert!(healed::FAULTS.len() >= 12 && untouched::FAULTS.len() >= 6 && escalated::FAULTS.len() >= 3);
    let mut ids: Vec<_> = all().iter().map(|fault| fault.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all().len());
}
