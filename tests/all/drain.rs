//! Shutdown: a host that is asked to end under load finishes what it took, within its grace time, and leaves nothing
//! behind.

use std::time::{Duration, Instant};

use sandbar_core::config::{Config, StoreConfig};
use sandbar_server::host::Drained;
use sandbar_server::http::{Health, Phase};
use sandbar_store::connect;
use sandbar_tests::process::HostProcess;
use sandbar_tests::{
    Counted, Group, RedisServer, TestHost, components, open_manifest, poll_until, poll_until_blocking,
};

const EVENTS: u64 = 30_000;
const CAMERAS: u64 = 5;
const TRIGGER: &str = "batch = 100\nconcurrency = 4\nprefetch = 4";
/// The grace time of a host, by default.
const GRACE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn sigterm_under_load_drains_and_nothing_is_redelivered() {
    let server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("plugin.toml");
    std::fs::write(&manifest, open_manifest(TRIGGER, "")).unwrap();
    let program = env!("CARGO_BIN_EXE_host-under-test");
    let mut host = HostProcess::start(program, &server.url(), &manifest, components::HANDLE_COUNT, None);
    host.ready();
    server.append_counted("events", CAMERAS, 0..EVENTS);
    let group = Group::new(&server, "events", "guest");
    poll_until_blocking(PATIENCE, "the host is at work", || group.lag().is_some_and(|lag| lag < EVENTS * 9 / 10));

    let asked = Instant::now();
    assert!(host.terminate(), "the host drained");
    let took = asked.elapsed();
    let left = group.lag().unwrap();
    println!("drained after {took:?} with {left} of {EVENTS} events left for others");
    assert!(took < GRACE);
    assert!(left > 0, "the host was stopped too late to be under load");
    assert_eq!(group.pending(), Some(0), "what was taken is done");
    assert_eq!(group.consumers(), Vec::<String>::new(), "the host's consumer has left");
    assert_eq!(server.get::<Vec<String>>(&["KEYS", "sandbar:*"]), Vec::<String>::new(), "its keys are gone");
    assert_eq!(Counted::of(&server, CAMERAS, 0..EVENTS - left), Counted::EXACT, "what was read is done once");

    let mut next = HostProcess::start(program, &server.url(), &manifest, components::HANDLE_COUNT, None);
    next.ready();
    group.settled(PATIENCE);
    assert!(next.terminate());
    assert_eq!(Counted::of(&server, CAMERAS, 0..EVENTS), Counted::EXACT);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_than_the_grace_time_is_left_for_another_host() {
    let server = RedisServer::start();
    let store = connect(&StoreConfig { url: server.url(), ..StoreConfig::default() }).await.unwrap();
    let config = Config { shutdown_grace: Duration::from_millis(300), ..Config::default() };
    let trigger = "batch = 1\nclaim-idle = \"300ms\"";
    let manifest = open_manifest(trigger, "[limits]\ndeadline = \"1h\"");
    let test = TestHost::with(config, store.clone(), components::HANDLE_RETRY, &manifest).await;
    test.feed(&[&[("name", "slow"), ("do", "hang")]]).await;
    poll_until(PATIENCE, "the event is being handled", async || test.value("runs:slow").await.is_some()).await;

    let asked = Instant::now();
    assert_eq!(test.host.shutdown().await, Drained::GraceElapsed { batches: 1 });
    assert!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
    assert_eq!(test.host.health().phase, Phase::Draining);
    let group = Group::new(&server, "events", "guest");
    assert_eq!(group.pending(), Some(1));

    let next = TestHost::on(store, components::HANDLE_RETRY, &manifest).await;
    next.settled(1).await;
    let attempts: Vec<String> = server.get(&["LRANGE", "done:slow", "0", "-1"]);
    assert_eq!(attempts, ["1"], "a host that gives up is not a failed attempt");
    assert_eq!(next.host.shutdown().await, Drained::Clean);
}
