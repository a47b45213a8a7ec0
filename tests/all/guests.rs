//! Guests that assert for themselves, each run on the embedded store and on Redis.
//!
//! A guest adds 1 to `passed` for an event that it is content with, and rejects with a sentence otherwise.

use std::sync::Arc;

use sandbar_core::config::StoreConfig;
use sandbar_store::embedded::Embedded;
use sandbar_store::{EntryId, Store, connect};
use sandbar_tests::host::{feed, text};
use sandbar_tests::{RedisServer, TestHost, components, manifest, open_manifest};

/// Runs a test once on each store.
async fn on_both(run: impl AsyncFn(Arc<dyn Store>)) {
    run(Arc::new(Embedded::new())).await;
    let server = RedisServer::start();
    let config = StoreConfig { url: server.url(), ..StoreConfig::default() };
    run(connect(&config).await.unwrap()).await;
}

/// Feeds events with `do` set to each word, one batch after the other, and expects so many to pass and no dead letters
/// but those with these reasons.
async fn expect(component: &str, manifest: &str, words: &[&str], passed: u64, reasons: &[&str]) {
    on_both(async |store| {
        let test = TestHost::on(store, component, manifest).await;
        for (at, word) in words.iter().enumerate() {
            test.feed(&[&[("do", word)]]).await;
            test.settled(u64::try_from(at).unwrap() + 1).await;
        }
        let found = test.reasons().await;
        assert_eq!(found.len(), reasons.len(), "dead letters: {found:?}");
        for (found, wanted) in found.iter().zip(reasons) {
            assert!(found.contains(wanted), "`{found}` should contain `{wanted}`");
        }
        let value = test.value("passed").await.unwrap_or_default();
        assert_eq!(value, if passed == 0 { String::new() } else { passed.to_string() });
    })
    .await;
}

const ONE_AT_A_TIME: &str = "batch = 1\nretry-min = \"1ms\"\nretry-max = \"2ms\"";

