//! The other side of [`crate::Program`]: a process that compiles one policy and evaluates it, line by line.
//!
//! It has no environment, no files and no network of its own to use, little memory, and no say: who asked stops
//! it when it is late, and takes its end for a refusal.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::{Compiled, Failure, MAX_ANSWER};

/// Address space of the process in bytes.
const MEMORY: u64 = 192 * 1024 * 1024;
/// Processor time of the process in seconds, all evaluations together; then it is started anew.
const PROCESSOR: u64 = 60;

/// The first line: what is to be evaluated.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub package: String,
    pub files: BTreeMap<String, String>,
}

/// One line back for each line: whether it was compiled, then an answer for each input.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Reply {
    Answer(Value),
    Broken(String),
    Failed(String),
    Slow,
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Slow => Self::Slow,
            Failure::Broken(what) => Self::Broken(what),
            Failure::Failed(what) => Self::Failed(what),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl Reply {
    pub(crate) fn result(self) -> Result<Value, Failure> {
        match self {
            Self::Answer(value) => Ok(value),
            Self::Broken(what) => Err(Failure::Broken(what)),
            Self::Failed(what) => Err(Failure::Failed(what)),
            Self::Slow => Err(Failure::Slow),
        }
    }
}

/// Serves standard input until it ends. Call it in a process that does nothing else.
pub fn serve() -> io::Result<()> {
    confine()?;
    let mut lines = io::stdin().lock().lines();
    let mut out = io::stdout().lock();
    let Some(order) = lines.next().transpose()? else { return Ok(()) };
    let order: Order = serde_json::from_str(&order)?;
    let mut compiled = match Compiled::new(&order.package, &order.files) {
        Ok(compiled) => compiled,
        Err(failure) => return say(&mut out, &failure.into()),
    };
    say(&mut out, &Reply::Answer(Value::Null))?;
    for line in lines {
        let input: Value = serde_json::from_str(&line?)?;
        let reply = compiled.evaluate(&input).map_or_else(Reply::from, Reply::Answer);
        say(&mut out, &reply)?;
    }
    Ok(())
}

fn confine() -> io::Result<()> {
    for (resource, limit) in [(Resource::As, MEMORY), (Resource::Cpu, PROCESSOR), (Resource::Core, 0)] {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(())
}

fn say(out: &mut impl Write, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_string(reply)?;
    if line.len() > MAX_ANSWER {
        line = serde_json::to_string(&Reply::Failed(format!("its answer is longer than {MAX_ANSWER} bytes")))?;
    }
    line.push('\n');
    out.write_all(line.as_bytes())?;
    out.flush()
}
