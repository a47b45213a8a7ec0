//! How soon a waiter is woken, in which order, and what waiting costs.
//!
//! The short form looks at order and cost. `SANDBAR_LONG=1` also measures 5,000 hand-overs and holds them to 5 ms.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbar_core::config::StoreConfig;
use sandbar_store::{Claim, LockKey, Store, connect};
use sandbar_tests::{RedisServer, poll_until};
use tokio::sync::mpsc;

const WAITERS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);

fn claim() -> Claim {
    Claim::new(LockKey::new("", "lock:shared"), "0f3a", "visits", 30_000)
}

async fn store(server: &RedisServer) -> Arc<dyn Store> {
    connect(&StoreConfig { url: server.url(), ..StoreConfig::default() }).await.unwrap()
}

/// How many scripts the server has run.
fn scripts(server: &RedisServer) -> u64 {
    let stats: String = server.get(&["INFO", "commandstats"]);
    let calls = |line: &str| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok();
    stats.lines().filter(|line| line.starts_with("cmdstat_eval")).filter_map(calls).sum()
}

async fn in_line(store: &dyn Store) -> u64 {
    store.look(&claim().lock).await.unwrap().map_or(0, |locked| locked.waiters)
}

#[tokio::test(flavor = "multi_thread")]
async fn waiters_are_woken_at_once_in_their_order_and_cost_next_to_nothing() {
    let is_long = std::env::var_os("SANDBAR_LONG").is_some();
    let rounds = if is_long { 50 } else { 3 };
    let server = RedisServer::start();
    let (holder, waiting) = (store(&server).await, store(&server).await);
    let mut delays = Vec::new();
    for round in 0..rounds {
        let held = holder.acquire(&claim(), Duration::ZERO).await.unwrap().unwrap();
        let (to, mut woken) = mpsc::unbounded_channel();
        for number in 0..WAITERS {
            let (store, to) = (waiting.clone(), to.clone());
            tokio::spawn(async move {
                let lease = store.acquire(&claim(), PATIENCE).await.unwrap().expect("it waits long enough");
                to.send((number, lease, Instant::now())).unwrap();
            });
            poll_until(PATIENCE, "the waiter is in line", async || in_line(&*holder).await == number as u64 + 1).await;
        }
        if round == 0 {
            let (before, begun) = (scripts(&server), Instant::now());
            tokio::time::sleep(Duration::from_secs(4)).await;
            let (ran, seconds) = (scripts(&server) - before, begun.elapsed().as_secs_f64());
            println!("{WAITERS} waiters cost {ran} commands in {seconds:.1} s");
            assert!(ran >= 1, "at least one watches the lock");
            assert!((ran as f64) < seconds, "fewer than one a second, of all of them together");
        }
        let (mut store, mut held) = (holder.clone(), held);
        for number in 0..WAITERS {
            let released = Instant::now();
            assert_eq!(store.release(&held).await, Ok(true));
            let (next, lease, at) = woken.recv().await.unwrap();
            assert_eq!(next, number, "in the order of arrival");
            assert!(lease.token > held.token);
            delays.push(at.saturating_duration_since(released));
            (store, held) = (waiting.clone(), lease);
        }
        assert_eq!(store.release(&held).await, Ok(true));
    }
    delays.sort_unstable();
    let part = |part: f64| delays[((delays.len() - 1) as f64 * part) as usize];
    println!("{} hand-overs: p50 {:?}, p99 {:?}, longest {:?}", delays.len(), part(0.5), part(0.99), part(1.0));
    let bound = Duration::from_millis(if is_long { 5 } else { 100 });
    assert!(part(0.99) < bound, "p99 {:?}", part(0.99));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wait_looks_less_than_once_a_second() {
    let server = RedisServer::start();
    let (holder, waiting) = (store(&server).await, store(&server).await);
    // Held for a short time again and again, which is when a look at each end would cost most.
    let mut short = claim();
    short.ttl_ms = 300;
    let held = sandbar_store::held_lock::HeldLock::acquire(&holder, &short, Duration::ZERO).await.unwrap().unwrap();
    let waiter = tokio::spawn(async move { waiting.acquire(&claim(), PATIENCE).await.unwrap().expect("a lock") });
    poll_until(PATIENCE, "the waiter is in line", async || in_line(&*holder).await == 1).await;
    let looks = || {
        let stats: String = server.get(&["INFO", "commandstats"]);
        let calls = |line: &str| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok();
        // Only asking for a lock looks for a place in line.
        stats.lines().find(|line| line.starts_with("cmdstat_lpos:")).and_then(calls).unwrap_or_default()
    };
    let before = looks();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let looked = looks() - before;
    println!("one waiter looked {looked} times in 6 s");
    assert!((1..6).contains(&looked));
    held.release().await.unwrap();
    waiter.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn waiters_survive_the_loss_of_the_connection_that_wakes_them() {
    let server = RedisServer::start();
    let (holder, waiting) = (store(&server).await, store(&server).await);
    let held = holder.acquire(&claim(), Duration::ZERO).await.unwrap().unwrap();
    let (to, mut woken) = mpsc::unbounded_channel();
    for _ in 0..20 {
        let (store, to) = (waiting.clone(), to.clone());
        tokio::spawn(async move { to.send(store.acquire(&claim(), PATIENCE).await) });
    }
    poll_until(PATIENCE, "all are in line", async || in_line(&*holder).await == 20).await;
    server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    // Released while no subscriber is there: the waiting ones are taken for dead, and come back.
    assert_eq!(holder.release(&held).await, Ok(true));
    for _ in 0..20 {
        let answer = tokio::time::timeout(PATIENCE, woken.recv()).await.expect("each gets it").unwrap();
        let lease = answer.unwrap().expect("a lock");
        assert_eq!(waiting.release(&lease).await, Ok(true));
    }
    poll_until(PATIENCE, "it is free", async || holder.look(&claim().lock).await == Ok(None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_may_not_subscribe_waits_all_the_same() {
    let server = sandbar_tests::Options::new().port().start();
    server.ask(&["ACL", "SETUSER", "host", "on", ">secret", "~*", "resetchannels", "+@all"]);
    let url = format!("redis://host:secret@127.0.0.1:{}", server.port());
    let (holder, waiting) =
        (store(&server).await, connect(&StoreConfig { url, ..StoreConfig::default() }).await.unwrap());
    let held = holder.acquire(&claim(), Duration::ZERO).await.unwrap().unwrap();
    let waiter = tokio::spawn(async move { waiting.acquire(&claim(), PATIENCE).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(holder.release(&held).await, Ok(true));
    assert!(waiter.await.unwrap().unwrap().is_some());
}
