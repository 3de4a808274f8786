//! What an HTTP reply means for a delivery: the table of Knative's delivery rules (R7.5).
//!
//! Deliberately absent: the reply's text, which is somebody else's.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::sinks::Outcome;

/// Classifies a reply that came at `now`.
pub(super) fn reply(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Outcome {
    let why = format!("the sink answered {status}");
    match status.as_u16() {
        200..=299 => Outcome::Done,
        300..=399 => {
            let why = format!("{why}; redirects are never followed, register the final URL");
            Outcome::Retry { after: None, why }
        }
        410 => Outcome::Gone { why },
        404 | 408 | 409 | 429 => Outcome::Retry { after: retry_after(headers, now), why },
        400..=499 => Outcome::Drop { why },
        _ => Outcome::Retry { after: retry_after(headers, now), why },
    }
}

/// `Retry-After`, as seconds or as an HTTP date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, expect: &str) {
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(reply(status, &HeaderMap::new(), Timestamp::UNIX_EPOCH).label(), expect, "{status}");
    }

    #[test]
    fn replies_mean_what_the_table_says() {
        for (expect, statuses) in [
            ("delivered", &[200, 201, 202, 204, 299][..]),
            ("rejected", &[400, 401, 403, 405, 413, 415, 422]),
            ("failed", &[301, 302, 307, 308, 404, 408, 409, 429, 500, 502, 503, 504, 599, 101]),
            ("gone", &[410]),
        ] {
            for status in statuses {
                check(*status, expect);
            }
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().expect("a time");
        for (text, expect) in [
            ("7", Some(7)),
            ("Fri, 02 Jan 2026 03:04:35 GMT", Some(30)),
            ("Fri, 02 Jan 2026 03:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect("a header"));
            assert_eq!(retry_after(&headers, now), expect.map(Duration::from_secs), "{text}");
        }
    }
}
