//! What a host with many tenants costs, and what one of them notices of the others.

use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sandbar_core::config::{Config, StoreConfig};
use sandbar_core::manifest::Manifest;
use sandbar_server::host::Host;
use sandbar_server::http::Health;
use sandbar_tests::components::HANDLE_COUNT;
use sandbar_tests::{Options, RedisServer};
use serde_json::json;

use crate::child;
use crate::idle::{Working, median, resident_mb};

/// How long the host rests before it is measured.
const SETTLE: Duration = Duration::from_secs(3);
/// How long the tenants may take to read their streams.
const START_LIMIT: Duration = Duration::from_secs(300);
/// How long a result may take, in seconds.
const RESULT_LIMIT: &str = "10";
/// Time between two events whose latency is measured.
const PAUSE: Duration = Duration::from_millis(10);

/// What `tenants` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Tenants {
    /// Tenants, each with a plugin with a stream trigger
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=5000))]
    tenants: u32,
    /// Events of one tenant whose latency is measured in each round
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    events: u32,
    /// Rounds; medians are of them
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

/// What the host's process takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Work {
    /// Its server
    #[arg(long)]
    url: String,
    /// Where compiled code is
    #[arg(long)]
    cache: PathBuf,
    /// How many tenants
    #[arg(long)]
    tenants: u32,
}

/// What one run has shown.
#[derive(Debug, Clone, Copy)]
struct Run {
    start_s: f64,
    resident_mb: f64,
    p50_us: f64,
    p99_us: f64,
}

impl Tenants {
    /// Measures, and prints a table and one JSON object.
    pub(crate) fn measure(&self) -> Result<()> {
        let cache = tempfile::tempdir()?;
        // Compiles the plugin.
        run(1, 1, cache.path())?;
        let (mut alone, mut all) = (Vec::new(), Vec::new());
        for round in 1..=self.rounds {
            alone.push(run(1, self.events, cache.path())?);
            all.push(run(self.tenants, self.events, cache.path())?);
            eprintln!("round {round}: {:?} and {:?}", alone.last(), all.last());
        }
        let of = |runs: &[Run], what: fn(&Run) -> f64| median(runs.iter().map(what).collect());
        println!("{} tenants with a plugin each, medians of {} rounds", self.tenants, self.rounds);
        println!(
            "| tenants | start, s | resident, MB | latency of one, p50 µs | p99 µs |\n| --- | --- | --- | --- | --- |"
        );
        for (tenants, runs) in [(1, &alone), (self.tenants, &all)] {
            let (start, resident) = (of(runs, |run| run.start_s), of(runs, |run| run.resident_mb));
            let (p50, p99) = (of(runs, |run| run.p50_us), of(runs, |run| run.p99_us));
            println!("| {tenants} | {start:.2} | {resident:.0} | {p50:.0} | {p99:.0} |");
        }
        let more_mb = of(&all, |run| run.resident_mb) - of(&alone, |run| run.resident_mb);
        let each_kb = more_mb * 1024.0 / f64::from(self.tenants - 1);
        println!("\neach tenant beyond the first: {each_kb:.0} KiB");
        let result = json!({
            "tenants": self.tenants,
            "start_s": of(&all, |run| run.start_s),
            "kib_each": each_kb,
            "p50_us": [of(&alone, |run| run.p50_us), of(&all, |run| run.p50_us)],
            "p99_us": [of(&alone, |run| run.p99_us), of(&all, |run| run.p99_us)],
        });
        println!("\n{result}");
        Ok(())
    }
}

/// Starts a host with so many tenants, and measures one in the middle.
fn run(tenants: u32, events: u32, cache: &Path) -> Result<Run> {
    let server = Options::new().port().start();
    let mut command = Command::new(std::env::current_exe().context("this program's own file")?);
    command.args(["tenants-work", "--url", &server.url(), "--tenants", &tenants.to_string(), "--cache"]).arg(cache);
    let begun = Instant::now();
    let mut host = Working(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("the host")?);
    let mut line = String::new();
    BufReader::new(host.0.stdout.take().context("its standard output")?).read_line(&mut line)?;
    ensure!(line.trim() == child::READY, "the host did not get ready: {line:?}");
    let start_s = begun.elapsed().as_secs_f64();
    std::thread::sleep(SETTLE);
    let resident_mb = resident_mb(host.0.id())?;
    let mut latencies = latencies(&server, tenants / 2, events)?;
    latencies.sort_unstable();
    let quantile = |share: f64| {
        let at = (latencies.len() as f64 * share) as usize;
        latencies.get(at.min(latencies.len() - 1)).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    };
    Ok(Run { start_s, resident_mb, p50_us: quantile(0.5), p99_us: quantile(0.99) })
}

/// How long it takes from each event of a tenant until its effect can be read.
fn latencies(server: &RedisServer, tenant: u32, events: u32) -> Result<Vec<Duration>> {
    let mut connection = server.connect();
    let (stream, seen) = (format!("t{tenant}:events"), format!("t{tenant}:seen:0"));
    let mut latencies = Vec::new();
    for number in 0..events {
        std::thread::sleep(PAUSE);
        let begun = Instant::now();
        let event = ["camera", "0", "seq"];
        redis::cmd("XADD").arg(&stream).arg("*").arg(&event).arg(number).exec(&mut connection)?;
        let taken: Option<(String, String)> =
            redis::cmd("BLPOP").arg(&seen).arg(RESULT_LIMIT).query(&mut connection)?;
        ensure!(taken.is_some(), "the effect of an event did not come");
        latencies.push(begun.elapsed());
    }
    Ok(latencies)
}

impl Work {
    /// Runs so many tenants until the process is ended.
    #[tokio::main(worker_threads = 3)]
    pub(crate) async fn run(self) -> Result<()> {
        let mut text = String::new();
        for number in 0..self.tenants {
            write!(text, "[[tenant]]\nname = \"t{number}\"\nprefix = \"t{number}:\"\n")?;
        }
        let mut config = Config::parse(&text)?;
        config.store = StoreConfig { url: self.url, ..StoreConfig::default() };
        config.engine.cache_dir = Some(self.cache);
        let bytes = std::fs::read(HANDLE_COUNT).context(HANDLE_COUNT)?;
        let host = Host::start(config.clone(), sandbar_store::connect(&config.store).await?).await?;
        let manifest = "name = \"p\"\n[[trigger]]\ntype = \"stream\"\nstream = \"events\"\n[grants]\nwrite = [\"*\"]\n";
        let manifest = Manifest::parse(manifest)?;
        for tenant in host.tenants() {
            tenant.load_bytes(manifest.clone(), bytes.clone()).await?;
        }
        let begun = Instant::now();
        while !host.health().is_ready() {
            ensure!(begun.elapsed() < START_LIMIT, "not all plugins read their streams within {START_LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        child::ready()?;
        child::rest()
    }
}
