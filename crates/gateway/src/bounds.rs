//! Text from outside is cut to what the resources hold, without secrets. What was cut says so and carries a hash of
//! the whole, so that two long values that begin alike stay two.

use std::collections::BTreeMap;

use kubernaut_domain::redact::{HIDDEN, is_secret_name, redact};
use sha2::{Digest, Sha256};

use crate::fingerprint::hex;

/// Entries of a bounded map, as in the resource's schema.
const MAX_ENTRIES: usize = 64;
/// Characters of a bounded value, as in the resource's schema.
const MAX_VALUE: usize = 1024;
/// Characters of a key. The schema cannot say it; 64 keys of this size keep the object small.
const MAX_KEY: usize = 128;
/// Characters of a value that are looked at for secrets.
const LOOKED_AT: usize = 16 * 1024;
/// Key of the entry that says what is missing.
const DROPPED: &str = "kubernaut_dropped";

/// `value` in at most `max` characters (at least 32).
pub fn text(value: &str, max: usize) -> String {
    if value.chars().count() <= max {
        return value.to_owned();
    }
    let mark = format!("…sha256:{}", &hex(&Sha256::digest(value))[..16]);
    let kept = max - mark.chars().count();
    value.chars().take(kept).chain(mark.chars()).collect()
}

/// At most 64 entries of bounded size, free of secrets: those named in `first`, then in alphabetical order. A name that is
/// valid as one in Kubernetes stays as it is.
pub fn map(entries: BTreeMap<String, String>, first: &[&str]) -> BTreeMap<String, String> {
    let total = entries.len();
    let cut = |(key, value): (String, String)| {
        // Redaction looks at the whole text; of what is much too long the beginning is all that stays.
        let told: String = value.chars().take(LOOKED_AT).collect();
        let redacted =
            if is_secret_name(&key) && !first.contains(&key.as_str()) { HIDDEN.to_owned() } else { redact(&told) };
        let value = if redacted == told { text(&value, MAX_VALUE) } else { text(&redacted, MAX_VALUE) };
        (text(&key, MAX_KEY), value)
    };
    if total <= MAX_ENTRIES {
        return entries.into_iter().map(cut).collect();
    }
    let (mut kept, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| first.contains(&key.as_str()));
    kept.truncate(MAX_ENTRIES - 1);
    let room = MAX_ENTRIES - 1 - kept.len();
    let mut others = others.into_iter();
    kept.extend(others.by_ref().take(room));
    let mut rest = Sha256::new();
    for (key, value) in others {
        for part in [key, value] {
            rest.update(part.len().to_be_bytes());
            rest.update(part);
        }
    }
    let note = format!("{} of {total} entries, sha256:{}", total - kept.len(), &hex(&rest.finalize())[..16]);
    let mut bounded: BTreeMap<_, _> = kept.into_iter().map(cut).collect();
    bounded.insert(DROPPED.into(), note);
    bounded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_stays_and_long_text_is_cut_marked_and_told_apart() {
        assert_eq!(text("short", 63), "short");
        let one = text(&"ä".repeat(1_000_000), 1024);
        let two = text(&"ä".repeat(1_000_001), 1024);
        assert_eq!(one.chars().count(), 1024);
        assert!(one.contains("…sha256:"));
        assert_ne!(one, two);
    }

    #[test]
    fn no_secret_of_a_label_or_an_annotation_is_kept_and_names_of_objects_are() {
        let entries = [
            ("summary", "login failed with password=c4n4ry", "login failed with password=[redacted]"),
            ("api_token", "c4n4ry", "[redacted]"),
            ("runbook", "https://bob:c4n4ry@wiki/x", "https://[redacted]@wiki/x"),
            ("key", "-----BEGIN PRIVATE KEY-----\nc4n4ry", "[redacted]"),
            ("pod", "token-issuer-7d4b9c6f5d-x2k4j", "token-issuer-7d4b9c6f5d-x2k4j"),
            ("namespace", "secret-santa", "secret-santa"),
            ("secret", "db", "db"),
        ];
        let told = entries.map(|(key, value, _)| (key.to_owned(), value.to_owned())).into();
        let kept = map(told, &["pod", "namespace", "secret"]);
        let expected: BTreeMap<_, _> = entries.map(|(key, _, kept)| (key.to_owned(), kept.to_owned())).into();
        assert_eq!(kept, expected);
    }

    #[test]
    fn five_thousand_labels_become_sixty_four_and_the_needed_ones_stay() {
        let mut labels: BTreeMap<_, _> = (0..5000).map(|n| (format!("a{n:04}"), "x".repeat(2000))).collect();
        labels.insert("namespace".into(), "shop".into());
        let bounded = map(labels, &["namespace"]);
        assert_eq!(bounded.len(), 64);
        assert_eq!(bounded["namespace"], "shop");
        assert!(bounded[DROPPED].starts_with("4938 of 5001 entries"));
        assert!(bounded.values().all(|value| value.chars().count() <= 1024));
    }
}
