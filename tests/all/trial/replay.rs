//! Recordings, and `sandbar replay` over them. `SANDBAR_LONG=1` replays 10,000 events instead of 500.

use std::sync::Arc;

use sandbar_core::config::StoreConfig;
use sandbar_store::{Store, connect};
use sandbar_tests::program::Folder;
use sandbar_tests::{RedisServer, TestHost, components, open_manifest};
use serde_json::Value;

use super::feed;

const TRIGGER: &str = "batch = 1\nmax-attempts = 2\nretry-min = \"10ms\"\nretry-max = \"20ms\"\nrecord = true";
const ALL: &str = "at-once = \"1\"\nchance = \"1\"";

pub(super) async fn redis(server: &RedisServer) -> Arc<dyn Store> {
    connect(&StoreConfig { url: server.url(), ..StoreConfig::default() }).await.unwrap()
}

/// A manifest whose plugin records, with more lines of its configuration.
fn recording(trigger: &str, config: &str) -> String {
    open_manifest(trigger, &format!("[config]\n{config}"))
}

/// A folder with the plugin `guest`, whose store is a server.
pub(super) fn folder(server: &RedisServer, manifest: &str) -> Folder {
    let folder = Folder::new(env!("CARGO_BIN_EXE_sandbar-under-test"));
    folder.write("sandbar.toml", format!("plugins = [\"guest\"]\n[store]\nurl = \"{}\"\n", server.url()));
    folder.write("guest/plugin.toml", format!("component = \"guest.wasm\"\n{manifest}"));
    folder.write("guest/guest.wasm", std::fs::read(components::HANDLE_TRIAL).unwrap());
    folder
}

