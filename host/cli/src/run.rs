//! `sandbar run`: the plugins of a configuration, until the process is asked to end.

mod watch;

use std::path::PathBuf;

use clap::Args;

use super::Global;
use super::exit::{Exit, Failure};
use super::screen::Screen;
use super::serving::Serving;
use super::setup::{CONFIG_NAME, Placed, Setup};
use super::signals;
use sandbar_server::host::Drained;
use watch::Files;

/// What `sandbar run` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration; by default that of --config, else `sandbar.toml` of the current folder
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// Replace the plugins of folders when their manifests or components change
    #[arg(long)]
    watch: bool,
}

/// Runs until SIGINT or SIGTERM, then drains.
pub(super) async fn run(arguments: Arguments, global: &Global, screen: &Screen) -> Result<Exit, Failure> {
    let path = arguments.file.or_else(|| global.config.clone()).unwrap_or_else(|| PathBuf::from(CONFIG_NAME));
    let setup = Setup::read(&path, global)?;
    let plugins = setup.plugins()?;
    plugins.iter().try_for_each(check_built)?;
    if plugins.is_empty() {
        let what =
            if setup.config.fleet.join { "what is deployed is all that runs" } else { "there is nothing to run" };
        tracing::warn!("{} names no `plugins`: {what}", setup.called);
    }
    let stop = signals::stop(screen)?;
    let store = setup.connect().await?;
    if setup.is_embedded() {
        tracing::warn!("the store is embedded: it is empty at the start, and nothing is kept at the end");
    }
    let serving = Serving::start(&setup, store).await?;
    tracing::info!(address = %serving.address, store = setup.store_address(), "started");
    let files = arguments.watch.then(|| setup.plugins().map(Files::look)).transpose()?;
    // First what is deployed, so that no event meets a version of a folder that is not to run.
    let joined = match setup.config.fleet.join {
        true => serving.host().join_fleet(Some(serving.address.to_string())).await,
        false => Ok(()),
    };
    let loaded = match joined {
        Ok(()) => load(&serving, &plugins).await,
        Err(error) => Err(Failure::fleet("join the fleet", &error)),
    };
    if loaded.is_ok() {
        let followed = async {
            match files {
                Some(files) => files.follow(&serving).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = followed => {}
        }
    }
    let drained = stop_serving(serving, screen).await?;
    loaded.and(Ok(drained))
}

/// Checks that the component of a plugin is there.
fn check_built(Placed { folder: plugin, .. }: &Placed) -> Result<(), Failure> {
    let component = plugin.component();
    if !component.is_file() {
        let what =
            format!("the plugin `{}` is not built: `{}` is not there", plugin.manifest.name, component.display());
        let help = format!("sandbar build {}", plugin.path.display());
        return Err(Failure::new(Exit::Config, what).help(help));
    }
    Ok(())
}

async fn load(serving: &Serving, plugins: &[Placed]) -> Result<(), Failure> {
    for Placed { tenant, folder: plugin } in plugins {
        let host = serving.host().tenant(tenant).map_err(|error| Failure::from(&error))?;
        host.load(&plugin.path, &plugin.component())
            .await
            .map_err(|error| Failure::from(&error).help(format_args!("sandbar check {}", plugin.path.display())))?;
    }
    serving.started();
    Ok(())
}

/// Drains and reports whether everything was finished.
pub(super) async fn stop_serving(serving: Serving, screen: &Screen) -> Result<Exit, Failure> {
    screen.finish();
    match serving.stop().await? {
        Drained::Clean => {
            tracing::info!("drained: all that was taken is done");
            Ok(Exit::Done)
        }
        Drained::GraceElapsed { batches } => {
            let what = format!("{batches} batches were not finished within `shutdown-grace`; nothing of them is lost");
            Err(Failure::new(Exit::Failed, what).help("another host takes them over, or this one when it starts again"))
        }
    }
}
