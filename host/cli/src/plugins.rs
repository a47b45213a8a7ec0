//! `sandbar plugins`: which versions of plugins the fleet runs, has run and tries.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Global;
use super::exit::{Exit, Failure};
use super::fleet::{self, FleetAdmin};
use super::screen::Screen;
use sandbar_fleet::{Candidate, FleetError, HostOutcome, NamedRecord, Phase, Record};

/// What `sandbar plugins` takes.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Show the history of this plugin and its state on each host; without a name, list all plugins
    #[arg(value_name = "PLUGIN")]
    plugin: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the release active that is tried
    Promote(FleetOptions),
    /// Drop the release that is tried or being loaded
    Drop(FleetOptions),
    /// Remove a plugin from all hosts; a host that has it in a folder runs that version then
    Remove(FleetOptions),
}

#[derive(Debug, Args)]
struct FleetOptions {
    /// The plugin
    #[arg(value_name = "PLUGIN")]
    plugin: String,
    /// Who does it; by default the user
    #[arg(long, value_name = "NAME", env = "SANDBAR_BY", hide_env_values = true)]
    by: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// A plugin with its result on each host.
#[derive(Debug, Serialize)]
struct PluginReport {
    #[serde(flatten)]
    listed: NamedRecord,
    hosts: Vec<HostOutcome>,
}

/// Does what the arguments say.
pub(super) async fn run(arguments: Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    let admin = FleetAdmin::open("plugins", global).await?;
    match (arguments.action, arguments.plugin) {
        (Some(action), _) => admin.act(action, screen).await,
        (None, Some(plugin)) => admin.show(plugin, screen).await,
        (None, None) => admin.list(screen).await,
    }
}

impl FleetAdmin {
    async fn list(&self, screen: &Screen) -> Result<Exit, Failure> {
        let plugins = self.fleet.plugins(Some(&self.tenant)).await;
        let plugins = plugins.map_err(|error| Failure::fleet("list the plugins", &error))?;
        for listed in &plugins {
            screen.result(listed, || line(&listed.plugin, &listed.record))?;
        }
        if plugins.is_empty() {
            screen.note(format!("nothing was ever deployed for the tenant `{}`", self.tenant));
        }
        Ok(Exit::Done)
    }

    async fn show(&self, plugin: String, screen: &Screen) -> Result<Exit, Failure> {
        let failed = |error: FleetError| Failure::fleet(&format!("look at `{plugin}`"), &error);
        let record = self.fleet.record(&self.tenant, &plugin).await.map_err(failed)?;
        let none = || FleetError::NoPlugin { tenant: self.tenant.clone(), plugin: plugin.clone() };
        let record = record.ok_or_else(|| failed(none()).help("sandbar plugins lists those that were"))?;
        let number = record.active.as_ref().map_or(0, |release| release.number);
        let hosts = self.fleet.outcomes(&self.tenant, &plugin, number).await.map_err(failed)?;
        let report = PluginReport { listed: NamedRecord { tenant: self.tenant.clone(), plugin, record }, hosts };
        screen.result(&report, || report.page())?;
        Ok(Exit::Done)
    }

    async fn act(&self, action: Action, screen: &Screen) -> Result<Exit, Failure> {
        let Self { fleet, tenant } = self;
        let (doing, plugin, changed) = match action {
            Action::Promote(FleetOptions { plugin, .. }) => {
                let changed = fleet.promote(tenant, &plugin).await;
                ("promote", plugin, changed)
            }
            Action::Drop(FleetOptions { plugin, by, reason }) => {
                let changed = fleet.end_trial(tenant, &plugin, &fleet::who(by), &reason).await;
                ("drop the release of", plugin, changed)
            }
            Action::Remove(FleetOptions { plugin, by, .. }) => {
                let changed = fleet.remove(tenant, &plugin, &fleet::who(by)).await;
                ("remove", plugin, changed)
            }
        };
        let record = changed.map_err(|error| Failure::fleet(&format!("{doing} `{plugin}`"), &error))?;
        let listed = NamedRecord { tenant: tenant.clone(), plugin, record };
        screen.result(&listed, || line(&listed.plugin, &listed.record))?;
        Ok(Exit::Done)
    }
}

/// A plugin in a line.
pub(super) fn line(plugin: &str, record: &Record) -> String {
    let active = match &record.active {
        Some(release) => fleet::release(release),
        None => "no release is active: hosts that have it in a folder run that".to_owned(),
    };
    let candidate = match (&record.candidate, record.phase) {
        (Some(Candidate { release, trial: Some(trial) }), Phase::Trial) => {
            format!("; tries {} {}", fleet::release(release), fleet::trial(*trial))
        }
        (Some(Candidate { release, .. }), _) => format!("; loads {}", fleet::release(release)),
        (None, _) => String::new(),
    };
    format!("{plugin}  {active}{candidate}")
}

impl PluginReport {
    fn page(&self) -> String {
        let mut lines = vec![line(&self.listed.plugin, &self.listed.record)];
        for host in &self.hosts {
            let standing = fleet::standing(host.standing.as_ref(), host.alive);
            lines.push(format!("  {} {standing}", fleet::host(&host.host, &host.machine)));
        }
        lines.extend(self.listed.record.history.iter().map(|past| format!("  {}", fleet::past(past))));
        lines.join("\n")
    }
}
