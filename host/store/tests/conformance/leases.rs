//! Leases of jobs: what a commit settles, what comes back, and which worker is too late.

use std::time::Duration;

use sandbar_store::{CommitError, Committed, DeadJob, End, Job, Lease, LeaseId, LeaseSettlement, Loss, Want};
use sandbar_test_harness::poll_until;

use super::build::*;
use super::fixture::SOON;
use super::queue::*;
use super::{Fixture, conformance};

const HOUR_MS: u64 = 3_600_000;

conformance! {
    jobs_are_settled_in_the_commit,
    what_comes_back_comes_first,
    a_lease_that_ends_is_dissolved,
    a_late_worker_cannot_complete,
    a_lease_is_extended,
    a_lease_gets_a_new_name,
    a_job_taken_by_the_way_is_a_conflict,
}

async fn jobs_are_settled_in_the_commit(t: &Fixture) {
    let queue = queue(t);
    t.write(&[push(&queue.list, End::Front, &["a", "b", "c", "d"], None)]).await;
    let (lease, jobs) = take(t, &queue, 4).await;
    let retried = Job { attempt: 2, ..jobs[1].clone() };
    let settlement = LeaseSettlement {
        retry: vec![(retried.clone(), 0)],
        dead: vec![DeadJob { id: jobs[2].id, fields: fields(&[("reason", "because")]) }],
        ..done(&lease, &jobs[..1], false)
    };
    assert_eq!(settle(t, settlement, &[add(&t.key("n"), 1)]).await, Ok(Committed::default()));
    assert_eq!(t.store.get(&t.key("n")).await, Ok(Some(bytes("1"))));
    assert_eq!(lengths(t, &queue).await, (1, 0, 1, 1));
    let (_, again) = take(t, &queue, 1).await;
    assert_eq!(again, [retried], "with its number, its time and one attempt more");
    assert_eq!(settle(t, done(&lease, &jobs[3..], true), &[]).await, Ok(Committed::default()));
    assert_eq!(lengths(t, &queue).await, (0, 0, 1, 1));
}

async fn what_comes_back_comes_first(t: &Fixture) {
    let queue = queue(t);
    t.write(&[push(&queue.list, End::Front, &["a", "b", "c"], None)]).await;
    let (first, _) = take(t, &queue, 1).await;
    let (second, _) = take(t, &queue, 1).await;
    assert_eq!(t.store.give_back(&second, true).await, Ok(1));
    assert_eq!(t.store.give_back(&first, false).await, Ok(1));
    let (_, jobs) = take(t, &queue, 3).await;
    assert_eq!(payloads(&jobs), ["a", "b", "c"]);
    assert_eq!(jobs.iter().map(|job| (job.attempt, job.crashes)).collect::<Vec<_>>(), [(1, 0), (1, 1), (1, 0)]);
    assert_eq!(t.store.give_back(&first, true).await, Ok(0), "there is nothing to give back any more");
}

async fn a_lease_that_ends_is_dissolved(t: &Fixture) {
    let queue = queue(t);
    t.write(&[push(&queue.list, End::Front, &["a", "b\u{0}\n1 2 3"], None)]).await;
    let (_, took) = try_take(t, &queue, Want { visibility_ms: 50, ..want(2) }).await;
    let (_, none) = try_take(t, &queue, want(2)).await;
    let next_in_ms = none.next_in_ms.expect("a time");
    assert!(none.jobs.is_empty() && next_in_ms <= 50);
    poll_until(SOON, "they come back", async || {
        let (_, again) = try_take(t, &queue, want(2)).await;
        let expected = took.jobs.iter().map(|job| Job { crashes: 1, ..job.clone() }).collect::<Vec<_>>();
        assert!(again.jobs.is_empty() || (again.jobs == expected && again.returned == 2), "{again:?}");
        !again.jobs.is_empty()
    })
    .await;
}

