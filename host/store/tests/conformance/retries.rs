//! Events that wait for a retry: delays, attempts, and who gets them.

use sandbar_store::{Consumer, DeadLetter, Delivered, EntryId, Epoch, Remaining, Settlement};
use sandbar_test_harness::poll_until;

use super::build::*;
use super::fixture::{SOON, ids, known};
use super::{Fixture, conformance};

conformance! {
    an_event_waits_for_its_time,
    while_it_waits_nobody_gets_it,
    attempts_are_counted,
    attempts_are_forgotten,
    due_events_come_in_their_order,
    any_consumer_gets_due_events,
    a_due_event_whose_entry_is_gone,
    a_retry_in_a_fenced_commit_does_not_count,
    nothing_is_due,
}

/// Longer than any test.
const LATER_MS: u64 = 3_600_000;

async fn retry(t: &Fixture, consumer: &Consumer, epoch: Epoch, events: &[(EntryId, u64)]) {
    let settlement = Settlement { retry: events.to_vec(), ..Settlement::default() };
    t.settle(consumer, epoch, &[], settlement).await.expect("a commit");
}

/// Waits until events are due, and takes them.
async fn due(t: &Fixture, consumer: &Consumer, count: u32) -> (Epoch, Vec<Delivered>) {
    let mut taken = None;
    poll_until(SOON, "an event is due", async || {
        let due = t.store.due(consumer, count).await.expect("due events");
        let found = !due.batch.events.is_empty();
        if found {
            taken = Some(known(due.batch));
        }
        found
    })
    .await;
    taken.expect("an event")
}

async fn an_event_waits_for_its_time(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 2).await;
    let (epoch, _) = t.read(&consumer, 2).await;
    let before = t.store.now_ms();
    retry(t, &consumer, epoch, &[(fed[0], 300), (fed[1], LATER_MS)]).await;
    let waiting = t.store.due(&consumer, 10).await.unwrap();
    assert_eq!((waiting.batch.events.len(), waiting.vanished), (0, 0));
    let next = waiting.next_ms.expect("when it is due");
    assert!((before + 200..before + 5300).contains(&next), "{next} is 300 ms after {before}");
    let (read, events) = due(t, &consumer, 10).await;
    assert!(t.store.now_ms() >= next, "not before its time");
    assert_eq!((read, ids(&events)), (epoch, fed[..1].to_vec()));
    assert_eq!(events[0].fields, fields(&[("n", "0")]));
    let next = t.store.due(&consumer, 10).await.unwrap().next_ms.expect("the other one");
    assert!(next > before + LATER_MS - 1000);
    assert_eq!(t.pending_count(&source).await, 2, "both are pending all the time");
}

async fn while_it_waits_nobody_gets_it(t: &Fixture) {
    let source = t.source().await;
    let (a, b) = (t.consumer(&source, "a").await, t.consumer(&source, "b").await);
    let fed = t.feed(&source.stream, 2).await;
    let (epoch, _) = t.read(&a, 2).await;
    retry(t, &a, epoch, &[(fed[0], LATER_MS)]).await;
    assert_eq!(ids(&t.pending(&a).await.1), fed[1..]);
    let taken = t.store.take_over(&b, 0, EntryId::ZERO, 10).await.unwrap();
    assert_eq!(ids(&taken.batch.events), fed[1..]);
    assert_eq!(taken.vanished, 0);
    assert_eq!(t.pending_count(&source).await, 2);
}

async fn attempts_are_counted(t: &Fixture) {
    let source = t.source().await;
    let (a, b) = (t.consumer(&source, "a").await, t.consumer(&source, "b").await);
    let fed = t.feed(&source.stream, 1).await;
    let (mut epoch, _) = t.read(&a, 1).await;
    for attempt in 2..5 {
        retry(t, &a, epoch, &[(fed[0], 0)]).await;
        let (next, events) = due(t, &a, 10).await;
        assert_eq!((ids(&events), events[0].attempt), (fed.clone(), attempt));
        epoch = next;
    }
    // Reading it again and being taken over are no attempts.
    assert_eq!(t.pending(&a).await.1[0].attempt, 4);
    let taken = t.store.take_over(&b, 0, EntryId::ZERO, 10).await.unwrap();
    assert_eq!(taken.batch.events[0].attempt, 4);
}

