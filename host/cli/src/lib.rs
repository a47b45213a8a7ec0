//! The commands of the program `sandbar`.
//!
//! The only part of the library that reads arguments and the environment, prints, and decides how the process ends.
//! Each command is one file below; what they share is `setup` (configuration and store), `serving` (a host with its
//! HTTP server), `screen` (all output), `logs` and `exit` (how a command ends). What can be worked on by a program
//! goes to standard output, everything else to standard error.
//!
//! Exit codes: 0 it worked · 1 it failed · 2 wrong usage · 64 the configuration or a manifest is wrong · 65 the input
//! is malformed · 69 the store is not available · 130 interrupted before it was finished.

mod build;
mod builder;
mod check;
mod dead;
mod deploy;
mod dev;
mod exit;
mod feed;
mod fleet;
mod locks;
mod logs;
mod nodes;
mod plugins;
mod queues;
#[cfg(test)]
mod reference;
mod replay;
mod rollback;
mod run;
mod schedules;
mod screen;
mod serving;
mod setup;
mod signals;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use exit::{Exit, Failure};
use screen::Screen;

/// What `--help` ends with.
const AFTER_HELP: &str = "\
Exit codes: 0 it worked, 1 it failed, 2 wrong usage, 64 the configuration or a manifest is wrong, 65 the input is \
malformed, 69 the store is not available, 130 interrupted before it was finished.";

/// Runs business logic as sandboxed WebAssembly components beside Redis.
#[derive(Debug, Parser)]
#[command(name = "sandbar", version, after_help = AFTER_HELP, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Common options")]
struct Global {
    /// The store, in place of the one that the configuration names: redis://, rediss://, unix:// or `embedded`
    #[arg(long, global = true, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis_url: Option<String>,
    /// The configuration; by default `sandbar.toml` in the current folder where there is one
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which tenant a command is about, where the configuration has several; by default the first
    #[arg(long, global = true, value_name = "NAME")]
    tenant: Option<String>,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
    /// How log lines are written
    #[arg(long, global = true, value_enum, default_value_t, hide_possible_values = true, value_name = "text|json")]
    log_format: logs::Format,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Log errors only, and print no remarks
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the plugins of a configuration until SIGTERM or ctrl-c
    Run(run::Arguments),
    /// Build and run the plugins of a folder, feed them, and replace them when their source changes
    Dev(dev::Arguments),
    /// Build plugins
    Build(build::Arguments),
    /// Show what a component imports and exports, what it needs, and what a host would refuse
    Check(check::Arguments),
    /// Append JSON lines to a stream
    Feed(feed::Arguments),
    /// List, show, retry and drop dead letters
    Dead(dead::Arguments),
    /// Run a version over recorded events or dead letters without effect, and show what it would write
    Replay(replay::Arguments),
    /// List, pause and resume queues
    Queues(queues::Arguments),
    /// List locks with their holders, or break one
    Locks(locks::Arguments),
    /// Show when schedules run next, and the results of their last runs
    Schedules(schedules::Arguments),
    /// Make, list, rotate and revoke tokens of the HTTP API
    Token(token::Arguments),
    /// Make all hosts of the fleet run a plugin
    Deploy(deploy::Arguments),
    /// List the releases of plugins: active, on trial and earlier
    Plugins(plugins::Arguments),
    /// Make all hosts of the fleet run an earlier release of a plugin again
    Rollback(rollback::Arguments),
    /// List the hosts of the fleet, and what they cannot run
    Nodes(nodes::Arguments),
}

impl Command {
    /// How much is logged by default: servers log what they do, other commands only what is wrong.
    fn is_server(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Dev(_))
    }
}

/// The whole program: reads the arguments and the environment, does what they say, and answers how the process ends.
pub fn main() -> ExitCode {
    // Ends the process with code 2 where the arguments are wrong, and with 0 after `--help`.
    let cli = Cli::parse();
    let screen = Screen::new(cli.global.json, cli.global.quiet);
    logs::install(&cli.global, cli.command.is_server(), &screen);
    // One thread more than plugins get, so that the host's own work never waits for their code.
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) + 1;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let ended = runtime.map_err(Failure::runtime).and_then(|runtime| {
        let ended = runtime.block_on(execute(cli, &screen));
        // A read from a terminal may still be in progress, on a thread that cannot be stopped.
        runtime.shutdown_background();
        ended
    });
    let exit = match ended {
        Ok(exit) => exit,
        Err(failure) => {
            screen.failure(&failure);
            failure.exit
        }
    };
    exit.into()
}

async fn execute(cli: Cli, screen: &Screen) -> Result<Exit, Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Run(arguments) => run::run(arguments, global, screen).await,
        Command::Dev(arguments) => dev::run(arguments, global, screen).await,
        Command::Build(arguments) => build::run(arguments, screen).await,
        Command::Check(arguments) => check::run(&arguments, global, screen),
        Command::Feed(arguments) => feed::run(arguments, global, screen).await,
        Command::Dead(arguments) => dead::run(arguments, global, screen).await,
        Command::Replay(arguments) => replay::run(arguments, global, screen).await,
        Command::Queues(arguments) => queues::run(arguments, global, screen).await,
        Command::Locks(arguments) => locks::run(arguments, global, screen).await,
        Command::Schedules(arguments) => schedules::run(arguments, global, screen).await,
        Command::Token(arguments) => token::run(arguments, global, screen).await,
        Command::Deploy(arguments) => deploy::run(arguments, global, screen).await,
        Command::Plugins(arguments) => plugins::run(arguments, global, screen).await,
        Command::Rollback(arguments) => rollback::run(arguments, global, screen).await,
        Command::Nodes(arguments) => nodes::run(&arguments, global, screen).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
