//! Plans: their hash and how they read.

use std::fmt::Write as _;

use kubernaut_api::analysis::Risk;
use kubernaut_api::workflow::Step;
use sha2::{Digest, Sha256};

use crate::catalogue;

/// SHA-256 over the steps as JSON, in 64 hex digits: what was approved is what is executed (R4.5).
///
/// The JSON is canonical because the fields of a [`Step`] are written in their declared order and
/// its maps are sorted.
pub fn hash(steps: &[Step]) -> String {
    hex(&Sha256::digest(serde_json::to_vec(steps).unwrap_or_default()))
}

/// Bytes as hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Highest risk of the steps; an action that the catalogue does not know counts as high.
pub fn risk(steps: &[Step]) -> Option<Risk> {
    steps.iter().map(|step| catalogue::find(&step.action).map_or(Risk::High, |action| action.risk)).max()
}

/// One plain sentence about a step, such as `Roll back Deployment shop/web from revision 5 to revision 4`; cut to
/// what the schema of an approval allows.
pub fn sentence(step: &Step) -> String {
    let sentence = catalogue::find(&step.action).map_or_else(
        || format!("{} on {}, which the catalogue does not know", step.action, step.target),
        |action| action.sentence(&step.target, &step.parameters),
    );
    if sentence.chars().count() > 1024 { sentence.chars().take(1023).chain(['…']).collect() } else { sentence }
}
