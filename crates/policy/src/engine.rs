//! One compiled policy. What runs here may be stopped by time, but not by force: see [`crate::process`].

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

/// How long one evaluation may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(1);
/// Longest answer of a policy, as JSON.
pub(crate) const MAX_ANSWER: usize = 256 * 1024;

/// Why a policy gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It cannot be compiled: file, line and what is wrong.
    #[error("{0}")]
    Broken(String),
    /// It was compiled and fails.
    #[error("it fails: {0}")]
    Failed(String),
    /// It took longer than it may.
    #[error("it took longer than {} s", LIMIT.as_secs())]
    Slow,
    /// Its process ended: it recursed without end or took too much memory.
    #[error("its process ended: it recurses without end or takes too much memory")]
    Crashed,
    /// The process that evaluates it could not be started.
    #[error("it cannot be evaluated: {0}")]
    NoProcess(String),
    /// It says nothing where it has to.
    #[error("{0}")]
    Undefined(String),
}

/// A policy that is compiled.
#[derive(Clone)]
pub(crate) struct Compiled {
    engine: Engine,
    query: String,
}

impl Compiled {
    /// Compiles the files of one policy, whose answer is the rules of `package`.
    pub(crate) fn new(package: &str, files: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let mut engine = Engine::new();
        let check_interval = NonZeroU32::MIN.saturating_add(99);
        engine.set_execution_timer_config(ExecutionTimerConfig { limit: LIMIT, check_interval });
        let mut packages = Vec::new();
        for (name, text) in files {
            let package = engine.add_policy(name.clone(), text.clone());
            packages.push(package.map_err(|error| Failure::Broken(in_one_line(&format!("{error:#}"))))?);
        }
        let query = format!("data.{package}");
        if !packages.contains(&query) {
            let files: Vec<_> = files.keys().map(String::as_str).collect();
            return Err(Failure::Broken(format!("{}: no `package {package}`", files.join(", "))));
        }
        Ok(Self { engine, query })
    }

    /// All rules of the package for this input.
    pub(crate) fn evaluate(&mut self, input: &serde_json::Value) -> Result<serde_json::Value, Failure> {
        self.engine.set_input(Value::from(input.clone()));
        let failed = |error: &str| {
            if error.contains("exceeded time limit") { Failure::Slow } else { Failure::Failed(in_one_line(error)) }
        };
        let results =
            self.engine.eval_query(self.query.clone(), false).map_err(|error| failed(&format!("{error:#}")))?;
        let value = results.result.first().and_then(|result| result.expressions.first());
        let answer = value.map_or(Ok(serde_json::Value::Null), |value| serde_json::to_value(&value.value));
        answer.map_err(|error| failed(&error.to_string()))
    }
}

/// The parser's errors show the place over several lines: `--> FILE:LINE:COLUMN`, the source, `error: what`.
fn in_one_line(error: &str) -> String {
    let place = error.lines().find_map(|line| line.trim().strip_prefix("--> "));
    let what = error.lines().find_map(|line| line.trim().strip_prefix("error: "));
    let text = match (place, what) {
        (Some(place), Some(what)) => format!("{}: {}", place.trim(), what.trim()),
        _ => error.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    text.chars().take(400).collect()
}
