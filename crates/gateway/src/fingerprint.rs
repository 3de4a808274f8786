//! The identity of trouble (R2.4): equal fingerprints are one episode, whoever reports them.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// What a fingerprint is made of.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Name of the cluster.
    pub cluster: &'a str,
    /// Namespace of the target, empty when it has none.
    pub namespace: &'a str,
    /// Kind of the top-level owner, empty when none was found.
    pub kind: &'a str,
    /// Name of the top-level owner, empty when none was found.
    pub name: &'a str,
    /// Name of the alert, where the target is no workload.
    pub alert: Option<&'a str>,
}

/// SHA-256 as 64 hex digits. Each part is preceded by its length, so no two lists of parts meet.
pub fn fingerprint(identity: &Identity<'_>) -> String {
    let Identity { cluster, namespace, kind, name, alert } = *identity;
    let mut hash = Sha256::new();
    for part in [cluster, namespace, kind, name].into_iter().chain(alert) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cluster: &str, namespace: &str, kind: &str, name: &str, alert: Option<&str>) -> String {
        fingerprint(&Identity { cluster, namespace, kind, name, alert })
    }

    #[test]
    fn every_part_counts_and_none_can_pose_as_another() {
        let all = [
            of("", "shop", "Deployment", "web", None),
            of("eu", "shop", "Deployment", "web", None),
            of("", "shop2", "Deployment", "web", None),
            of("", "shop", "StatefulSet", "web", None),
            of("", "shop", "Deployment", "web2", None),
            of("", "shop", "Deployment", "web", Some("")),
            of("", "shop", "Deployment", "web", Some("Down")),
            of("", "shopD", "eployment", "web", None),
            of("sh", "op", "Deployment", "web", None),
            of("", "", "", "", Some("Down")),
            of("", "", "", "Down", None),
        ];
        for (index, one) in all.iter().enumerate() {
            assert_eq!(one.len(), 64);
            assert!(one.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
            assert!(!all[index + 1..].contains(one), "{index}");
        }
    }

    #[test]
    fn the_value_never_changes_between_releases() {
        assert_eq!(
            of("local", "shop", "Deployment", "web", None),
            "0074ccc4788d908a53a5b91009cfc012e2e8e61737b52cfadefd3ae46eaa498c"
        );
    }
}
