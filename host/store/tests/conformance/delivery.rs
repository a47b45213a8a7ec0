//! Groups and consumers: reading, settling, leaving, and groups that are gone.

use std::sync::Arc;

use sandbar_store::{
    Backlog, CommitError, Consumer, DeadLetter, EntryId, GroupStart, Remaining, Settlement, Source, StoreError,
};

use super::build::*;
use super::fixture::{DEAD_MAX_LEN, assert_no_group, assert_wrong_type, ids};
use super::{Fixture, conformance};

conformance! {
    a_group_is_opened_once,
    a_group_starts_where_it_should,
    entries_are_read_once,
    consumers_share_a_group,
    entries_that_are_done_are_gone,
    some_of_a_batch_is_done,
    an_epoch_only_grows,
    consumers_leave,
    dead_letters_are_kept,
    dead_letters_are_bounded,
    nothing_is_given_up_that_cannot_be_kept,
    how_far_a_group_is_behind,
    a_deleted_stream_has_no_group,
    other_kinds_have_no_groups,
    binary_and_empty_fields_are_delivered,
}

async fn a_group_is_opened_once(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let ids_fed = t.feed(&source.stream, 2).await;
    t.read(&consumer, 1).await;
    t.store.open(&source, GroupStart::New).await.expect("opening again changes nothing");
    let (_, events) = t.read(&consumer, 10).await;
    assert_eq!(ids(&events), ids_fed[1..]);
    assert_eq!(t.pending_count(&source).await, 2);
}

async fn a_group_starts_where_it_should(t: &Fixture) {
    let all = t.feed(&t.key("s"), 4).await;
    let cases = [
        ("new", GroupStart::New, &all[4..]),
        ("all", GroupStart::After(EntryId::ZERO), &all[..]),
        ("middle", GroupStart::After(all[1]), &all[2..]),
        ("end", GroupStart::After(EntryId::MAX), &all[4..]),
    ];
    for (group, start, expected) in cases {
        let source = Arc::new(Source::new(t.prefix(), "s", group, 10, 1000));
        t.store.open(&source, start).await.unwrap();
        let consumer = t.consumer(&source, "c").await;
        assert_eq!(ids(&t.read(&consumer, 10).await.1), expected, "{group}");
    }
    // A stream that is not there yet is made.
    let source = Arc::new(Source::new(t.prefix(), "unborn", "g", 10, 1000));
    t.store.open(&source, GroupStart::New).await.unwrap();
    assert_eq!(t.store.info(&source.stream).await.unwrap().expect("a stream").length, 0);
    let consumer = t.consumer(&source, "c").await;
    let first = t.feed(&source.stream, 1).await;
    assert_eq!(ids(&t.read(&consumer, 10).await.1), first);
}

async fn entries_are_read_once(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let (epoch, events) = t.read(&consumer, 10).await;
    assert_eq!(events, []);
    let fed = t.feed(&source.stream, 5).await;
    let (again, events) = t.read(&consumer, 3).await;
    assert_eq!(again, epoch, "the epoch stays while nobody fences");
    assert_eq!(ids(&events), fed[..3]);
    assert!(events.iter().all(|event| event.attempt == 1));
    assert_eq!(events[1].fields, fields(&[("n", "1")]));
    assert_eq!(ids(&t.read(&consumer, 3).await.1), fed[3..]);
    assert_eq!(t.read(&consumer, 3).await.1, []);
    let (_, pending) = t.pending(&consumer).await;
    assert_eq!(ids(&pending), fed);
    assert!(pending.iter().all(|event| event.attempt == 1), "reading again is no attempt");
}

async fn consumers_share_a_group(t: &Fixture) {
    let source = t.source().await;
    let (a, b) = (t.consumer(&source, "a").await, t.consumer(&source, "b").await);
    let fed = t.feed(&source.stream, 4).await;
    let (epoch_a, events_a) = t.read(&a, 2).await;
    let (epoch_b, events_b) = t.read(&b, 10).await;
    assert_eq!((ids(&events_a), ids(&events_b)), (fed[..2].to_vec(), fed[2..].to_vec()));
    assert_ne!(epoch_a, epoch_b, "epochs begin at random");
    assert_eq!(ids(&t.pending(&a).await.1), fed[..2]);
    assert_eq!(ids(&t.pending(&b).await.1), fed[2..]);
    // Another group of the same stream gets them all.
    let other = Arc::new(Source::new(t.prefix(), "s", "other", 10, 1000));
    t.store.open(&other, GroupStart::After(EntryId::ZERO)).await.unwrap();
    let c = t.consumer(&other, "a").await;
    assert_eq!(ids(&t.read(&c, 10).await.1), fed);
}

