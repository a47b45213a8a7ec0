//! Connections are cut, Redis is stopped and killed while requests are answered: what was acknowledged is there, and
//! nothing is there twice.
//!
//! The short form runs a few faults; `SANDBAR_LONG=1` runs 100.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{Faults, Options, Proxy, components, poll_until};

use super::Site;
use super::site::manifest;

/// Clients that ask one request after the other.
const CLIENTS: u64 = 6;

/// What one client was answered.
#[derive(Debug, Default)]
struct Told {
    made: Vec<u64>,
    refused: u64,
}

async fn post(site: Arc<Site>, client: u64, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    let mut number = client;
    while !stop.load(Ordering::Relaxed) {
        let answer = site.post("/t/push?key=all", &number.to_string()).await;
        if answer.starts_with("HTTP/1.1 201") {
            told.made.push(number);
        } else {
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
            told.refused += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        number += CLIENTS;
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_once_whatever_breaks() {
    let faults = if std::env::var_os("SANDBAR_LONG").is_some() { 100 } else { 5 };
    let seed = std::env::var("SANDBAR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = StdRng::seed_from_u64(seed);
    let server = Options::new().port().append_only().start();
    // Commits are spoiled beside what is done by signals.
    let late_for = Duration::from_millis(50)..Duration::from_millis(400);
    let proxy = Proxy::start(server.port(), Faults { late_for, late: 0.01, ..Faults::lossy(0.005, b"EXEC") }, seed);
    let config = sandbar_core::config::StoreConfig {
        url: proxy.url(),
        response_timeout: Duration::from_secs(1),
        ..sandbar_core::config::StoreConfig::default()
    };
    let store = sandbar_store::connect(&config).await.unwrap();
    let site = Arc::new(Site::on(store, components::HTTP_SERVE, &manifest("", "")).await);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS).map(|client| tokio::spawn(post(site.clone(), client, stop.clone()))).collect();
    let (mut kinds, mut length) = ([0_u32; 3], 0);
    for fault in 0..faults {
        // Something is answered between two faults.
        poll_until(PATIENCE, "requests are answered", async || server.get::<u64>(&["LLEN", "all"]) > length + 50).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..100))).await;
        let kind = if fault < 3 { fault } else { random.random_range(0..3) };
        kinds[kind] += 1;
        match kind {
            0 => _ = server.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]),
            1 => {
                server.kill();
                tokio::time::sleep(Duration::from_millis(random.random_range(0..500))).await;
                server.restart();
            }
            _ => {
                server.pause();
                tokio::time::sleep(Duration::from_millis(random.random_range(50..1_500))).await;
                server.resume();
            }
        }
        length = server.get(&["LLEN", "all"]);
    }
    proxy.set_faults(Faults::none());
    poll_until(PATIENCE, "requests are answered", async || server.get::<u64>(&["LLEN", "all"]) > length + 50).await;
    stop.store(true, Ordering::Relaxed);
    let (mut made, mut refused) = (Vec::new(), 0);
    for client in clients {
        let told = client.await.unwrap();
        made.extend(told.made);
        refused += told.refused;
    }
    let found: Vec<u64> = server.get(&["LRANGE", "all", "0", "-1"]);
    let mut times: HashMap<u64, u32> = HashMap::new();
    found.iter().for_each(|number| *times.entry(*number).or_default() += 1);
    let lost = made.iter().filter(|number| !times.contains_key(number)).count();
    let doubled = times.values().filter(|times| **times > 1).count();
    println!(
        "seed {seed}: {} requests answered, {refused} refused ({} of them done all the same), {} times connections cut, {} times Redis killed, \
         {} times stopped; lost {lost}, doubled {doubled}; proxy: {}",
        made.len(),
        times.len() - (made.len() - lost),
        kinds[0],
        kinds[1],
        kinds[2],
        proxy.counts()
    );
    assert_eq!((lost, doubled), (0, 0), "seed {seed}");
}
