//! An administrator's policy, compiled once and evaluated in a process of its own, which can be stopped by force.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::engine::{Failure, LIMIT, MAX_ANSWER};
use crate::worker::{Order, Reply};

/// How long a start and the compilation may take.
const START: Duration = Duration::from_secs(10);
/// How long an evaluation waits for those before it.
const TURN: Duration = Duration::from_secs(10);

/// The program that serves [`crate::worker::serve`].
#[derive(Clone, Debug)]
pub struct Program {
    /// Its file.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// One policy and its process, which is started when it is first needed and again when it has ended.
pub(crate) struct Process {
    program: Program,
    order: Order,
    running: Mutex<Option<Running>>,
}

struct Running {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn new(program: Program, package: &str, files: &BTreeMap<String, String>) -> Self {
        let order = Order { package: package.to_owned(), files: files.clone() };
        Self { program, order, running: Mutex::new(None) }
    }

    /// The rules of the package for this input. One evaluation at a time.
    pub(crate) async fn evaluate(&self, input: &Value) -> Result<Value, Failure> {
        let mut place = timeout(TURN, self.running.lock()).await.map_err(|_| Failure::Slow)?;
        // Taken out: what is given up half way (also by who waits for it) is stopped, never asked again.
        let mut running = match place.take() {
            Some(mut running) => match running.child.try_wait() {
                Ok(None) => running,
                _ => self.start().await?,
            },
            None => self.start().await?,
        };
        let answer = running.ask(&serde_json::to_string(input).unwrap_or_default(), LIMIT * 2).await;
        if !matches!(answer, Err(Failure::Crashed | Failure::Slow)) {
            *place = Some(running);
        }
        answer
    }

    async fn start(&self) -> Result<Running, Failure> {
        let mut command = Command::new(&self.program.path);
        command.args(&self.program.arguments).env_clear().kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let none = |error: &dyn std::fmt::Display| Failure::NoProcess(error.to_string());
        let mut child = command.spawn().map_err(|error| none(&error))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::NoProcess("its process has no pipes".into()));
        };
        let mut running = Running { child, to, from: BufReader::new(from) };
        let order = serde_json::to_string(&self.order).map_err(|error| none(&error))?;
        running.ask(&order, START).await?;
        Ok(running)
    }
}

impl Running {
    async fn ask(&mut self, line: &str, limit: Duration) -> Result<Value, Failure> {
        let exchange = async {
            self.to.write_all(line.as_bytes()).await?;
            self.to.write_all(b"\n").await?;
            self.to.flush().await?;
            let mut reply = String::new();
            let longest = u64::try_from(MAX_ANSWER).unwrap_or(u64::MAX) + 1024;
            (&mut self.from).take(longest).read_line(&mut reply).await?;
            Ok::<_, std::io::Error>(reply)
        };
        let reply = match timeout(limit, exchange).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => return Err(Failure::Crashed),
            Err(_) => {
                // Nothing but force ends it; `kill_on_drop` would leave a moment in which it still runs.
                let _ = self.child.start_kill();
                return Err(Failure::Slow);
            }
        };
        serde_json::from_str::<Reply>(&reply).map_err(|_| Failure::Crashed)?.result()
    }
}
