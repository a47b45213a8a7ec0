//! The queue trigger in a host, as `sandbar run` runs it.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use redis::cmd;
use sandbar_core::config::{Config, StoreConfig};
use sandbar_core::manifest::Manifest;
use sandbar_runtime::telemetry::Exporter;
use sandbar_server::host::Host;
use sandbar_tests::components::HANDLE_NOTHING;

use super::{LIMIT, Process, Run, server};
use crate::child;

/// How many jobs are pushed in one write.
const FILL_CHUNK: u32 = 1000;
/// How often the queue is looked at until it is empty.
const LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(2);

/// Measures the trigger.
pub(super) fn measure(jobs: u32, concurrency: u32) -> Result<Run> {
    let server = server();
    let mut connection = server.connect();
    for from in (0..jobs).step_by(FILL_CHUNK as usize) {
        let mut push = cmd("LPUSH");
        push.arg("jobs");
        for n in from..jobs.min(from + FILL_CHUNK) {
            push.arg(format!(r#"{{"n":{n},"text":"{}"}}"#, "x".repeat(200)));
        }
        push.exec(&mut connection)?;
    }
    let mut work = Command::new(std::env::current_exe().context("this program's own file")?);
    work.args(["queue-work", "--url", &server.url(), "--concurrency", &concurrency.to_string()]);
    let run = Process::start(work)?.time(&server, jobs, |_, begun| {
        loop {
            let mut look = redis::pipe();
            look.llen("jobs").zcard("sandbar:queue:jobs:ready").zcard("sandbar:queue:jobs:leases");
            let (listed, ready, leases): (u64, u64, u64) = look.query(&mut connection)?;
            if listed + ready + leases == 0 {
                return Ok(());
            }
            if begun.elapsed() > LIMIT {
                bail!("not all jobs were handled within {LIMIT:?}");
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    })?;
    let (taken, dead): (u32, u32) =
        redis::pipe().get("sandbar:queue:jobs:seq").cmd("XLEN").arg("jobs:dead").query(&mut server.connect())?;
    ensure!(taken == jobs && dead == 0, "{taken} of {jobs} jobs were taken, {dead} are dead");
    Ok(run)
}

/// What the process that works takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Work {
    /// Its server
    #[arg(long)]
    url: String,
    /// Batches at the same time
    #[arg(long)]
    concurrency: u32,
}

impl Work {
    /// Works until the process is ended.
    #[tokio::main]
    pub(crate) async fn run(&self) -> Result<()> {
        let compiled = tempfile::tempdir()?;
        let store = StoreConfig { url: self.url.clone(), ..StoreConfig::default() };
        let mut config = Config { store, ..Config::default() };
        config.engine.cache_dir = Some(compiled.path().to_owned());
        let trigger = format!("type = \"queue\"\nqueue = \"jobs\"\nconcurrency = {}", self.concurrency);
        let manifest = Manifest::parse(&format!("name = \"nothing\"\n[[trigger]]\n{trigger}"))?;
        let bytes = std::fs::read(HANDLE_NOTHING).context(HANDLE_NOTHING)?;
        Exporter::install();
        let host = Host::start(config.clone(), sandbar_store::connect(&config.store).await?).await?;
        // Compiles it, so that it only has to be read from the cache once the clock runs.
        sandbar_runtime::plugin::load(host.engine(), &bytes, &manifest)?;
        child::ready()?;
        host.load_bytes(manifest, bytes).await?;
        child::rest()
    }
}
