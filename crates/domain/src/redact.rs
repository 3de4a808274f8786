//! Takes secrets out of text before it is kept, shown or sent anywhere (R3.2).
//!
//! It errs on the side of hiding: a harmless word after `token=` is lost, a secret is not kept. Control
//! characters go too, so that colour codes cannot split a key from its value and logs cannot drive a
//! terminal. Text must be redacted whole, before it is cut into lines or shortened: half a key block is
//! still half a key. Deliberately absent: guessing that a word without any key beside it is a secret.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What stands in place of a secret.
pub const HIDDEN: &str = "[redacted]";

/// The same text without secrets and without control characters other than line feed and tab.
pub fn redact(text: &str) -> String {
    let mut text = Cow::Owned(printable(text));
    for rule in RULES.iter() {
        if let Cow::Owned(redacted) = rule.pattern.replace_all(&text, |found: &Captures<'_>| hide(rule.keeps, found)) {
            text = Cow::Owned(redacted);
        }
    }
    text.into_owned()
}

/// At most `max_chars` characters of the text; an ellipsis shows that some are gone.
pub fn bounded(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        None => text.to_owned(),
        Some(_) if max_chars == 0 => String::new(),
        Some(_) => text.chars().take(max_chars - 1).chain(['…']).collect(),
    }
}

/// True when what goes by this name has to be taken for a secret, such as `DB_PASSWORD`.
pub fn is_secret_name(name: &str) -> bool {
    SECRET_NAME.is_match(name)
}

/// Words that make the name of a setting, a flag or a variable a secret's name.
const WORDS: &str = r"(?:pass(?:word|wd|phrase|code)|\bpass\b|pwd|secret|token|api[_.-]?key|access[_.-]?key|private[_.-]?key|[\w-][_.-]key\b|(?-i:[a-z]Key\b)|credential|_pass\b|\bpgpass\b|_auth\b|\bauth\b|bearer|session[_.-]?id|cookie|connection[_.-]?string|\bdsn\b|_dsn\b|\bjwt\b|\bsalt\b|signature)";

static SECRET_NAME: LazyLock<Regex> = LazyLock::new(|| compile(&format!("(?i){WORDS}")));

/// What is looked for, and how much of it may stay.
struct Rule {
    pattern: Regex,
    keeps: Keeps,
}

