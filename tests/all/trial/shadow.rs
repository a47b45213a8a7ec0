//! A shadow reports exactly what it does differently, though the active version changes what it would read, and has
//! no effect at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use sandbar_core::config::StoreConfig;
use sandbar_runtime::replay::dry_run::DifferenceKind;
use sandbar_runtime::rollout::{ShadowReport, Trial};
use sandbar_store::{Commit, Condition, Effect, EntryId, Expiry, Store, connect};
use sandbar_tests::host::PATIENCE;
use sandbar_tests::{RedisServer, TestHost, components, open_manifest, poll_until};

use super::{differing, feed, parsed, plain, version};

async fn redis(server: &RedisServer) -> Arc<dyn Store> {
    connect(&StoreConfig { url: server.url(), ..StoreConfig::default() }).await.unwrap()
}

async fn shadowed(test: &TestHost, manifest: &str) {
    test.host.first().unwrap().begin_trial(parsed(manifest), version(1), Trial::Shadow).await.unwrap();
}

/// What the shadow did differently with the events up to this number.
async fn report(test: &TestHost, events: u64) -> ShadowReport {
    let rollout = test.host.plugins()[0].rollout.clone();
    poll_until(PATIENCE, "the shadow has seen all events", async || {
        let report = rollout.shadow_report().unwrap();
        report.compared + report.skipped >= events
    })
    .await;
    let report = rollout.shadow_report().unwrap();
    assert_eq!((report.compared, report.skipped), (events, 0));
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_seeded_differences_are_reported() {
    let events = if std::env::var_os("SANDBAR_LONG").is_some() { 5000 } else { 500 };
    let words = [
        ("", None),
        ("value", Some(DifferenceKind::DifferentEffect)),
        ("missing", Some(DifferenceKind::MissingEffect)),
        ("extra", Some(DifferenceKind::ExtraEffect)),
        ("trap", Some(DifferenceKind::Failure)),
        ("reject", Some(DifferenceKind::DifferentOutcome)),
        ("other-read", Some(DifferenceKind::OtherRead)),
    ];
    for (differs, kind) in words {
        // Alone, each event is compared with what the active version read for it: the total that the events before it
        // left.
        let trigger = "batch = 1\nprefetch = 4";
        let test = TestHost::embedded(components::HANDLE_TRIAL, &plain(trigger, "")).await;
        shadowed(&test, &differing(differs, 50, trigger, "")).await;
        feed(&test, 1..events + 1).await;
        let report = report(&test, events).await;
        let expected: BTreeMap<DifferenceKind, u64> = kind.into_iter().map(|kind| (kind, events / 50)).collect();
        assert_eq!(report.differences, expected, "{differs}: {:#?}", report.samples);
        assert_eq!(report.samples.len() as u64, expected.values().sum::<u64>().min(32), "{differs}");
        assert!(report.samples.iter().all(|sample| sample.events.len() == 1 && sample.source == "events"));
        let sum: u64 = (1..=events).sum();
        assert_eq!(test.value("total:a").await, Some(sum.to_string()), "{differs}: the active version is undisturbed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_of_a_batch_is_at_fault_and_not_the_others() {
    let test = TestHost::embedded(components::HANDLE_TRIAL, &plain("batch = 20", "")).await;
    shadowed(&test, &differing("trap", 50, "batch = 20", "")).await;
    feed(&test, 1..501).await;
    let report = report(&test, 500).await;
    assert_eq!(report.differences, [(DifferenceKind::Failure, 10)].into(), "{:#?}", report.samples);
    for sample in &report.samples {
        let id = sample.events[0].parse().unwrap();
        let entries = test.store.range("events", id, id, 1, false).await.unwrap();
        let n: u64 = sandbar_tests::host::text(&entries[0], "n").parse().unwrap();
        assert!(n.is_multiple_of(50), "{n} is not one that traps");
        assert!(sample.shadow.contains("the plugin trapped"), "{}", sample.shadow);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_at_once_is_not_done_twice_and_looks_the_same() {
    let all = "[config]\nat-once = \"1\"\nchance = \"1\"";
    let manifest = open_manifest("batch = 1", all);
    let server = RedisServer::start();
    let test = TestHost::on(redis(&server).await, components::HANDLE_TRIAL, &manifest).await;
    for job in 0..1000 {
        server.ask(&["LPUSH", "side", &job.to_string()]);
        server.ask(&["XADD", "log", "*", "job", &job.to_string()]);
    }
    shadowed(&test, &manifest).await;
    feed(&test, 1..201).await;
    let report = report(&test, 200).await;
    let without_hash_seed = |report: &ShadowReport| {
        // What a table is ordered by differs between instances, and is all that differs.
        report.samples.iter().all(|sample| sample.active.contains("chances"))
    };
    assert!(without_hash_seed(&report), "{:#?}", report.samples);
    assert_eq!(server.get::<u64>(&["GET", "sequence"]), 200, "each event took one number");
    assert_eq!(server.get::<u64>(&["LLEN", "side"]), 800, "each event took one job");
    assert_eq!(server.get::<u64>(&["LLEN", "chances"]), 200);
    assert_eq!(server.get::<u64>(&["XLEN", "log"]), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_leaves_no_trace() {
    let server = RedisServer::start();
    let test = TestHost::on(redis(&server).await, components::HANDLE_TRIAL, &plain("batch = 10", "")).await;
    server.ask(&["LPUSH", "side", "job"]);
    server.ask(&["XADD", "log", "*", "a", "b"]);
    for _ in 0..20 {
        server.ask(&["XADD", "log", "*", "a", "b"]);
    }
    feed(&test, 1..11).await;
    test.settled(10).await;
    let keys = || {
        let mut keys: Vec<String> = server.get(&["KEYS", "*"]);
        keys.sort();
        keys
    };
    let before = keys();
    // It increments, locks, takes jobs, trims, and reads what the active version never reads.
    shadowed(&test, &open_manifest("batch = 10", "[config]\nat-once = \"1\"\nchance = \"1\"")).await;
    feed(&test, 11..211).await;
    let report = report(&test, 200).await;
    assert!(
        report.differences[&DifferenceKind::ExtraEffect] >= 20 && report.differences[&DifferenceKind::OtherRead] >= 20,
        "{report:#?}"
    );
    assert_eq!(keys(), before, "no key has come, and none has gone");
    let lengths: (u64, u64) = (server.get(&["LLEN", "side"]), server.get(&["XLEN", "log"]));
    assert_eq!(lengths, (1, 21));
    assert_eq!(server.get::<u64>(&["GET", "count:a"]), 210);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_version_commits_by_itself_a_shadow_only_compares() {
    let commits = |differs: &str| open_manifest("batch = 1", &format!("[config]\ncommits = \"1\"\n{differs}"));
    let server = RedisServer::start();
    let test = TestHost::on(redis(&server).await, components::HANDLE_TRIAL, &commits("")).await;
    shadowed(&test, &commits("")).await;
    feed(&test, 1..101).await;
    assert_eq!(report(&test, 100).await.differences, BTreeMap::new());
    assert_eq!(server.get::<u64>(&["GET", "committed"]), 100);
    // One that does not commit by itself is found out.
    shadowed(&test, &plain("batch = 1", "")).await;
    feed(&test, 101..151).await;
    assert_eq!(report(&test, 50).await.differences, [(DifferenceKind::MissingEffect, 50)].into());
    assert_eq!(server.get::<u64>(&["GET", "committed"]), 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_a_recording_is_dropped() {
    let test = TestHost::embedded(components::HANDLE_TRIAL, &plain("batch = 1", "")).await;
    shadowed(&test, &plain("batch = 1", "")).await;
    let (key, value) = ("total:large".to_owned(), vec![b'x'; sandbar_runtime::replay::RECORDING_BYTES_MAX].into());
    let large = Effect::Set { key, value, expiry: Expiry::Never, condition: Condition::Always };
    test.store.commit(Commit::plain(&[large], &[])).await.unwrap();
    test.feed(&[&[("key", "large"), ("n", "1")], &[("key", "large"), ("n", "2")]]).await;
    let rollout = test.host.plugins()[0].rollout.clone();
    poll_until(PATIENCE, "the shadow has seen both", async || {
        let report = rollout.shadow_report().unwrap();
        report.compared + report.skipped >= 2
    })
    .await;
    let report = rollout.shadow_report().unwrap();
    assert_eq!((report.compared, report.skipped, report.differences), (1, 1, BTreeMap::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_differences_are_kept_as_samples() {
    let test = TestHost::embedded(components::HANDLE_TRIAL, &plain("batch = 1", "")).await;
    shadowed(&test, &differing("value", 1, "batch = 1", "")).await;
    feed(&test, 1..101).await;
    let report = report(&test, 100).await;
    assert_eq!(report.differences, [(DifferenceKind::DifferentEffect, 100)].into());
    let entries = test.store.range("events", EntryId::ZERO, EntryId::MAX, 32, true).await.unwrap();
    let newest: Vec<String> = entries.iter().rev().map(|entry| entry.id.to_string()).collect();
    let samples: Vec<String> = report.samples.iter().map(|sample| sample.events[0].clone()).collect();
    assert_eq!(samples, newest);
}
