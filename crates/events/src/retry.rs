//! When a failed delivery is tried again: base, factor 2, ceiling, jitter 0.1 (R7.5).
//!
//! The jitter derives from event and attempt, so the plan of a delivery can be told beforehand.
//! Deliberately absent: the clock.

use std::time::Duration;

use kubernaut_api::sink::Retry;
use uuid::Uuid;

/// No sink may ask for a longer pause than this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);

/// The pause after failed attempt number `attempt` (from 1), with jitter of ±10 %.
pub(crate) fn pause(retry: &Retry, event: Uuid, attempt: u32, retry_after: Option<Duration>) -> Duration {
    let base = std::time::Duration::from(retry.base_delay);
    let longest = std::time::Duration::from(retry.max_delay);
    let exponent = attempt.saturating_sub(1).min(31);
    let plain = base.saturating_mul(1 << exponent).min(longest);
    let backoff = plain.mul_f64(0.9 + 0.2 * fraction(event, attempt));
    backoff.max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER))
}

/// A number from 0 to 1 that looks random and always is the same.
fn fraction(event: Uuid, attempt: u32) -> f64 {
    let drawn = Uuid::new_v5(&event, &attempt.to_be_bytes());
    f64::from(u16::from_be_bytes([drawn.as_bytes()[0], drawn.as_bytes()[1]])) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry() -> Retry {
        Retry::default()
    }

    #[test]
    fn pauses_double_up_to_the_ceiling() {
        for (attempt, plain) in [(1, 100), (2, 200), (3, 400), (9, 25_600), (10, 30_000), (4_000_000_000, 30_000)] {
            let pause = pause(&retry(), Uuid::NAMESPACE_OID, attempt, None).as_millis();
            assert!(pause >= plain * 9 / 10 && pause <= plain * 11 / 10, "attempt {attempt}: {pause} ms");
        }
    }

    #[test]
    fn the_same_attempt_always_pauses_the_same() {
        let id = Uuid::NAMESPACE_URL;
        assert_eq!(pause(&retry(), id, 2, None), pause(&retry(), id, 2, None));
        assert_ne!(pause(&retry(), id, 2, None), pause(&retry(), Uuid::NAMESPACE_OID, 2, None));
    }

    #[test]
    fn retry_after_lengthens_the_pause_but_not_without_limit() {
        let id = Uuid::NAMESPACE_URL;
        assert_eq!(pause(&retry(), id, 1, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(pause(&retry(), id, 1, Some(Duration::from_secs(1 << 40))), LONGEST_RETRY_AFTER);
    }
}
