//! Versions are replaced while events flow: none is lost, none is doubled, and none is handled by a version whose
//! successor has begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sandbar_core::config::{Config, StoreConfig};
use sandbar_core::manifest::Manifest;
use sandbar_fleet::EndReason;
use sandbar_server::host::Drained;
use sandbar_store::{Store, connect};
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{Counted, Group, RedisServer, TestHost, components, open_manifest, poll_until};

pub(crate) const CAMERAS: u64 = 3;
/// How many versions come after the first.
const REPLACEMENTS: u64 = 20;
const TRIGGER: &str = "batch = 10";

/// The component with one more custom section: another digest, the same behaviour.
pub(crate) fn version(number: u64) -> Vec<u8> {
    let mut bytes = std::fs::read(components::HANDLE_MARK).unwrap();
    let name = format!("version-{number:04}");
    bytes.extend([0, u8::try_from(name.len() + 1).unwrap(), u8::try_from(name.len()).unwrap()]);
    bytes.extend(name.as_bytes());
    bytes
}

/// A manifest whose plugin marks what it handles with a number.
pub(crate) fn marked(trigger: &str, number: u64) -> String {
    open_manifest(trigger, &format!("[config]\nmark = \"{number}\""))
}

pub(crate) async fn redis(server: &RedisServer) -> Arc<dyn Store> {
    connect(&StoreConfig { url: server.url(), ..StoreConfig::default() }).await.unwrap()
}

/// Feeds events until it is dropped.
pub(crate) struct Feed {
    fed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    feeder: Option<std::thread::JoinHandle<()>>,
}

