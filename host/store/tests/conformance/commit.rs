//! Commits: watched values, fences, and commits without them.

use bytes::Bytes;
use sandbar_store::{Commit, CommitError, Committed, Consumer, EntryId, Epoch, Settlement};

use super::build::*;
use super::{Fixture, conformance};

conformance! {
    effects_see_those_before_them,
    a_watched_value_that_has_not_changed,
    a_watched_value_that_has_changed,
    a_conflict_leaves_events_pending,
    a_consumer_fences_itself,
    a_consumer_that_was_taken_over_is_fenced,
    a_fence_goes_before_a_conflict,
    a_commit_that_is_not_atomic_checks_nothing,
    large_commits,
}

async fn rely(
    t: &Fixture,
    watched: &[(&str, Option<&str>)],
    effects: &[sandbar_store::Effect],
) -> Result<Committed, CommitError> {
    let watched: Vec<(String, Option<Bytes>)> =
        watched.iter().map(|(key, value)| (t.key(key), value.map(bytes))).collect();
    let settlement = Settlement::default();
    t.store.commit(Commit { consumer: None, watched: &watched, effects, settlement, leases: &[], atomic: true }).await
}

async fn acknowledge(
    t: &Fixture,
    consumer: &Consumer,
    epoch: Epoch,
    ids: &[EntryId],
) -> Result<Committed, CommitError> {
    let settlement = Settlement { done: ids.to_vec(), ..Settlement::default() };
    t.settle(consumer, epoch, &[add(&t.key("n"), 1)], settlement).await
}

async fn effects_see_those_before_them(t: &Fixture) {
    let (k, h) = (t.key("k"), t.key("h"));
    t.write(&[set(&k, "5"), add(&k, 1), hash_set(&h, &[("a", "1")]), delete(&h), set(&h, "now text"), add(&k, 1)])
        .await;
    assert_eq!(t.store.get(&k).await, Ok(Some(bytes("7"))));
    assert_eq!(t.store.get(&h).await, Ok(Some(bytes("now text"))));
}

async fn a_watched_value_that_has_not_changed(t: &Fixture) {
    t.write(&[set(&t.key("a"), "1"), set(&t.key("empty"), "")]).await;
    let watched = [("a", Some("1")), ("missing", None), ("empty", Some(""))];
    assert_eq!(rely(t, &watched, &[add(&t.key("a"), 1)]).await, Ok(Committed::default()));
    assert_eq!(t.store.get(&t.key("a")).await, Ok(Some(bytes("2"))));
    // Written by the commit itself, and watched by the next.
    assert_eq!(rely(t, &[("a", Some("2"))], &[set(&t.key("missing"), "x")]).await, Ok(Committed::default()));
}

async fn a_watched_value_that_has_changed(t: &Fixture) {
    t.write(&[set(&t.key("a"), "1"), set(&t.key("empty"), ""), hash_set(&t.key("hash"), &[("a", "1")])]).await;
    let conflicts = [
        ("a", Some("2")),
        ("a", None),
        ("a", Some("")),
        ("empty", None),
        ("missing", Some("")),
        ("missing", Some("1")),
        ("hash", None),
        ("hash", Some("1")),
    ];
    for (key, value) in conflicts {
        let answer = rely(t, &[("untouched", None), (key, value)], &[add(&t.key("n"), 1)]).await;
        assert_eq!(answer, Err(CommitError::Conflict(t.key(key))), "{key} is not {value:?}");
    }
    assert_eq!(t.store.get(&t.key("n")).await, Ok(None), "nothing was written");
}

async fn a_conflict_leaves_events_pending(t: &Fixture) {
    let source = t.source().await;
    let ids = t.feed(&source.stream, 1).await;
    let consumer = t.consumer(&source, "c").await;
    let (epoch, _) = t.read(&consumer, 1).await;
    let watched = [(t.key("a"), Some(bytes("1")))];
    let settlement = Settlement { done: ids.clone(), ..Settlement::default() };
    let commit = |settlement| Commit {
        consumer: Some((&consumer, epoch)),
        watched: &watched,
        effects: &[],
        settlement,
        leases: &[],
        atomic: true,
    };
    assert_eq!(t.store.commit(commit(settlement.clone())).await, Err(CommitError::Conflict(t.key("a"))));
    assert_eq!(t.pending_count(&source).await, 1);
    t.write(&[set(&t.key("a"), "1")]).await;
    assert_eq!(t.store.commit(commit(settlement)).await, Ok(Committed::default()));
    assert_eq!(t.pending_count(&source).await, 0);
}

