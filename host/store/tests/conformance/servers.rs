//! What only a store in a server can meet: its own keys deleted, members that are not text, and servers that refuse.

use std::sync::Arc;
use std::time::Duration;

use sandbar_core::config::StoreConfig;
use sandbar_store::redis::Redis;
use sandbar_store::{
    Cache, Collections, Commit, CommitError, Committed, Consumer, Delivery, End, EntryId, GroupStart, Settlement,
    Source, StoreError,
};
use sandbar_test_harness::{Faults, Options, Proxy, poll_until};

use super::Fixture;
use super::build::*;
use super::fixture::{SOON, connect, ids};

#[tokio::test]
async fn a_consumer_without_its_fence_reads_no_epoch() {
    let t = &Fixture::redis().await;
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 2).await;
    t.write(&[delete(&consumer.fence_key)]).await;
    let batch = t.store.read(&consumer, 1).await.unwrap();
    assert_eq!((batch.epoch, ids(&batch.events)), (None, fed[..1].to_vec()));
    let taken = t.store.pending(&consumer, EntryId::ZERO, 10).await.unwrap();
    assert_eq!((taken.batch.epoch, ids(&taken.batch.events)), (None, fed[..1].to_vec()));
    let epoch = t.store.fence(&consumer).await.unwrap();
    let (read, events) = t.read(&consumer, 10).await;
    assert_eq!((read, ids(&events)), (epoch, fed[1..].to_vec()));
}

#[tokio::test]
async fn a_consumer_without_its_fence_is_fenced() {
    let t = &Fixture::redis().await;
    let source = t.source().await;
    let fed = t.feed(&source.stream, 1).await;
    let consumer = t.consumer(&source, "c").await;
    let (epoch, _) = t.read(&consumer, 1).await;
    t.write(&[delete(&consumer.fence_key)]).await;
    assert_eq!(t.store.keep_alive(&consumer, epoch, &fed).await, Ok(false));
    assert_eq!(acknowledge(t, &consumer, epoch, &fed).await, Err(CommitError::Fenced));
    let again = t.store.fence(&consumer).await.unwrap();
    assert_eq!(acknowledge(t, &consumer, again, &fed).await, Ok(Committed::default()));
}

async fn acknowledge(
    t: &Fixture,
    consumer: &sandbar_store::Consumer,
    epoch: sandbar_store::Epoch,
    ids: &[EntryId],
) -> Result<Committed, CommitError> {
    let settlement = Settlement { done: ids.to_vec(), ..Settlement::default() };
    t.settle(consumer, epoch, &[add(&t.key("n"), 1)], settlement).await
}

#[tokio::test]
async fn the_attempts_of_what_has_vanished_are_forgotten() {
    let t = &Fixture::redis().await;
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 1).await;
    let (epoch, _) = t.read(&consumer, 1).await;
    let settlement = Settlement { retry: vec![(fed[0], 0)], ..Settlement::default() };
    t.settle(&consumer, epoch, &[], settlement).await.expect("a commit");
    assert_eq!(t.store.hash_get_all(&source.attempts_key).await, Ok(fields(&[(&fed[0].to_string(), "1")])));
    t.write(&[remove(&source.stream, &fed)]).await;
    poll_until(SOON, "it is due", async || t.store.due(&consumer, 1).await.unwrap().vanished == 1).await;
    assert_eq!(t.store.hash_length(&source.attempts_key).await, Ok(0));
    assert_eq!(t.store.sorted_size(&source.retry_key).await, Ok(0));
}

#[tokio::test]
async fn members_that_are_not_text() {
    let t = &Fixture::redis().await;
    let mut connection = t.as_redis().expect("a server").connect();
    let binary = [0xff_u8, 0xfe];
    let (hash, set, sorted, stream) = (t.key("hash"), t.key("set"), t.key("sorted"), t.key("stream"));
    let mut pipeline = redis::pipe();
    pipeline.cmd("HSET").arg(&hash).arg(&binary[..]).arg(1).arg("text").arg(&binary[..]);
    pipeline.cmd("SADD").arg(&set).arg(&binary[..]);
    pipeline.cmd("ZADD").arg(&sorted).arg(1).arg(&binary[..]);
    pipeline.cmd("XADD").arg(&stream).arg("*").arg(&binary[..]).arg(1);
    pipeline.cmd("SET").arg([t.prefix().as_bytes(), &binary[..]].concat()).arg(1);
    pipeline.exec(&mut connection).unwrap();
    let invalid = |error: Option<StoreError>, key: &str| match error {
        Some(StoreError::Invalid(text)) => assert!(text.contains(key), "{text}"),
        other => panic!("{key}: {other:?}"),
    };
    invalid(t.store.hash_get_all(&hash).await.err(), &hash);
    invalid(t.store.set_members(&set).await.err(), &set);
    invalid(t.store.sorted_range(&sorted, 0, -1, false).await.err(), &sorted);
    invalid(t.store.sorted_range_by_score(&sorted, 0.0, 2.0, 1).await.err(), &sorted);
    // One's own fields can still be read, and values may be any bytes.
    let value = t.store.hash_get_many(&hash, &owned(&["text"])).await.unwrap();
    assert_eq!(value[0].as_deref(), Some(&binary[..]));
    let entries = t.store.range(&stream, EntryId::ZERO, EntryId::MAX, 1, false).await.unwrap();
    assert_eq!(entries[0].fields[0].name, "\u{fffd}\u{fffd}", "names of entries are read as far as they are text");
    let page = t.store.scan(&t.key("*"), 0, 1000).await.unwrap();
    assert!(page.keys.iter().all(|key| !key.contains('\u{fffd}')), "{:?}", page.keys);
}