async fn entries_that_are_done_are_gone(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 3).await;
    let (epoch, _) = t.read(&consumer, 10).await;
    t.done(&consumer, epoch, &fed).await;
    assert_eq!(t.pending(&consumer).await.1, []);
    assert_eq!(t.pending_count(&source).await, 0);
    assert_eq!(t.store.length(&source.stream).await, Ok(3), "the stream keeps its entries");
    // Acknowledging again, or what never was, changes nothing.
    t.done(&consumer, epoch, &fed).await;
    t.done(&consumer, epoch, &[EntryId { ms: 1, seq: 1 }]).await;
}

async fn some_of_a_batch_is_done(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 5).await;
    let (epoch, _) = t.read(&consumer, 10).await;
    t.done(&consumer, epoch, &[fed[3], fed[1]]).await;
    assert_eq!(ids(&t.pending(&consumer).await.1), [fed[0], fed[2], fed[4]]);
    // Step by step: each step says where the next begins.
    let first = t.store.pending(&consumer, EntryId::ZERO, 2).await.unwrap();
    assert_eq!(ids(&first.batch.events), [fed[0], fed[2]]);
    let next = first.next.expect("there is more");
    let second = t.store.pending(&consumer, next, 2).await.unwrap();
    assert_eq!(ids(&second.batch.events), [fed[4]]);
    assert_eq!(second.next, None);
}

async fn an_epoch_only_grows(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let (mut last, _) = t.read(&consumer, 1).await;
    for _ in 0..10 {
        let next = t.store.fence(&consumer).await.unwrap();
        assert!(next.0 > last.0);
        assert_eq!(t.read(&consumer, 1).await.0, next);
        last = next;
    }
}

async fn consumers_leave(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 1).await;
    let (epoch, _) = t.read(&consumer, 1).await;
    let consumers = async || t.store.info(&source.stream).await.unwrap().expect("a stream").groups[0].consumers;
    t.store.leave(&consumer).await.expect("left alone");
    assert_eq!(consumers().await, 1, "it has something pending");
    assert_eq!(ids(&t.pending(&consumer).await.1), fed);
    t.done(&consumer, epoch, &fed).await;
    t.store.leave(&consumer).await.expect("removed");
    assert_eq!(consumers().await, 0);
    assert_eq!(t.store.ttl(&consumer.fence_key).await, Ok(Remaining::Missing));
    t.store.leave(&consumer).await.expect("leaving twice is no error");
    // What it still had to say is fenced, and it may join again.
    let settlement = Settlement { done: fed, ..Settlement::default() };
    let late = t.settle(&consumer, epoch, &[], settlement).await;
    assert_eq!(late, Err(CommitError::Fenced));
    t.store.join(&consumer).await.unwrap();
    assert_eq!(consumers().await, 1);
}

fn dead_letter(id: EntryId, reason: &str) -> DeadLetter {
    DeadLetter { id, fields: fields(&[("reason", reason)]) }
}

async fn dead_letters_are_kept(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 3).await;
    let (epoch, _) = t.read(&consumer, 10).await;
    let settlement = Settlement {
        done: vec![fed[0]],
        dead: vec![dead_letter(fed[1], "first"), dead_letter(fed[2], "second")],
        ..Settlement::default()
    };
    t.settle(&consumer, epoch, &[], settlement).await.expect("a commit");
    assert_eq!(t.pending_count(&source).await, 0, "dead letters are acknowledged");
    let dead_letters = t.store.range(&source.dead_key, EntryId::ZERO, EntryId::MAX, 10, false).await.unwrap();
    let reasons: Vec<_> = dead_letters.into_iter().map(|entry| entry.fields).collect();
    assert_eq!(reasons, [fields(&[("reason", "first")]), fields(&[("reason", "second")])]);
    assert_eq!(t.store.backlog(&source).await.unwrap().dead, 2);
    assert_eq!(t.store.length(&source.stream).await, Ok(3), "the stream keeps its entries");
}

async fn dead_letters_are_bounded(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 600).await;
    let (epoch, _) = t.read(&consumer, 1000).await;
    for part in fed.chunks(50) {
        let dead = part.iter().map(|id| dead_letter(*id, &id.to_string())).collect();
        t.settle(&consumer, epoch, &[], Settlement { dead, ..Settlement::default() }).await.expect("a commit");
    }
    let dead = t.store.backlog(&source).await.unwrap().dead;
    assert!((DEAD_MAX_LEN..=3 * DEAD_MAX_LEN).contains(&dead), "about {DEAD_MAX_LEN} of 600: {dead}");
    let newest = t.store.range(&source.dead_key, EntryId::ZERO, EntryId::MAX, 1, true).await.unwrap();
    assert_eq!(newest[0].fields, fields(&[("reason", &fed[599].to_string())]), "the newest stay");
    assert_eq!(t.pending_count(&source).await, 0);
}

