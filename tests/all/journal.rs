//! Plugins that go on in memory while Redis is away: what was answered as committed is in Redis afterwards, once and
//! in order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sandbar_core::config::StoreConfig;
use sandbar_runtime::outage::Outage;
use sandbar_runtime::telemetry::Exporter;
use sandbar_store::{CommitError, Condition, Effect, End, Expiry, Store, StoreError, connect};
use sandbar_tests::host::PATIENCE;
use sandbar_tests::proxy::Mode;
use sandbar_tests::{Faults, Options, Proxy, RedisServer, poll_until};

const KEY: &str = "sandbar:journal:test";
const WRITERS: u64 = 4;

async fn store(url: String) -> Arc<dyn Store> {
    let config = StoreConfig { url, response_timeout: Duration::from_secs(1), ..StoreConfig::default() };
    connect(&config).await.unwrap()
}

fn push(writer: u64, number: u64) -> [Effect; 2] {
    let list = Effect::ListPush {
        key: format!("list:{writer}"),
        end: End::Back,
        values: vec![Bytes::from(number.to_string())],
        keep: None,
    };
    [list, Effect::Add { key: format!("sum:{writer}"), by: 1 }]
}

fn set(key: &str, value: &'static str) -> Effect {
    let value = Bytes::from_static(value.as_bytes());
    Effect::Set { key: key.to_owned(), value, expiry: Expiry::Never, condition: Condition::Always }
}

/// What one writer was answered.
#[derive(Debug, Default)]
struct Told {
    made: Vec<u64>,
    unknown: Vec<u64>,
}

/// Commits numbers one after the other until told to stop.
async fn write(outage: Arc<Outage>, writer: u64, stop: Arc<std::sync::atomic::AtomicBool>) -> Told {
    let mut told = Told::default();
    for number in 0.. {
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
            break;
        }
        match outage.commit(&push(writer, number), &[]).await {
            Ok(committed) => {
                assert_eq!(committed.refused, []);
                told.made.push(number);
            }
            Err(CommitError::Unknown(_)) => told.unknown.push(number),
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    told
}

/// Each number that was answered as made is in its list once and in order; one of which nothing is known at most once.
fn check(server: &RedisServer, writer: u64, told: &Told) {
    let list: Vec<u64> = server.get(&["LRANGE", &format!("list:{writer}"), "0", "-1"]);
    let made: Vec<u64> = list.iter().copied().filter(|number| !told.unknown.contains(number)).collect();
    assert_eq!(made, told.made, "writer {writer}");
    let mut once = list.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), list.len(), "writer {writer}: doubled");
    assert_eq!(server.get::<usize>(&["GET", &format!("sum:{writer}")]), list.len(), "writer {writer}: the counter");
}

#[tokio::test(flavor = "multi_thread")]
async fn outages_lose_nothing_double_nothing_and_keep_the_order() {
    let rounds = if std::env::var_os("SANDBAR_LONG").is_some() { 20 } else { 3 };
    let server = Options::new().port().append_only().start();
    let proxy = Proxy::start(server.port(), Faults::none(), 1);
    let outage = Arc::new(Outage::start(store(proxy.url()).await, KEY.to_owned()));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(outage.clone(), writer, stop.clone()))).collect();
    for round in 0..rounds {
        poll_until(PATIENCE, "commits go to the store", async || !outage.is_degraded()).await;
        // The replay loses replies, and meets commits of its own that come late, after it has looked what the store
        // has.
        let late_for = Duration::from_millis(50)..Duration::from_millis(400);
        proxy.set_faults(Faults { late: 0.3, late_for, ..Faults::lossy(0.05, b"EXEC") });
        if round % 2 == 0 {
            server.kill()
        } else {
            proxy.set_mode(Mode::Closed)
        }
        poll_until(PATIENCE, "some commits are journaled", async || outage.journal() > Some(1_500)).await;
        if round % 2 == 0 {
            server.restart()
        } else {
            proxy.set_mode(Mode::Open)
        }
        poll_until(PATIENCE, "the journal is replayed", async || outage.journal().is_none()).await;
        proxy.set_faults(Faults::none());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (mut made, mut unknown) = (0, 0);
    for (writer, told) in writers.into_iter().enumerate() {
        let told = told.await.unwrap();
        poll_until(PATIENCE, "the journal is replayed", async || outage.journal().is_none()).await;
        check(&server, writer as u64, &told);
        (made, unknown) = (made + told.made.len(), unknown + told.unknown.len());
    }
    println!("{rounds} outages: {made} commits made, {unknown} not known; {}", proxy.counts());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_read_until_the_store_is_back() {
    let server = Options::new().port().append_only().start();
    server.ask(&["SET", "count", "5"]);
    let outage = Outage::start(store(server.url()).await, KEY.to_owned());
    assert_eq!(outage.increment("count", 1).await, Ok(6));
    server.kill();
    poll_until(PATIENCE, "a commit is journaled", async || outage.commit(&[set("a", "1")], &[]).await.is_ok()).await;
    assert!(outage.is_degraded());
    let seen = outage.store().get("a").await;
    assert_eq!(seen, Ok(Some(Bytes::from_static(b"1"))));
    assert_eq!(outage.increment("count", 2).await, Ok(2), "memory knows only what was written since");
    let relied = [("a".to_owned(), Some(Bytes::from_static(b"0")))];
    let conflict = outage.commit(&[set("a", "2")], &relied).await;
    assert_eq!(conflict, Err(CommitError::Conflict("a".to_owned())), "memory decides as the store would");
    server.restart();
    poll_until(PATIENCE, "the journal is replayed", async || outage.journal().is_none()).await;
    assert_eq!(outage.store().get("a").await, Ok(Some(Bytes::from_static(b"1"))));
    assert_eq!(outage.increment("count", 1).await, Ok(9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_counted_and_the_later_write_wins() {
    let exporter = Exporter::install();
    let server = Options::new().port().start();
    let proxy = Proxy::start(server.port(), Faults::none(), 1);
    let outage = Outage::start(store(proxy.url()).await, KEY.to_owned());
    proxy.set_mode(Mode::Closed);
    let mine = [set("a", "mine"), Effect::Add { key: "not-a-number".to_owned(), by: 1 }];
    let relied = [("a".to_owned(), None)];
    poll_until(PATIENCE, "a commit is journaled", async || outage.commit(&mine, &relied).await.is_ok()).await;
    server.ask(&["SET", "a", "theirs"]);
    server.ask(&["SET", "not-a-number", "x"]);
    proxy.set_mode(Mode::Open);
    poll_until(PATIENCE, "the journal is replayed", async || outage.journal().is_none()).await;
    assert_eq!(server.get::<String>(&["GET", "a"]), "mine");
    assert_eq!(server.get::<String>(&["GET", "not-a-number"]), "x");
    let text = exporter.render();
    let line = text.lines().find(|line| line.starts_with("sandbar_journal_conflicts_total")).unwrap();
    let count: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(count >= 2.0, "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_is_not_away() {
    let server = Options::new().port().config("maxmemory-policy", "noeviction").start();
    let outage = Outage::start(store(server.url()).await, KEY.to_owned());
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    let answer = outage.commit(&[set("a", "1")], &[]).await;
    assert!(matches!(answer, Err(CommitError::Refused(StoreError::Refused(_)))), "{answer:?}");
    assert!(!outage.is_degraded());
}
