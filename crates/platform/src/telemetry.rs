//! Log output: one JSON object per line for machines, or text for people, on standard error.
//!
//! Deliberately absent: traces to a collector, and log files.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogConfig, LogFormat, LogLevel};

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RUST_LOG` is no list of directives.
    #[error("environment variable RUST_LOG: {0}; write it as info,kubernaut_gateway=debug")]
    Directives(#[from] ParseError),
    /// Something else in this process already receives the logs.
    #[error("logging was started twice: {0}")]
    AlreadyStarted(#[from] TryInitError),
}

/// Sends the logs of this process to standard error; once per process, first thing in `main`.
///
/// `RUST_LOG` wins over the configured level. Pretty output is coloured only when standard error is a
/// terminal and `NO_COLOR` is unset.
pub fn init(config: &LogConfig) -> Result<(), TelemetryError> {
    let directives = std::env::var("RUST_LOG").ok().filter(|value| !value.trim().is_empty());
    let filter = filter(config.level, directives.as_deref())?;
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let look = Look { format: config.format, colour: !no_color && std::io::stderr().is_terminal() };
    subscriber(look, filter, std::io::stderr).try_init()?;
    Ok(())
}

#[derive(Clone, Copy)]
struct Look {
    format: LogFormat,
    colour: bool,
}

fn filter(level: LogLevel, directives: Option<&str>) -> Result<EnvFilter, ParseError> {
    let (libraries, own) = match level {
        LogLevel::Trace => ("info", "trace"),
        LogLevel::Debug => ("info", "debug"),
        LogLevel::Info => ("info", "info"),
        LogLevel::Warn => ("warn", "warn"),
        LogLevel::Error => ("error", "error"),
    };
    // Directives match by prefix, so the last one covers all crates of the project. The span that kube puts
    // around each reconciliation says nothing that the line in it does not.
    EnvFilter::try_new(
        directives.map_or_else(|| format!("{libraries},kube_runtime=warn,kubernaut={own}"), str::to_owned),
    )
}

fn subscriber<W>(look: Look, filter: EnvFilter, writer: W) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match look.format {
        LogFormat::Json => {
            let json = builder.json().flatten_event(true).with_current_span(false).with_span_list(true);
            Box::new(json.finish())
        }
        LogFormat::Pretty => Box::new(builder.with_ansi(look.colour).compact().finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(look: Look, filter: EnvFilter, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        tracing::subscriber::with_default(subscriber(look, filter, move || writer.clone()), log);
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
    }

    const JSON: Look = Look { format: LogFormat::Json, colour: false };

    #[test]
    fn a_json_line_has_time_target_level_message_fields_and_spans() {
        let text = logged(JSON, filter(LogLevel::Info, None).unwrap(), || {
            let span = tracing::info_span!("reconcile", request = "rr-1");
            let _entered = span.enter();
            tracing::info!(phase = "Executing", "phase changed");
        });
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["message"], "phase changed");
        assert_eq!(line["phase"], "Executing");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["target"], module_path!());
        assert_eq!(line["spans"][0]["request"], "rr-1");
        line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    }

    #[test]
    fn pretty_text_is_coloured_only_when_asked() {
        for (colour, expect) in [(true, true), (false, false)] {
            let look = Look { format: LogFormat::Pretty, colour };
            let text = logged(look, filter(LogLevel::Info, None).unwrap(), || tracing::warn!("careful"));
            assert!(text.contains("careful"));
            assert_eq!(text.contains('\u{1b}'), expect, "{text:?}");
        }
    }

    #[test]
    fn the_level_counts_for_the_project_while_libraries_stay_at_info() {
        let text = logged(JSON, filter(LogLevel::Debug, None).unwrap(), || {
            tracing::debug!(target: "kubernaut_gateway::http", "own detail");
            tracing::debug!(target: "hyper::client", "library detail");
            tracing::info!(target: "hyper::client", "library news");
        });
        assert!(text.contains("own detail") && text.contains("library news"));
        assert!(!text.contains("library detail"));
    }

    #[test]
    fn rust_log_wins_over_the_level() {
        let text = logged(JSON, filter(LogLevel::Error, Some("hyper=debug")).unwrap(), || {
            tracing::debug!(target: "hyper::client", "asked for");
            tracing::error!("not asked for");
        });
        assert!(text.contains("\"asked for\"") && !text.contains("not asked for"), "{text}");
    }

    #[test]
    fn wrong_directives_are_refused_with_an_example() {
        let error = TelemetryError::from(filter(LogLevel::Info, Some("kube=loud")).unwrap_err());
        assert!(error.to_string().contains("RUST_LOG"), "{error}");
    }
}