/// Which part of a match is no secret.
#[derive(Clone, Copy)]
enum Keeps {
    /// Nothing.
    Nothing,
    /// The group `keep`, in front of the secret; and the group `end` after it, if there is one.
    Frame,
}

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let name = format!(r"[\w.-]*{WORDS}[\w.-]*");
    let value = r#"(?:\[redacted\]|\\+"[^"]*"?|\\+'[^']*'?|"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|`[^`]*`?|(?:[^\s,;&)}\]"'`\\{\[]|[{\[][^\s"'\\])[^\s,;&"'`\\]*)"#;
    vec![
        // Key blocks, also with their beginning or end cut off, also with `\n` written out.
        whole(r"-----BEGIN [A-Z0-9 ]+-----[\s\S]*?(?:-----END [A-Z0-9 ]+-----|\z)"),
        whole(r"(?:[A-Za-z0-9+/=]{16,}(?:\s|\\n)+)*[A-Za-z0-9+/=]*(?:\s|\\n)*-----END [A-Z0-9 ]+-----"),
        // Tokens that are known by their shape.
        whole(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?"),
        whole(r"\b(?:AKIA|ASIA|AIDA|AROA|ABIA|ACCA)[A-Z0-9]{16}\b"),
        whole(
            r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[a-z]-|sk-|sk_live_|sk_test_|rk_live_|pk_live_|npm_|hvs\.|dop_v1_|AIza|ya29\.|SG\.|shpat_|pypi-)[A-Za-z0-9_.-]{12,}",
        ),
        // Headers, to the end of the line or of the string they stand in.
        frame(r#"(?i)(?P<keep>\b(?:proxy-)?authorization\\*["']?\s*[:=]\s*\\*["']?)[^\r\n"'\\]+"#),
        frame(r#"(?i)(?P<keep>\b(?:set-)?cookie\\*["']?\s*[:=]\s*\\*["']?)[^\r\n"'\\]+"#),
        frame(r"(?i)(?P<keep>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"),
        // User and password of a URL.
        frame(r#"(?i)(?P<keep>\b[a-z][a-z0-9+.-]*://)(?:[^\s/:@"'<>]*:[^\s"'<>]+|[^\s/?#"'<>]+)(?P<end>@)"#),
        frame(r"(?P<keep>(?:^|[\s\[,])(?:-u|--user)[\s=]+[^\s:]+:)\S+"),
        // An environment variable as Kubernetes writes it.
        frame(&format!(
            r#"(?i)(?P<keep>\\*"?name\\*"?\s*[:=]\s*\\*"?{name}\\*"?\s*,?\s*\\*"?value\\*"?\s*[:=]\s*){value}"#
        )),
        // key=value, key: value, JSON, YAML.
        frame(&format!(r#"(?i)(?P<keep>{name}\\*["'`]?\s*(?::=|=>|[:=])\s*){value}"#)),
        // --password value, also as a list of strings.
        frame(&format!(r#"(?i)(?P<keep>(?:^|[\s"'])--?{name}(?:\s+|\\*["']\s*,\s*)){value}"#)),
    ]
});

fn whole(pattern: &str) -> Rule {
    Rule { pattern: compile(pattern), keeps: Keeps::Nothing }
}

fn frame(pattern: &str) -> Rule {
    Rule { pattern: compile(pattern), keeps: Keeps::Frame }
}

#[expect(clippy::expect_used, reason = "the patterns are constants and every one is compiled by the tests")]
fn compile(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

fn hide(keeps: Keeps, found: &Captures<'_>) -> String {
    match keeps {
        Keeps::Nothing => HIDDEN.to_owned(),
        Keeps::Frame => {
            let part = |name| found.name(name).map_or("", |part| part.as_str());
            format!("{}{HIDDEN}{}", part("keep"), part("end"))
        }
    }
}

static ESCAPES: LazyLock<Regex> =
    LazyLock::new(|| compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])"));

fn printable(text: &str) -> String {
    let plain = ESCAPES.replace_all(text, "");
    plain.chars().filter(|c| matches!(c, '\n' | '\t') || !(c.is_control() || is_invisible(*c))).collect()
}

/// Zero-width and direction-changing characters: they hide text from people, not from programs.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret that must never be seen again.
    const CANARY: &str = "c4n4ryS3cretValue9x";

    #[track_caller]
    fn hides(text: &str) {
        let text = text.replace("CANARY", CANARY);
        let redacted = redact(&text);
        assert!(!redacted.contains(CANARY), "{text:?} became {redacted:?}");
        assert!(redacted.contains(HIDDEN), "{redacted:?}");
        assert_eq!(redact(&redacted), redacted, "a second time changes it");
    }

    #[track_caller]
    fn keeps(text: &str) {
        assert_eq!(redact(text), text);
    }

    #[test]
    fn no_canary_survives_beside_a_secret_name() {
        for text in [
            "password=CANARY",
            "PASSWORD: CANARY",
            "db.password = CANARY, user=bob",
            "DB_PASSWORD=CANARY",
            "SPRING_DATASOURCE_PASSWORD='CANARY'",
            "MYSQL_PWD=CANARY exec mysqld",
            "PGPASS=CANARY",
            "SMTP_PASS=CANARY",
            "passphrase: \"CANARY with spaces\"",
            "api_key=CANARY",
            "apiKey: CANARY",
            "X-API-Key: CANARY",
            "aws_secret_access_key = CANARY",
            "client_secret=CANARY&grant_type=x",
            "https://h/p?a=1&access_token=CANARY&b=2",
            "STRIPE_KEY=CANARY",
            "privateKey=CANARY",
            "refresh-token => CANARY",
            "level=error msg=\"login\" token=CANARY",
            "password := CANARY",
            "password=\"a\\\"CANARY\"",
            "sessionid=CANARY",
            "connectionString=CANARY",
        ] {
            hides(text);
        }
    }

    #[test]
    fn no_canary_survives_in_json_and_lists() {
        for text in [
            r#"{"password":"CANARY"}"#,
            r#"{"password" : "CANARY", "user": "bob"}"#,
            r#"{"auth": {"clientSecret": "CANARY"}}"#,
            r#"msg="{\"password\":\"CANARY\"}""#,
            r#"{\\\"token\\\":\\\"CANARY\\\"}"#,
            r#"{"name":"DB_PASSWORD","value":"CANARY"}"#,
            "- name: API_TOKEN\n  value: CANARY",
            r#"["app","--password","CANARY"]"#,
            "{'secret': 'CANARY'}",
        ] {
            hides(text);
        }
    }

    #[test]
    fn no_canary_survives_in_flags_headers_and_urls() {
        for text in [
            "app --password CANARY --verbose",
            "app --db-password=CANARY",
            "app -token CANARY",
            "curl -u bob:CANARY https://h",
            "Authorization: Bearer CANARY",
            "authorization: Basic CANARY",
            "Authorization: Digest username=bob, response=CANARY",
            r#"headers={"Authorization":"Bearer CANARY"}"#,
            "sent bearer CANARY to upstream",
            "Set-Cookie: sid=CANARY; Path=/",
            "postgres://bob:CANARY@db:5432/x",
            "redis://:CANARY@redis:6379",
            "amqp://bob:p@ss/CANARY@mq",
            "https://CANARY@github.com/x/y",
            "connecting to mongodb+srv://u:CANARY@h/?x=1",
        ] {
            hides(text);
        }
    }

    #[test]
    fn tokens_are_known_by_their_shape() {
        for text in [
            "using AKIAIOSFODNN7EXAMPLE now",
            "got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl here",
            "clone with ghp_0123456789abcdefghijABCDEFGHIJ0123",
            "glpat-0123456789abcdefghij",
            "xoxb-123456789012-abcdefghijkl",
            "sk-proj-0123456789abcdefghijklmn",
        ] {
            let redacted = redact(text);
            assert!(redacted.contains(HIDDEN), "{redacted}");
            assert!(
                !redacted.contains("0123456789ab") && !redacted.contains("IOSFODNN") && !redacted.contains("c2lnb")
            );
        }
    }

    #[test]
    fn key_blocks_go_even_when_cut_off_at_either_end() {
        let body = "MIIEpAIBAAKCAQEA7canarycanarycanary\nQ2FuYXJ5Q2FuYXJ5Q2FuYXJ5Q2FuYXJ5\n";
        for text in [
            format!("a\n-----BEGIN RSA PRIVATE KEY-----\n{body}-----END RSA PRIVATE KEY-----\nb"),
            format!("a\n-----BEGIN OPENSSH PRIVATE KEY-----\n{body}"),
            format!("{body}-----END PRIVATE KEY-----\nb"),
            format!(
                "key=\"-----BEGIN EC PRIVATE KEY-----\\n{}-----END EC PRIVATE KEY-----\"",
                body.replace('\n', "\\n")
            ),
        ] {
            let redacted = redact(&text);
            assert!(!redacted.contains("MIIE") && !redacted.contains("Q2Fu"), "{redacted}");
        }
        assert_eq!(redact("a\n-----BEGIN X-----\nYWJj\n-----END X-----\nb"), "a\n[redacted]\nb");
    }

    #[test]
    fn colour_codes_and_invisible_characters_do_not_hide_a_secret() {
        hides("pass\u{1b}[31mword\u{1b}[0m=\u{1b}[1mCANARY");
        hides("pass\u{200b}word=CANARY");
        assert_eq!(redact("a\u{0}b\u{7}\r\nc\td\u{1b}]0;title\u{7}e"), "ab\nc\tde");
    }

    #[test]
    fn what_a_diagnosis_needs_is_kept() {
        for text in [
            "Back-off restarting failed container app in pod web-1_shop(0f3c)",
            "Failed to pull image \"registry/app:v2\": not found",
            "image registry/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "secret \"db\" not found",
            "configmap \"web-config\" not found",
            "http://10.0.0.1:8080/healthz: connection refused",
            "exit code 137",
            "key: 5",
            "panic: runtime error: index out of range [3] with length 3",
            "dial tcp 10.96.0.10:53: i/o timeout",
            "compass=north bypass: on",
        ] {
            keeps(text);
        }
    }

    #[test]
    fn the_rest_of_the_line_stays_readable() {
        assert_eq!(redact("user=bob password=hunter2 host=db"), "user=bob password=[redacted] host=db");
        assert_eq!(redact(r#"{"password":"x","host":"db"}"#), r#"{"password":[redacted],"host":"db"}"#);
        assert_eq!(redact("postgres://bob:x@db/shop"), "postgres://[redacted]@db/shop");
    }

    #[test]
    fn names_of_secrets_are_told_from_others() {
        for name in ["DB_PASSWORD", "token", "apiKey", "SIGNING_KEY", "REDIS_AUTH", "GITHUB_TOKEN", "sessionId"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["LOG_LEVEL", "PATH", "KEYSPACE", "MONKEY", "AUTHOR", "PORT", "HOSTNAME", "COMPASS"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn bounded_counts_characters_and_shows_the_cut() {
        assert_eq!(bounded("größe", 5), "größe");
        assert_eq!(bounded("größen", 5), "größ…");
        assert_eq!(bounded("abc", 0), "");
        assert_eq!(bounded("", 0), "");
    }

    #[test]
    fn a_long_text_takes_little_time() {
        let text = "password=".repeat(2_000) + &"a".repeat(50_000) + &"=\"".repeat(2_000);
        let begin = std::time::Instant::now();
        redact(&text);
        assert!(begin.elapsed() < std::time::Duration::from_secs(5), "{:?}", begin.elapsed());
    }
}