#[tokio::test(flavor = "multi_thread")]
async fn reads_see_the_writes_before_them() {
    expect(components::KV_PENDING, &open_manifest("", ""), &["any"], 1, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_granted_can_be_touched() {
    let grants = "[grants]\nread = [\"readable:*\"]\nwrite = [\"writable:*\", \"passed\"]\npublish = [\"open:*\"]";
    expect(components::KV_DENIED, &manifest("", grants), &["any"], 1, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_own_keys_are_not_found_by_a_pattern() {
    let server = RedisServer::start();
    for key in ["ordinary", "sandbar:fence:x", "sandbar:fleet:token:x"] {
        server.ask(&["SET", key, "x"]);
    }
    let store = connect(&StoreConfig { url: server.url(), ..StoreConfig::default() }).await.unwrap();
    let test = TestHost::on(store, components::KV_DENIED, &open_manifest("max-attempts = 1", "")).await;
    test.feed(&[&[("do", "scan")]]).await;
    test.settled(1).await;
    assert_eq!((test.value("passed").await.as_deref(), test.reasons().await), (Some("1"), vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_do_what_they_say() {
    expect(components::COLLECTIONS_ALL, &open_manifest(ONE_AT_A_TIME, ""), &["write", "read", "gone"], 3, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standard_interfaces_are_there() {
    let config = "[config]\ngreeting = \"hello\"\nnumber = \"42\"";
    expect(components::CONFIG_ALL, &open_manifest("", config), &["any"], 1, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_numbers_are_random() {
    let config = "[config]\ngreeting = \"hello\"\nnumber = \"42\"";
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let test = TestHost::embedded(components::CONFIG_ALL, &open_manifest("", config)).await;
        test.feed(&[&[("do", "any")]]).await;
        test.settled(1).await;
        numbers.push(test.value("random").await.unwrap());
    }
    assert_ne!(numbers[0], numbers[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_do_what_they_say() {
    let words = ["push", "take", "taken", "fail", "back", "trap", "survived"];
    let trigger = "batch = 1\nmax-attempts = 50\nretry-min = \"1ms\"\nretry-max = \"2ms\"";
    let reasons = ["this event is rejected", "(attempt 50, the last)"];
    expect(components::QUEUE_ALL, &open_manifest(trigger, ""), &words, 5, &reasons).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_over_which_every_call_fails_ends_in_the_dead_letters() {
    on_both(async |store| {
        let test = TestHost::on(store, components::QUEUE_ALL, &open_manifest(ONE_AT_A_TIME, "")).await;
        test.feed(&[&[("do", "seed")]]).await;
        let mut fed = 1;
        test.settled(fed).await;
        while test.value("passed").await.as_deref() != Some("2") {
            assert!(fed < 1_000, "the job is still there");
            test.feed(&[&[("do", "poison")]]).await;
            fed += 1;
            test.settled(fed).await;
        }
        assert!(fed > 100, "it was given up after {fed} calls");
        let dead_letters = test.store.range("q:dead", EntryId::ZERO, EntryId::MAX, 10, false).await.unwrap();
        assert_eq!(dead_letters.len(), 1);
        assert_eq!(text(&dead_letters[0], "reason"), "calls that took it failed 101 times");
        assert_eq!(
            (text(&dead_letters[0], "payload"), text(&dead_letters[0], "attempt")),
            ("poison".to_owned(), "1".to_owned())
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_and_reasons_are_bounded() {
    on_both(async |store| {
        let test = TestHost::on(store, components::OVERSIZED, &open_manifest(ONE_AT_A_TIME, "")).await;
        test.feed(&[&[("do", "value")], &[("do", "reason")]]).await;
        test.settled(2).await;
        assert_eq!(test.value("passed").await.as_deref(), Some("1"));
        let found = test.reasons().await;
        assert_eq!(found.len(), 1);
        assert!(found[0].len() <= 4096 && found[0].len() > 4000, "a reason of {} bytes", found[0].len());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_write_is_a_dead_letter_and_the_rest_stands() {
    let words = ["seed", "push", "add", "read", "ok"];
    on_both(async |store| {
        let test = TestHost::on(store, components::WRONG_TYPE, &open_manifest(ONE_AT_A_TIME, "")).await;
        for (at, word) in words.iter().enumerate() {
            test.feed(&[&[("do", word)]]).await;
            // A refused write is found after its commit, so its event counts twice: done, and dead.
            let refused = usize::from(at >= 1) + usize::from(at >= 2);
            test.settled(u64::try_from(at + 1 + refused).unwrap()).await;
        }
        let found = test.reasons().await;
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("collections.list-push") && found[1].contains("cache.add"), "{found:?}");
        assert_eq!(test.value("beside").await.as_deref(), Some("2"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_rely_on_a_value_do_not_overwrite_each_other() {
    on_both(async |store| {
        let trigger = "batch = 1\nconcurrency = 8\nprefetch = 8";
        let events: Vec<&[(&str, &str)]> = vec![&[("n", "1")]; 200];
        sandbar_tests::host::feed(&*store, "events", &events).await;
        let test = TestHost::on(store, components::UPDATE_COUNTER, &open_manifest(trigger, "")).await;
        test.settled(200).await;
        assert_eq!(test.value("total").await.as_deref(), Some("200"));
        assert_eq!(test.reasons().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_not_offered_is_refused_by_name() {
    let test = TestHost::embedded(components::HANDLE_COUNT, &open_manifest("", "")).await;
    let foreign = r#"(component
        (import "acme:billing/charge@1.0.0" (instance (export "charge" (func))))
    )"#;
    let manifest = sandbar_core::manifest::Manifest::parse("name = \"foreign\"").unwrap();
    let error = test.host.load_bytes(manifest, wat(foreign)).await.unwrap_err().to_string();
    assert!(error.contains("`acme:billing/charge@1.0.0`") && error.contains("foreign"), "{error}");
    let sockets = r#"(component
        (import "wasi:sockets/tcp@0.2.0" (instance (export "x" (func))))
    )"#;
    let manifest = sandbar_core::manifest::Manifest::parse("name = \"sockets\"").unwrap();
    let error = test.host.load_bytes(manifest, wat(sockets)).await.unwrap_err().to_string();
    assert!(error.contains("no sockets"), "{error}");
    let manifest = sandbar_core::manifest::Manifest::parse("name = \"garbage\"").unwrap();
    let error = test.host.load_bytes(manifest, b"garbage".to_vec()).await.unwrap_err().to_string();
    assert!(error.contains("no WebAssembly component"), "{error}");
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_replaced_after_so_many_calls() {
    let limits = open_manifest("batch = 1", "[limits]\ncalls-per-instance = 3");
    let test = TestHost::embedded(components::HANDLE_NOTHING, &limits).await;
    let rollout = test.host.plugins()[0].rollout.clone();
    for calls in 1..=7 {
        test.feed(&[&[("any", "event")]]).await;
        test.settled(calls).await;
        let idle = usize::from(calls % 3 != 0);
        assert_eq!(rollout.active().counts(), (idle, 0), "after {calls} calls");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_do_what_they_say() {
    let grants = "[grants]\nread = [\"*\"]\nwrite = [\"*\"]";
    on_both(async |store| {
        feed(&*store, "events", &[&[("do", "write")], &[("do", "read")]]).await;
        let test = TestHost::on(store, components::STREAM_ALL, &manifest(ONE_AT_A_TIME, grants)).await;
        test.settled(2).await;
        assert_eq!((test.value("passed").await.as_deref(), test.reasons().await), (Some("2"), vec![]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_committed_early_discarded_or_dropped_with_their_event() {
    let words = ["commit", "discard", "retry", "reject", "verify"];
    expect(components::TRANSACTION_ALL, &open_manifest(ONE_AT_A_TIME, ""), &words, 4, &["this event is rejected"])
        .await;
}
