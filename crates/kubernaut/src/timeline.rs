//! `kubernaut timeline`: the history of one request, from the store alone.

use std::path::PathBuf;

use anyhow::{Context, bail};
use kubernaut_api::{RemediationRequest, Resource as _};
use kubernaut_events::{Event, Store as _};
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
    let mut start = events[0].time;
    for (index, event) in events.iter().enumerate() {
        // A request that was deleted and made anew under its name begins again.
        if index == 0 || begins(event) {
            start = event.time;
            anstream::println!("{}{} from {start}", if index == 0 { "" } else { "\n" }, options.request);
        }
        anstream::println!("{}", line(event).render(start));
    }
    Ok(())
}

/// True for the first transition of a request.
fn begins(event: &Event) -> bool {
    event.kind == RemediationRequest::kind(&()) && event.sequence == 1
}

fn line(event: &Event) -> Line {
    let text = |field: &str| event.data.get(field).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    Line {
        at: event.time,
        noun: event.type_.split('.').next().unwrap_or_default().to_owned(),
        to: text("to"),
        reason: text("reason"),
        message: text("message"),
    }
}