async fn a_late_worker_cannot_complete(t: &Fixture) {
    let queue = queue(t);
    t.write(&[push(&queue.list, End::Front, &["a"], None)]).await;
    let (late, took) = try_take(t, &queue, Want { visibility_ms: 20, ..want(1) }).await;
    let mut quick = None;
    poll_until(SOON, "it comes back", async || {
        let (lease, again) = try_take(t, &queue, want(1)).await;
        quick = Some(lease).filter(|_| !again.jobs.is_empty());
        quick.is_some()
    })
    .await;
    let effects = [add(&t.key("n"), 1)];
    assert_eq!(settle(t, done(&late, &took.jobs, true), &effects).await, Err(CommitError::Fenced));
    // Nor by a commit of its own within the call.
    let alone = LeaseSettlement::new(late.clone(), Loss::Fenced);
    assert_eq!(settle(t, alone, &effects).await, Err(CommitError::Fenced));
    assert_eq!(t.store.get(&t.key("n")).await, Ok(None), "nothing was written");
    assert_eq!(lengths(t, &queue).await, (0, 0, 1, 0));
    let quick = quick.unwrap();
    assert_eq!(settle(t, done(&quick, &took.jobs, true), &effects).await, Ok(Committed::default()));
    assert_eq!(t.store.get(&t.key("n")).await, Ok(Some(bytes("1"))));
    assert_eq!(lengths(t, &queue).await, (0, 0, 0, 0));
}

async fn a_lease_is_extended(t: &Fixture) {
    let queue = queue(t);
    t.write(&[push(&queue.list, End::Front, &["a"], None)]).await;
    let (lease, took) = try_take(t, &queue, Want { visibility_ms: 100, ..want(1) }).await;
    assert_eq!(t.store.extend(&queue, &[LeaseId::random(), lease.id], HOUR_MS).await, Ok(1));
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(try_take(t, &queue, want(1)).await.1.jobs, []);
    assert_eq!(settle(t, done(&lease, &took.jobs, true), &[]).await, Ok(Committed::default()));
    assert_eq!(t.store.extend(&queue, &[lease.id], HOUR_MS).await, Ok(0));
}

async fn a_lease_gets_a_new_name(t: &Fixture) {
    let queue = queue(t);
    t.write(&[push(&queue.list, End::Front, &["a", "b", "c"], None)]).await;
    let (before, jobs) = take(t, &queue, 3).await;
    settle(t, done(&before, &jobs[..1], false), &[]).await.unwrap();
    let after = Lease { id: LeaseId::random(), ..before.clone() };
    for _ in 0..2 {
        // As often as its answer is lost.
        let left = t.store.recover(&before, after.id, HOUR_MS).await;
        assert_eq!(left.as_deref(), Ok(&jobs[1..]), "what is left, in its order, and no crash is counted");
    }
    assert_eq!(settle(t, done(&before, &jobs[1..], true), &[]).await, Err(CommitError::Fenced));
    assert_eq!(lengths(t, &queue).await, (0, 0, 2, 0));
    assert_eq!(settle(t, done(&after, &jobs[1..], true), &[]).await, Ok(Committed::default()));
    assert_eq!(t.store.recover(&after, LeaseId::random(), HOUR_MS).await, Ok(vec![]));
    assert_eq!(lengths(t, &queue).await, (0, 0, 0, 0));
}

async fn a_job_taken_by_the_way_is_a_conflict(t: &Fixture) {
    let queue = queue(t);
    t.write(&[push(&queue.list, End::Front, &["a"], None)]).await;
    let (lease, jobs) = take(t, &queue, 1).await;
    let settlement = || LeaseSettlement { loss: Loss::Conflict, ..done(&lease, &jobs, true) };
    t.store.give_back(&lease, true).await.unwrap();
    let answer = settle(t, settlement(), &[add(&t.key("n"), 1)]).await;
    assert_eq!(answer, Err(CommitError::Conflict(queue.list.clone())));
    assert_eq!(t.store.get(&t.key("n")).await, Ok(None));
    // Not looked at, it is no hindrance: that is what the tests of the protocol take away.
    let unchecked = LeaseSettlement { loss: Loss::Unchecked, ..settlement() };
    assert_eq!(settle(t, unchecked, &[add(&t.key("n"), 1)]).await, Ok(Committed::default()));
    assert_eq!(lengths(t, &queue).await, (1, 0, 0, 0), "which settles nothing, since the lease is gone");
}
