//! `lock`: how soon the next waiter has a lock that was given back, and what waiting costs the server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sandbar_core::config::StoreConfig;
use sandbar_store::{Claim, LockKey, Store};
use sandbar_tests::{Options, RedisServer};
use serde_json::json;
use tokio::sync::mpsc;

use crate::report::{median, rounded};

/// How long a waiter waits.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a lock is held that is not released.
const TTL_MS: u64 = 30_000;
/// How often the line is looked at until all wait in it.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// What `lock` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Lock {
    /// Waiters of one lock at the same time
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    waiters: u32,
    /// Rounds, in each of which each waiter gets the lock once
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long all wait in each round before the first gets the lock, in seconds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    seconds: u32,
    /// One short round, to see that everything works; its numbers mean little
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    short: bool,
}

impl Lock {
    /// Measures, prints a table and a line.
    pub(crate) fn measure(mut self) -> Result<()> {
        if self.short {
            (self.rounds, self.seconds) = (1, 1);
        }
        tokio::runtime::Runtime::new()?.block_on(self.run())
    }

    async fn run(&self) -> Result<()> {
        let server = Options::new().port().start();
        let config = StoreConfig { url: server.url(), ..StoreConfig::default() };
        let (holder, waiting) = (sandbar_store::connect(&config).await?, sandbar_store::connect(&config).await?);
        let (mut delays, mut costs) = (Vec::new(), Vec::new());
        for round in 0..self.rounds {
            let (cost, more) = self.round(&server, &holder, &waiting).await?;
            eprintln!("round {}: {cost:.4} commands per waiter and second", round + 1);
            costs.push(cost);
            delays.extend(more);
        }
        delays.sort_by(f64::total_cmp);
        let at = |share: usize| delays.get((delays.len() - 1) * share / 100).copied().unwrap_or(f64::NAN);
        let (p50, p99, most, cost) = (at(50), at(99), at(100), median(costs));
        let Self { waiters, rounds, seconds, .. } = self;
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        println!("\n{waiters} waiters of one lock, {} hand-overs, {cores} cores, {build} build\n", delays.len());
        println!("| from the release until the next has it, p50 | p99 | longest | commands per waiter and second |");
        println!("| --- | --- | --- | --- |");
        println!("| {p50:.0} µs | {p99:.0} µs | {most:.0} µs | {cost:.3} |");
        println!(
            "\nThe commands are all that the server ran while all waited: those within scripts and pings of connections too."
        );
        let line = json!({
            "lock_wake_us": { "p50": rounded(p50), "p99": rounded(p99), "max": rounded(most) },
            "commands_per_waiter_and_second": (cost * 1e4).round() / 1e4,
            "input": {
                "waiters": waiters, "rounds": rounds, "seconds": seconds, "hand_overs": delays.len(), "cores": cores,
                "build": build,
            },
        });
        println!("\n{line}");
        Ok(())
    }

    /// Has all wait for a while, then get the lock one after another. Answers the commands per waiter and second of
    /// the waiting, and for each waiter the microseconds from the begin of the release before it until it has the
    /// lock.
    async fn round(
        &self,
        server: &RedisServer,
        holder: &Arc<dyn Store>,
        waiting: &Arc<dyn Store>,
    ) -> Result<(f64, Vec<f64>)> {
        let mut held = holder.acquire(&claim(), Duration::ZERO).await?.context("the lock is not free")?;
        let (to, mut woken) = mpsc::unbounded_channel();
        for _ in 0..self.waiters {
            let (store, to) = (waiting.clone(), to.clone());
            tokio::spawn(async move {
                let lease = store.acquire(&claim(), PATIENCE).await;
                // There is no receiver where the benchmark has failed.
                let _gone = to.send((lease, Instant::now()));
            });
        }
        let begun = Instant::now();
        while holder.look(&claim().lock).await?.map_or(0, |locked| locked.waiters) < self.waiters.into() {
            ensure!(begun.elapsed() < PATIENCE, "not all wait in line");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let (begun, before) = (Instant::now(), commands(server));
        tokio::time::sleep(Duration::from_secs(self.seconds.into())).await;
        // But for the one that asks.
        let ran = commands(server) - before - 1;
        let cost = ran as f64 / f64::from(self.waiters) / begun.elapsed().as_secs_f64();
        let (mut store, mut delays) = (holder, Vec::new());
        for _ in 0..self.waiters {
            let released = Instant::now();
            ensure!(store.release(&held).await?, "the lock was lost");
            let (lease, at) = tokio::time::timeout(PATIENCE, woken.recv()).await?.context("no client waits")?;
            let lease = lease?.context("a waiter did not get the lock")?;
            ensure!(lease.token > held.token, "tokens rise");
            delays.push(at.saturating_duration_since(released).as_nanos() as f64 / 1e3);
            (store, held) = (waiting, lease);
        }
        ensure!(store.release(&held).await?, "the lock was lost");
        Ok((cost, delays))
    }
}

fn claim() -> Claim {
    Claim::new(LockKey::new("", "lock:shared"), "0f3a", "bench", TTL_MS)
}

/// How many commands the server has run.
fn commands(server: &RedisServer) -> u64 {
    let stats: String = server.get(&["INFO", "commandstats"]);
    let calls = |line: &str| line.split_once(":calls=")?.1.split(',').next()?.parse::<u64>().ok();
    stats.lines().filter_map(calls).sum()
}
