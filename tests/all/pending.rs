//! Entries that a dead consumer left behind, many of them: they do not hold up what is new, and are done in the end.
//!
//! `SANDBAR_LONG=1` leaves a million behind instead of 20,000.

use std::time::{Duration, Instant};

use sandbar_core::config::StoreConfig;
use sandbar_store::connect;
use sandbar_tests::{Counted, Group, RedisServer, TestHost, components, open_manifest, poll_until};

const CAMERAS: u64 = 1;
/// Enough for the long form on a busy machine.
const SETTLE: Duration = Duration::from_secs(1800);

fn abandoned() -> u64 {
    if std::env::var_os("SANDBAR_LONG").is_some() { 1_000_000 } else { 20_000 }
}

/// A stream with so many entries that a consumer which is not there any more has read. Answers their ids.
fn abandon(server: &RedisServer, count: u64) -> Vec<String> {
    server.append_counted("events", CAMERAS, 0..count);
    server.ask(&["XGROUP", "CREATE", "events", "guest", "0"]);
    let mut ids = Vec::new();
    while (ids.len() as u64) < count {
        let answer: Vec<(String, Vec<(String, redis::Value)>)> =
            server.get(&["XREADGROUP", "GROUP", "guest", "dead", "COUNT", "10000", "STREAMS", "events", ">"]);
        ids.extend(answer.into_iter().flat_map(|(_, entries)| entries).map(|(id, _)| id));
    }
    ids
}

/// Starts a host, feeds one new event at once, and answers how long that took to be done.
async fn fresh(server: &RedisServer, trigger: &str) -> (TestHost, Duration) {
    let store = connect(&StoreConfig { url: server.url(), ..StoreConfig::default() }).await.unwrap();
    let begun = Instant::now();
    let test = TestHost::on(store, components::HANDLE_MARK, &open_manifest(trigger, "")).await;
    test.feed(&[&[("camera", "fresh"), ("seq", "0")]]).await;
    poll_until(SETTLE, "the new event is done", async || test.value("count:fresh").await.is_some()).await;
    (test, begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_entries_do_not_hold_up_new_ones_and_are_done_in_the_end() {
    let server = RedisServer::start();
    let count = abandoned();
    let ids = abandon(&server, count);
    // Some are not in the stream any more: deleted, or trimmed from its beginning.
    // Fewer than one look for abandoned entries passes over, so that each look finds some.
    let trimmed = 10;
    server.ask(&["XTRIM", "events", "MINID", &ids[trimmed]]);
    server.ask(&["XDEL", "events", &ids[1_000]]);
    let vanished = trimmed as u64 + 1;
    let group = Group::new(&server, "events", "guest");
    let idle = Duration::from_millis(100);
    poll_until(SETTLE, "the entries are idle", async || {
        let oldest: Vec<(String, String, u64, u64)> = server.get(&["XPENDING", "events", "guest", "-", "+", "1"]);
        oldest[0].2 > 2 * idle.as_millis() as u64
    })
    .await;

    let (test, took) = fresh(&server, "claim-idle = \"100ms\"").await;
    let left = group.pending().unwrap();
    println!("a new event was done after {took:?}, with {left} of {count} old ones still pending");
    assert!(left > count / 2, "only {left} of {count} old entries were pending when the new one was done");

    poll_until(SETTLE, "the old entries are done", async || group.is_settled()).await;
    let seen: Vec<u64> = server.get(&["LRANGE", "seen:0", "0", "-1"]);
    assert_eq!(seen.len() as u64, count - vanished);
    let counted = Counted::of(&server, CAMERAS, 0..count);
    assert_eq!(counted, Counted { lost: vanished, doubled: 0 }, "only what is not in the stream any more is missing");
    let numbers = test.host.plugins()[0].metrics.snapshot();
    assert_eq!((numbers.vanished, numbers.taken_over, numbers.dead), (vanished, count - vanished, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_in_other_hands_do_not_hold_up_new_ones() {
    let server = RedisServer::start();
    let count = abandoned();
    abandon(&server, count);
    let (_test, took) = fresh(&server, "claim-idle = \"1h\"").await;
    println!("a new event was done after {took:?} beside {count} entries in other hands");
    let group = Group::new(&server, "events", "guest");
    assert_eq!(group.pending(), Some(count), "nothing was taken from the other consumer");
    assert!(took < Duration::from_secs(10), "it took {took:?}");
}