impl Feed {
    /// About `per_second` events a second.
    pub(crate) fn start(server: &Arc<RedisServer>, per_second: u64) -> Self {
        let (fed, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (server, counter, stopped) = (server.clone(), fed.clone(), stop.clone());
        let feeder = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let begin = counter.load(Ordering::Relaxed);
                let end = begin + (per_second / 200).max(1);
                server.append_counted("events", CAMERAS, begin..end);
                counter.store(end, Ordering::Relaxed);
                // A load, not a wait.
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { fed, stop, feeder: Some(feeder) }
    }

    /// Ends, and answers how many events were fed.
    pub(crate) fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.feeder.take().unwrap().join().unwrap();
        self.fed.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_change_while_events_flow() {
    let server = Arc::new(RedisServer::start());
    let test = TestHost::on(redis(&server).await, components::HANDLE_MARK, &marked(TRIGGER, 0)).await;
    let feed = Feed::start(&server, 2000);
    let mut digests = vec![test.host.plugins()[0].version.clone()];
    let instances = || Arc::downgrade(&test.host.plugins()[0].rollout.active());
    let mut pools = vec![instances()];
    for number in 1..=REPLACEMENTS {
        // Each fourth version changes the trigger as well, which then is another consumer.
        let trigger = if number % 4 == 0 { format!("batch = {}", 10 + number) } else { TRIGGER.to_owned() };
        let manifest = Manifest::parse(&marked(&trigger, number)).unwrap();
        test.host.load_bytes(manifest, version(number)).await.unwrap();
        digests.push(test.host.plugins()[0].version.clone());
        pools.push(instances());
        let mark = number.to_string();
        poll_until(PATIENCE, "the new version gets events", async || {
            server.get::<Option<String>>(&["LINDEX", "marks", "-1"]) == Some(mark.clone())
        })
        .await;
    }
    let fed = feed.end();
    test.settled(fed).await;
    poll_until(PATIENCE, "versions that were replaced have no instances any more", async || {
        pools.iter().filter(|pool| pool.strong_count() > 0).count() == 1
    })
    .await;
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len() as u64, 1 + REPLACEMENTS, "each version has a digest of its own");
    assert_eq!(Counted::of(&server, CAMERAS, 0..fed), Counted::EXACT, "of {fed} events");
    let marks: Vec<u64> = server.get(&["LRANGE", "marks", "0", "-1"]);
    assert_eq!(marks.len() as u64, fed);
    assert!(marks.is_sorted(), "a version got events after its successor had begun: {marks:?}");
    println!("{fed} events, {} versions", digests.len());
    let group = Group::new(&server, "events", "guest");
    assert_eq!(group.consumers().len(), 1, "consumers of triggers that were replaced have left");
    assert_eq!(test.reasons().await, Vec::<String>::new());
    assert_eq!(test.host.shutdown().await, Drained::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_be_loaded_leaves_the_old_one_running() {
    let server = RedisServer::start();
    let test = TestHost::on(redis(&server).await, components::HANDLE_MARK, &marked(TRIGGER, 0)).await;
    let digest = test.host.plugins()[0].version.clone();
    let manifest = || Manifest::parse(&marked(TRIGGER, 1)).unwrap();
    let without_handler = wat::parse_str("(component)").unwrap();
    let without_instance =
        wat::parse_str(r#"(component (core module $m (memory 10000)) (core instance (instantiate $m)))"#).unwrap();
    for (bytes, named) in [
        (b"garbage".to_vec(), "no WebAssembly component"),
        (version(1)[..10_000].to_vec(), "no WebAssembly component"),
        (without_handler, "handler"),
        (without_instance, "handler"),
    ] {
        let error = test.host.load_bytes(manifest(), bytes).await.unwrap_err().to_string();
        assert!(error.contains("guest") && error.contains(named), "{error}");
    }
    server.append_counted("events", CAMERAS, 0..30);
    test.settled(30).await;
    assert_eq!(test.host.plugins()[0].version, digest);
    assert_eq!(server.get::<Vec<u64>>(&["LRANGE", "marks", "0", "-1"]), vec![0; 30]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_dropped_midway_loses_no_plugin() {
    let server = RedisServer::start();
    let test = TestHost::on(redis(&server).await, components::HANDLE_MARK, &marked(TRIGGER, 0)).await;
    let before = test.host.plugins()[0].version.clone();
    for number in 1..=5 {
        // With another trigger, so that it is dropped in each of its steps.
        let manifest = Manifest::parse(&marked(&format!("batch = {number}"), number)).unwrap();
        let load = test.host.load_bytes(manifest, version(number));
        let _ = tokio::time::timeout(Duration::from_millis(40 * number), load).await;
        assert_eq!(test.host.plugins().len(), 1, "it is listed all the time");
        assert_eq!(sandbar_server::http::Health::health(&test.host).plugins.len(), 1);
    }
    poll_until(PATIENCE, "what was begun is finished", async || test.host.plugins()[0].version != before).await;
    server.append_counted("events", CAMERAS, 0..30);
    test.settled(30).await;
    assert_eq!(Counted::of(&server, CAMERAS, 0..30), Counted::EXACT);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_triggers_that_changed_are_restarted() {
    let server = RedisServer::start();
    let two = |batch: u32| {
        let trigger = |stream: &str, batch: u32| {
            format!("[[trigger]]\ntype = \"stream\"\nstream = \"{stream}\"\nstart = \"0\"\nbatch = {batch}\n")
        };
        format!("name = \"guest\"\n{}{}[grants]\nwrite = [\"*\"]\n", trigger("events", 10), trigger("other", batch))
    };
    let test = TestHost::on(redis(&server).await, components::HANDLE_MARK, &two(1)).await;
    let consumers = |stream| Group::new(&server, stream, "guest").consumers();
    poll_until(PATIENCE, "both are read", async || {
        sandbar_server::http::Health::health(&test.host).plugins.iter().all(|plugin| plugin.running)
    })
    .await;
    let (kept, changed) = (consumers("events"), consumers("other"));
    assert_eq!((kept.len(), changed.len()), (1, 1));
    test.load(components::HANDLE_MARK, &two(2)).await.unwrap();
    poll_until(PATIENCE, "the other is read by another consumer", async || {
        let now = consumers("other");
        now.len() == 1 && now != changed
    })
    .await;
    assert_eq!(consumers("events"), kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_keeps_the_history_of_its_own_versions_and_unloads() {
    let server = RedisServer::start();
    let test = TestHost::on(redis(&server).await, components::HANDLE_MARK, &marked(TRIGGER, 0)).await;
    let first = test.host.plugins()[0].version.clone();
    test.host.load_bytes(Manifest::parse(&marked(TRIGGER, 1)).unwrap(), version(1)).await.unwrap();
    let status = &test.host.plugins()[0];
    assert_eq!((status.release.number, status.release.by.as_str()), (0, "file"));
    assert_eq!(status.history.len(), 1);
    assert_eq!(status.history[0].release.digest, first);
    assert_eq!(status.history[0].why, EndReason::Replaced { by: "file".to_owned() });
    assert!(status.history[0].ended_ms >= status.history[0].release.time_ms);

    let tenant = test.host.first().unwrap();
    assert!(tenant.unload("guest").await && !tenant.unload("guest").await);
    assert_eq!(test.host.plugins().len(), 0);
    assert_eq!(Group::new(&server, "events", "guest").consumers().len(), 0, "its consumer has left");
    server.append_counted("events", CAMERAS, 0..30);
    test.load(components::HANDLE_MARK, &marked(TRIGGER, 2)).await.unwrap();
    test.settled(30).await;
    assert_eq!(Counted::of(&server, CAMERAS, 0..30), Counted::EXACT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_waits_for_a_batch_does_not_hold_up_the_shutdown() {
    let server = RedisServer::start();
    let config = Config { shutdown_grace: Duration::from_millis(300), ..Config::default() };
    let slow = |batch: u32| open_manifest(&format!("batch = {batch}"), "[limits]\ndeadline = \"1h\"");
    let test = TestHost::with(config, redis(&server).await, components::HANDLE_RETRY, &slow(1)).await;
    test.feed(&[&[("name", "slow"), ("do", "hang")]]).await;
    poll_until(PATIENCE, "the event is being handled", async || test.value("runs:slow").await.is_some()).await;

    let another = slow(2);
    let replaced = test.load(components::HANDLE_RETRY, &another);
    let shutdown = async {
        // The trigger is being replaced once its old consumer does not read any more.
        poll_until(PATIENCE, "the old trigger is stopping", async || {
            let plugins = sandbar_server::http::Health::health(&test.host).plugins;
            plugins.iter().all(|plugin| !plugin.running)
        })
        .await;
        let asked = Instant::now();
        (test.host.shutdown().await, asked.elapsed())
    };
    let both = async { tokio::join!(replaced, shutdown).1 };
    let (drained, took) = tokio::time::timeout(PATIENCE, both).await.expect("the host ends");
    assert!(took < Duration::from_secs(10), "it took {took:?}");
    assert_eq!(drained, Drained::GraceElapsed { batches: 1 });
    assert_eq!(Group::new(&server, "events", "guest").pending(), Some(1), "the event is redelivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_of_a_version_that_was_replaced() {
    let server = RedisServer::start();
    let test = TestHost::on(redis(&server).await, components::HANDLE_MARK, &marked(TRIGGER, 0)).await;
    let rollout = test.host.plugins()[0].rollout.clone();
    for number in 1..=3 {
        let before = Arc::downgrade(&rollout.active());
        server.append_counted("events", CAMERAS, (number - 1) * 30..number * 30);
        test.host.load_bytes(Manifest::parse(&marked(TRIGGER, number)).unwrap(), version(number)).await.unwrap();
        test.settled(number * 30).await;
        poll_until(PATIENCE, "its instances are gone", async || before.strong_count() == 0).await;
    }
}
