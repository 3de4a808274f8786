//! The binary: composes the crates, and the command line. Deliberately absent: decisions.

mod generate;
mod holds;
mod lines;
mod serve;
mod timeline;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kubernaut_domain::catalogue::ACT_INPUT_ENV;

/// Heals incidents in Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "kubernaut", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator: gateway, controllers and relay, as configured
    Run {
        /// Configuration file (YAML); defaults where absent
        #[arg(long, env = "KUBERNAUT_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Run one action as the environment of a Job describes it, or say what actions there are
    Act(ActOptions),
    /// Follow a remediation live, one line per phase transition
    Watch(watch::Options),
    /// Print the history of one request from the store
    Timeline(timeline::Options),
    /// Evaluate one policy, line by line; the operator runs it for policies from ConfigMaps
    #[command(hide = true)]
    PolicyWorker,
    /// Write the CustomResourceDefinitions as YAML
    Crds(generate::Output),
    /// Write the reference documents as Markdown
    Reference(generate::Output),
}

#[derive(Debug, clap::Args)]
struct ActOptions {
    /// List the actions
    #[arg(long, conflicts_with_all = ["explain", "rbac"])]
    list: bool,
    /// Explain one action: parameters, risk, inverse, permissions
    #[arg(long, value_name = "ACTION", conflicts_with = "rbac")]
    explain: Option<String>,
    /// Print ServiceAccount and permissions of each action as YAML
    #[arg(long)]
    rbac: bool,
    /// Where the report goes
    #[arg(long, default_value = "/dev/termination-log", hide = true)]
    report: PathBuf,
}

fn main() -> ExitCode {
    // Several crates could choose a TLS provider; the choice is made here, before anything connects.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("kubernaut: a TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    let result = match Arguments::parse().command {
        Command::Run { config } => serve::run(config.as_deref()),
        Command::Act(options) => return act(&options),
        Command::Watch(options) => single(async {
            let client = kube::Client::try_default().await?;
            watch::run(client, &options).await
        }),
        Command::Timeline(options) => single(timeline::run(&options)),
        Command::PolicyWorker => kubernaut_policy::worker::serve().map_err(Into::into),
        Command::Crds(output) => generate::crds(&output),
        Command::Reference(output) => generate::reference(&output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kubernaut: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command that needs one thread only.
fn single(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

fn act(options: &ActOptions) -> ExitCode {
    if options.list {
        print!("{}", kubernaut_actions::list());
        return ExitCode::SUCCESS;
    }
    if let Some(action) = &options.explain {
        let Some(text) = kubernaut_actions::explain(action) else {
            eprintln!("kubernaut: there is no action {action}; `kubernaut act --list` names them");
            return ExitCode::FAILURE;
        };
        print!("{text}");
        return ExitCode::SUCCESS;
    }
    if options.rbac {
        return match generate::rbac() {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("kubernaut: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let Ok(input) = std::env::var(ACT_INPUT_ENV) else {
        eprintln!("kubernaut: {ACT_INPUT_ENV} is not set: `kubernaut act` is run by Jobs that Kubernaut makes");
        return ExitCode::from(2);
    };
    if let Err(error) = serve::log_for_act() {
        eprintln!("kubernaut: {error}");
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("kubernaut: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(kubernaut_actions::act(&input, &options.report));
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
