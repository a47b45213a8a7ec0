//! What tiered reads cost: from memory, from the store, and how soon a write elsewhere is seen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sandbar_core::config::StoreConfig;
use sandbar_runtime::call::Lineage;
use sandbar_runtime::tiered_cache::policy::Policy;
use sandbar_runtime::tiered_cache::{Fetch, Tier};
use sandbar_store::{Commit, Condition, Effect, Expiry};
use sandbar_tests::{RedisServer, TestHost, components, open_manifest};
use serde_json::json;

use crate::report::median;

/// Bytes of a value.
const VALUE_BYTES: usize = 1_000;
/// Keys that are read in turn.
const KEYS: usize = 1_000;
/// Callers that ask for one missing key at the same time.
const CALLERS: usize = 1_000;
/// Hosts that they ask.
const HOSTS: usize = 3;
/// A time that no measurement reaches.
const LONG_MS: u64 = 3_600_000;
/// How long something may take that comes by itself.
const LIMIT: Duration = Duration::from_secs(30);

/// What `cache` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Cache {
    /// Rounds; medians are of them
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Reads from memory in a round
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000_000))]
    reads: u32,
    /// One round of few reads, to see that everything works; its numbers mean little
    #[arg(long, conflicts_with_all = ["rounds", "reads"])]
    short: bool,
}

/// Measures, prints a table and a line.
pub(crate) fn measure(mut cache: Cache) -> Result<()> {
    if cache.short {
        (cache.rounds, cache.reads) = (1, 20_000);
    }
    tokio::runtime::Runtime::new()?.block_on(run(&cache))
}

