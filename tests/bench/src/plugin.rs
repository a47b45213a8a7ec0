//! Variant (a): the plugin in the host, as `sandbar run` runs it.

use anyhow::{Context, Result};
use redis::IntoConnectionInfo;
use sandbar_core::config::{Config, StoreConfig};
use sandbar_core::manifest::{Manifest, Trigger};
use sandbar_runtime::telemetry::Exporter;
use sandbar_server::host::Host;
use sandbar_store::{EntryId, GroupStart};
use sandbar_tests::components::RESULT_AGGREGATOR;

use crate::child;
use crate::workload::Settings;

/// The plugin's own manifest; the trigger's batch and concurrency are set by the benchmark.
const MANIFEST: &str = include_str!("../../../plugins/result-aggregator/plugin.toml");

/// Runs the plugin until the process is ended.
#[tokio::main]
pub(crate) async fn work(url: &str, settings: &Settings) -> Result<()> {
    url.into_connection_info().context("the server's url")?;
    let compiled = tempfile::tempdir()?;
    let mut config =
        Config { store: StoreConfig { url: url.to_owned(), ..StoreConfig::default() }, ..Config::default() };
    config.engine.cache_dir = Some(compiled.path().to_owned());
    config.store.commit_connections = settings.in_flight;
    let mut manifest = Manifest::parse(MANIFEST)?;
    for trigger in &mut manifest.triggers {
        let Trigger::Stream(trigger) = trigger else { continue };
        trigger.start = GroupStart::After(EntryId::ZERO);
        trigger.batch = settings.batch;
        trigger.concurrency = settings.in_flight;
        trigger.prefetch = settings.prefetch;
    }
    let bytes = std::fs::read(RESULT_AGGREGATOR).context(RESULT_AGGREGATOR)?;
    Exporter::install();
    let host = Host::start(config.clone(), sandbar_store::connect(&config.store).await?).await?;
    // Compiles it, so that it only has to be read from the cache once the clock runs.
    sandbar_runtime::plugin::load(host.engine(), &bytes, &manifest)?;
    child::ready()?;
    host.load_bytes(manifest, bytes).await?;
    child::rest()
}
