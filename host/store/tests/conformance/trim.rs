//! Trimming streams, with and without regard for groups.

use sandbar_store::{EntryId, GroupStart, Retention, Source, StoreError};

use super::build::*;
use super::{Fixture, conformance};

conformance! {
    trims_answer_how_many_were_removed,
    a_trim_needs_a_limit,
    a_trim_spares_what_is_unread,
    a_trim_spares_what_is_not_acknowledged,
    a_trim_spares_what_any_group_needs,
    a_trim_of_long_streams_spares_what_is_unread,
    a_trim_without_groups_spares_nothing,
}

async fn left(t: &Fixture, stream: &str) -> Vec<EntryId> {
    t.range(stream, EntryId::ZERO, EntryId::MAX, 10_000, false).await
}

async fn trims_answer_how_many_were_removed(t: &Fixture) {
    let stream = t.key("s");
    for keep_unread in [false, true] {
        assert_eq!(t.store.trim(&stream, Retention::Exactly(5), keep_unread).await, Ok(0), "a missing stream");
        assert_eq!(t.store.info(&stream).await, Ok(None), "trimming makes no stream");
    }
    let ids = t.feed(&stream, 20).await;
    assert_eq!(t.store.trim(&stream, Retention::Exactly(20), false).await, Ok(0));
    assert_eq!(t.store.trim(&stream, Retention::Exactly(100), false).await, Ok(0));
    assert_eq!(t.store.trim(&stream, Retention::Exactly(15), false).await, Ok(5));
    assert_eq!(left(t, &stream).await, ids[5..]);
    assert_eq!(t.store.trim(&stream, Retention::MinId(ids[8]), false).await, Ok(3));
    assert_eq!(left(t, &stream).await, ids[8..]);
    assert_eq!(t.store.trim(&stream, Retention::MinId(EntryId::ZERO), false).await, Ok(0));
    let removed = t.store.trim(&stream, Retention::About(2), false).await.unwrap();
    let rest = left(t, &stream).await;
    assert_eq!(rest, ids[8 + usize::try_from(removed).unwrap()..], "the oldest are removed");
    assert!(rest.len() >= 2);
    let rest = u64::try_from(rest.len()).unwrap();
    assert_eq!(t.store.trim(&stream, Retention::Exactly(0), false).await, Ok(rest));
    assert_eq!(left(t, &stream).await, []);
    assert_eq!(t.store.trim(&stream, Retention::Exactly(0), true).await, Ok(0));
}

async fn a_trim_needs_a_limit(t: &Fixture) {
    for keep_unread in [false, true] {
        let answer = t.store.trim(&t.key("s"), Retention::Unlimited, keep_unread).await;
        assert!(matches!(answer, Err(StoreError::Invalid(_))), "{answer:?}");
    }
}

async fn a_trim_spares_what_is_unread(t: &Fixture) {
    let source = t.source().await;
    let stream = &source.stream;
    let ids = t.feed(stream, 10).await;
    for retention in [Retention::Exactly(2), Retention::About(0), Retention::MinId(EntryId::MAX)] {
        assert_eq!(t.store.trim(stream, retention, true).await, Ok(0), "nothing has been read");
    }
    let consumer = t.consumer(&source, "c").await;
    let (epoch, _) = t.read(&consumer, 6).await;
    t.done(&consumer, epoch, &ids[..6]).await;
    assert_eq!(t.store.trim(stream, Retention::Exactly(8), true).await, Ok(2), "no more than asked for");
    assert_eq!(left(t, stream).await, ids[2..]);
    assert_eq!(t.store.trim(stream, Retention::MinId(ids[3]), true).await, Ok(1), "no more than asked for");
    assert_eq!(t.store.trim(stream, Retention::MinId(EntryId::MAX), true).await, Ok(3), "not what is unread");
    assert_eq!(left(t, stream).await, ids[6..]);
    assert_eq!(t.store.trim(stream, Retention::Exactly(0), true).await, Ok(0));
    let (epoch, _) = t.read(&consumer, 10).await;
    t.done(&consumer, epoch, &ids[6..]).await;
    assert_eq!(t.store.trim(stream, Retention::Exactly(1), true).await, Ok(3), "all is read");
    assert_eq!(left(t, stream).await, ids[9..]);
}

async fn a_trim_spares_what_is_not_acknowledged(t: &Fixture) {
    let source = t.source().await;
    let stream = &source.stream;
    let ids = t.feed(stream, 10).await;
    let consumer = t.consumer(&source, "c").await;
    let (epoch, _) = t.read(&consumer, 10).await;
    // All but one in the middle.
    t.done(&consumer, epoch, &[&ids[..4], &ids[5..]].concat()).await;
    assert_eq!(t.store.trim(stream, Retention::Exactly(0), true).await, Ok(4));
    assert_eq!(left(t, stream).await, ids[4..]);
    t.done(&consumer, epoch, &ids[4..5]).await;
    assert_eq!(t.store.trim(stream, Retention::Exactly(0), true).await, Ok(6));
    assert_eq!(t.store.length(stream).await, Ok(0));
}

async fn a_trim_spares_what_any_group_needs(t: &Fixture) {
    let source = t.source().await;
    let stream = &source.stream;
    let slow = std::sync::Arc::new(Source::new(t.prefix(), "s", "slow", 10, 1000));
    t.store.open(&slow, GroupStart::After(EntryId::ZERO)).await.unwrap();
    let ids = t.feed(stream, 10).await;
    let (quick_one, slow_one) = (t.consumer(&source, "c").await, t.consumer(&slow, "c").await);
    let (epoch, _) = t.read(&quick_one, 10).await;
    t.done(&quick_one, epoch, &ids).await;
    let (slow_epoch, _) = t.read(&slow_one, 3).await;
    assert_eq!(t.store.trim(stream, Retention::Exactly(0), true).await, Ok(0), "one group has nothing acknowledged");
    t.done(&slow_one, slow_epoch, &ids[..2]).await;
    assert_eq!(t.store.trim(stream, Retention::Exactly(0), true).await, Ok(2));
    assert_eq!(left(t, stream).await, ids[2..]);
}

async fn a_trim_of_long_streams_spares_what_is_unread(t: &Fixture) {
    let source = t.source().await;
    let stream = &source.stream;
    let ids = t.feed(stream, 1000).await;
    let consumer = t.consumer(&source, "c").await;
    let (epoch, _) = t.read(&consumer, 555).await;
    t.done(&consumer, epoch, &ids[..555]).await;
    let removed = t.store.trim(stream, Retention::About(700), true).await.unwrap();
    assert!(removed <= 300, "about 700 stay: {removed} removed");
    assert_eq!(t.store.trim(stream, Retention::Exactly(700), true).await.map(|exactly| removed + exactly), Ok(300));
    assert_eq!(left(t, stream).await, ids[300..]);
    let removed = t.store.trim(stream, Retention::About(10), true).await.unwrap();
    assert!(removed <= 255, "{removed} removed");
    assert_eq!(t.store.trim(stream, Retention::Exactly(10), true).await.map(|exactly| removed + exactly), Ok(255));
    assert_eq!(left(t, stream).await, ids[555..]);
}

async fn a_trim_without_groups_spares_nothing(t: &Fixture) {
    let stream = t.key("s");
    let ids = t.feed(&stream, 250).await;
    assert_eq!(t.store.trim(&stream, Retention::Exactly(100), true).await, Ok(150));
    assert_eq!(t.store.trim(&stream, Retention::MinId(ids[200]), true).await, Ok(50));
    assert_eq!(left(t, &stream).await, ids[200..]);
    t.write(&[delete(&stream)]).await;
}
