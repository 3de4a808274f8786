//! Changing the target by one patch: never twice for one execution, never over somebody else's write.
//!
//! The patch carries the `resourceVersion` that the decision was made on; a conflict means to look and decide
//! again. Who changed the target and what it was before stand in annotations of the same write, so the truth
//! is on the target even when no answer comes back.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::DynamicObject;
use kubernaut_api::execution::{ActionResult, TargetMark};
use kubernaut_api::labels::CHANGED_BY;
use kubernaut_domain::catalogue::{CHANGED_FROM, Values};
use kubernaut_domain::drift;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::call::{Call, Failure};
use crate::{changed, unchanged};

/// How often a decision is made before a busy target is given up.
const ATTEMPTS: u32 = 5;
/// Pauses before each look at a target whose write was not answered: the API server may still be at it.
const READ_BACK: [Duration; 3] = [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(3)];

/// What an action wants done to the target that it saw.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// It already is as wanted.
    Keep(String),
    /// Change it.
    Change {
        /// JSON patch operations.
        operations: Vec<Value>,
        /// State before, enough to undo them.
        before: Values,
        /// What they do, in words.
        message: String,
    },
}

/// Reads the target, has `decide` look at it, and writes what it wants.
///
/// # Errors
/// When the target may not be changed, stays busy, or it cannot be told whether the write was done.
pub async fn change<D, F>(call: &Call<'_>, decide: D) -> Result<ActionResult, Failure>
where
    D: Fn(DynamicObject) -> F,
    F: Future<Output = Result<Decision, Failure>>,
{
    for attempt in 1..=ATTEMPTS {
        let live = call.target().await?;
        if let Some(result) = changed_earlier(call, &live).filter(|_| !call.only_looks()) {
            return Ok(result);
        }
        let (marks, found) = (Marks::of(&live), mark(&live));
        let (operations, before, message) = match decide(live).await? {
            Decision::Keep(message) => return Ok(ActionResult { target: Some(found), ..unchanged(message) }),
            Decision::Change { operations, before, message } => (operations, before, message),
        };
        if call.only_looks() {
            return Ok(ActionResult { target: Some(found), ..changed(message, before) });
        }
        match call.patch(marks.patch(&call.input.execution, &before, operations)).await {
            Ok(_) if call.input.dry_run => return Ok(ActionResult { target: Some(found), ..changed(message, before) }),
            Ok(left) => return Ok(ActionResult { target: Some(mark(&left)), ..changed(message, before) }),
            Err(conflict) if conflict.is_conflict() => sleep(Duration::from_millis(100) * attempt).await,
            Err(unknown @ Failure::Unknown { .. }) => return read_back(call, unknown, message, before).await,
            Err(refused) => return Err(refused),
        }
    }
    Err(Failure::refused("Conflict", format!("{} was changed by others {ATTEMPTS} times in a row", call.input.target)))
}

/// What the patch needs to know of the target besides the change itself.
struct Marks {
    resource_version: String,
    annotated: bool,
}

impl Marks {
    fn of(live: &DynamicObject) -> Self {
        Self {
            resource_version: live.resource_version().unwrap_or_default(),
            annotated: live.metadata.annotations.is_some(),
        }
    }

    fn patch(self, execution: &str, before: &Values, operations: Vec<Value>) -> Vec<Value> {
        let before = Value::Object(before.clone().into_iter().collect()).to_string();
        let guard = json!({"op": "replace", "path": "/metadata/resourceVersion", "value": self.resource_version});
        let mut patch = vec![guard];
        if !self.annotated {
            patch.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
        }
        for (name, value) in [(CHANGED_BY, execution), (CHANGED_FROM, before.as_str())] {
            patch.push(json!({"op": "add", "path": format!("/metadata/annotations/{}", escape(name)), "value": value}));
        }
        patch.extend(operations);
        patch
    }
}

/// The result of an earlier run of the same execution, as the target bears witness.
pub fn changed_earlier(call: &Call<'_>, live: &DynamicObject) -> Option<ActionResult> {
    let annotations = live.annotations();
    if annotations.get(CHANGED_BY)? != &call.input.execution {
        return None;
    }
    let before = annotations.get(CHANGED_FROM).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let message = format!("an earlier run of this execution changed {}", call.input.target);
    Some(ActionResult { target: Some(mark(live)), ..changed(message, before) })
}

/// Looks whether an unanswered write was done after all. Not seeing it proves nothing: it may come late.
async fn read_back(
    call: &Call<'_>,
    unknown: Failure,
    message: String,
    before: Values,
) -> Result<ActionResult, Failure> {
    for pause in READ_BACK {
        sleep(pause).await;
        if let Ok(live) = call.target().await
            && let Some(earlier) = changed_earlier(call, &live)
        {
            let message = format!("{message} (the answer was lost: {unknown}; the target shows it)");
            return Ok(ActionResult { message, before, ..earlier });
        }
    }
    Err(unknown)
}

/// What is kept of the target, to tell later whether somebody has changed it since.
pub fn mark(object: &DynamicObject) -> TargetMark {
    serde_json::to_value(object).map(|json| drift::mark(&json)).unwrap_or_default()
}

/// A key as a segment of a JSON pointer (RFC 6901).
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
