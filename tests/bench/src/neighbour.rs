//! What a tenant notices of a neighbour that does everything that it should not.
//!
//! Tenant `b` publishes the time that its events carry; tenant `a` loops, allocates, recurses, floods effects, calls,
//! lists and logs, and misuses names. The latency of `b` is measured at half of what it can do alone, without and
//! with `a` at work, in turns.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use redis::{Connection, cmd};
use sandbar_core::config::{Config, StoreConfig};
use sandbar_core::manifest::Manifest;
use sandbar_server::host::Host;
use sandbar_server::http::Health;
use sandbar_tests::components::{HANDLE_ECHO, HOSTILE};
use sandbar_tests::{Options, RedisServer, open_manifest};
use serde_json::json;

use crate::child;
use crate::idle::{Working, median};

/// Events with which it is found out what the tenant can do.
const CAPACITY_EVENTS: usize = 100_000;
/// How long a result may take.
const LIMIT: Duration = Duration::from_secs(20);
/// What each hostile event does.
const DEEDS: [&str; 8] = ["loop", "allocate", "recurse", "effects", "calls", "lists", "names", "log"];
/// Hostile events of each kind that wait.
const EACH: usize = 2_000;
/// What an operator gives a tenant that is not trusted.
const TENANTS: &str = r#"
[[tenant]]
name = "a"
prefix = "a:"
[tenant.quota]
memory = "256MiB"
calls = 16
effects = 200
effect-bytes = "256KiB"
effects-per-second = 2000
commits = 1
log-lines-per-second = 100
[[tenant]]
name = "b"
prefix = "b:"
"#;
const TRIGGER: &str = "batch = 1\nconcurrency = 16\nprefetch = 4\nmax-attempts = 1";
const LIMITS: &str = "[limits]\ndeadline = \"200ms\"\nmemory = \"32MiB\"\nread-bytes = \"1MiB\"";

/// What `neighbour` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Neighbour {
    /// How long each part measures, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Rounds; medians are of them
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Events per second instead of half of what the tenant can do
    #[arg(long)]
    rate: Option<u32>,
    /// What the neighbour does
    #[arg(long, value_delimiter = ',', default_values_t = DEEDS.map(str::to_owned))]
    deeds: Vec<String>,
}

