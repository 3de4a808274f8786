//! The decision about a RemediationProcessing.

use kubernaut_api::{RemediationProcessing, RequestPhase};
use kubernaut_domain::processing::{Found, Plan, Seen, decide};
use kubernaut_domain::stage::Next;

use crate::given::{assert_sound, at, evidence, trail};
use crate::request;

fn processing() -> RemediationProcessing {
    request::walk(request::begun(), RequestPhase::Processing).processing.expect("a processing")
}

pub fn found() -> Found {
    Found { evidence: evidence(), degraded: vec![], classified: None, target_found: true }
}

/// What is seen of a new processing.
pub fn begun() -> Seen {
    Seen { processing: processing(), request_over: false, found: Some(found()), now: at(0) }
}

pub fn advance(seen: &mut Seen) -> (Plan, Vec<String>) {
    let plan = decide(seen);
    let after = assert_sound(&seen.processing, &plan.status, &seen.now, &plan.next);
    let trail = trail(&seen.processing, &after);
    seen.processing = after;
    (plan, trail)
}

fn check(change: impl Fn(&mut Seen), expect: &[&str]) -> Plan {
    let mut seen = begun();
    change(&mut seen);
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, expect);
    plan
}

const ENRICHING: [&str; 2] = ["Pending Created", "Enriching Collecting"];

#[test]
fn evidence_is_collected_and_classified_in_one_write() {
    let expect = [ENRICHING[0], ENRICHING[1], "Classifying EvidenceCollected", "Completed Classified"];
    let plan = check(|_| {}, &expect);
    assert_eq!(plan.status.evidence, Some(evidence()));
    assert_eq!(plan.status.classification.map(|class| class.severity).as_deref(), Some("critical"));
}

#[test]
fn missing_parts_of_the_evidence_are_named_and_do_not_stop_the_rest() {
    let degraded = |seen: &mut Seen| {
        seen.found = Some(Found { degraded: vec!["logs: forbidden".into()], ..found() });
    };
    let expect = [ENRICHING[0], ENRICHING[1], "Classifying EvidenceCollected", "Completed Classified"];
    let plan = check(degraded, &expect);
    assert_eq!(plan.status.degraded, ["logs: forbidden"]);
    let message = &plan.status.transitions[2].message;
    assert_eq!(message, "1 pods, 2 revisions, 0 events, 0 logs; missing: logs: forbidden");
}

#[test]
fn a_target_that_is_gone_fails_the_processing() {
    let gone = |seen: &mut Seen| seen.found = Some(Found { target_found: false, ..found() });
    let plan = check(gone, &[ENRICHING[0], ENRICHING[1], "Failed TargetNotFound"]);
    assert_eq!(plan.status.evidence, None);
}

#[test]
fn nothing_starts_for_a_request_that_is_over() {
    check(|seen| seen.request_over = true, &["Pending Created", "Failed RequestEnded"]);
}

#[test]
fn a_running_collection_stops_when_the_request_is_over() {
    let mut seen = begun();
    seen.found = None;
    advance(&mut seen);
    seen.request_over = true;
    seen.found = Some(found());
    assert_eq!(advance(&mut seen).1, ["Failed RequestEnded"]);
}

#[test]
fn a_collection_that_finds_nothing_in_time_fails() {
    let mut seen = begun();
    seen.found = None;
    let (plan, trail) = advance(&mut seen);
    assert_eq!(trail, ENRICHING);
    assert_eq!(plan.next, Next::At(at(300)));
    seen.now = at(299);
    assert!(advance(&mut seen).1.is_empty());
    seen.now = at(300);
    assert_eq!(advance(&mut seen).1, ["Failed EnrichingTimedOut"]);
}

#[test]
fn evidence_that_is_there_counts_even_when_it_is_late() {
    let mut seen = begun();
    seen.found = None;
    advance(&mut seen);
    seen.found = Some(found());
    seen.now = at(400);
    assert_eq!(advance(&mut seen).1, ["Classifying EvidenceCollected", "Completed Classified"]);
}