async fn a_consumer_fences_itself(t: &Fixture) {
    let source = t.source().await;
    let ids = t.feed(&source.stream, 2).await;
    let consumer = t.consumer(&source, "c").await;
    let (before, _) = t.read(&consumer, 2).await;
    let after = t.store.fence(&consumer).await.unwrap();
    assert!(after.0 > before.0);
    assert_eq!(acknowledge(t, &consumer, before, &ids).await, Err(CommitError::Fenced));
    assert_eq!(t.store.get(&t.key("n")).await, Ok(None), "nothing was written");
    let (epoch, events) = t.pending(&consumer).await;
    assert_eq!((epoch, events.len()), (after, 2));
    assert_eq!(acknowledge(t, &consumer, after, &ids).await, Ok(Committed::default()));
    assert_eq!(t.store.get(&t.key("n")).await, Ok(Some(bytes("1"))));
    assert_eq!(t.pending_count(&source).await, 0);
}

async fn a_consumer_that_was_taken_over_is_fenced(t: &Fixture) {
    let source = t.source().await;
    let ids = t.feed(&source.stream, 2).await;
    let (slow, quick) = (t.consumer(&source, "slow").await, t.consumer(&source, "quick").await);
    let (slow_epoch, _) = t.read(&slow, 2).await;
    let taken = t.store.take_over(&quick, 0, EntryId::ZERO, 100).await.unwrap();
    assert_eq!(taken.batch.events.len(), 2);
    assert_eq!(acknowledge(t, &slow, slow_epoch, &ids).await, Err(CommitError::Fenced));
    assert_eq!(t.pending_count(&source).await, 2);
    let epoch = taken.batch.epoch.expect("an epoch");
    assert_eq!(acknowledge(t, &quick, epoch, &ids).await, Ok(Committed::default()));
    assert_eq!(t.store.get(&t.key("n")).await, Ok(Some(bytes("1"))));
    // The slow one may go on in its new epoch.
    let more = t.feed(&source.stream, 1).await;
    let (slow_epoch, _) = t.read(&slow, 1).await;
    assert_eq!(acknowledge(t, &slow, slow_epoch, &more).await, Ok(Committed::default()));
}

async fn a_fence_goes_before_a_conflict(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let (epoch, _) = t.read(&consumer, 1).await;
    t.store.fence(&consumer).await.unwrap();
    let watched = [(t.key("a"), Some(bytes("1")))];
    let commit = Commit {
        consumer: Some((&consumer, epoch)),
        watched: &watched,
        effects: &[],
        settlement: Settlement::default(),
        leases: &[],
        atomic: true,
    };
    assert_eq!(t.store.commit(commit).await, Err(CommitError::Fenced));
}

async fn a_commit_that_is_not_atomic_checks_nothing(t: &Fixture) {
    let source = t.source().await;
    let ids = t.feed(&source.stream, 1).await;
    let consumer = t.consumer(&source, "c").await;
    let (epoch, _) = t.read(&consumer, 1).await;
    t.store.fence(&consumer).await.unwrap();
    t.write(&[set(&t.key("text"), "x")]).await;
    let commit = Commit {
        consumer: Some((&consumer, epoch)),
        watched: &[(t.key("a"), Some(bytes("1")))],
        effects: &[add(&t.key("n"), 1), add(&t.key("text"), 1)],
        settlement: Settlement { done: ids, ..Settlement::default() },
        leases: &[],
        atomic: false,
    };
    let committed = t.store.commit(commit).await.expect("a commit");
    assert_eq!(committed.refused.iter().map(|refusal| refusal.effect).collect::<Vec<_>>(), [1]);
    assert_eq!(t.store.get(&t.key("n")).await, Ok(Some(bytes("1"))));
    assert_eq!(t.pending_count(&source).await, 0);
}

async fn large_commits(t: &Fixture) {
    let value = "x".repeat(50_000);
    let effects: Vec<_> = (0..200).map(|n| set(&t.key(&format!("k{n}")), &value)).collect();
    t.write(&effects).await;
    let values = t.store.get_many(&[t.key("k0"), t.key("k199")]).await.unwrap();
    assert!(values.iter().all(|read| read.as_ref().is_some_and(|read| read.len() == value.len())));
    t.write(&(0..200).map(|n| delete(&t.key(&format!("k{n}")))).collect::<Vec<_>>()).await;
    assert_eq!(t.store.get(&t.key("k0")).await, Ok(None));
}