impl Neighbour {
    /// Measures, and prints a table and one JSON object.
    pub(crate) fn measure(&self) -> Result<()> {
        let server = Options::new().port().start();
        let mut command = Command::new(std::env::current_exe().context("this program's own file")?);
        command.args(["neighbour-work", "--url", &server.url()]);
        let mut host = Working(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
        let mut line = String::new();
        BufReader::new(host.0.stdout.take().context("its standard output")?).read_line(&mut line)?;
        ensure!(line.trim() == child::READY, "the host did not get ready: {line:?}");
        let capacity = capacity(&server)?;
        let rate = self.rate.unwrap_or((capacity / 2.0) as u32).max(1);
        eprintln!("{capacity:.0} events/s alone, measuring at {rate}");
        let (mut quiet, mut loud) = (Vec::new(), Vec::new());
        for round in 1..=self.rounds {
            quiet.push(latency(&server, rate, self.seconds)?);
            let deeds = self.deeds.iter().cycle().take(EACH * DEEDS.len());
            let hostile = deeds.map(|deed| vec![("do", deed.clone())]);
            server.append("a:events", hostile);
            loud.push(latency(&server, rate, self.seconds)?);
            server.ask(&["XTRIM", "a:events", "MAXLEN", "0"]);
            thread::sleep(Duration::from_secs(2));
            eprintln!(
                "round {round}: p50, p99 in ms: {:?} quiet, {:?} beside the neighbour",
                quiet.last(),
                loud.last()
            );
        }
        let of = |runs: &[(f64, f64)], what: fn(&(f64, f64)) -> f64| median(runs.iter().map(what).collect());
        println!("latency of a tenant at {rate} events/s, medians of {} rounds", self.rounds);
        println!("| neighbour | p50, ms | p99, ms |\n| --- | --- | --- |");
        for (name, runs) in [("quiet", &quiet), ("hostile", &loud)] {
            println!("| {name} | {:.2} | {:.2} |", of(runs, |run| run.0), of(runs, |run| run.1));
        }
        let ratio = of(&loud, |run| run.1) / of(&quiet, |run| run.1);
        println!("\np99 beside the hostile neighbour: {ratio:.2} times that without it");
        let survived: Option<u64> = server.get(&["GET", "a:survived"]);
        println!("{} deeds of the neighbour ended well", survived.unwrap_or_default());
        println!("\n{}", json!({ "rate": rate, "capacity": capacity, "p99_ratio": ratio }));
        Ok(())
    }
}

/// Events per second that the tenant handles alone, appended one by one as they are when its latency is measured.
fn capacity(server: &RedisServer) -> Result<f64> {
    let mut listener = server.connect();
    listener.set_read_timeout(Some(LIMIT))?;
    let mut channels = listener.as_pubsub();
    channels.subscribe("b:echo")?;
    let begun = Instant::now();
    append(server.connect(), begun, u32::MAX, CAPACITY_EVENTS)?;
    for _ in 0..CAPACITY_EVENTS {
        channels.get_message()?;
    }
    Ok(CAPACITY_EVENTS as f64 / begun.elapsed().as_secs_f64())
}

/// The latency at a rate, p50 and p99 in milliseconds.
fn latency(server: &RedisServer, rate: u32, seconds: u32) -> Result<(f64, f64)> {
    let count = (rate * seconds) as usize;
    let (appending, mut listening) = (server.connect(), server.connect());
    listening.set_read_timeout(Some(LIMIT))?;
    let clock = Instant::now();
    let mut latencies = thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let mut channels = listening.as_pubsub();
            channels.subscribe("b:echo")?;
            let mut latencies = Vec::with_capacity(count);
            for _ in 0..count {
                let message = channels.get_message()?;
                let sent: u64 = std::str::from_utf8(message.get_payload_bytes())?.parse()?;
                latencies.push(clock.elapsed().saturating_sub(Duration::from_micros(sent)));
            }
            Ok::<_, anyhow::Error>(latencies)
        });
        // It is to listen before the first event comes.
        thread::sleep(Duration::from_millis(100));
        append(appending, clock, rate, count)?;
        receiver.join().map_err(|_| anyhow::Error::msg("the subscriber failed"))?
    })?;
    latencies.sort_unstable();
    let quantile = |share: f64| {
        let at = (latencies.len() as f64 * share) as usize;
        latencies.get(at.min(latencies.len() - 1)).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    Ok((quantile(0.5), quantile(0.99)))
}

/// Appends events at fixed times.
fn append(mut connection: Connection, clock: Instant, rate: u32, count: usize) -> Result<()> {
    let begun = Instant::now();
    for number in 0..count {
        let due = begun + Duration::from_secs_f64(number as f64 / f64::from(rate));
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let sent = clock.elapsed().as_micros().to_string();
        cmd("XADD")
            .arg("b:events")
            .arg("MAXLEN")
            .arg("~")
            .arg(10_000)
            .arg("*")
            .arg("t")
            .arg(sent)
            .exec(&mut connection)?;
    }
    Ok(())
}

/// Runs both tenants until the process is ended.
#[tokio::main(worker_threads = 3)]
pub(crate) async fn work(url: &str) -> Result<()> {
    let compiled = tempfile::tempdir()?;
    let mut config = Config::parse(TENANTS)?;
    config.store = StoreConfig { url: url.to_owned(), ..StoreConfig::default() };
    config.engine.cache_dir = Some(compiled.path().to_owned());
    let host = Host::start(config.clone(), sandbar_store::connect(&config.store).await?).await?;
    for (tenant, component, manifest) in
        [("a", HOSTILE, open_manifest(TRIGGER, LIMITS)), ("b", HANDLE_ECHO, open_manifest("concurrency = 2", ""))]
    {
        let bytes = std::fs::read(component).context(component)?;
        host.tenant(tenant)?.load_bytes(Manifest::parse(&manifest)?, bytes).await?;
    }
    while !host.health().is_ready() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    child::ready()?;
    child::rest()
}
