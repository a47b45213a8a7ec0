//! Entries that pass from one consumer to another, and entries that vanish.

use sandbar_store::{CommitError, EntryId};
use sandbar_test_harness::poll_until;

use super::build::*;
use super::fixture::{SOON, ids, known};
use super::{Fixture, conformance};

conformance! {
    idle_entries_are_taken,
    entries_that_are_kept_alive_are_not_taken,
    keeping_alive_fails_after_a_fence,
    a_take_over_goes_step_by_step,
    nobody_takes_from_himself,
    each_victim_is_fenced,
    those_who_lost_nothing_are_not_fenced,
    what_was_taken_can_be_taken_back,
    entries_that_vanished_while_pending,
    entries_that_were_trimmed_while_pending,
    entries_that_vanished_before_a_take_over,
}

/// Longer than any test.
const LONG_MS: u64 = 3_600_000;

async fn idle_entries_are_taken(t: &Fixture) {
    let source = t.source().await;
    let (a, b) = (t.consumer(&source, "a").await, t.consumer(&source, "b").await);
    let fed = t.feed(&source.stream, 3).await;
    t.read(&a, 3).await;
    let nothing = t.store.take_over(&b, LONG_MS, EntryId::ZERO, 10).await.unwrap();
    assert_eq!((nothing.batch.events.len(), nothing.next, nothing.vanished), (0, None, 0));
    let mut taken = Vec::new();
    poll_until(SOON, "they are idle for 50 ms", async || {
        let step = t.store.take_over(&b, 50, EntryId::ZERO, 10).await.unwrap();
        taken.extend(step.batch.events);
        taken.len() == 3
    })
    .await;
    assert_eq!(ids(&taken), fed);
    assert_eq!(taken[2].fields, fields(&[("n", "2")]));
    assert_eq!(taken[2].attempt, 1, "the death of a consumer is no attempt");
    assert_eq!(ids(&t.pending(&b).await.1), fed);
    assert_eq!(t.pending(&a).await.1, []);
    // They are no longer idle.
    let again = t.store.take_over(&a, 5000, EntryId::ZERO, 10).await.unwrap();
    assert_eq!(again.batch.events, []);
}

async fn entries_that_are_kept_alive_are_not_taken(t: &Fixture) {
    let source = t.source().await;
    let (a, b) = (t.consumer(&source, "a").await, t.consumer(&source, "b").await);
    let fed = t.feed(&source.stream, 2).await;
    let (epoch, _) = t.read(&a, 2).await;
    let start = t.store.now_ms();
    // Both get old; one of them is kept alive.
    poll_until(SOON, "400 ms go by", async || {
        assert_eq!(t.store.keep_alive(&a, epoch, &fed[..1]).await, Ok(true));
        t.store.now_ms() > start + 400
    })
    .await;
    let taken = t.store.take_over(&b, 300, EntryId::ZERO, 10).await.unwrap();
    assert_eq!(ids(&taken.batch.events), fed[1..]);
    assert_eq!(t.store.keep_alive(&b, taken.batch.epoch.unwrap(), &[]).await, Ok(true), "nothing to keep alive");
}

async fn keeping_alive_fails_after_a_fence(t: &Fixture) {
    let source = t.source().await;
    let (a, b) = (t.consumer(&source, "a").await, t.consumer(&source, "b").await);
    let fed = t.feed(&source.stream, 1).await;
    let (epoch, _) = t.read(&a, 1).await;
    t.store.take_over(&b, 0, EntryId::ZERO, 10).await.unwrap();
    assert_eq!(t.store.keep_alive(&a, epoch, &fed).await, Ok(false));
    assert_eq!(ids(&t.pending(&b).await.1), fed, "keeping alive takes nothing back");
}

async fn a_take_over_goes_step_by_step(t: &Fixture) {
    let source = t.source().await;
    let (a, b, c) = (t.consumer(&source, "a").await, t.consumer(&source, "b").await, t.consumer(&source, "c").await);
    let fed = t.feed(&source.stream, 10).await;
    t.read(&a, 4).await;
    t.read(&c, 3).await;
    t.read(&b, 3).await;
    // Entries of the taker itself are looked at as well, but not taken.
    let (mut after, mut steps) = (EntryId::ZERO, Vec::new());
    loop {
        let taken = t.store.take_over(&c, 0, after, 3).await.unwrap();
        steps.push(ids(&taken.batch.events));
        match taken.next {
            Some(next) => after = next,
            None => break,
        }
        assert!(steps.len() < 10, "it ends");
    }
    assert_eq!(steps[..4], [fed[..3].to_vec(), fed[3..4].to_vec(), fed[7..9].to_vec(), fed[9..].to_vec()]);
    assert_eq!(t.pending(&c).await.1.len(), 10);
}

async fn nobody_takes_from_himself(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 2).await;
    let (epoch, _) = t.read(&consumer, 2).await;
    let taken = t.store.take_over(&consumer, 0, EntryId::ZERO, 10).await.unwrap();
    assert_eq!(known(taken.batch), (epoch, vec![]));
    t.done(&consumer, epoch, &fed).await;
}