async fn run(cache: &Cache) -> Result<()> {
    let server = RedisServer::start();
    let mut hosts = Vec::new();
    for _ in 0..HOSTS {
        let config = StoreConfig { url: server.url(), ..StoreConfig::default() };
        let manifest = open_manifest("batch = 1", "[limits]\ndeadline = \"1m\"");
        hosts.push(TestHost::on(sandbar_store::connect(&config).await?, components::CACHE_FETCH, &manifest).await);
    }
    let [host, other, ..] = &hosts[..] else { anyhow::bail!("no hosts") };
    let keys: Vec<String> = (0..KEYS).map(|number| format!("quote:{number}")).collect();
    for key in &keys {
        set(host, key, &"x".repeat(VALUE_BYTES)).await?;
        warm(host, key).await?;
    }
    let (mut memory, mut guest, mut stored, mut seen, mut loaded) = (vec![], vec![], vec![], vec![], vec![]);
    for round in 0..cache.rounds {
        memory.push(from_memory(host, &keys, cache.reads).await?);
        guest.push(from_guest(host, &keys, cache.reads.min(200_000), round).await?);
        stored.push(from_store(host, &keys, cache.reads / 200).await?);
        seen.extend(until_seen(host, other, cache.reads / 20_000 + 10).await?);
        loaded.push(one_load(&hosts, round).await?);
        eprintln!("round {}: {:.0} ns from memory", round + 1, memory.last().copied().unwrap_or_default());
    }
    seen.sort_by(f64::total_cmp);
    let seen_at = |share: usize| seen.get((seen.len() - 1) * share / 100).copied().unwrap_or(f64::NAN);
    let (p50, p99, most) = (seen_at(50), seen_at(99), seen_at(100));
    let (memory, guest, stored, loaded) = (median(memory), median(guest), median(stored), median(loaded));
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    println!("\nMedians of {} rounds, values of {VALUE_BYTES} bytes, {KEYS} keys, {build} build\n", cache.rounds);
    println!("| a tiered read | time |\n| --- | --- |");
    println!("| from memory, inside the host | {memory:.0} ns |");
    println!("| from memory, by a plugin, value copied into it | {guest:.0} ns |");
    println!("| from the store | {stored:.1} µs |");
    println!(
        "| of a missing key by {CALLERS} callers on {HOSTS} hosts, one load, until all are answered | {loaded:.1} ms |"
    );
    println!(
        "\nFrom the answer to a write on one host until another answers the new value: {p50:.0} µs in the median,"
    );
    println!("{p99:.0} µs p99, {most:.0} µs at most, of {} writes.\n", seen.len());
    let line = json!({
        "memory_hit_ns": memory.round(), "plugin_memory_hit_ns": guest.round(), "store_hit_us": rounded(stored),
        "write_seen_us": { "p50": rounded(p50), "p99": rounded(p99), "max": rounded(most) },
        "one_load_ms": rounded(loaded), "callers": CALLERS, "hosts": HOSTS,
        "input": { "rounds": cache.rounds, "reads": cache.reads, "value_bytes": VALUE_BYTES, "keys": KEYS, "build": build },
    });
    println!("{line}");
    Ok(())
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn policy() -> Policy {
    Policy { memory_ttl_ms: LONG_MS, ..Policy::new(LONG_MS) }
}

async fn fetch(host: &TestHost, key: &str, policy: &Policy) -> Result<(Option<bytes::Bytes>, Tier)> {
    let (until, lineage) = (Instant::now() + LIMIT, Lineage::default());
    Ok(host
        .host
        .first()?
        .tiered_cache()
        .fetch(Fetch { key, policy, loader: Some("guest"), until, lineage: &lineage })
        .await?)
}

async fn set(host: &TestHost, key: &str, value: &str) -> Result<()> {
    let (key, value) = (key.to_owned(), value.to_owned().into());
    let effects = [Effect::Set { key, value, expiry: Expiry::TtlMs(LONG_MS), condition: Condition::Always }];
    host.store.commit(Commit::plain(&effects, &[])).await?;
    Ok(())
}

async fn warm(host: &TestHost, key: &str) -> Result<()> {
    let begun = Instant::now();
    while fetch(host, key, &policy()).await?.1 != Tier::Memory {
        ensure!(begun.elapsed() < LIMIT, "{key} is not kept in memory");
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Nanoseconds of a read from memory.
async fn from_memory(host: &TestHost, keys: &[String], reads: u32) -> Result<f64> {
    for key in keys {
        warm(host, key).await?;
    }
    let (policy, lineage, until) = (policy(), Lineage::default(), Instant::now() + LIMIT * 100);
    let begun = Instant::now();
    for key in keys.iter().cycle().take(reads as usize) {
        let read = Fetch { key, policy: &policy, loader: Some("guest"), until, lineage: &lineage };
        let (value, tier) = host.host.first()?.tiered_cache().fetch(read).await?;
        ensure!(tier == Tier::Memory && value.is_some(), "{key} came from {tier:?}");
    }
    Ok(begun.elapsed().as_nanos() as f64 / f64::from(reads))
}

/// Nanoseconds of a read from memory by a plugin.
async fn from_guest(host: &TestHost, keys: &[String], reads: u32, round: u32) -> Result<f64> {
    let (key, place) = (keys.first().context("a key")?, format!("took:{round}"));
    warm(host, key).await?;
    let (ms, times) = (LONG_MS.to_string(), reads.to_string());
    host.feed(&[&[("key", key), ("ttl", &ms), ("memory", &ms), ("times", &times), ("took", &place), ("as", "answer")]])
        .await;
    let begun = Instant::now();
    loop {
        if let Some(took) = host.value(&place).await {
            return Ok(took.parse::<f64>()? / f64::from(reads));
        }
        ensure!(begun.elapsed() < LIMIT, "the plugin does not answer");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Microseconds of a read from the store.
async fn from_store(host: &TestHost, keys: &[String], reads: u32) -> Result<f64> {
    let policy = Policy::new(LONG_MS);
    let begun = Instant::now();
    for key in keys.iter().cycle().take(reads as usize) {
        ensure!(fetch(host, key, &policy).await?.1 == Tier::Store, "{key} did not come from the store");
    }
    Ok(begun.elapsed().as_nanos() as f64 / 1e3 / f64::from(reads))
}

/// Microseconds from the answer to a write on one host until another answers the new value.
async fn until_seen(writer: &TestHost, reader: &TestHost, writes: u32) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for write in 0..writes {
        let value = write.to_string();
        warm(reader, "quote:0").await?;
        set(writer, "quote:0", &value).await?;
        let written = Instant::now();
        while fetch(reader, "quote:0", &policy()).await?.0.as_deref() != Some(value.as_bytes()) {
            ensure!(written.elapsed() < LIMIT, "the write is not seen");
            tokio::task::yield_now().await;
        }
        times.push(written.elapsed().as_nanos() as f64 / 1e3);
    }
    Ok(times)
}

/// Milliseconds until all callers of a missing key are answered.
async fn one_load(hosts: &[TestHost], round: u32) -> Result<f64> {
    let key: Arc<str> = format!("missing:{round}").into();
    let host = hosts.first().context("a host")?;
    set(host, &format!("source:{key}"), "= v").await?;
    let tiered_cache: Vec<_> =
        hosts.iter().flat_map(|host| host.host.tenants()).map(|tenant| tenant.tiered_cache().clone()).collect();
    let begun = Instant::now();
    let callers: Vec<_> = tiered_cache
        .iter()
        .cycle()
        .take(CALLERS)
        .map(|tiered_cache| {
            let (tiered_cache, key) = (tiered_cache.clone(), key.clone());
            tokio::spawn(async move {
                let (policy, until, lineage) = (policy(), Instant::now() + LIMIT, Lineage::default());
                let read = Fetch { key: &key, policy: &policy, loader: Some("guest"), until, lineage: &lineage };
                tiered_cache.fetch(read).await
            })
        })
        .collect();
    for caller in callers {
        ensure!(caller.await??.0.as_deref() == Some(b"v"), "a caller got another value");
    }
    let took = begun.elapsed();
    let loads = host.value(&format!("loads:{key}")).await;
    ensure!(loads.as_deref() == Some("1"), "{loads:?} loads");
    Ok(took.as_nanos() as f64 / 1e6)
}
