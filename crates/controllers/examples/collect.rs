//! Shows what is collected about a Deployment, and what the builtin provider makes of it:
//! `cargo run -p kubernaut-controllers --example collect -- NAMESPACE NAME`.

use kubernaut_analysis::{Question, builtin};
use kubernaut_api::meta::TargetRef;
use kubernaut_api::request::Signal;
use kubernaut_controllers::collect::{Limits, collect};
use kubernaut_domain::classify::classify;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(namespace), Some(name)) = (words.next(), words.next()) else { return Err("NAMESPACE NAME".into()) };
    let client = kube::Client::try_default().await?;
    let target = TargetRef {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        namespace: Some(namespace),
        name,
        uid: None,
    };
    // The first call opens the connection.
    let limits = Limits::default();
    collect(&client, &target, None, jiff::Timestamp::now(), &limits).await;
    let begin = std::time::Instant::now();
    let now = jiff::Timestamp::now();
    let collected = collect(&client, &target, None, now, &limits).await;
    let took = begin.elapsed();
    let signal: Signal =
        serde_json::from_value(serde_json::json!({"source": "example", "name": "Example", "fingerprint": "0"}))?;
    let classification = classify(&signal, &target, &collected.evidence);
    let question = Question {
        signal: &signal,
        target: &target,
        evidence: &collected.evidence,
        classification: &classification,
        now,
    };
    println!("{}", serde_json::to_string_pretty(&collected.evidence)?);
    println!("degraded {:?}, found {}, {took:?}", collected.degraded, collected.target_found);
    println!("{classification:?}");
    let diagnosis = builtin::diagnose(&question);
    println!("{diagnosis:#?}");
    if let kubernaut_domain::diagnosis::Diagnosis::Found(finding) = diagnosis {
        println!("confidence {}", finding.confidence());
    }
    Ok(())
}
