//! Tiered reads: one load per key, what is answered when, and that nothing old is answered from memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbar_core::config::{Config, StoreConfig};
use sandbar_runtime::call::Lineage;
use sandbar_runtime::tiered_cache::policy::Policy;
use sandbar_runtime::tiered_cache::{Fetch, FetchError, Tier};
use sandbar_store::embedded::Embedded;
use sandbar_store::{Commit, Condition, Effect, Expiry, Store, connect};
use sandbar_tests::{RedisServer, TestHost, components, open_manifest};

mod faults;
mod fresh;
mod guests;
mod loads;
mod policies;

/// How long a caller waits.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than any test.
const LONG: u64 = 600_000;

/// What a caller got.
type Answer = Result<(Option<String>, Tier), FetchError>;

/// A host with the guest that loads for itself.
async fn host(store: Arc<dyn Store>, rest: &str) -> TestHost {
    host_with(Config::default(), store, rest).await
}

async fn host_with(config: Config, store: Arc<dyn Store>, rest: &str) -> TestHost {
    TestHost::with(config, store, components::CACHE_FETCH, &open_manifest("batch = 1", rest)).await
}

async fn store(url: String) -> Arc<dyn Store> {
    connect(&StoreConfig { url, ..StoreConfig::default() }).await.unwrap()
}

/// Hosts on one server.
async fn fleet(server: &RedisServer, hosts: usize) -> Vec<TestHost> {
    let mut fleet = Vec::new();
    for _ in 0..hosts {
        fleet.push(host(store(server.url()).await, "").await);
    }
    fleet
}

/// Runs a test on a host with each store.
async fn on_both(run: impl AsyncFn(TestHost)) {
    run(host(Arc::new(Embedded::new()), "").await).await;
    let server = RedisServer::start();
    run(host(store(server.url()).await, "").await).await;
}

/// Fetches as a plugin of the host would.
async fn fetch(host: &TestHost, key: &str, policy: Policy) -> Answer {
    fetch_with(host, key, policy, Some("guest"), PATIENCE).await
}

async fn fetch_with(host: &TestHost, key: &str, policy: Policy, loader: Option<&str>, patience: Duration) -> Answer {
    let (until, lineage) = (Instant::now() + patience, Lineage::default());
    let fetch = Fetch { key, policy: &policy, loader, until, lineage: &lineage };
    let (value, tier) = host.host.first().unwrap().tiered_cache().fetch(fetch).await?;
    Ok((value.map(|value| String::from_utf8(value.to_vec()).unwrap()), tier))
}

fn found(value: &str, tier: Tier) -> Answer {
    Ok((Some(value.to_owned()), tier))
}

fn policy(ttl_ms: u64) -> Policy {
    Policy::new(ttl_ms)
}

fn in_memory() -> Policy {
    Policy { memory_ttl_ms: LONG, ..policy(LONG) }
}

/// Writes as a plugin of this host would.
async fn write(host: &TestHost, effects: &[Effect]) {
    host.store.commit(Commit::plain(effects, &[])).await.unwrap();
}

async fn set(host: &TestHost, key: &str, value: &str, expiry: Expiry) {
    let (key, value) = (key.to_owned(), value.to_owned().into());
    write(host, &[Effect::Set { key, value, expiry, condition: Condition::Always }]).await;
}

/// Says what the source does with a key.
async fn source(host: &TestHost, key: &str, what: &str) {
    set(host, &format!("source:{key}"), what, Expiry::Never).await;
}

/// How often the source was asked for a key.
async fn loads(host: &TestHost, key: &str) -> u64 {
    host.value(&format!("loads:{key}")).await.map_or(0, |count| count.parse().unwrap())
}

/// Waits until this host answers a key from its memory.
async fn warm(host: &TestHost, key: &str, value: &str) {
    sandbar_tests::poll_until(PATIENCE, "it is answered from memory", async || {
        fetch(host, key, in_memory()).await == found(value, Tier::Memory)
    })
    .await;
}
