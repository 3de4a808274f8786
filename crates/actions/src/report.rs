//! The report of a run: the termination message of the Job's container, bounded as Kubernetes bounds it.

use kubernaut_api::execution::ActionResult;

/// Longest termination message that the kubelet keeps, in bytes.
pub const MAX_REPORT: usize = 4096;
/// Longest message that the KubernetesExecution's status takes, in characters.
const MAX_MESSAGE: usize = 1024;
/// What a shortened message ends in.
const CUT: char = '…';

/// The result as JSON of at most [`MAX_REPORT`] bytes: the message is shortened first, then the state
/// before is left out (the target's annotation still has it); effect and error always stand.
pub fn report(result: &ActionResult) -> String {
    let mut result = result.clone();
    let mut limit = MAX_MESSAGE;
    loop {
        result.message = shorten(&result.message, limit);
        let json = serde_json::to_string(&result).unwrap_or_default();
        if json.len() <= MAX_REPORT {
            return json;
        }
        match limit {
            0 => result.before.clear(),
            _ => limit /= 2,
        }
    }
}

fn shorten(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(characters.saturating_sub(1)).collect();
    short.extend((characters > 0).then_some(CUT));
    short
}

#[cfg(test)]
mod tests {
    use kubernaut_api::execution::Effect;

    use super::*;

    fn check(message: &str, before: &str) -> ActionResult {
        let result = ActionResult {
            effect: Effect::Unknown,
            message: message.into(),
            error: Some("Timeout".into()),
            before: [("replicaSet".to_owned(), before.into())].into(),
            target: None,
        };
        let json = report(&result);
        assert!(json.len() <= MAX_REPORT, "{} bytes", json.len());
        let read: ActionResult = serde_json::from_str(&json).unwrap();
        assert!(read.message.chars().count() <= MAX_MESSAGE);
        assert_eq!((read.effect, read.error.as_deref()), (Effect::Unknown, Some("Timeout")));
        read
    }

    #[test]
    fn a_short_report_is_whole() {
        let read = check("scaled", "web-1");
        assert_eq!((read.message.as_str(), read.before["replicaSet"].as_str()), ("scaled", Some("web-1")));
    }

    #[test]
    fn a_long_message_is_cut_and_the_state_before_kept() {
        for character in ["a", "\u{1}", "é", "🦀", "\"", "\\"] {
            let read = check(&character.repeat(100_000), "web-1");
            assert!(read.message.ends_with(CUT), "{character:?}");
            assert_eq!(read.before["replicaSet"], "web-1");
        }
    }

    #[test]
    fn a_state_too_large_to_report_is_left_out() {
        assert!(check("scaled", &"x".repeat(5000)).before.is_empty());
    }
}