#[tokio::test]
async fn a_server_out_of_memory_refuses_whole_commits() {
    let server = Options::new().config("maxmemory", "3mb").config("maxmemory-policy", "noeviction").start();
    let store = connect(&server.url()).await;
    let value = "x".repeat(10_000);
    let mut refused = None;
    for n in 0..1000 {
        // The deletion alone would be allowed.
        let effects = [set("first", "1"), delete("gone"), push("list", End::Back, &[&value], None)];
        let settlement = Settlement::default();
        let commit = Commit { consumer: None, watched: &[], effects: &effects, settlement, leases: &[], atomic: true };
        if let Err(error) = store.commit(commit).await {
            refused = Some((n, error));
            break;
        }
    }
    let (commits, error) = refused.expect("a full server");
    assert!(matches!(&error, CommitError::Refused(StoreError::Refused(text)) if text.contains("OOM")), "{error:?}");
    assert_eq!(store.list_length("list").await, Ok(commits), "what was refused left nothing behind");
    let answer = store.increment("n", 1).await;
    assert!(matches!(&answer, Err(StoreError::Refused(text)) if text.contains("OOM")), "{answer:?}");
}

#[tokio::test]
async fn a_server_that_goes_away_and_comes_back() {
    let server = Options::new().port().append_only().start();
    let store = connect(&server.url()).await;
    store.increment("n", 1).await.expect("a sum");
    server.kill();
    let error = store.get("n").await.expect_err("there is no server");
    assert!(error.is_transient(), "{error:?}");
    poll_until(SOON, "it is known to be away", async || !store.is_available()).await;
    let wake = store.watch("s");
    wake.wait().await;
    server.restart();
    poll_until(SOON, "it is known to be back", async || store.is_available()).await;
    poll_until(SOON, "it answers", async || store.get("n").await == Ok(Some(bytes("1")))).await;
    tokio::time::timeout(SOON, wake.wait()).await.expect("waiters are woken to look again");
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time() {
    let server = Options::new().port().start();
    let config =
        StoreConfig { url: server.url(), response_timeout: Duration::from_millis(100), ..StoreConfig::default() };
    let store = Redis::connect(&config).await.expect("a server");
    server.pause();
    let answer = store.get("k").await;
    assert!(matches!(answer, Err(StoreError::TimedOut(_) | StoreError::Unavailable(_))), "{answer:?}");
    let effects = [add("n", 1)];
    let settlement = Settlement::default();
    let commit = Commit { consumer: None, watched: &[], effects: &effects, settlement, leases: &[], atomic: true };
    let answer = store.commit(commit).await;
    assert!(matches!(answer, Err(CommitError::Unknown(_) | CommitError::Refused(_))), "{answer:?}");
    server.resume();
    poll_until(SOON, "it answers", async || store.get("k").await == Ok(None)).await;
}

/// The sequence after a lost reply: advance the own fence over a new connection, then look at what is pending. However
/// late the commit of unknown fate arrives, its effects are there exactly once.
#[tokio::test]
async fn commits_of_unknown_fate_are_made_once() {
    for faults in [
        Faults { lose_reply: 1.0, ..Faults::none() },
        Faults { late: 1.0, late_for: Duration::from_millis(20)..Duration::from_millis(21), ..Faults::none() },
        Faults { cut: 1.0, ..Faults::none() },
    ] {
        let server = Options::new().port().start();
        let proxy = Proxy::start(server.port(), Faults::none(), 1);
        let store = connect(&proxy.url()).await;
        let source = Arc::new(Source::new("", "s", "g", 10, 1000));
        store.open(&source, GroupStart::After(EntryId::ZERO)).await.unwrap();
        let consumer = Consumer::new(source.clone(), "c".to_owned());
        store.join(&consumer).await.unwrap();
        server.ask(&["XADD", "s", "*", "a", "1"]);
        let batch = store.read(&consumer, 1).await.unwrap();
        let mut epoch = batch.epoch.expect("an epoch");
        let mut pending = ids(&batch.events);
        proxy.set_faults(Faults { only: Some(b"EXEC".to_vec()), ..faults.clone() });
        let effects = [add("n", 1)];
        for _ in 0..100 {
            let settlement = Settlement { done: pending, ..Settlement::default() };
            let consumer_and_epoch = Some((&consumer, epoch));
            let commit = Commit {
                consumer: consumer_and_epoch,
                watched: &[],
                effects: &effects,
                settlement,
                leases: &[],
                atomic: true,
            };
            let answer = store.commit(commit).await;
            assert!(!matches!(answer, Err(CommitError::Conflict(_))), "{answer:?}");
            proxy.set_faults(Faults::none());
            epoch = store.fence(&consumer).await.expect("a new epoch");
            let taken = store.pending(&consumer, EntryId::ZERO, 10).await.expect("pending entries");
            pending = ids(&taken.batch.events);
            if pending.is_empty() {
                break;
            }
        }
        poll_until(SOON, "what was late has arrived", async || {
            let counts = proxy.counts();
            counts.late + counts.replies_lost + counts.cut == 1
        })
        .await;
        assert_eq!(store.get("n").await, Ok(Some(bytes("1"))), "{faults:?}: {}", proxy.counts());
        assert_eq!(store.backlog(&source).await.unwrap().pending, 0);
    }
}
