//! Connections are cut and Redis is killed while messages flow. The short form runs a few faults; `SANDBAR_LONG=1`
//! runs 100.
//!
//! A message may be lost with what carries it, and is never handled twice. Between faults nothing is lost: whatever
//! the host gets it handles, or counts.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sandbar_server::http::Health;
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{Options, RedisServer, poll_until};

use super::{dropped, manifest, redis, start};

const NAME: &str = "channel-faults";
/// Messages between two faults, each of which is heard by two triggers.
const QUIET: u64 = 200;

/// Publishes numbers as quickly as they are taken, with or without a subscriber. Answers how many.
fn press(server: &RedisServer, numbers: std::ops::Range<u64>) -> u64 {
    let Ok(client) = redis::Client::open(server.url()) else { return 0 };
    let Ok(mut connection) = client.get_connection() else { return 0 };
    let mut count = 0;
    for number in numbers {
        let heard: redis::RedisResult<u64> = redis::cmd("PUBLISH").arg("news").arg(number).query(&mut connection);
        if heard.is_err() {
            break;
        }
        count += 1;
    }
    count
}

fn gone() -> u64 {
    ["buffer", "failed", "not-done", "not-committed"].iter().map(|reason| dropped(NAME, reason)).sum()
}

fn length(server: &RedisServer) -> u64 {
    server.get(&["LLEN", "heard"])
}

/// The numbers that were recorded, of both triggers. Asked of the server itself: the host's connections may be cut.
fn recorded(server: &RedisServer) -> Vec<u64> {
    let lines: Vec<String> = server.get(&["LRANGE", "heard", "0", "-1"]);
    lines.iter().map(|line| line.strip_prefix("news=").unwrap().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_handled_at_most_once_whatever_breaks() {
    let faults = if std::env::var_os("SANDBAR_LONG").is_some() { 100 } else { 6 };
    let seed = std::env::var("SANDBAR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = StdRng::seed_from_u64(seed);
    let server = Arc::new(Options::new().port().append_only().start());
    let triggers = ["channel = \"news\"\nbatch = 7\nbuffer = 100000", "pattern = \"n?ws\"\nbatch = 3\nbuffer = 100000"];
    let test = start(redis(&server).await, "", &manifest(NAME, &triggers)).await;
    let (mut next, mut published, mut kinds) = (0, 0, [0_u32; 4]);
    for fault in 0..faults {
        let stop = Arc::new(AtomicBool::new(false));
        let load = {
            let (server, stop, from) = (server.clone(), stop.clone(), next);
            tokio::task::spawn_blocking(move || {
                let (mut number, mut sent) = (from, 0);
                while !stop.load(Ordering::Relaxed) {
                    // A portion that breaks off is numbered to its end all the same.
                    sent += press(&server, number..number + 10);
                    number += 10;
                    std::thread::sleep(Duration::from_millis(2));
                }
                (number, sent)
            })
        };
        tokio::time::sleep(Duration::from_millis(random.random_range(5..60))).await;
        // The first of each kind, then by chance.
        let kind = if fault < 4 { fault } else { random.random_range(0..4) };
        kinds[kind] += 1;
        match kind {
            0 => _ = server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]),
            1 => _ = server.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]),
            2 => {
                server.kill();
                server.restart();
            }
            _ => {
                server.pause();
                tokio::time::sleep(Duration::from_millis(random.random_range(50..3_000))).await;
                server.resume();
            }
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(5..60))).await;
        stop.store(true, Ordering::Relaxed);
        let (number, sent) = load.await.unwrap();
        (next, published) = (number, published + sent);

        // Both listen: a message goes to two. What came is handled: the last that went to two is recorded twice, or
        // counted.
        poll_until(PATIENCE, "both listen again", async || {
            next += 1;
            published += 1;
            server.get::<u64>(&["PUBLISH", "news", &(next - 1).to_string()]) == 2
        })
        .await;
        let (mark, gone_at_mark) = (format!("news={}", next - 1), gone());
        poll_until(PATIENCE, "what came is handled", async || {
            let found: Vec<u64> = server.get(&["LPOS", "heard", &mark, "RANK", "-1", "COUNT", "2", "MAXLEN", "1000"]);
            found.len() as u64 + gone() - gone_at_mark >= 2 && test.host.health().is_ready()
        })
        .await;
        let (before, gone_before) = (length(&server), gone());
        published += press(&server, next..next + QUIET);
        next += QUIET;
        poll_until(PATIENCE, "all messages of the quiet time are handled or counted", async || {
            length(&server) - before + gone() - gone_before >= QUIET * 2
        })
        .await;
        assert_eq!(gone(), gone_before, "seed {seed}, fault {fault}: messages of the quiet time are gone");
        let all = recorded(&server);
        let quiet: Vec<u64> = all.iter().copied().filter(|number| *number >= next - QUIET).collect();
        assert_eq!(quiet.len() as u64, QUIET * 2, "seed {seed}, fault {fault}");
    }
    let all = recorded(&server);
    let mut times = std::collections::HashMap::new();
    all.iter().for_each(|number| *times.entry(*number).or_insert(0_u32) += 1);
    let doubled = times.values().filter(|times| **times > 2).count();
    let distinct: HashSet<u64> = all.iter().copied().collect();
    println!(
        "seed {seed}: {published} messages to two triggers, {} listeners' connections cut, {} of all others, {} times Redis killed, \
         {} times stopped; {} handled by at least one, {doubled} doubled, {} counted as gone",
        kinds[0],
        kinds[1],
        kinds[2],
        kinds[3],
        distinct.len(),
        gone()
    );
    assert_eq!(doubled, 0, "seed {seed}");
}
