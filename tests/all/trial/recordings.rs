//! Recordings of batches: what is replayed of them, how many are kept, and that a replay says nothing.

use sandbar_tests::{RedisServer, TestHost, components, host, open_manifest};
use serde_json::{Value, json};

use super::replay::{folder, redis, replayed};
use super::{differing, plain};

const TRIGGER: &str = "batch = 10\nmax-attempts = 1\nrecord = true";

/// Has ten events handled in one batch, and answers a folder from which they are replayed.
async fn batch(server: &RedisServer, manifest: &str) -> sandbar_tests::program::Folder {
    let store = redis(server).await;
    let numbers: Vec<String> = (1..=10).map(|n| n.to_string()).collect();
    let events: Vec<[(&str, &str); 2]> = numbers.iter().map(|n| [("key", "a"), ("n", n.as_str())]).collect();
    host::feed(&*store, "events", &events.iter().map(|event| &event[..]).collect::<Vec<_>>()).await;
    let test = TestHost::on(store, components::HANDLE_TRIAL, manifest).await;
    test.settled(10).await;
    test.host.shutdown().await;
    assert_eq!(server.get::<u64>(&["XLEN", "sandbar:tape:guest:events"]), 1, "one call has handled all");
    folder(server, manifest)
}

fn effects(told: &Value) -> Vec<(&str, &Value)> {
    let effects = told["effects"].as_array().unwrap().iter();
    effects.map(|effect| (effect["key"].as_str().unwrap(), effect.get("value").unwrap_or(&effect["by"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_over_some_is_replayed_in_halves_and_each_sees_the_one_before() {
    let server = RedisServer::start();
    let folder = batch(&server, &plain(TRIGGER, "")).await;
    folder.write("trap.toml", differing("trap", 5, TRIGGER, ""));
    let told = replayed(&folder, &["--stream", "events", "--manifest", "trap.toml"]);
    let [told] = &told[..] else { panic!("one call: {told:?}") };
    let failed: Vec<bool> =
        told["outcomes"].as_array().unwrap().iter().map(|outcome| !outcome["failed"].is_null()).collect();
    let expected: Vec<bool> = (1..=10).map(|n| n % 5 == 0).collect();
    assert_eq!(failed, expected, "{told}");
    let sum: u64 = (1..=10).filter(|n| n % 5 != 0).sum();
    let mut effects = effects(told);
    effects.sort_by_key(|(key, _)| *key);
    assert_eq!(effects, [("count:a", &json!(8)), ("total:a", &json!(sum.to_string()))], "{told}");
    assert_eq!(told["unknown"], Value::Null, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_replayed_with_the_others_of_its_call() {
    let server = RedisServer::start();
    let folder = batch(&server, &differing("reject", 5, TRIGGER, "")).await;
    assert_eq!(server.get::<u64>(&["XLEN", "events:dead"]), 2);
    // What the store has by now is not what they read.
    server.ask(&["SET", "total:a", "1000"]);
    let told = replayed(&folder, &["--stream", "events", "--dead"]);
    let [told] = &told[..] else { panic!("both dead letters are of one call: {told:?}") };
    for (n, outcome) in (1..).zip(told["outcomes"].as_array().unwrap()) {
        let expected = if n % 5 == 0 { json!({ "reject": format!("{n} is rejected") }) } else { json!("done") };
        assert_eq!(*outcome, expected, "event {n}");
    }
    assert_eq!((told["events"].as_array().unwrap().len(), &told["unknown"]), (10, &Value::Null), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_recordings_are_kept_as_long_as_all_together_fit() {
    let trigger = "batch = 1\nrecord = true";
    let test = TestHost::embedded(components::HANDLE_TRIAL, &plain(trigger, "")).await;
    let pad = "x".repeat(4_000_000);
    for n in 1..=20 {
        test.feed(&[&[("key", "a"), ("n", &n.to_string()), ("pad", &pad)]]).await;
        test.settled(n).await;
    }
    let kept = test.store.length("sandbar:tape:guest:events").await.unwrap();
    assert!((10..=16).contains(&kept), "64 MiB are {kept} recordings of 4 MB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_logs_nothing_of_the_plugin() {
    let server = RedisServer::start();
    let folder = folder(&server, &open_manifest("batch = 1", ""));
    folder.write("guest/guest.wasm", std::fs::read(components::LOG_LINES).unwrap());
    server.ask(&["XADD", "events", "*", "n", "seven"]);
    let finished = folder.run(&["replay", "guest", "--stream", "events", "-v"]);
    assert_eq!((finished.code, finished.out.contains("done")), (0, true), "{finished:?}");
    assert!(!finished.err.contains("seven") && !finished.out.contains("seven"), "{}", finished.err);
}