async fn attempts_are_forgotten(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 2).await;
    let (epoch, _) = t.read(&consumer, 2).await;
    retry(t, &consumer, epoch, &[(fed[0], 0), (fed[1], 0)]).await;
    let mut events = Vec::new();
    while events.len() < 2 {
        events.extend(due(t, &consumer, 1).await.1);
    }
    let settlement = Settlement {
        done: vec![fed[0]],
        dead: vec![DeadLetter { id: fed[1], fields: fields(&[("reason", "x")]) }],
        forget: fed,
        ..Settlement::default()
    };
    t.settle(&consumer, epoch, &[], settlement).await.expect("a commit");
    // No count and no time is left behind under Sandbar's own keys.
    assert_eq!(t.store.ttl(&source.attempts_key).await, Ok(Remaining::Missing));
    assert_eq!(t.store.ttl(&source.retry_key).await, Ok(Remaining::Missing));
    assert_eq!(t.pending_count(&source).await, 0);
}

async fn due_events_come_in_their_order(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 3).await;
    let (epoch, _) = t.read(&consumer, 3).await;
    // The newest is due first.
    let delays: Vec<(EntryId, u64)> = fed.iter().zip([40, 20, 0]).map(|(id, delay)| (*id, delay)).collect();
    retry(t, &consumer, epoch, &delays).await;
    let settled = t.store.now_ms();
    poll_until(SOON, "all are due", async || t.store.now_ms() > settled + 50).await;
    let first = t.store.due(&consumer, 2).await.unwrap();
    assert_eq!(first.batch.events.len(), 2, "as many as were asked for");
    let mut got = ids(&first.batch.events);
    got.sort();
    assert_eq!(got, fed[1..]);
    assert!(first.next_ms.is_some());
    let second = t.store.due(&consumer, 2).await.unwrap();
    assert_eq!((ids(&second.batch.events), second.next_ms), (fed[..1].to_vec(), None));
}

async fn any_consumer_gets_due_events(t: &Fixture) {
    let source = t.source().await;
    let (a, b) = (t.consumer(&source, "a").await, t.consumer(&source, "b").await);
    let fed = t.feed(&source.stream, 2).await;
    let (epoch_a, _) = t.read(&a, 2).await;
    retry(t, &a, epoch_a, &[(fed[0], 0)]).await;
    let (epoch_b, events) = due(t, &b, 10).await;
    assert_eq!(ids(&events), fed[..1]);
    assert_eq!(ids(&t.pending(&b).await.1), fed[..1], "it is theirs now");
    assert_eq!(ids(&t.pending(&a).await.1), fed[1..]);
    // Nobody handled it meanwhile, so nobody had to be fenced.
    t.done(&a, epoch_a, &fed[1..]).await;
    t.done(&b, epoch_b, &fed[..1]).await;
    assert_eq!(t.pending_count(&source).await, 0);
}

async fn a_due_event_whose_entry_is_gone(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 2).await;
    let (epoch, _) = t.read(&consumer, 2).await;
    retry(t, &consumer, epoch, &[(fed[0], 0), (fed[1], 0)]).await;
    t.write(&[remove(&source.stream, &fed[..1])]).await;
    let (mut events, mut vanished) = (Vec::new(), 0);
    poll_until(SOON, "both are due", async || {
        let due = t.store.due(&consumer, 10).await.unwrap();
        events.extend(ids(&due.batch.events));
        vanished += due.vanished;
        events.len() == 1 && vanished == 1
    })
    .await;
    assert_eq!(events, fed[1..]);
    assert_eq!(t.pending_count(&source).await, 1, "what has vanished is acknowledged");
}

async fn a_retry_in_a_fenced_commit_does_not_count(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let fed = t.feed(&source.stream, 1).await;
    let (epoch, _) = t.read(&consumer, 1).await;
    t.store.fence(&consumer).await.unwrap();
    let settlement = Settlement { retry: vec![(fed[0], 0)], ..Settlement::default() };
    let answer = t.settle(&consumer, epoch, &[], settlement).await;
    assert_eq!(answer, Err(sandbar_store::CommitError::Fenced));
    assert_eq!(t.store.due(&consumer, 10).await.unwrap().next_ms, None);
    assert_eq!(t.pending(&consumer).await.1[0].attempt, 1);
}

async fn nothing_is_due(t: &Fixture) {
    let source = t.source().await;
    let consumer = t.consumer(&source, "c").await;
    let due = t.store.due(&consumer, 10).await.unwrap();
    assert_eq!((due.batch.events.len(), due.next_ms, due.vanished), (0, None, 0));
    assert_eq!(due.batch.epoch, Some(t.read(&consumer, 1).await.0));
}
