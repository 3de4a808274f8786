//! Patterns of event types, as sinks register them: `*`, `workflow.*`, `*.failed` or a whole name.
//!
//! A `*` stands for one or more words. Deliberately absent: partial words (`work*`), negation.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    words: Vec<Word>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Word {
    Any,
    Exactly(String),
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a pattern: {why}; write `*`, `workflow.*`, `*.failed` or a whole name such as `workflow.complete`"
)]
pub struct PatternError {
    text: String,
    why: &'static str,
}

impl Pattern {
    /// True when the pattern covers the name (without `io.kubernaut.`).
    pub fn matches(&self, name: &str) -> bool {
        let words: Vec<&str> = name.split('.').collect();
        covers(&self.words, &words)
    }
}

fn covers(pattern: &[Word], words: &[&str]) -> bool {
    match (pattern, words) {
        ([], []) => true,
        ([], _) | (_, []) => false,
        ([Word::Exactly(expected), pattern @ ..], [word, words @ ..]) => expected == word && covers(pattern, words),
        ([Word::Any, pattern @ ..], [_, words @ ..]) => (0..=words.len()).any(|skip| covers(pattern, &words[skip..])),
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let wrong = |why| PatternError { text: text.chars().take(128).collect(), why };
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        if text.len() > 128 {
            return Err(wrong("it has more than 128 characters"));
        }
        let mut words = Vec::new();
        for word in text.split('.') {
            words.push(match word {
                "*" => Word::Any,
                "" => return Err(wrong("a word between dots is empty")),
                word if word.contains('*') => return Err(wrong("`*` stands for whole words only")),
                word if word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                    Word::Exactly(word.to_owned())
                }
                _ => return Err(wrong("words have lower-case letters and `_` only")),
            });
        }
        match &words[..] {
            [Word::Exactly(_)] => Err(wrong("a name has a noun and a phase, joined by a dot")),
            _ => Ok(Self { words }),
        }
    }
}

impl Display for Pattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        for (index, word) in self.words.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            f.write_str(match word {
                Word::Any => "*",
                Word::Exactly(word) => word,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expect: bool) {
        let pattern: Pattern = pattern.parse().expect("a pattern");
        assert_eq!(pattern.matches(name), expect, "{pattern} on {name}");
    }

    #[test]
    fn patterns_match_whole_words() {
        check("*", "workflow.complete", true);
        check("workflow.*", "workflow.rolling_back", true);
        check("workflow.*", "action.complete", false);
        check("workflow.*", "workflow", false);
        check("*.failed", "action.failed", true);
        check("*.failed", "action.complete", false);
        check("workflow.complete", "workflow.complete", true);
        check("workflow.complete", "workflow.complete.twice", false);
        check("*.*", "workflow.complete", true);
        check("cluster.*", "cluster.phase.transitioned", true);
        check("*.transitioned", "cluster.phase.transitioned", true);
    }

    #[test]
    fn a_wrong_pattern_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "empty"),
            ("workflow", "a noun and a phase"),
            ("work*", "whole words"),
            ("workflow..failed", "between dots"),
            ("Workflow.*", "lower-case"),
            ("workflow.complete\n", "lower-case"),
        ] {
            let error = text.parse::<Pattern>().expect_err(text).to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_pattern_is_shown_as_it_was_written() {
        for text in ["*", "workflow.*", "*.failed", "workflow.complete"] {
            assert_eq!(text.parse::<Pattern>().expect("a pattern").to_string(), text);
        }
    }
}