async fn each_victim_is_fenced(t: &Fixture) {
    let source = t.source().await;
    let (a, b, c) = (t.consumer(&source, "a").await, t.consumer(&source, "b").await, t.consumer(&source, "c").await);
    let fed = t.feed(&source.stream, 4).await;
    let (epoch_a, _) = t.read(&a, 2).await;
    let (epoch_b, _) = t.read(&b, 2).await;
    let (epoch_c, taken) = known(t.store.take_over(&c, 0, EntryId::ZERO, 10).await.unwrap().batch);
    assert_eq!(ids(&taken), fed);
    let settle = async |consumer, epoch| t.settle(consumer, epoch, &[add(&t.key("n"), 1)], Default::default()).await;
    assert_eq!(settle(&a, epoch_a).await, Err(CommitError::Fenced));
    assert_eq!(settle(&b, epoch_b).await, Err(CommitError::Fenced));
    t.done(&c, epoch_c, &fed).await;
    assert_eq!(t.store.get(&t.key("n")).await, Ok(None));
}

async fn those_who_lost_nothing_are_not_fenced(t: &Fixture) {
    let source = t.source().await;
    let (a, b, c) = (t.consumer(&source, "a").await, t.consumer(&source, "b").await, t.consumer(&source, "c").await);
    let fed = t.feed(&source.stream, 2).await;
    let (epoch_a, _) = t.read(&a, 1).await;
    let (epoch_b, _) = t.read(&b, 1).await;
    t.done(&a, epoch_a, &fed[..1]).await;
    let (epoch_c, taken) = known(t.store.take_over(&c, 0, EntryId::ZERO, 10).await.unwrap().batch);
    assert_eq!(ids(&taken), fed[1..]);
    assert_eq!(t.read(&a, 1).await.0, epoch_a);
    assert_ne!(t.read(&b, 1).await.0, epoch_b);
    assert_eq!(t.read(&c, 1).await.0, epoch_c);
}

async fn what_was_taken_can_be_taken_back(t: &Fixture) {
    let source = t.source().await;
    let (a, b) = (t.consumer(&source, "a").await, t.consumer(&source, "b").await);
    let fed = t.feed(&source.stream, 1).await;
    let (first, _) = t.read(&a, 1).await;
    let (second, _) = known(t.store.take_over(&b, 0, EntryId::ZERO, 10).await.unwrap().batch);
    let (third, taken) = known(t.store.take_over(&a, 0, EntryId::ZERO, 10).await.unwrap().batch);
    assert_eq!(ids(&taken), fed);
    let settle = async |consumer, epoch| t.settle(consumer, epoch, &[add(&t.key("n"), 1)], Default::default()).await;
    assert_eq!(settle(&a, first).await, Err(CommitError::Fenced), "its old epoch is over");
    assert_eq!(settle(&b, second).await, Err(CommitError::Fenced));
    t.done(&a, third, &fed).await;
    assert_eq!(t.pending_count(&source).await, 0);
}

async fn entries_that_vanished_while_pending(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 5).await;
    let (epoch, _) = t.read(&consumer, 5).await;
    t.write(&[remove(&source.stream, &[fed[0], fed[3]])]).await;
    assert_eq!(t.pending_count(&source).await, 5, "a removed entry is still pending");
    let taken = t.store.pending(&consumer, EntryId::ZERO, 10).await.unwrap();
    assert_eq!((ids(&taken.batch.events), taken.vanished), (vec![fed[1], fed[2], fed[4]], 2));
    assert_eq!(t.pending_count(&source).await, 3, "what has vanished is acknowledged");
    let again = t.store.pending(&consumer, EntryId::ZERO, 10).await.unwrap();
    assert_eq!((again.batch.events.len(), again.vanished), (3, 0));
    t.done(&consumer, epoch, &fed).await;
}

async fn entries_that_were_trimmed_while_pending(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 5).await;
    let (epoch, _) = t.read(&consumer, 5).await;
    let removed = t.store.trim(&source.stream, sandbar_store::Retention::Exactly(2), false).await;
    assert_eq!(removed, Ok(3));
    let taken = t.store.pending(&consumer, EntryId::ZERO, 10).await.unwrap();
    assert_eq!((ids(&taken.batch.events), taken.vanished), (fed[3..].to_vec(), 3));
    t.done(&consumer, epoch, &fed[3..]).await;
    assert_eq!(t.pending_count(&source).await, 0);
}

async fn entries_that_vanished_before_a_take_over(t: &Fixture) {
    let source = t.source().await;
    let (a, b) = (t.consumer(&source, "a").await, t.consumer(&source, "b").await);
    let fed = t.feed(&source.stream, 3).await;
    t.read(&a, 3).await;
    t.write(&[remove(&source.stream, &fed[1..2])]).await;
    let taken = t.store.take_over(&b, 0, EntryId::ZERO, 10).await.unwrap();
    assert_eq!((ids(&taken.batch.events), taken.vanished), (vec![fed[0], fed[2]], 1));
    assert_eq!(t.pending_count(&source).await, 2);
    // All of them gone.
    t.write(&[remove(&source.stream, &fed)]).await;
    let taken = t.store.take_over(&a, 0, EntryId::ZERO, 10).await.unwrap();
    assert_eq!((taken.batch.events.len(), taken.vanished), (0, 2));
    assert_eq!(t.pending_count(&source).await, 0);
}
