//! Durations as people write them in configuration: `5m`, `1h30m`, `250ms`.
//!
//! Deliberately absent: negative durations, and days or longer units, whose length depends on a calendar.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time that is written `1h30m`. Nanosecond precision, never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

/// The text is no duration, or a negative one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: write it as 5m, 1h30m or 250ms")]
pub struct InvalidDuration(String);

impl Duration {
    /// No time at all; settings that allow it say what it means.
    pub const ZERO: Self = Self(std::time::Duration::ZERO);

    /// So many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// So many minutes.
    pub const fn from_mins(minutes: u64) -> Self {
        Self::from_secs(minutes * 60)
    }

    /// So many hours.
    pub const fn from_hours(hours: u64) -> Self {
        Self::from_mins(hours * 60)
    }

    /// The same span as the standard library has it.
    pub const fn std(self) -> std::time::Duration {
        self.0
    }

    /// True for zero.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.trim()
            .parse::<SignedDuration>()
            .ok()
            .and_then(|signed| std::time::Duration::try_from(signed).ok())
            .map(Self)
            .ok_or_else(|| InvalidDuration(text.to_owned()))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0s");
        }
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        let parts = [
            (seconds / 3600, "h"),
            (seconds / 60 % 60, "m"),
            (seconds % 60, "s"),
            (u64::from(nanos / 1_000_000), "ms"),
            (u64::from(nanos / 1_000 % 1_000), "us"),
            (u64::from(nanos % 1_000), "ns"),
        ];
        parts.into_iter().filter(|(amount, _)| *amount > 0).try_for_each(|(amount, unit)| write!(f, "{amount}{unit}"))
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 5m, 1h30m or 250ms")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "duration"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write_and_prints_it_back_short() {
        for (text, expect) in [
            ("5m", "5m"),
            ("1h30m", "1h30m"),
            ("90m", "1h30m"),
            ("250ms", "250ms"),
            ("1h 5s", "1h5s"),
            ("24h", "24h"),
            ("0s", "0s"),
            ("1500us", "1ms500us"),
            ("PT5M", "5m"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.to_string(), expect, "{text}");
            assert_eq!(expect.parse::<Duration>().unwrap(), duration, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_negative_or_has_no_unit() {
        for text in ["", "5", "-5m", "5 parsecs", "5m ago"] {
            let error = text.parse::<Duration>().unwrap_err().to_string();
            assert_eq!(error, format!("`{text}` is not a duration: write it as 5m, 1h30m or 250ms"));
        }
    }

    #[test]
    fn what_is_no_text_at_all_is_answered_with_an_example() {
        for yaml in ["5", "[5m]", "{}"] {
            let error = serde_yaml_ng::from_str::<Duration>(yaml).unwrap_err().to_string();
            assert!(error.contains("5m, 1h30m or 250ms"), "{yaml}: {error}");
        }
    }
}
