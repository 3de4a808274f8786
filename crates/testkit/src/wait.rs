//! Waiting for a condition with a deadline. Deliberately absent: waiting for time to pass.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep};

/// How often is looked.
const EVERY: Duration = Duration::from_millis(200);

/// Looks until `look` gives a value; at the deadline its last error says what was missing.
pub async fn until<T, F>(what: &str, limit: Duration, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        match Box::pin(look()).await {
            Ok(value) => return Ok(value),
            Err(missing) if Instant::now() >= deadline => {
                return Err(missing).with_context(|| format!("not within {limit:?}: {what}"));
            }
            Err(_) => sleep(EVERY).await,
        }
    }
}