async fn nothing_is_given_up_that_cannot_be_kept(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 1).await;
    let (epoch, _) = t.read(&consumer, 1).await;
    t.write(&[set(&source.dead_key, "no stream")]).await;
    let dead = vec![dead_letter(fed[0], "x")];
    let settlement = Settlement { dead, ..Settlement::default() };
    let answer = t.settle(&consumer, epoch, &[add(&t.key("n"), 1)], settlement).await;
    match answer {
        Err(CommitError::Refused(error)) => assert_wrong_type::<()>(Err(error), &source.dead_key),
        other => panic!("a refusal expected, got {other:?}"),
    }
    assert_eq!(t.store.get(&t.key("n")).await, Ok(None), "nothing was written");
    assert_eq!(ids(&t.pending(&consumer).await.1), fed);
}

async fn how_far_a_group_is_behind(t: &Fixture) {
    let source = t.source().await;
    // Servers before version 7 do not tell the lag.
    let tells = t.as_redis().is_none_or(|server| server.version() >= (7, 0));
    let behind = |pending, lag, dead| Ok(Backlog { pending, lag: tells.then_some(lag), dead });
    assert_eq!(t.store.backlog(&source).await, behind(0, 0, 0));
    let fed = t.feed(&source.stream, 10).await;
    assert_eq!(t.store.backlog(&source).await, behind(0, 10, 0));
    let consumer = t.consumer(&source, "c").await;
    let (epoch, _) = t.read(&consumer, 4).await;
    assert_eq!(t.store.backlog(&source).await, behind(4, 6, 0));
    let dead = vec![dead_letter(fed[0], "x")];
    t.settle(&consumer, epoch, &[], Settlement { done: vec![fed[1]], dead, ..Settlement::default() }).await.unwrap();
    assert_eq!(t.store.backlog(&source).await, behind(2, 6, 1));
}

async fn a_deleted_stream_has_no_group(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 2).await;
    let (epoch, _) = t.read(&consumer, 2).await;
    let lost = |name: &str| Consumer::new(source.clone(), name.to_owned());
    // Once without the stream, once with a stream that has another group.
    for again in [false, true] {
        t.write(&[delete(&source.stream)]).await;
        if again {
            t.feed(&source.stream, 1).await;
        }
        assert_no_group(t.store.join(&lost("new")).await);
        assert_no_group(t.store.read(&consumer, 1).await);
        assert_no_group(t.store.pending(&consumer, EntryId::ZERO, 10).await);
        assert_no_group(t.store.take_over(&consumer, 0, EntryId::ZERO, 10).await);
        assert_no_group(t.store.backlog(&source).await);
    }
    // There is nothing left to acknowledge; the effects stand.
    let settlement = Settlement { done: fed, ..Settlement::default() };
    let committed = t.settle(&consumer, epoch, &[add(&t.key("n"), 1)], settlement).await;
    assert_eq!(committed.map(|committed| committed.refused), Ok(vec![]));
    assert_no_group(t.store.leave(&consumer).await);
    // It can be made again.
    t.store.open(&source, GroupStart::After(EntryId::ZERO)).await.unwrap();
    t.store.join(&consumer).await.unwrap();
    assert_eq!(t.read(&consumer, 10).await.1.len(), 1);
}

async fn other_kinds_have_no_groups(t: &Fixture) {
    t.write(&[set(&t.key("s"), "text")]).await;
    let source = Arc::new(Source::new(t.prefix(), "s", "g", 10, 1000));
    assert_wrong_type(t.store.open(&source, GroupStart::New).await, "");
    let consumer = Consumer::new(source.clone(), "c".to_owned());
    assert_wrong_type(t.store.join(&consumer).await, "");
    assert_wrong_type(t.store.read(&consumer, 1).await, "");
    assert_wrong_type(t.store.backlog(&source).await, "");
    let pending = t.store.pending(&consumer, EntryId::ZERO, 1).await;
    assert!(matches!(pending, Err(StoreError::WrongType(_))), "{pending:?}");
}

async fn binary_and_empty_fields_are_delivered(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let all: Vec<u8> = (0..=255).collect();
    let fields = vec![
        sandbar_store::Field::new("bin", all),
        sandbar_store::Field::new("", ""),
        sandbar_store::Field::new("bin", "again"),
    ];
    let effect = sandbar_store::Effect::Append {
        stream: source.stream.clone(),
        fields: fields.clone(),
        retention: sandbar_store::Retention::Unlimited,
    };
    t.write(&[effect]).await;
    assert_eq!(t.read(&consumer, 1).await.1[0].fields, fields);
    assert_eq!(t.pending(&consumer).await.1[0].fields, fields);
}
