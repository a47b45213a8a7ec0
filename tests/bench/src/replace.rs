//! What events notice of versions that are replaced while they flow, and what is left of those versions.
//!
//! The plugin appends what it handles to a stream, whose ids are the server's own word on when each commit was made.
//! So nothing else than what a host does anyway is asked of the server while the pauses are measured.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use redis::{Connection, cmd, pipe};
use sandbar_core::config::{Config, StoreConfig};
use sandbar_fleet::{Deploy, Fleet, WAIT_DEFAULT};
use sandbar_server::host::Host;
use sandbar_tests::components::HANDLE_LOG;
use sandbar_tests::{Options, RedisServer, open_manifest};
use serde_json::json;

use crate::child;
use crate::idle::Working;
use crate::memory::Memory;

/// The tenant and the plugin.
const TENANT: &str = "default";
/// Events with which it is found out what the host can do.
const CAPACITY_EVENTS: u64 = 200_000;
/// The time between two writes of the load.
const STEP: Duration = Duration::from_millis(1);
/// How long the new version is looked at behind its first event: the old one goes meanwhile.
const TAIL: Duration = Duration::from_millis(100);
/// How often it is looked whether the new version has handled an event.
const LOOK: Duration = Duration::from_millis(2);
/// How long anything may take that is waited for.
const LIMIT: Duration = Duration::from_secs(60);
/// How long the host runs without a replacement before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(3);
/// Entries that are read at once.
const PAGE: usize = 10_000;

/// What `replace` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Replace {
    /// Versions that replace each other
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5000))]
    replacements: u32,
    /// Events per second instead of half of what the host can do
    #[arg(long)]
    rate: Option<u32>,
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
}

/// A span of time, in milliseconds by the server's clock.
type Span = (u64, u64);

impl Replace {
    /// Measures, and prints a table and one JSON object.
    #[tokio::main(flavor = "current_thread")]
    pub(crate) async fn measure(&self) -> Result<()> {
        let (server, cache) = (Arc::new(Options::new().port().start()), tempfile::tempdir()?);
        let mut command = Command::new(std::env::current_exe().context("this program's own file")?);
        command.args(["replace-work", "--url", &server.url(), "--cache"]).arg(cache.path());
        let mut host = Working(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("the host")?);
        let mut line = String::new();
        BufReader::new(host.0.stdout.take().context("its standard output")?).read_line(&mut line)?;
        ensure!(line.trim() == child::READY, "the host did not get ready: {line:?}");
        let config = StoreConfig { url: server.url(), ..StoreConfig::default() };
        let fleet = Fleet::new(sandbar_store::connect(&config).await?, "");
        let mut connection = server.connect();

        fleet.deploy(TENANT, version(0)?).await?;
        let capacity = capacity(&mut connection)?;
        let rate = self.rate.map_or(capacity / 2.0, f64::from);
        eprintln!("{capacity:.0} events/s at most, measuring at {rate:.0}");
        let load = Load::start(&server, CAPACITY_EVENTS, rate);
        thread::sleep(SETTLE);
        let mut memory = vec![("before", Memory::of(host.0.id())?)];
        let (mut replaced, mut quiet): (Vec<Span>, Vec<Span>) = (Vec::new(), Vec::new());
        for number in 1..=self.replacements {
            let begun = now_ms(&mut connection)?;
            fleet.deploy(TENANT, version(number)?).await?;
            handles(&mut connection, number)?;
            thread::sleep(TAIL);
            let ended = now_ms(&mut connection)?;
            replaced.push((begun, ended));
            // As long without a replacement, for comparison.
            thread::sleep(Duration::from_millis(ended - begun));
            quiet.push((ended, now_ms(&mut connection)?));
            if number == 10 {
                memory.push(("after 10", Memory::of(host.0.id())?));
            }
        }
        memory.push(("after all", Memory::of(host.0.id())?));
        thread::sleep(SETTLE);
        memory.push(("at the end", Memory::of(host.0.id())?));
        let fed = load.end()?;
        let log = Log::read(&mut connection, fed)?;
        report(self.replacements, (capacity, rate), &log, (&replaced, &quiet), &memory);
        ensure!(log.lost == 0 && log.doubled == 0 && log.is_in_order, "events were lost, doubled or mixed up: {log:?}");
        Ok(())
    }
}

