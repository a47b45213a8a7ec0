//! `sandbar rollback`: has all hosts of the fleet run an older version of a plugin again.

use clap::Args;

use super::Global;
use super::exit::{Exit, Failure};
use super::fleet::{self, FleetAdmin};
use super::plugins;
use super::screen::Screen;
use sandbar_fleet::{FleetError, NamedRecord};

/// What `sandbar rollback` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The plugin
    #[arg(value_name = "PLUGIN")]
    plugin: String,
    /// The beginning of the digest of the version to go back to; by default the one that the present one replaced.
    /// Where that replaced none, hosts run the version of their folder again
    #[arg(long, value_name = "DIGEST")]
    to: Option<String>,
    /// Who does it; by default the user
    #[arg(long, value_name = "NAME", env = "SANDBAR_BY", hide_env_values = true)]
    by: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Goes back.
pub(super) async fn run(arguments: Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    let Arguments { plugin, to, by, reason } = arguments;
    let FleetAdmin { fleet, tenant } = FleetAdmin::open("rollback", global).await?;
    let record = fleet.rollback(&tenant, &plugin, to.as_deref(), &fleet::who(by), &reason).await.map_err(|error| {
        let failure = Failure::fleet(&format!("roll `{plugin}` back"), &error);
        match error {
            FleetError::NoRelease { .. } | FleetError::Ambiguous { .. } => {
                failure.help(format_args!("sandbar plugins {plugin} lists its releases"))
            }
            FleetError::NoPlugin { .. } => failure.help("sandbar plugins lists those that were"),
            _ => failure,
        }
    })?;
    let listed = NamedRecord { tenant, plugin, record };
    screen.result(&listed, || plugins::line(&listed.plugin, &listed.record))?;
    Ok(Exit::Done)
}
