//! What may be part of an API path: names from outside are checked here before they are used in one.

/// True for a DNS-1123 subdomain: the name of a namespaced object.
pub fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_part)
}

/// True for a DNS-1123 label: the name of a namespace.
pub fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_part(name)
}

/// True for `v1` or `group/version` as the API server serves them.
pub fn is_api_version(api_version: &str) -> bool {
    match api_version.split_once('/') {
        Some((group, version)) => is_subdomain(group) && is_label(version),
        None => is_label(api_version),
    }
}

fn is_part(part: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_inert_in_a_path_pass() {
        for good in ["web", "web-0", "a.b-c.d", "10.0.0.7", "7"] {
            assert!(is_subdomain(good), "{good}");
        }
        let long = "a".repeat(254);
        for bad in [
            "",
            ".",
            "..",
            "../kube-system",
            "a/b",
            "a..b",
            "-a",
            "a-",
            "A",
            "a b",
            "a\r\nb",
            "a%2fb",
            "$(id)",
            "{{x}}",
            "a?b",
            "a:9100",
            "ä",
            &long,
        ] {
            assert!(!is_subdomain(bad), "{bad:?}");
            assert!(!is_label(bad), "{bad:?}");
        }
        assert!(!is_label("a.b"));
    }

    #[test]
    fn api_versions_have_a_version_and_at_most_one_group() {
        for good in ["v1", "apps/v1", "argoproj.io/v1alpha1"] {
            assert!(is_api_version(good), "{good}");
        }
        for bad in ["", "/v1", "apps/", "a/b/c", "../v1", "apps/v1.2"] {
            assert!(!is_api_version(bad), "{bad:?}");
        }
    }
}
