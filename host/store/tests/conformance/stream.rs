//! Streams: appending with retention, ranges, state.

use sandbar_store::{EntryId, Retention};
use sandbar_test_harness::poll_until;

use super::build::*;
use super::fixture::{SOON, assert_wrong_type};
use super::{Fixture, conformance};

conformance! {
    entries_keep_their_fields,
    ids_grow,
    ranges_have_two_ends,
    retention_when_appending,
    entries_are_removed,
    the_state_of_a_stream,
    groups_of_a_stream,
    other_kinds_are_no_streams,
    appending_wakes_those_who_wait,
    the_clock_and_the_connection,
}

async fn entries_keep_their_fields(t: &Fixture) {
    let stream = t.key("s");
    let pairs = [("b", "2"), ("a", "1"), ("b", "again"), ("empty", ""), ("", "no name"), ("é", "ü")];
    t.write(&[append(&stream, &pairs)]).await;
    let entries = t.store.range(&stream, EntryId::ZERO, EntryId::MAX, 10, false).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].fields, fields(&pairs));
    let all: Vec<u8> = (0..=255).collect();
    let field = sandbar_store::Field::new("bin", all);
    let binary = sandbar_store::Effect::Append {
        stream: stream.clone(),
        fields: vec![field.clone()],
        retention: Retention::Unlimited,
    };
    t.write(&[binary]).await;
    assert_eq!(t.store.range(&stream, EntryId::ZERO, EntryId::MAX, 1, true).await.unwrap()[0].fields, [field]);
}

async fn ids_grow(t: &Fixture) {
    let stream = t.key("s");
    let ids = t.feed(&stream, 200).await;
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    let now = t.store.now_ms();
    assert!(ids[0].ms.abs_diff(now) < 60_000, "{} is about {now}", ids[0].ms);
    // Also where the newest entries are gone.
    t.write(&[remove(&stream, &ids)]).await;
    assert_eq!(t.store.length(&stream).await, Ok(0));
    let after = t.feed(&stream, 1).await;
    assert!(after[0] > ids[199]);
}

async fn ranges_have_two_ends(t: &Fixture) {
    let stream = t.key("s");
    assert_eq!(t.range(&stream, EntryId::ZERO, EntryId::MAX, 10, false).await, []);
    assert_eq!(t.store.length(&stream).await, Ok(0));
    let ids = t.feed(&stream, 10).await;
    assert_eq!(t.store.length(&stream).await, Ok(10));
    let newest_first: Vec<EntryId> = ids.iter().rev().copied().collect();
    assert_eq!(t.range(&stream, EntryId::ZERO, EntryId::MAX, 100, false).await, ids);
    assert_eq!(t.range(&stream, EntryId::ZERO, EntryId::MAX, 100, true).await, newest_first);
    assert_eq!(t.range(&stream, EntryId::ZERO, EntryId::MAX, 3, false).await, ids[..3]);
    assert_eq!(t.range(&stream, EntryId::ZERO, EntryId::MAX, 3, true).await, newest_first[..3]);
    assert_eq!(t.range(&stream, EntryId::ZERO, EntryId::MAX, 0, false).await, []);
    assert_eq!(t.range(&stream, ids[2], ids[5], 100, false).await, ids[2..=5]);
    assert_eq!(t.range(&stream, ids[2], ids[5], 100, true).await, newest_first[4..=7]);
    assert_eq!(t.range(&stream, ids[4], ids[4], 100, true).await, [ids[4]]);
    assert_eq!(t.range(&stream, ids[5], ids[2], 100, false).await, []);
    assert_eq!(t.range(&stream, ids[2].next().unwrap(), ids[5].previous().unwrap(), 100, false).await, ids[3..5]);
    assert_eq!(t.range(&stream, EntryId::MAX, EntryId::MAX, 100, false).await, []);
    let first = t.store.range(&stream, ids[0], ids[0], 1, false).await.unwrap();
    assert_eq!(first[0].fields, fields(&[("n", "0")]));
}

async fn retention_when_appending(t: &Fixture) {
    let (exact, about, min_id, none) = (t.key("exact"), t.key("about"), t.key("min-id"), t.key("none"));
    for n in 0..250 {
        let pairs = [("n", &*n.to_string())];
        t.write(&[
            append_keeping(&exact, &pairs, Retention::Exactly(7)),
            append_keeping(&about, &pairs, Retention::About(7)),
            append_keeping(&none, &pairs, Retention::Exactly(0)),
        ])
        .await;
    }
    assert_eq!(t.store.length(&exact).await, Ok(7));
    let kept = t.store.length(&about).await.unwrap();
    assert!((7..250).contains(&kept), "about 7: {kept}");
    assert_eq!(t.store.length(&none).await, Ok(0));
    let newest = t.store.range(&exact, EntryId::ZERO, EntryId::MAX, 1, true).await.unwrap();
    assert_eq!(newest[0].fields, fields(&[("n", "249")]));
    let ids = t.feed(&min_id, 5).await;
    t.write(&[append_keeping(&min_id, &[("n", "5")], Retention::MinId(ids[3]))]).await;
    let kept = t.range(&min_id, EntryId::ZERO, EntryId::MAX, 10, false).await;
    assert_eq!(kept.len(), 3);
    assert_eq!(kept[..2], ids[3..]);
    t.write(&[append_keeping(&min_id, &[("n", "6")], Retention::Exactly(u64::MAX))]).await;
    assert_eq!(t.store.length(&min_id).await, Ok(4));
}

