//! What a host with many plugins costs while nothing happens: CPU, memory, connections.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sandbar_core::config::{Config, StoreConfig};
use sandbar_core::manifest::Manifest;
use sandbar_server::host::Host;
use sandbar_server::http::Health;
use sandbar_tests::components::HANDLE_COUNT;
use sandbar_tests::{Options, RedisServer};
use serde_json::json;

use crate::{child, cpu};

/// How long a host may take to read all its streams.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long the host rests before it is measured: what begins with it has ended then.
const SETTLE: Duration = Duration::from_secs(5);

/// What `idle` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Idle {
    /// Plugins, each with a stream trigger of its own
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1000))]
    plugins: u32,
    /// How long each round measures, in seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Rounds; medians are of them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

/// The host's process.
pub(crate) struct Working(pub(crate) Child);

impl Drop for Working {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures, and prints a table and one JSON object.
pub(crate) fn measure(idle: &Idle) -> Result<()> {
    let server = Options::new().port().start();
    let mut command = Command::new(std::env::current_exe().context("this program's own file")?);
    command.args(["idle-work", "--url", &server.url(), "--plugins", &idle.plugins.to_string()]);
    let mut host = Working(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("the host")?);
    let mut line = String::new();
    BufReader::new(host.0.stdout.take().context("its standard output")?).read_line(&mut line)?;
    ensure!(line.trim() == child::READY, "the host did not get ready: {line:?}");
    std::thread::sleep(SETTLE);
    let (mut host_percent, mut server_percent) = (Vec::new(), Vec::new());
    for round in 0..idle.rounds {
        let (begun, host_cpu, server_cpu) = (Instant::now(), cpu::used(host.0.id())?, cpu::used(server.pid())?);
        std::thread::sleep(Duration::from_secs(idle.seconds.into()));
        let percent = |used: Duration| used.as_secs_f64() * 100.0 / begun.elapsed().as_secs_f64();
        host_percent.push(percent(cpu::used(host.0.id())? - host_cpu));
        server_percent.push(percent(cpu::used(server.pid())? - server_cpu));
        eprintln!("round {}: {:.2} % of one core", round + 1, host_percent.last().copied().unwrap_or_default());
    }
    let (host_percent, server_percent) = (median(host_percent), median(server_percent));
    let (connections, resident_mb) = (connections(&server), resident_mb(host.0.id())?);
    let plugins = idle.plugins;
    println!("{plugins} plugins with a stream trigger each, nothing to do, medians of {} rounds", idle.rounds);
    println!("| host, % of one core | server, % of one core | connections | resident, MB |");
    println!("| --- | --- | --- | --- |");
    println!("| {host_percent:.2} | {server_percent:.2} | {connections} | {resident_mb:.0} |");
    let result = json!({
        "plugins": plugins,
        "idle_cpu_percent": host_percent,
        "server_cpu_percent": server_percent,
        "connections": connections,
        "resident_mb": resident_mb,
    });
    println!("\n{result}");
    Ok(())
}

/// Runs so many plugins until the process is ended.
#[tokio::main]
pub(crate) async fn work(url: &str, plugins: u32) -> Result<()> {
    let compiled = tempfile::tempdir()?;
    let mut config =
        Config { store: StoreConfig { url: url.to_owned(), ..StoreConfig::default() }, ..Config::default() };
    config.engine.cache_dir = Some(compiled.path().to_owned());
    let bytes = std::fs::read(HANDLE_COUNT).context(HANDLE_COUNT)?;
    let host = Host::start(config.clone(), sandbar_store::connect(&config.store).await?).await?;
    for number in 0..plugins {
        let manifest = format!(
            "name = \"p{number}\"\n[[trigger]]\ntype = \"stream\"\nstream = \"events:{number}\"\n[grants]\nwrite = [\"*\"]\n"
        );
        host.load_bytes(Manifest::parse(&manifest)?, bytes.clone()).await?;
    }
    let begun = Instant::now();
    while !host.health().is_ready() {
        ensure!(begun.elapsed() < START_LIMIT, "not all plugins read their streams within {START_LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    child::ready()?;
    child::rest()
}

fn connections(server: &RedisServer) -> usize {
    let list: String = server.get(&["CLIENT", "LIST"]);
    // But for the one that asks.
    list.lines().count() - 1
}

pub(crate) fn resident_mb(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the state of the host's process")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("its memory")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("its memory")?;
    Ok(kib / 1024.0)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