fn report(
    replacements: u32,
    (capacity, rate): (f64, f64),
    log: &Log,
    (replaced, quiet): (&[Span], &[Span]),
    memory: &[(&str, Memory)],
) {
    let gaps = |spans: &[Span]| Spread::of(spans.iter().map(|span| log.longest_gap(*span)).collect());
    let (with, without) = (gaps(replaced), gaps(quiet));
    let took = Spread::of(replaced.iter().map(|(begun, ended)| ended - begun - TAIL.as_millis() as u64).collect());
    println!(
        "{replacements} replacements at {rate:.0} of {capacity:.0} events/s; {} events, {} lost, {} doubled, versions {}",
        log.times.len(),
        log.lost,
        log.doubled,
        if log.is_in_order { "in order" } else { "not in order" }
    );
    println!("\n| longest gap between commits, ms | p50 | p99 | max |\n| --- | --- | --- | --- |");
    for (name, Spread { p50, p99, max }) in
        [("of each replacement", &with), ("of as long a time without one", &without)]
    {
        println!("| {name} | {p50} | {p99} | {max} |");
    }
    println!("\nfrom the deploy to the first event of the version: p50 {} ms, max {} ms", took.p50, took.max);
    println!("\n| memory of the host, MiB | resident | anonymous | of files |\n| --- | --- | --- | --- |");
    for (name, memory) in memory {
        println!("| {name} | {:.1} | {:.1} | {:.1} |", memory.resident_mib, memory.anonymous_mib, memory.file_mib());
    }
    let resident: HashMap<&str, f64> = memory.iter().map(|(name, memory)| (*name, memory.resident_mib)).collect();
    let result = json!({
        "replacements": replacements,
        "capacity": capacity,
        "rate": rate,
        "events": log.times.len(),
        "lost": log.lost,
        "doubled": log.doubled,
        "in_order": log.is_in_order,
        "gap_ms": { "p50": with.p50, "p99": with.p99, "max": with.max },
        "gap_ms_without": { "p50": without.p50, "p99": without.p99, "max": without.max },
        "deploy_ms": { "p50": took.p50, "max": took.max },
        "resident_mib": resident,
    });
    println!("\n{result}");
}

/// The version of a number, which no other one has the digest of.
fn version(number: u32) -> Result<Deploy> {
    let mut component = std::fs::read(HANDLE_LOG).context(HANDLE_LOG)?;
    custom_section(&mut component, number);
    Ok(Deploy {
        manifest: open_manifest("", &format!("[config]\nmark = \"{number}\"")),
        component: component.into(),
        by: "bench".to_owned(),
        trial: None,
        wait: WAIT_DEFAULT,
    })
}

/// Adds a custom section: another digest, the same behaviour.
pub(crate) fn custom_section(component: &mut Vec<u8>, number: u32) {
    let name = format!("version-{number:04}");
    let length = name.len() as u8;
    component.extend([0, length + 1, length]);
    component.extend(name.as_bytes());
}

/// Events per second that the host handles when it has more than enough of them.
fn capacity(connection: &mut Connection) -> Result<f64> {
    let begun = Instant::now();
    for from in (0..CAPACITY_EVENTS).step_by(1000) {
        append(connection, from..from + 1000)?;
    }
    loop {
        let done: u64 = cmd("XLEN").arg("done").query(connection)?;
        if done >= CAPACITY_EVENTS {
            return Ok(CAPACITY_EVENTS as f64 / begun.elapsed().as_secs_f64());
        }
        ensure!(begun.elapsed() < LIMIT, "{done} of {CAPACITY_EVENTS} events were handled within {LIMIT:?}");
        thread::sleep(LOOK);
    }
}

fn append(connection: &mut Connection, numbers: std::ops::Range<u64>) -> Result<()> {
    let mut pipeline = pipe();
    for seq in numbers {
        pipeline.cmd("XADD").arg("events").arg("*").arg("seq").arg(seq).ignore();
    }
    Ok(pipeline.exec(connection)?)
}

/// Waits until a version has handled an event.
fn handles(connection: &mut Connection, number: u32) -> Result<()> {
    let (begun, mark) = (Instant::now(), number.to_string());
    loop {
        let newest: Vec<Entry> =
            cmd("XREVRANGE").arg("done").arg("+").arg("-").arg("COUNT").arg(1).query(connection)?;
        if newest.first().is_some_and(|(_, fields)| fields.get(3) == Some(&mark)) {
            return Ok(());
        }
        ensure!(begun.elapsed() < LIMIT, "version {number} got no event within {LIMIT:?}");
        thread::sleep(LOOK);
    }
}

