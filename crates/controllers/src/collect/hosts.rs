//! Which hosts a text names that can be Services: in variables, arguments and logs.
//!
//! A bare word counts only where a host stands: behind `//` or `@`, before a port, or as the value of a
//! variable that is called so. User and password of a URL never come out of here.

/// A host that may be a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    /// First label: the Service.
    pub service: String,
    /// Second label: its namespace, where one is named.
    pub namespace: Option<String>,
    /// True when it can be nothing but a Service: it is named with `.svc`.
    pub certain: bool,
    /// As it was written.
    pub written: String,
}

/// Hosts of a text; `is_host` when the text as a whole is known to be one or a list of some.
pub fn hosts(text: &str, is_host: IsHost) -> Vec<Host> {
    let mut found: Vec<Host> = Vec::new();
    let apart = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"' | '\'' | '(' | ')' | '[' | ']');
    for word in text.split(apart) {
        let (behind_slashes, rest) = match word.split_once("//") {
            Some((_, rest)) => (true, rest),
            None => (false, word.rsplit('=').next().unwrap_or_default()),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (behind_at, authority) = match authority.rsplit_once('@') {
            Some((_, host)) => (true, host),
            None => (false, authority),
        };
        let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
        let has_port = port.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u16>().is_ok();
        let Some(host) = parse(name.trim_end_matches('.')) else { continue };
        let stands = behind_slashes || behind_at || has_port || host.certain || is_host == IsHost::Known;
        if stands && !found.contains(&host) {
            found.push(host);
        }
    }
    found
}

/// Whether a text as a whole is known to be a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsHost {
    /// By the name of the variable.
    Known,
    /// Only where a word stands like one.
    Unknown,
}

impl IsHost {
    /// By the name of a variable.
    pub fn of_variable(name: &str) -> Self {
        let name = name.to_lowercase();
        let words = ["host", "url", "uri", "addr", "server", "endpoint", "service", "broker", "upstream"];
        if words.iter().any(|word| name.contains(word)) { Self::Known } else { Self::Unknown }
    }
}

fn parse(name: &str) -> Option<Host> {
    let name = name.to_lowercase();
    let labels: Vec<&str> = name.split('.').collect();
    let is_label = |label: &&str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A Service's name begins with a letter, so an address is none.
    let begins = labels.first()?.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !begins || !labels.iter().all(is_label) {
        return None;
    }
    let (namespace, certain) = match labels.get(1..)? {
        [] => (None, false),
        [namespace] => (Some(*namespace), false),
        [namespace, "svc"] | [namespace, "svc", "cluster", "local"] => (Some(*namespace), true),
        _ => return None,
    };
    Some(Host {
        service: labels.first().map(ToString::to_string)?,
        namespace: namespace.map(ToOwned::to_owned),
        certain,
        written: name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, is_host: IsHost, expected: &[&str]) {
        let found: Vec<String> = hosts(text, is_host)
            .iter()
            .map(|one| {
                format!(
                    "{}/{}{}",
                    one.namespace.as_deref().unwrap_or("."),
                    one.service,
                    if one.certain { "!" } else { "" }
                )
            })
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn hosts_are_found_where_they_stand() {
        check("http://api/v1", IsHost::Unknown, &["./api"]);
        check("db:5432", IsHost::Unknown, &["./db"]);
        check("dial tcp: lookup db.data.svc.cluster.local: no such host", IsHost::Unknown, &["data/db!"]);
        check("connect to db.data.svc failed", IsHost::Unknown, &["data/db!"]);
        check("could not connect to db.data:5432: connection refused", IsHost::Unknown, &["data/db"]);
        check("kafka-0:9092,kafka-1:9092", IsHost::Known, &["./kafka-0", "./kafka-1"]);
        check("db", IsHost::Known, &["./db"]);
        check("--upstream=api:80", IsHost::Unknown, &["./api"]);
    }

    #[test]
    fn what_is_no_service_is_not_found() {
        for text in [
            "db",
            "10.0.0.1:5432",
            "https://www.example.com/x",
            "https://a.b.c.d",
            "level:info",
            "12:30",
            "a_b:80",
            "",
            ":80",
            "//",
            "-:1",
        ] {
            check(text, IsHost::Unknown, &[]);
        }
    }

    #[test]
    fn user_and_password_never_come_out() {
        check("postgres://user.name:pa.ss@db.data:5432/x?sslmode=a.b", IsHost::Known, &["data/db"]);
        check("redis://:s3cret@cache:6379", IsHost::Unknown, &["./cache"]);
    }
}
