//! `sandbar dev`: builds and runs the plugins of a folder, feeds them, and replaces them when they change.
//!
//! What fails at the start is shown and waited for: the next change may repair it. A plugin that runs goes on running
//! its last good version.

mod feeds;
mod summary;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Global;
use super::build;
use super::exit::{Exit, Failure};
use super::run::stop_serving;
use super::screen::Screen;
use super::serving::Serving;
use super::setup::{CONFIG_NAME, Placed, Setup};
use super::signals;
use crate::builder::{BuildError, PluginFolder};
use feeds::Feeds;
use sandbar_runtime::telemetry::Snapshot;
use sandbar_store::Store;
use summary::{Summary, Tally};
use watch::Watch;

/// How often the summary is printed.
const SUMMARY_PERIOD: Duration = Duration::from_secs(1);

/// What `sandbar dev` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder with the sandbar.toml
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

/// What `--json` prints, one object a line.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum DevReport<'a> {
    /// The host answers.
    Started { address: String, store: &'a str },
    /// A plugin was built and loaded.
    Loaded { plugin: &'a str, seconds: f64 },
    /// It was not.
    Failed { plugin: &'a str, error: &'a str },
    /// What happened in the last second.
    Summary {
        #[serde(flatten)]
        summary: &'a Summary,
    },
}

/// Runs until SIGINT or SIGTERM, then drains.
pub(super) async fn run(arguments: Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    let path = global.config.clone().unwrap_or_else(|| arguments.folder.join(CONFIG_NAME));
    let setup = Setup::read(&path, global)?;
    let mut plugins = setup.plugins()?;
    if plugins.is_empty() {
        return Err(Failure::new(Exit::Config, format_args!("{} names no plugins", setup.called))
            .help("list folders that have a plugin.toml: plugins = [\"my-plugin\"]"));
    }
    let stop = signals::stop(screen)?;
    let store = setup.connect().await?;
    let address = setup.store_address();
    if setup.is_embedded() {
        screen.note("store: embedded, in this process; nothing is kept when it ends. Set REDIS_URL to use Redis");
    } else {
        screen.note(format!("store: {address}"));
    }
    let serving = Serving::start(&setup, store.clone()).await?;
    let started = DevReport::Started { address: serving.address.to_string(), store: &address };
    screen.result(&started, || format!("http://{0}/healthz and http://{0}/metrics answer", serving.address))?;
    let ended = develop(&setup, &serving, &mut plugins, &store, &stop, screen).await;
    let drained = stop_serving(serving, screen).await?;
    ended.map(|()| drained)
}

/// Works until it is stopped; it ends by itself only where it cannot go on.
async fn develop(
    setup: &Setup,
    serving: &Serving,
    plugins: &mut [Placed],
    store: &Arc<dyn Store>,
    stop: &CancellationToken,
    screen: &Screen,
) -> Result<(), Failure> {
    // Watched before it is built, so that no change falls between.
    let watch = Watch::new(plugins.iter().map(|placed| &placed.folder))
        .map_err(|error| Failure::new(Exit::Failed, format_args!("cannot watch the plugins' folders: {error}")))?;
    let all = async {
        for plugin in plugins.iter_mut() {
            replace(plugin, serving, screen).await?;
        }
        Ok::<(), Failure>(())
    };
    tokio::select! {
        built = all => built?,
        () = stop.cancelled() => return Ok(()),
    }
    serving.started();
    let feeds = Feeds::start(setup, store, screen).await?;
    let ended = tokio::select! {
        ended = follow(&watch, plugins, serving, screen) => ended,
        ended = summarise(serving, screen) => ended,
        () = stop.cancelled() => Ok(()),
    };
    feeds.stop().await;
    ended
}

/// Replaces plugins when they change.
async fn follow(watch: &Watch, plugins: &mut [Placed], serving: &Serving, screen: &Screen) -> Result<(), Failure> {
    loop {
        for index in watch.changed().await {
            if let Some(plugin) = plugins.get_mut(index) {
                screen.note(format!("`{}` has changed", plugin.folder.manifest.name));
                replace(plugin, serving, screen).await?;
            }
        }
    }
}

/// Why a plugin was not replaced.
enum Trouble {
    /// A change of the plugin may repair it.
    Plugin(String),
    /// Something is missing that no change of the plugin brings.
    Machine(Failure),
}

/// Builds a plugin and has the host load it. What goes wrong is shown, unless no change of the plugin can repair it.
async fn replace(plugin: &mut Placed, serving: &Serving, screen: &Screen) -> Result<(), Failure> {
    let began = Instant::now();
    let loaded = build_and_load(plugin, serving, screen).await;
    let name = &plugin.folder.manifest.name;
    match loaded {
        Ok(()) => {
            let seconds = began.elapsed().as_secs_f64();
            screen.result(&DevReport::Loaded { plugin: name, seconds }, || format!("`{name}` runs ({seconds:.1} s)"))
        }
        Err(Trouble::Machine(failure)) => Err(failure),
        Err(Trouble::Plugin(error)) => {
            let runs = serving.host().plugins().iter().any(|running| running.name == *name);
            let meanwhile = if runs { "its last good version goes on" } else { "it does not run yet" };
            screen.result(&DevReport::Failed { plugin: name, error: &error }, || {
                format!("error: {error}\nhelp: change it and it is tried again; {meanwhile}")
            })
        }
    }
}

async fn build_and_load(placed: &mut Placed, serving: &Serving, screen: &Screen) -> Result<(), Trouble> {
    // The manifest may have changed too.
    let plugin = &mut placed.folder;
    *plugin = PluginFolder::open(&plugin.path).map_err(|error| Trouble::Plugin(error.to_string()))?;
    let component = build::build(plugin, screen).await.map_err(|error| match &error {
        BuildError::NoProgram { .. } | BuildError::TargetNotInstalled { .. } => Trouble::Machine(Failure::from(&error)),
        BuildError::Unreadable { .. }
        | BuildError::Manifest { .. }
        | BuildError::NothingToBuild { .. }
        | BuildError::NoComponent { .. }
        | BuildError::Failed { .. }
        | BuildError::NotOneComponent { .. } => Trouble::Plugin(build::with_output(&error, screen)),
    })?;
    let tenant = serving.host().tenant(&placed.tenant).map_err(|error| Trouble::Plugin(error.to_string()))?;
    tenant.load(&plugin.path, &component).await.map_err(|error| Trouble::Plugin(error.to_string()))
}

/// Prints each second what happened in it: in one line that is updated where a person looks on, else in a line each.
async fn summarise(serving: &Serving, screen: &Screen) -> Result<(), Failure> {
    let live = screen.is_interactive().then(ProgressBar::new_spinner);
    if let Some(bar) = &live {
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            bar.set_style(style);
        }
        screen.live(bar.clone());
    }
    let mut tally = Tally::default();
    let mut ticks = interval(SUMMARY_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = ticks.tick().await;
    tally.turn(totals(serving), SUMMARY_PERIOD);
    loop {
        let now = ticks.tick().await;
        let summary = tally.turn(totals(serving), now - last);
        last = now;
        match &live {
            Some(bar) => bar.set_message(summary.line()),
            None => screen.result(&DevReport::Summary { summary: &summary }, || summary.line())?,
        }
    }
}

fn totals(serving: &Serving) -> Vec<(String, Snapshot)> {
    serving.host().plugins().into_iter().map(|plugin| (plugin.name, plugin.metrics.snapshot())).collect()
}