async fn entries_are_removed(t: &Fixture) {
    let stream = t.key("s");
    let ids = t.feed(&stream, 5).await;
    let missing = EntryId { ms: 1, seq: 1 };
    t.write(&[remove(&stream, &[ids[1], missing, ids[3], ids[1]]), remove(&t.key("missing"), &[missing])]).await;
    assert_eq!(t.range(&stream, EntryId::ZERO, EntryId::MAX, 10, false).await, [ids[0], ids[2], ids[4]]);
    assert_eq!(t.store.info(&t.key("missing")).await, Ok(None), "removing makes no stream");
}

async fn the_state_of_a_stream(t: &Fixture) {
    let stream = t.key("s");
    assert_eq!(t.store.info(&stream).await, Ok(None));
    let ids = t.feed(&stream, 3).await;
    let info = t.store.info(&stream).await.unwrap().expect("a stream");
    assert_eq!((info.length, info.first_id, info.last_id), (3, Some(ids[0]), Some(ids[2])));
    assert!((10..100_000).contains(&info.memory_bytes), "{} bytes", info.memory_bytes);
    assert_eq!(info.groups, []);
    t.write(&[remove(&stream, &ids)]).await;
    let info = t.store.info(&stream).await.unwrap().expect("a stream without entries is still there");
    assert_eq!((info.length, info.first_id, info.last_id), (0, None, None));
}

async fn groups_of_a_stream(t: &Fixture) {
    let source = t.source().await;
    let ids = t.feed(&source.stream, 5).await;
    let other = sandbar_store::Source::new(t.prefix(), "s", "another", 10, 1000);
    t.store.open(&other, sandbar_store::GroupStart::New).await.unwrap();
    let consumer = t.consumer(&source, "c1").await;
    t.consumer(&source, "c2").await;
    let (epoch, _) = t.read(&consumer, 3).await;
    t.done(&consumer, epoch, &ids[..1]).await;
    let groups = t.store.info(&source.stream).await.unwrap().expect("a stream").groups;
    let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["another", "g"]);
    // Servers before version 7 do not tell the lag.
    let tells = t.as_redis().is_none_or(|server| server.version() >= (7, 0));
    let lag = |lag| tells.then_some(lag);
    let group = &groups[1];
    assert_eq!((group.consumers, group.pending, group.lag, group.last_delivered), (2, 2, lag(2), ids[2]));
    let group = &groups[0];
    assert_eq!((group.consumers, group.pending, group.lag, group.last_delivered), (0, 0, lag(0), ids[4]));
}

async fn other_kinds_are_no_streams(t: &Fixture) {
    for (kind, effect) in one_of_each(t.prefix()) {
        t.write(&[effect]).await;
        if kind != "stream" {
            let key = t.key(kind);
            assert_wrong_type(t.store.range(&key, EntryId::ZERO, EntryId::MAX, 1, false).await, &key);
            assert_wrong_type(t.store.range(&key, EntryId::ZERO, EntryId::MAX, 1, true).await, &key);
            assert_wrong_type(t.store.length(&key).await, &key);
            assert_wrong_type(t.store.info(&key).await, &key);
            assert_wrong_type(t.store.trim(&key, Retention::Exactly(1), false).await, &key);
            assert_wrong_type(t.store.trim(&key, Retention::Exactly(1), true).await, "");
        }
    }
}

async fn appending_wakes_those_who_wait(t: &Fixture) {
    let stream = t.key("s");
    let wake = t.store.watch(&stream);
    // The first wake-up comes at once: something may have been there before.
    tokio::time::timeout(SOON, wake.wait()).await.expect("the first wake-up");
    let woken = async {
        // Redis tells of changes only to those who have already asked for them, so what was appended while the watch
        // was being set up causes a wake-up of its own.
        wake.wait().await;
    };
    let appended = async {
        tokio::task::yield_now().await;
        t.write(&[append(&stream, &[("a", "1")])]).await;
    };
    tokio::time::timeout(SOON, async { tokio::join!(woken, appended) }).await.expect("woken by the entry");
    // Many times over, with entries that come one after the other.
    for n in 0..20 {
        // Left-over wake-ups are used up first; there are only so many.
        while tokio::time::timeout(std::time::Duration::from_millis(20), wake.wait()).await.is_ok() {}
        t.write(&[append(&stream, &[("n", &n.to_string())])]).await;
        tokio::time::timeout(SOON, wake.wait()).await.expect("woken by each entry");
    }
}

async fn the_clock_and_the_connection(t: &Fixture) {
    assert!(t.store.is_available());
    let system = || {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(since_1970.as_millis()).unwrap()
    };
    assert!(t.store.now_ms().abs_diff(system()) < 5000);
    let before = t.store.now_ms();
    poll_until(SOON, "the clock goes on", async || t.store.now_ms() > before).await;
}