pub(super) fn replayed(folder: &Folder, arguments: &[&str]) -> Vec<Value> {
    let finished = folder.run(&[&["replay", "guest"], arguments].concat());
    assert_eq!(finished.code, 0, "{}", finished.err);
    finished.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All that a server has, but for what the server itself counts.
fn dump(server: &RedisServer) -> Vec<(String, Vec<u8>)> {
    let mut keys: Vec<String> = server.get(&["KEYS", "*"]);
    keys.sort();
    keys.into_iter().map(|key| (key.clone(), server.get(&["DUMP", &key]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_events_replay_to_the_same_bytes_and_write_nothing() {
    let events: u64 = if std::env::var_os("SANDBAR_LONG").is_some() { 10_000 } else { 500 };
    let server = RedisServer::start();
    let manifest = recording(TRIGGER, ALL);
    let test = TestHost::on(redis(&server).await, components::HANDLE_TRIAL, &manifest).await;
    for job in 0..events {
        server.ask(&["LPUSH", "side", &job.to_string()]);
        server.ask(&["XADD", "log", "*", "job", &job.to_string()]);
    }
    // In parts, so that none takes longer than a test waits.
    for begin in (0..events).step_by(500) {
        feed(&test, begin + 1..begin + 501).await;
        test.settled(begin + 500).await;
    }
    test.host.shutdown().await;
    let folder = folder(&server, &manifest);
    let before = dump(&server);
    let count = events.to_string();
    let replay = || {
        let finished = folder.run(&["replay", "guest", "--stream", "events", "--from", "0", "--count", &count]);
        assert_eq!(finished.code, 0, "{}", finished.err);
        finished.out
    };
    let (first, again) = (replay(), replay());
    assert!(first == again, "the output differs");
    assert_eq!(first.lines().count() as u64, events);
    // What each event reads is what it read then, and not what the store holds now: the sums are those of that time.
    let mut sum = 0;
    for (n, line) in (1..).zip(first.lines()) {
        let told: Value = serde_json::from_str(line).unwrap();
        sum += n;
        assert_eq!(told["outcomes"], serde_json::json!(["done"]), "{line}");
        assert_eq!(told["unknown"], Value::Null, "{line}");
        let effects = told["effects"].as_array().unwrap();
        let set = |key: &str| effects.iter().find(|effect| effect["key"] == key).map(|effect| effect["value"].clone());
        assert_eq!(set("total:a"), Some(Value::from(sum.to_string())), "{line}");
        let done: Option<String> = server.get(&["GET", &format!("at-once:{n}")]);
        assert_eq!(set(&format!("at-once:{n}")), done.map(Value::from), "{line}");
    }
    assert!(dump(&server) == before, "the replay has written something");
    println!("{events} events: {} bytes of output", first.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_replays_to_the_same_failure_and_is_kept_as_a_test() {
    let server = RedisServer::start();
    let manifest = recording(&TRIGGER.replace("batch = 1\n", "batch = 10\n"), "differs = \"trap\"\nevery = \"25\"");
    let test = TestHost::on(redis(&server).await, components::HANDLE_TRIAL, &manifest).await;
    feed(&test, 1..101).await;
    test.settled(100).await;
    let reasons = test.reasons().await;
    assert_eq!(reasons.len(), 4);
    test.host.shutdown().await;
    let folder = folder(&server, &manifest);
    let dead_letters = replayed(&folder, &["--stream", "events", "--dead", "--export", "dead.jsonl"]);
    assert_eq!(dead_letters.len(), 4);
    for (dead_letter, reason) in dead_letters.iter().zip(&reasons) {
        let failed = dead_letter["outcomes"][0]["failed"].as_str().unwrap();
        assert_eq!(*reason, format!("{failed} (attempt 2, the last)"));
        assert_eq!(dead_letter["effects"], serde_json::json!([]));
    }
    // The file is all that is needed: the server is gone.
    drop(server);
    let kept = replayed(&folder, &["--from-file", "dead.jsonl"]);
    assert_eq!(kept, dead_letters);
    // A version that is repaired handles them.
    folder.write("repaired.toml", recording(TRIGGER, ""));
    let repaired = replayed(&folder, &["--from-file", "dead.jsonl", "--manifest", "repaired.toml"]);
    assert!(repaired.iter().all(|told| told["outcomes"] == serde_json::json!(["done"])), "{repaired:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_versions_are_compared_and_events_without_a_recording_are_read_live() {
    let server = RedisServer::start();
    let plain = open_manifest("batch = 10", "");
    let test = TestHost::on(redis(&server).await, components::HANDLE_TRIAL, &plain).await;
    feed(&test, 1..41).await;
    test.settled(40).await;
    test.host.shutdown().await;
    let folder = folder(&server, &plain);
    let before = dump(&server);
    let live = replayed(&folder, &["--stream", "events", "--count", "3"]);
    assert_eq!(live.len(), 3, "each alone");
    let total = 40 * 41 / 2;
    assert_eq!(live[1]["effects"][0]["value"], (total + 2).to_string(), "{}", live[1]);
    assert_eq!(live[1]["unknown"], serde_json::json!(["cache.get total:a"]));

    let poison = std::fs::read(components::HANDLE_COUNT).unwrap();
    folder.write("other.wasm", poison);
    let same = replayed(&folder, &["--stream", "events", "--against", "guest/guest.wasm"]);
    assert_eq!(same, Vec::<Value>::new());
    let other = replayed(&folder, &["--stream", "events", "--count", "5", "--against", "other.wasm"]);
    assert_eq!(other.len(), 5, "{other:?}");
    assert!(other.iter().all(|told| told["kind"] == "different-outcome"), "{other:?}");
    assert!(dump(&server) == before, "the replay has written something");
    let unknown = folder.run(&["replay", "guest", "--stream", "events", "--against", "abcdef0"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("no version that was deployed"), "{}", unknown.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_queue_are_recorded_too() {
    let server = RedisServer::start();
    let rest = "record = true\nbatch = 5\nmax-attempts = 1\n[grants]\nread = [\"*\"]\nwrite = [\"*\"]";
    let manifest = format!("name = \"guest\"\n[[trigger]]\ntype = \"queue\"\nqueue = \"jobs\"\n{rest}\n");
    let test = TestHost::on(redis(&server).await, components::QUEUE_COUNT, &manifest).await;
    for n in 0..20 {
        server.ask(&["LPUSH", "jobs", &format!("a {n}")]);
    }
    test.settled(20).await;
    test.host.shutdown().await;
    let folder = folder(&server, &manifest);
    folder.write("guest/guest.wasm", std::fs::read(components::QUEUE_COUNT).unwrap());
    let told = replayed(&folder, &["--queue", "jobs"]);
    let events: usize = told.iter().map(|told| told["events"].as_array().unwrap().len()).sum();
    assert_eq!(events, 20, "{told:?}");
    // Some jobs want to come back. One that was taken alone has no effect then.
    let is_done = |told: &&Value| told["outcomes"].as_array().unwrap().iter().any(|outcome| outcome == "done");
    let mut done = told.iter().filter(is_done).peekable();
    assert!(done.peek().is_some(), "{told:?}");
    assert!(done.all(|told| !told["effects"].as_array().unwrap().is_empty()), "{told:?}");
}
