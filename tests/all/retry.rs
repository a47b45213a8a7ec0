//! Events that fail come back when they were asked to, with the number of the attempt, until they are done or dead.

use std::time::Duration;

use sandbar_core::config::StoreConfig;
use sandbar_store::connect;
use sandbar_tests::process::HostProcess;
use sandbar_tests::{Group, RedisServer, TestHost, components, open_manifest, poll_until_blocking};

const TRIGGER: &str =
    "batch = 10\nmax-attempts = 5\nclaim-idle = \"300ms\"\nretry-min = \"100ms\"\nretry-max = \"400ms\"";
/// How much later than asked an attempt may come on a busy machine.
const LATE_MAX: u64 = 2_000;
/// How much earlier, by the rounding of clocks.
const EARLY_MAX: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(60);

/// When the attempts at an event were made, in milliseconds since 1970.
fn attempts(server: &RedisServer, name: &str) -> Vec<u64> {
    let at = |attempt| server.get::<Option<u64>>(&["GET", &format!("at:{name}:{attempt}")]);
    (1..).map_while(at).collect()
}

/// Checks the pauses between attempts against the shortest and the longest that were asked for.
fn check_pauses(name: &str, attempts: &[u64], asked: &[(u64, u64)]) {
    let pauses: Vec<u64> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    println!("{name}: pauses of {pauses:?} ms, asked for {asked:?}");
    assert_eq!(pauses.len(), asked.len(), "{name}: {pauses:?}");
    for (pause, (least, most)) in pauses.iter().zip(asked) {
        assert!(pause + EARLY_MAX >= *least, "{name}: {pauses:?}, asked for {asked:?}");
        assert!(*pause <= most + LATE_MAX, "{name}: {pauses:?}, asked for {asked:?}");
    }
}

fn nothing_is_left(server: &RedisServer) {
    for key in ["sandbar:attempts:events:guest", "sandbar:retry:events:guest"] {
        assert_eq!(server.get::<u64>(&["EXISTS", key]), 0, "{key} is left behind");
    }
    assert_eq!(Group::new(server, "events", "guest").pending(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_back_when_they_were_asked_to() {
    let server = RedisServer::start();
    let store = connect(&StoreConfig { url: server.url(), ..StoreConfig::default() }).await.unwrap();
    let test = TestHost::on(store, components::HANDLE_RETRY, &open_manifest(TRIGGER, "")).await;
    test.feed(&[
        &[("name", "given"), ("do", "given"), ("delay", "700"), ("until", "3")],
        &[("name", "backoff"), ("do", "backoff"), ("until", "5")],
        &[("name", "never"), ("do", "backoff"), ("until", "1000")],
        &[("name", "soon"), ("do", "given"), ("delay", "0"), ("until", "2")],
        &[("name", "well"), ("do", "given"), ("delay", "0"), ("until", "1")],
    ])
    .await;
    test.settled(5).await;
    // Doubled with each attempt up to `retry-max`, and up to half of it taken off by chance.
    let doubled = [(50, 100), (100, 200), (200, 400), (200, 400)];
    check_pauses("given", &attempts(&server, "given"), &[(700, 700), (700, 700)]);
    check_pauses("backoff", &attempts(&server, "backoff"), &doubled);
    check_pauses("never", &attempts(&server, "never"), &doubled);
    check_pauses("soon", &attempts(&server, "soon"), &[(0, 0)]);
    check_pauses("well", &attempts(&server, "well"), &[]);
    for (name, attempt) in [("given", "3"), ("backoff", "5"), ("soon", "2"), ("well", "1")] {
        let done: Vec<String> = server.get(&["LRANGE", &format!("done:{name}"), "0", "-1"]);
        assert_eq!(done, [attempt], "{name}");
    }
    assert_eq!(server.get::<u64>(&["EXISTS", "done:never"]), 0);
    let reasons = test.reasons().await;
    assert_eq!(reasons, ["the plugin asked for a retry at attempt 5, the last"]);
    nothing_is_left(&server);
}

#[test]
fn the_death_of_a_host_is_not_an_attempt() {
    let server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("plugin.toml");
    let trigger = TRIGGER.replace("max-attempts = 5", "max-attempts = 1");
    std::fs::write(&manifest, open_manifest(&trigger, "[limits]\ndeadline = \"1h\"")).unwrap();
    let start = || {
        let program = env!("CARGO_BIN_EXE_host-under-test");
        HostProcess::start(program, &server.url(), &manifest, components::HANDLE_RETRY, None)
    };
    let doomed = start();
    server.append("events", [vec![("name", "fatal".to_owned()), ("do", "hang".to_owned())]]);
    let runs = || server.get::<Option<u64>>(&["GET", "runs:fatal"]);
    poll_until_blocking(PATIENCE, "the event is being handled", || runs() == Some(1));
    // Killed when it is dropped.
    drop(doomed);
    let next = start();
    Group::new(&server, "events", "guest").settled(PATIENCE);
    assert_eq!(runs(), Some(2), "the event was handled again");
    let done: Vec<String> = server.get(&["LRANGE", "done:fatal", "0", "-1"]);
    assert_eq!(done, ["1"], "and that was its first attempt");
    assert_eq!(server.get::<u64>(&["EXISTS", "events:dead"]), 0);
    nothing_is_left(&server);
    assert!(next.terminate());
}
