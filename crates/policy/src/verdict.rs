//! Reads what a policy answered. What is not exactly as it has to be counts as no answer.

use kubernaut_api::processing::Classification;
use kubernaut_api::{PolicyDecision, PolicyRecord};
use serde_json::Value;

use crate::Kind;
use crate::engine::Failure;

/// A classification and the hash of the policy that gave it.
pub type Classified = (Classification, String);

/// What counts when a policy gives no answer: a plan is asked about, an action is not done.
fn without_answer(kind: Kind) -> PolicyDecision {
    if kind == Kind::Approval { PolicyDecision::Ask } else { PolicyDecision::Deny }
}

/// The record of an answer, or of its absence.
pub(crate) fn record(kind: Kind, hash: &str, source: &str, answer: Result<Value, Failure>) -> PolicyRecord {
    let mut record = PolicyRecord {
        decision: without_answer(kind),
        hash: hash.to_owned(),
        source: cut(source, 320),
        messages: vec![],
        approvers: None,
    };
    match answer.and_then(|answer| read(kind, &answer)) {
        Ok((decision, messages, approvers)) => {
            record.decision = decision;
            record.messages = messages;
            record.approvers = approvers;
        }
        Err(failure) => {
            record.messages = vec![cut(&format!("the {kind} policy ({source}) gives no answer: {failure}"), 512)];
        }
    }
    record
}

type Answer = (PolicyDecision, Vec<String>, Option<u8>);

pub(crate) fn read(kind: Kind, answer: &Value) -> Result<Answer, Failure> {
    let undefined = |what: String| Failure::Undefined(format!("data.{}.{what}", kind.package()));
    let decision = match &answer["decision"] {
        Value::Null => return Err(undefined("decision is undefined".into())),
        Value::String(word) => match (kind, word.as_str()) {
            (_, "allow") => PolicyDecision::Allow,
            (Kind::Approval, "ask") => PolicyDecision::Ask,
            (_, "deny") => PolicyDecision::Deny,
            _ => return Err(undefined(format!("decision is {}", cut(&format!("{word:?}"), 64)))),
        },
        _ => return Err(undefined("decision is no string".into())),
    };
    let messages = match &answer["messages"] {
        Value::Null => vec![],
        Value::Array(messages) => {
            messages.iter().filter_map(Value::as_str).map(|text| cut(text, 512)).take(16).collect()
        }
        _ => return Err(undefined("messages is neither a set nor an array".into())),
    };
    let approvers = match &answer["approvers"] {
        Value::Null => None,
        number => match number.as_u64() {
            Some(1) => Some(1),
            Some(2) => Some(2),
            _ => return Err(undefined("approvers is neither 1 nor 2".into())),
        },
    };
    Ok((decision, messages, approvers))
}

/// The classification that a policy answered: every field, and only words that the rest of the system knows.
pub(crate) fn classification(answer: &Value) -> Result<Classification, Failure> {
    let field = |name: &str, known: Option<&[&str]>| {
        let place = || format!("data.{}.{name}", Kind::Classification.package());
        let text = answer[name].as_str().ok_or_else(|| Failure::Undefined(format!("{} is undefined", place())))?;
        let sound = match known {
            Some(known) => known.contains(&text),
            None => (1..=63).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        };
        if sound {
            Ok(text.to_owned())
        } else {
            Err(Failure::Undefined(format!("{} is {}", place(), cut(&format!("{text:?}"), 64))))
        }
    };
    Ok(Classification {
        severity: field("severity", Some(&["critical", "high", "medium", "low"]))?,
        priority: field("priority", Some(&["P0", "P1", "P2", "P3"]))?,
        environment: field("environment", Some(&["production", "staging", "development", "unknown"]))?,
        signal_type: field("signal_type", None)?,
        resource_type: field("resource_type", None)?,
    })
}

fn cut(text: &str, max: usize) -> String {
    if text.chars().count() > max { text.chars().take(max - 1).chain(['…']).collect() } else { text.to_owned() }
}
