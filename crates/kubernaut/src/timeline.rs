//! `kubernaut timeline`: the history of one request, from the store alone.

use std::path::PathBuf;

use anyhow::{Context, bail};
use kubernaut_events::Store as _;
use kubernaut_storage::Sqlite;

use crate::lines::Line;

/// Whose history to print.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Name of the RemediationRequest
    pub request: String,
    /// The store; in the operator's pod the default is right
    #[arg(long, default_value = "/var/lib/kubernaut/kubernaut.db", env = "KUBERNAUT_STORE")]
    pub store: PathBuf,
    /// Print the events as JSON, one CloudEvent a line
    #[arg(long)]
    pub json: bool,
}

/// Prints the history of one request.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let store = Sqlite::open_read_only(&options.store).await?;
    let events = store.timeline(&options.request).await?;
    if events.is_empty() {
        let known = store.requests(10).await?;
        let known = if known.is_empty() {
            "the store is empty".to_owned()
        } else {
            format!("the latest are {}", known.join(", "))
        };
        bail!("no events of a request {} in {}; {known}", options.request, options.store.display());
    }
    if options.json {
        for event in &events {
            println!("{}", String::from_utf8(event.structured()).context("an event is UTF-8")?);
        }
        return Ok(());
    }
    let start = events[0].time;
    anstream::println!("{} from {start}", options.request);
    for event in &events {
        let text = |field: &str| event.data.get(field).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
        let noun = event.type_.split('.').next().unwrap_or_default().to_owned();
        let line = Line {
            at: event.time,
            noun,
            from: text("from"),
            to: text("to"),
            reason: text("reason"),
            message: text("message"),
        };
        anstream::println!("{}", line.render(start));
    }
    Ok(())
}
