//! `sandbar deploy`: has all hosts of the fleet run a plugin.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Global;
use super::exit::{Exit, Failure};
use super::fleet::{self, FleetAdmin};
use super::screen::Screen;
use crate::builder::PluginFolder;
use sandbar_fleet::{Deploy, DeployOutcome, Deployed, FleetError};
use sandbar_runtime::rollout::Trial;
use sandbar_server::host::MANIFEST_NAME;

/// What `sandbar deploy` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder with the plugin.toml
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// The component; by default the one that `sandbar build` puts into the folder
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Try it as a shadow first: it gets the same batches, and nothing of what it writes is kept
    #[arg(long, conflicts_with = "canary")]
    shadow: bool,
    /// Try it on this percentage of the calls first
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=99))]
    canary: Option<u8>,
    /// Who deploys; by default the user
    #[arg(long, value_name = "NAME", env = "SANDBAR_BY", hide_env_values = true)]
    by: Option<String>,
    /// How long the hosts may take to load it
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    wait: Duration,
}

/// Deploys and reports the result of each host.
pub(super) async fn run(arguments: Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    let folder = PluginFolder::open(&arguments.folder).map_err(|error| Failure::from(&error))?;
    let path = arguments.folder.join(MANIFEST_NAME);
    let manifest = tokio::fs::read_to_string(&path).await.map_err(|error| Failure::file("read", &path, &error))?;
    let component = arguments.component.clone().unwrap_or_else(|| folder.component());
    let bytes = tokio::fs::read(&component).await.map_err(|error| {
        let failure = Failure::file("read", &component, &error);
        if arguments.component.is_some() {
            return failure;
        }
        failure.help(format_args!("sandbar build {}", arguments.folder.display()))
    })?;
    let admin = FleetAdmin::open("deploy", global).await?;
    let name = &folder.manifest.name;
    let trial = match (arguments.shadow, arguments.canary) {
        (true, _) => Some(Trial::Shadow),
        (false, Some(percent)) => Some(Trial::Canary { percent }),
        (false, None) => None,
    };
    let (by, wait) = (fleet::who(arguments.by), arguments.wait);
    screen.note(format!("`{name}` is being loaded by the hosts"));
    let deploy = Deploy { manifest, component: bytes.into(), by, trial, wait };
    let deployed = admin.fleet.deploy(&admin.tenant, deploy).await.map_err(|error| {
        let failure = Failure::fleet(&format!("deploy `{name}`"), &error);
        match error {
            FleetError::Refused { .. } => failure.help(format_args!(
                "sandbar check {} tells what the component needs; `sandbar plugins {name}` tells what runs",
                arguments.folder.display()
            )),
            FleetError::Busy { .. } | FleetError::Ended { .. } => {
                failure.help(format_args!("sandbar plugins {name}, sandbar plugins drop {name}"))
            }
            FleetError::Trying { .. } => {
                failure.help(format_args!("sandbar plugins promote {name}, or sandbar plugins drop {name}"))
            }
            _ => failure,
        }
    })?;
    screen.result(&deployed, || page(&deployed, trial))?;
    Ok(Exit::Done)
}

fn page(deployed: &Deployed, trial: Option<Trial>) -> String {
    let Deployed { plugin, number, digest, outcome, hosts, .. } = deployed;
    let outcome = match outcome {
        DeployOutcome::Active => "is active".to_owned(),
        DeployOutcome::Trial => format!("is tried {}", trial.map(fleet::trial).unwrap_or_default()),
        DeployOutcome::Unchanged => "was active before".to_owned(),
    };
    let mut lines = vec![format!("`{plugin}` #{number} {} {outcome}", fleet::short(digest))];
    for host in hosts {
        let standing = fleet::standing(host.standing.as_ref(), host.alive);
        lines.push(format!("  {} {standing}", fleet::host(&host.host, &host.machine)));
    }
    if hosts.is_empty() {
        lines.push("  no host is there; those that come load it".to_owned());
    }
    lines.join("\n")
}
