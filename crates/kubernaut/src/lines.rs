//! How a transition reads on a terminal: one line, the same live and from history.

use anstyle::{AnsiColor, Style};
use jiff::{SignedDuration, Timestamp};

/// One transition, ready to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was recorded.
    pub at: Timestamp,
    /// Noun of its kind, such as `workflow`.
    pub noun: String,
    /// Phase after.
    pub to: String,
    /// Why, as a word.
    pub reason: String,
    /// Why, in words.
    pub message: String,
}

impl Line {
    /// The line, with the time since `start`. Styles are taken off by `anstream` where nobody sees them.
    pub fn render(&self, start: Timestamp) -> String {
        let noun = Style::new().fg_color(Some(
            match self.noun.as_str() {
                "remediation" => AnsiColor::Cyan,
                "processing" => AnsiColor::Blue,
                "analysis" => AnsiColor::Magenta,
                "workflow" => AnsiColor::Yellow,
                _ => AnsiColor::White,
            }
            .into(),
        ));
        let phase = match self.to.as_str() {
            "Completed" => Style::new().fg_color(Some(AnsiColor::Green.into())).bold(),
            "Failed" | "TimedOut" | "Cancelled" | "Rejected" => {
                Style::new().fg_color(Some(AnsiColor::Red.into())).bold()
            }
            "AwaitingApproval" | "Approval" | "Blocked" => Style::new().fg_color(Some(AnsiColor::Yellow.into())).bold(),
            _ => Style::new().bold(),
        };
        let dim = Style::new().dimmed();
        let message = if self.message.is_empty() { String::new() } else { format!(": {}", self.message) };
        format!(
            "{dim}{:>10}{dim:#}  {noun}{:<11}{noun:#}  {phase}{:<16}{phase:#}  {}{message}",
            elapsed(self.at.duration_since(start)),
            self.noun,
            self.to,
            self.reason,
        )
    }
}

/// A duration as `+1.234s`, or `+2m03.456s` above a minute.
pub fn elapsed(duration: SignedDuration) -> String {
    let millis = duration.as_millis();
    let (sign, millis) = if millis < 0 { ('-', -millis) } else { ('+', millis) };
    let (minutes, seconds, rest) = (millis / 60_000, millis / 1000 % 60, millis % 1000);
    if minutes > 0 { format!("{sign}{minutes}m{seconds:02}.{rest:03}s") } else { format!("{sign}{seconds}.{rest:03}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_like_a_stopwatch() {
        assert_eq!(elapsed(SignedDuration::from_millis(1_234)), "+1.234s");
        assert_eq!(elapsed(SignedDuration::from_millis(123_456)), "+2m03.456s");
        assert_eq!(elapsed(SignedDuration::from_millis(-5)), "-0.005s");
    }
}
