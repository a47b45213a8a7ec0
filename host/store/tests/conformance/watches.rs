//! What a connection goes on watching between two commits: only one of them is used here, by consumers and by others.

use sandbar_store::{CommitError, Committed, Consumer, Epoch, Settlement};

use super::Fixture;
use super::build::*;

/// Commits that change nothing but the key `n`, one after the other.
async fn commit(t: &Fixture, consumer: &Consumer, epoch: Epoch, times: usize) -> Result<Committed, CommitError> {
    let mut committed = Committed::default();
    for _ in 0..times {
        committed = t.settle(consumer, epoch, &[add(&t.key("n"), 1)], Settlement::default()).await?;
    }
    Ok(committed)
}

/// A consumer, and the epoch in which it would read.
async fn consumer(t: &Fixture, name: &str) -> (Consumer, Epoch) {
    let source = t.source().await;
    let consumer = t.consumer(&source, name).await;
    let epoch = t.store.read(&consumer, 1).await.expect("an empty batch").epoch.expect("an epoch");
    (consumer, epoch)
}

/// How many commits were made.
async fn made(t: &Fixture) -> usize {
    let n = t.store.get(&t.key("n")).await.expect("a value").unwrap_or_default();
    std::str::from_utf8(&n).ok().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// How often the server was asked to watch.
fn watched(t: &Fixture) -> usize {
    let stats: String = t.as_redis().expect("a server").get(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_watch:calls="));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_consumer_that_commits_again_and_again_asks_for_its_fence_behind_its_commits_alone() {
    let t = &Fixture::one_at_a_time().await;
    let (consumer, epoch) = consumer(t, "c").await;
    assert_eq!(commit(t, &consumer, epoch, 10).await, Ok(Committed::default()));
    // Before the first two, and behind all but the first: whether there will be a second is not known then.
    assert_eq!((made(t).await, watched(t)), (10, 2 + 9));
}

#[tokio::test]
async fn consumers_that_take_turns_watch_nothing_in_vain() {
    let t = &Fixture::one_at_a_time().await;
    let ((first, first_epoch), (second, second_epoch)) = (consumer(t, "c").await, consumer(t, "d").await);
    for _ in 0..5 {
        assert_eq!(commit(t, &first, first_epoch, 1).await, Ok(Committed::default()));
        assert_eq!(commit(t, &second, second_epoch, 1).await, Ok(Committed::default()));
    }
    assert_eq!((made(t).await, watched(t)), (10, 10));
}

#[tokio::test]
async fn a_consumer_whose_fence_was_watched_already_is_fenced() {
    let t = &Fixture::one_at_a_time().await;
    let (consumer, epoch) = consumer(t, "c").await;
    assert_eq!(commit(t, &consumer, epoch, 3).await, Ok(Committed::default()));
    let next = t.store.fence(&consumer).await.expect("an epoch");
    assert_eq!(commit(t, &consumer, epoch, 1).await, Err(CommitError::Fenced));
    assert_eq!(made(t).await, 3);
    assert_eq!(commit(t, &consumer, next, 3).await, Ok(Committed::default()));
    assert_eq!(
        commit(t, &consumer, epoch, 1).await,
        Err(CommitError::Fenced),
        "an epoch that is over does not come back"
    );
    assert_eq!(made(t).await, 6);
}

#[tokio::test]
async fn a_fence_that_is_touched_and_stays_as_it_was_is_no_reason_to_refuse() {
    let t = &Fixture::one_at_a_time().await;
    let (consumer, epoch) = consumer(t, "c").await;
    assert_eq!(commit(t, &consumer, epoch, 3).await, Ok(Committed::default()));
    let mut connection = t.as_redis().expect("a server").connect();
    redis::cmd("SET").arg(&consumer.fence_key).arg(epoch.0).exec(&mut connection).unwrap();
    assert_eq!(commit(t, &consumer, epoch, 2).await, Ok(Committed::default()));
    assert_eq!(made(t).await, 5, "each is made once");
}

#[tokio::test]
async fn what_one_consumer_watches_does_not_concern_others() {
    let t = &Fixture::one_at_a_time().await;
    let ((fenced, epoch), (other, other_epoch)) = (consumer(t, "c").await, consumer(t, "d").await);
    let is_fenced_while_watched = async || {
        let epoch = t.store.fence(&fenced).await.expect("an epoch");
        assert_eq!(commit(t, &fenced, epoch, 3).await, Ok(Committed::default()));
        t.store.fence(&fenced).await.expect("an epoch");
    };
    is_fenced_while_watched().await;
    t.write(&[add(&t.key("n"), 1)]).await;
    assert_eq!(made(t).await, 3 + 1);
    is_fenced_while_watched().await;
    assert_eq!(commit(t, &other, other_epoch, 1).await, Ok(Committed::default()));
    assert_eq!(made(t).await, 4 + 3 + 1);
    assert_eq!(commit(t, &fenced, epoch, 1).await, Err(CommitError::Fenced));
}
