//! `queue`: jobs with a handler that does nothing, by the queue trigger and by BullMQ.
//!
//! The jobs are there before the clock starts, and have the same payload for both. BullMQ is installed through npm
//! into the target folder, and skipped where that does not work. Its `Worker` runs one job at a time and slot of its
//! concurrency; the trigger runs one batch (of the default size) at a time and slot of its own.

mod bullmq;
mod trigger;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sandbar_tests::{Options, RedisServer};
use serde_json::{Map, json};

use crate::cpu;
use crate::report::{median, rounded};
use bullmq::BullMq;
pub(crate) use trigger::Work;

/// What is measured.
const CONCURRENCY: [u32; 3] = [1, 8, 32];
/// Rounds, and jobs of each, of `--short`.
const SHORT: (u32, u32, u32) = (1, 5_000, 1_000);
/// How long one measurement may take.
const LIMIT: Duration = Duration::from_secs(300);

/// What `queue` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Queue {
    /// Interleaved rounds; medians are of them
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Jobs of a measurement of the trigger
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1_000..=5_000_000))]
    jobs: u32,
    /// Jobs of a measurement of BullMQ, which needs fewer for a rate
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1_000..=5_000_000))]
    bullmq_jobs: u32,
    /// One round of few jobs, to see that everything works; its numbers mean little
    #[arg(long, conflicts_with_all = ["rounds", "jobs", "bullmq_jobs"])]
    short: bool,
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Run {
    rate: f64,
    client_us: f64,
    server_us: f64,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, client_us, server_us } = self;
        write!(f, "{rate:.0} jobs/s, {client_us:.1} µs of CPU a job, {server_us:.1} µs in the server")
    }
}

/// Runs by concurrency.
type Runs = BTreeMap<u32, Vec<Run>>;

impl Queue {
    /// Measures and prints.
    pub(crate) fn measure(mut self) -> Result<()> {
        if self.short {
            (self.rounds, self.jobs, self.bullmq_jobs) = SHORT;
        }
        let bullmq = BullMq::install();
        if let Err(reason) = &bullmq {
            println!("BullMQ: skipped, {reason:#}");
        }
        let bullmq = bullmq.ok();
        let (mut trigger_runs, mut bullmq_runs) = (Runs::new(), Runs::new());
        for round in 1..=self.rounds {
            for concurrency in CONCURRENCY {
                let run = trigger::measure(self.jobs, concurrency).context("measuring the trigger")?;
                eprintln!("round {round}: sandbar, concurrency {concurrency}: {run}");
                trigger_runs.entry(concurrency).or_default().push(run);
                let Some(bullmq) = &bullmq else { continue };
                let run = bullmq.measure(self.bullmq_jobs, concurrency).context("measuring BullMQ")?;
                eprintln!("round {round}: BullMQ, concurrency {concurrency}: {run}");
                bullmq_runs.entry(concurrency).or_default().push(run);
            }
        }
        self.print(&trigger_runs, &bullmq_runs, bullmq.is_some())
    }

    fn print(&self, trigger: &Runs, bullmq: &Runs, has_bullmq: bool) -> Result<()> {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        let Self { rounds, jobs, bullmq_jobs, .. } = self;
        println!("\nMedians of {rounds} interleaved rounds, no-op handler, {cores} cores, {build} build\n");
        println!("| concurrency | Sandbar, jobs/s | BullMQ {}, jobs/s | ratio |", bullmq::VERSION);
        println!("| --- | --- | --- | --- |");
        let (mut ratios, mut ours, mut theirs) = (Map::new(), Map::new(), Map::new());
        for concurrency in CONCURRENCY {
            let (a, b) = (trigger.get(&concurrency), bullmq.get(&concurrency));
            let rate = |runs: Option<&Vec<Run>>| median(runs.into_iter().flatten().map(|run| run.rate).collect());
            let pairs = a.into_iter().flatten().zip(b.into_iter().flatten());
            let ratio = median(pairs.map(|(a, b)| a.rate / b.rate).collect());
            let (left, right) = (format!("{:.0}", rate(a)), format!("{:.0}", rate(b)));
            match has_bullmq {
                true => println!("| {concurrency} | {left} | {right} | {ratio:.1} |"),
                false => println!("| {concurrency} | {left} | skipped | |"),
            }
            let key = concurrency.to_string();
            ratios.insert(key.clone(), json!(has_bullmq.then(|| rounded(ratio))));
            ours.insert(key.clone(), line(a));
            theirs.insert(key, line(b));
        }
        let input = json!({
            "rounds": rounds, "jobs": jobs, "bullmq_jobs": bullmq_jobs, "bullmq": bullmq::VERSION, "cores": cores,
            "build": build,
        });
        let line = json!({ "queue_vs_bullmq": ratios, "sandbar": ours, "bullmq": theirs, "input": input });
        println!("\n{line}");
        Ok(())
    }
}

/// Medians of runs, for programs.
fn line(runs: Option<&Vec<Run>>) -> serde_json::Value {
    let Some(runs) = runs else { return serde_json::Value::Null };
    let median = |of: fn(&Run) -> f64| rounded(median(runs.iter().map(of).collect()));
    json!({
        "jobs_per_s": median(|run| run.rate),
        "client_cpu_us": median(|run| run.client_us),
        "server_cpu_us": median(|run| run.server_us),
    })
}

/// A server for one measurement.
fn server() -> RedisServer {
    Options::new().port().start()
}

/// A process that works. It is killed when it is dropped.
struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a process and waits until it says that it is ready.
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start it")?;
        let out = BufReader::new(child.stdout.take().context("its standard output")?);
        let mut this = Self { child, out };
        this.expect("ready")?;
        Ok(this)
    }

    /// Waits until it prints this line.
    fn expect(&mut self, line: &str) -> Result<()> {
        let mut found = String::new();
        self.out.read_line(&mut found)?;
        if found.trim() != line {
            bail!("it printed {found:?} instead of `{line}`");
        }
        Ok(())
    }

    /// Lets it begin, waits until `wait` is over, and answers what that took and cost.
    fn time(
        mut self,
        server: &RedisServer,
        jobs: u32,
        wait: impl FnOnce(&mut Self, Instant) -> Result<()>,
    ) -> Result<Run> {
        let used = |this: &Self| Ok::<_, anyhow::Error>((cpu::used(this.child.id())?, cpu::used(server.pid())?));
        let before = used(&self)?;
        let begun = Instant::now();
        let stdin = self.child.stdin.as_mut().context("its standard input")?;
        stdin.write_all(b"begin\n").and_then(|()| stdin.flush())?;
        wait(&mut self, begun)?;
        let took = begun.elapsed();
        let after = used(&self)?;
        let us = |before: Duration, after: Duration| (after - before).as_secs_f64() * 1e6 / f64::from(jobs);
        Ok(Run {
            rate: f64::from(jobs) / took.as_secs_f64(),
            client_us: us(before.0, after.0),
            server_us: us(before.1, after.1),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