fn now_ms(connection: &mut Connection) -> Result<u64> {
    let (seconds, micros): (u64, u64) = cmd("TIME").query(connection)?;
    Ok(seconds * 1000 + micros / 1000)
}

/// Appends events at a steady rate until it is stopped.
struct Load {
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    feeder: JoinHandle<Result<()>>,
}

impl Load {
    fn start(server: &Arc<RedisServer>, from: u64, rate: f64) -> Self {
        let (next, stop) = (Arc::new(AtomicU64::new(from)), Arc::new(AtomicBool::new(false)));
        let (fed, stopped, mut connection) = (next.clone(), stop.clone(), server.connect());
        let feeder = thread::spawn(move || {
            let begun = Instant::now();
            let mut at = from;
            while !stopped.load(Ordering::Relaxed) {
                let due = from + (begun.elapsed().as_secs_f64() * rate) as u64;
                if at < due {
                    append(&mut connection, at..due)?;
                    at = due;
                    fed.store(at, Ordering::Relaxed);
                }
                thread::sleep(STEP);
            }
            Ok(())
        });
        Self { next, stop, feeder }
    }

    /// Ends, and answers how many events there are.
    fn end(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.feeder.join().map_err(|_| anyhow::Error::msg("the load failed"))??;
        Ok(self.next.load(Ordering::Relaxed))
    }
}

/// An entry of a stream: its id, and names and values in turns.
type Entry = (String, Vec<String>);

/// What the plugin has made of all events.
struct Log {
    /// When each was committed, in milliseconds.
    times: Vec<u64>,
    lost: u64,
    doubled: u64,
    /// No version got an event after its successor had begun.
    is_in_order: bool,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lost, doubled, is_in_order, .. } = self;
        write!(f, "{lost} lost, {doubled} doubled, in order: {is_in_order}")
    }
}

impl Log {
    /// Waits until all events are handled, and reads what has become of them.
    fn read(connection: &mut Connection, events: u64) -> Result<Self> {
        let begun = Instant::now();
        while cmd("XLEN").arg("done").query::<u64>(connection)? < events && begun.elapsed() < LIMIT {
            thread::sleep(STEP);
        }
        let mut seen = vec![0_u32; usize::try_from(events)?];
        let (mut log, mut last) = (Self { times: Vec::new(), lost: 0, doubled: 0, is_in_order: true }, 0);
        let mut from = "-".to_owned();
        loop {
            let page: Vec<Entry> =
                cmd("XRANGE").arg("done").arg(&from).arg("+").arg("COUNT").arg(PAGE).query(connection)?;
            let Some((id, _)) = page.last() else { break };
            from = format!("({id}");
            for (id, fields) in &page {
                let [_, seq, _, mark] = fields.as_slice() else { anyhow::bail!("{id} has {fields:?}") };
                let count = seen.get_mut(seq.parse::<usize>()?).context("an event that was never fed")?;
                *count += 1;
                let mark: u32 = mark.parse()?;
                log.is_in_order &= mark >= last;
                last = mark;
                log.times.push(id.split('-').next().unwrap_or_default().parse()?);
            }
        }
        log.lost = seen.iter().filter(|count| **count == 0).count() as u64;
        log.doubled = seen.iter().map(|count| u64::from(count.saturating_sub(1))).sum();
        Ok(log)
    }

    /// The longest time between two commits that lies within or reaches into a span.
    fn longest_gap(&self, (begun, ended): Span) -> u64 {
        let from = self.times.partition_point(|time| *time < begun).saturating_sub(1);
        let to = self.times.partition_point(|time| *time <= ended).min(self.times.len().saturating_sub(1));
        let within = self.times.get(from..=to).unwrap_or_default();
        within.windows(2).map(|pair| pair.last().unwrap_or(&0) - pair.first().unwrap_or(&0)).max().unwrap_or_default()
    }
}

/// How values are spread.
#[derive(Debug)]
pub(crate) struct Spread {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let at = |percent: usize| {
            values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
        };
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

impl Work {
    /// Runs what is deployed until the process is ended.
    #[tokio::main(worker_threads = 3)]
    pub(crate) async fn run(self) -> Result<()> {
        let mut config = Config { store: StoreConfig { url: self.url, ..StoreConfig::default() }, ..Config::default() };
        config.engine.cache_dir = Some(self.cache);
        let host = Host::start(config.clone(), sandbar_store::connect(&config.store).await?).await?;
        host.join_fleet(None).await?;
        child::ready()?;
        child::rest()
    }
}
