//! A guard belongs to a call: it is renewed, given back however the call ends, and what is written under it relies on
//! it.

use std::sync::Arc;
use std::time::Duration;

use sandbar_core::config::{Config, StoreConfig};
use sandbar_server::host::Drained;
use sandbar_store::embedded::Embedded;
use sandbar_store::{LockKey, Store, connect};
use sandbar_tests::host::{PATIENCE, feed};
use sandbar_tests::{RedisServer, TestHost, components, open_manifest, poll_until};

const TRIGGER: &str = "batch = 1\nmax-attempts = 1\nretry-min = \"1ms\"\nretry-max = \"2ms\"";
/// The lock of the guest, whose time to live is far longer than these tests.
const HELD: &str = "lock:held";

/// Runs a test once on each store.
async fn on_both(run: impl AsyncFn(Arc<dyn Store>)) {
    run(Arc::new(Embedded::new())).await;
    let server = RedisServer::start();
    run(connect(&StoreConfig { url: server.url(), ..StoreConfig::default() }).await.unwrap()).await;
}

async fn is_free(store: &dyn Store) -> bool {
    store.look(&LockKey::new("", HELD)).await.unwrap().is_none()
}

async fn freed(store: &dyn Store) {
    poll_until(Duration::from_secs(5), "the lock is given back", async || is_free(store).await).await;
}

async fn set(store: &dyn Store, key: &str, value: &'static str) {
    use sandbar_store::{Commit, Condition, Effect, Expiry};
    let (expiry, condition) = (Expiry::Never, Condition::Always);
    let effects = [Effect::Set { key: key.to_owned(), value: value.into(), expiry, condition }];
    store.commit(Commit::plain(&effects, &[])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_does_what_it_says() {
    on_both(async |store| {
        set(&*store, "lock:foreign", "a uuid").await;
        let grants = "[grants]\nwrite = [\"lock:*\", \"under\", \"passed\"]";
        let manifest = sandbar_tests::manifest(TRIGGER, grants);
        let test = TestHost::on(store, components::LOCK_ALL, &manifest).await;
        let words = ["basics", "writes", "bounds", "foreign", "lost", "discard", "keep", "stale"];
        for (at, word) in words.iter().enumerate() {
            test.feed(&[&[("do", word)]]).await;
            test.settled(at as u64 + 1).await;
        }
        assert_eq!(test.reasons().await, Vec::<String>::new());
        assert_eq!(test.value("passed").await, Some(words.len().to_string()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_gives_its_locks_back() {
    on_both(async |store| {
        let manifest = open_manifest(TRIGGER, "[limits]\ndeadline = \"300ms\"");
        let test = TestHost::on(store.clone(), components::LOCK_HOLD, &manifest).await;
        for (at, (word, reason)) in
            [("trap", "trapped"), ("late", "trapped"), ("hang", "deadline"), ("reject", "while it holds a lock")]
                .iter()
                .enumerate()
        {
            test.feed(&[&[("do", word)]]).await;
            test.settled(at as u64 + 1).await;
            assert_eq!(test.value("holding").await, Some((at + 1).to_string()), "{word}: it was held");
            assert!(test.reasons().await[at].contains(reason), "{:?}", test.reasons().await);
            freed(&*store).await;
        }
        assert_eq!(test.value("effect").await, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unloaded_plugin_gives_its_locks_back() {
    on_both(async |store| {
        let config = Config { shutdown_grace: Duration::from_millis(300), ..Config::default() };
        let manifest = open_manifest(TRIGGER, "[limits]\ndeadline = \"1h\"");
        let test = TestHost::with(config, store.clone(), components::LOCK_HOLD, &manifest).await;
        test.feed(&[&[("do", "hang")]]).await;
        poll_until(PATIENCE, "it is held", async || test.value("holding").await.is_some()).await;
        assert!(!is_free(&*store).await);
        assert_eq!(test.host.shutdown().await, Drained::GraceElapsed { batches: 1 });
        assert!(is_free(&*store).await, "it is given back before the host has ended");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_under_a_lost_lock_is_not_committed() {
    on_both(async |store| {
        let manifest = open_manifest(TRIGGER, "[limits]\ndeadline = \"1m\"");
        let test = TestHost::on(store.clone(), components::LOCK_HOLD, &manifest).await;
        test.feed(&[&[("do", "wait")]]).await;
        poll_until(PATIENCE, "it is held", async || test.value("holding").await.is_some()).await;
        store.break_open(&LockKey::new("", HELD)).await.unwrap();
        set(&*store, HELD, "another client").await;
        set(&*store, "go", "1").await;
        let lost = || test.host.plugins()[0].metrics.snapshot().commit_failures;
        poll_until(PATIENCE, "the commit is refused", async || lost() == 1).await;
        assert_eq!(test.value("effect").await, None);
        assert_eq!(test.value(HELD).await.as_deref(), Some("another client"), "another's lock is not touched");
        // The batch is run again as soon as the lock is free.
        store.break_open(&LockKey::new("", HELD)).await.unwrap();
        test.settled(1).await;
        assert_eq!((test.value("effect").await, test.value("holding").await), (Some("1".into()), Some("2".into())));
        assert_eq!(test.reasons().await, Vec::<String>::new());
        freed(&*store).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_share_one_lock() {
    on_both(async |store| {
        set(&*store, "go", "1").await;
        let events: Vec<&[(&str, &str)]> = vec![&[("do", "wait")]; 60];
        feed(&*store, "events", &events).await;
        // Batches of three take the same lock for each of their events; those of other batches wait until they are
        // committed.
        let manifest = open_manifest("batch = 3\nconcurrency = 8\nprefetch = 8", "[limits]\ndeadline = \"1m\"");
        let test = TestHost::on(store.clone(), components::LOCK_HOLD, &manifest).await;
        test.settled(60).await;
        assert_eq!(test.value("effect").await.as_deref(), Some("60"));
        assert_eq!(test.reasons().await, Vec::<String>::new());
        assert_eq!(test.host.plugins()[0].metrics.snapshot().commit_failures, 0);
        freed(&*store).await;
    })
    .await;
}
