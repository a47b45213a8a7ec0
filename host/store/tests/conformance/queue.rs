//! Queues: order, leases, what becomes of jobs in a commit, and what is refused.

use std::sync::Arc;
use std::time::Duration;

use sandbar_store::{
    Commit, CommitError, Committed, DeadJob, Delivery, Effect, End, Job, JobQueue, Lease, LeaseId, LeaseSettlement,
    Lengths, Loss, PushOptions, Queue, Rate, Settlement, StoreError, Took, Want,
};
use sandbar_test_harness::{Options, poll_until};

use super::build::*;
use super::fixture::{SOON, assert_wrong_type, connect};
use super::{Fixture, conformance};

conformance! {
    jobs_are_taken_oldest_first,
    a_missing_queue_is_empty,
    priorities_go_first,
    jobs_wait_for_their_time,
    a_repeated_job_is_suppressed,
    a_paused_queue_gives_nothing,
    a_rate_binds_all_who_take,
    what_would_be_taken_can_be_seen,
    dead_letters_of_jobs_are_bounded,
    a_job_is_not_given_up_where_its_dead_letter_cannot_be_kept,
    other_kinds_are_no_queues,
    a_push_of_the_commit_wakes,
    pushes_are_combined_in_their_order,
}

const HOUR_MS: u64 = 3_600_000;

pub(super) fn queue(t: &Fixture) -> Arc<JobQueue> {
    Arc::new(JobQueue::new(t.prefix(), "q").with_dead_bounds(5, 60_000))
}

pub(super) fn want(count: u32) -> Want {
    Want { count, visibility_ms: HOUR_MS, rate: None }
}

pub(super) fn push_all(queue: &Arc<JobQueue>, payloads: &[&str], options: PushOptions) -> Effect {
    Effect::Push { queue: queue.clone(), payloads: payloads.iter().map(|payload| bytes(payload)).collect(), options }
}

pub(super) fn delayed(delay_ms: u64) -> PushOptions {
    PushOptions { delay_ms, ..PushOptions::default() }
}

pub(super) async fn try_take(t: &Fixture, queue: &Arc<JobQueue>, want: Want) -> (Lease, Took) {
    let lease = Lease::new(queue.clone());
    let took = t.store.take(&lease, want).await.expect("a take");
    (lease, took)
}

/// Takes jobs, of which there must be as many as asked for.
pub(super) async fn take(t: &Fixture, queue: &Arc<JobQueue>, count: u32) -> (Lease, Vec<Job>) {
    let (lease, took) = try_take(t, queue, want(count)).await;
    assert_eq!(took.jobs.len(), count as usize);
    (lease, took.jobs)
}

pub(super) fn payloads(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| std::str::from_utf8(&job.payload).unwrap()).collect()
}

pub(super) async fn settle(
    t: &Fixture,
    settlement: LeaseSettlement,
    effects: &[Effect],
) -> Result<Committed, CommitError> {
    let leases = [settlement];
    let settlement = Settlement::default();
    t.store.commit(Commit { consumer: None, watched: &[], effects, settlement, leases: &leases, atomic: true }).await
}

pub(super) fn done(lease: &Lease, jobs: &[Job], is_last: bool) -> LeaseSettlement {
    let done = jobs.iter().map(|job| job.id).collect();
    LeaseSettlement { done, is_last, ..LeaseSettlement::new(lease.clone(), Loss::Fenced) }
}

pub(super) async fn lengths(t: &Fixture, queue: &JobQueue) -> (u64, u64, u64, u64) {
    let Lengths { ready, delayed, leased, dead } = t.store.lengths(queue).await.expect("lengths");
    (ready, delayed, leased, dead)
}

async fn jobs_are_taken_oldest_first(t: &Fixture) {
    let queue = queue(t);
    // As any client pushes.
    t.write(&[push(&queue.list, End::Front, &["a", "b"], None), push(&queue.list, End::Front, &["c"], None)]).await;
    assert_eq!(lengths(t, &queue).await, (3, 0, 0, 0));
    let (first, jobs) = take(t, &queue, 2).await;
    assert_eq!(payloads(&jobs), ["a", "b"]);
    assert!(jobs[0].id > 0 && jobs[1].id > jobs[0].id);
    let job = &jobs[0];
    assert_eq!((job.attempt, job.crashes, job.priority), (1, 0, 0));
    assert!(job.time_ms.abs_diff(t.store.now_ms()) < 60_000);
    let (second, took) = try_take(t, &queue, want(5)).await;
    assert_eq!(payloads(&took.jobs), ["c"]);
    assert_eq!(lengths(t, &queue).await, (0, 0, 3, 0));
    assert_eq!(settle(t, done(&first, &jobs, true), &[]).await, Ok(Committed::default()));
    assert_eq!(settle(t, done(&second, &took.jobs, true), &[]).await, Ok(Committed::default()));
    assert_eq!(lengths(t, &queue).await, (0, 0, 0, 0));
    t.write(&[push(&queue.list, End::Front, &["d"], None)]).await;
    let (_, again) = take(t, &queue, 1).await;
    assert!(again[0].id > took.jobs[0].id, "a number is never given twice");
}

async fn a_missing_queue_is_empty(t: &Fixture) {
    let queue = queue(t);
    let (lease, took) = try_take(t, &queue, want(10)).await;
    assert_eq!(took, Took::default());
    assert_eq!(lengths(t, &queue).await, (0, 0, 0, 0));
    assert_eq!(t.store.peek(&queue, 10).await, Ok(vec![]));
    assert_eq!(t.store.give_back(&lease, true).await, Ok(0));
    assert_eq!(t.store.extend(&queue, &[lease.id], 1000).await, Ok(0));
    assert_eq!(t.store.recover(&lease, LeaseId::random(), 1000).await, Ok(vec![]));
    if let Some(server) = t.as_redis() {
        let left: Vec<String> = server.get(&["KEYS", &format!("{}*", t.prefix())]);
        assert_eq!(left, Vec::<String>::new(), "what finds nothing writes nothing");
    }
}

async fn priorities_go_first(t: &Fixture) {
    let queue = queue(t);
    let with = |priority| PushOptions { priority, ..PushOptions::default() };
    t.write(&[
        push_all(&queue, &["plain"], PushOptions::default()),
        push_all(&queue, &["low 1"], with(1)),
        push_all(&queue, &["high 1"], with(255)),
        push_all(&queue, &["low 2"], with(1)),
        push_all(&queue, &["high 2", "high 3"], with(255)),
    ])
    .await;
    let (_, jobs) = take(t, &queue, 6).await;
    assert_eq!(payloads(&jobs), ["high 1", "high 2", "high 3", "low 1", "low 2", "plain"]);
    assert_eq!(jobs.iter().map(|job| job.priority).collect::<Vec<_>>(), [255, 255, 255, 1, 1, 0]);
}

async fn jobs_wait_for_their_time(t: &Fixture) {
    let queue = queue(t);
    let later = PushOptions { priority: 3, ..delayed(300) };
    t.write(&[
        push_all(&queue, &["later"], later),
        push_all(&queue, &["soon"], delayed(200)),
        push_all(&queue, &["never"], delayed(HOUR_MS)),
    ])
    .await;
    assert_eq!(lengths(t, &queue).await, (0, 3, 0, 0));
    let (_, took) = try_take(t, &queue, want(10)).await;
    let next_in_ms = took.next_in_ms.expect("a time");
    assert!(took.jobs.is_empty() && (1..=200).contains(&next_in_ms), "{next_in_ms}");
    poll_until(SOON, "two are due", async || lengths(t, &queue).await == (2, 1, 0, 0)).await;
    assert_eq!(payloads(&t.store.peek(&queue, 10).await.unwrap()), ["later", "soon"]);
    t.write(&[push_all(&queue, &["plain"], PushOptions::default())]).await;
    let (_, jobs) = take(t, &queue, 3).await;
    assert_eq!(payloads(&jobs), ["later", "soon", "plain"], "what is due comes by its priority, and before the list");
}

async fn a_repeated_job_is_suppressed(t: &Fixture) {
    let queue = queue(t);
    let once = |id: &str, window_ms, delay_ms| PushOptions {
        deduplicate: Some((id.to_owned(), window_ms)),
        ..delayed(delay_ms)
    };
    t.write(&[
        push_all(&queue, &["first"], once("x", HOUR_MS, 0)),
        push_all(&queue, &["second"], once("x", HOUR_MS, 0)),
        push_all(&queue, &["third"], once("x", HOUR_MS, 5)),
        push_all(&queue, &["other"], once("y", 200, 0)),
        push_all(&queue, &["other again"], once("y", 200, 0)),
    ])
    .await;
    let (lease, took) = try_take(t, &queue, want(10)).await;
    assert_eq!(payloads(&took.jobs), ["first", "other"]);
    // Also while it is handled, and afterwards, as long as the window is open.
    t.write(&[push_all(&queue, &["fourth"], once("x", HOUR_MS, 0))]).await;
    settle(t, done(&lease, &took.jobs, true), &[]).await.unwrap();
    t.write(&[push_all(&queue, &["fifth"], once("x", HOUR_MS, 0))]).await;
    assert_eq!(lengths(t, &queue).await, (0, 0, 0, 0));
    poll_until(SOON, "the window is over", async || {
        t.write(&[push_all(&queue, &["other later"], once("y", HOUR_MS, 0))]).await;
        lengths(t, &queue).await.0 == 1
    })
    .await;
}

async fn a_paused_queue_gives_nothing(t: &Fixture) {
    let queue = queue(t);
    t.write(&[push(&queue.list, End::Front, &["a", "b"], None)]).await;
    let (lease, jobs) = take(t, &queue, 1).await;
    assert_eq!(t.store.set_paused(&queue, true).await, Ok(true));
    assert_eq!(t.store.set_paused(&queue, true).await, Ok(false));
    assert_eq!(t.store.is_paused(&queue).await, Ok(true));
    let (_, took) = try_take(t, &queue, want(1)).await;
    assert_eq!(took, Took { is_paused: true, ..Took::default() });
    assert_eq!(settle(t, done(&lease, &jobs, true), &[]).await, Ok(Committed::default()), "what is taken is finished");
    let wake = t.store.watch_queue(&queue);
    wake.wait().await;
    poll_until(SOON, "a waiter is woken when it goes on", async || {
        t.store.set_paused(&queue, true).await.unwrap();
        assert_eq!(t.store.set_paused(&queue, false).await, Ok(true));
        tokio::time::timeout(Duration::from_millis(100), wake.wait()).await.is_ok()
    })
    .await;
    assert_eq!(t.store.is_paused(&queue).await, Ok(false));
    assert_eq!(payloads(&take(t, &queue, 1).await.1), ["b"]);
}

async fn a_rate_binds_all_who_take(t: &Fixture) {
    let queue = queue(t);
    t.write(&[push(&queue.list, End::Front, &["job"; 20], None)]).await;
    let rate = Some(Rate { jobs: 5, per_ms: 400 });
    let limited = |count| Want { rate, ..want(count) };
    assert_eq!(try_take(t, &queue, limited(3)).await.1.jobs.len(), 3);
    let (_, took) = try_take(t, &queue, limited(10)).await;
    assert_eq!(took.jobs.len(), 2, "what the rate leaves");
    let (_, took) = try_take(t, &queue, limited(10)).await;
    let next_in_ms = took.next_in_ms.expect("a time");
    assert!(took.jobs.is_empty() && (1..=404).contains(&next_in_ms), "{next_in_ms}");
    assert_eq!(try_take(t, &queue, want(1)).await.1.jobs.len(), 1, "a take without a limit is not bound by it");
    tokio::time::sleep(Duration::from_millis(next_in_ms)).await;
    let mut taken = 0;
    poll_until(SOON, "the rate allows more", async || {
        taken += try_take(t, &queue, limited(10)).await.1.jobs.len();
        taken == 5
    })
    .await;
}

async fn what_would_be_taken_can_be_seen(t: &Fixture) {
    let queue = queue(t);
    let high = PushOptions { priority: 7, ..PushOptions::default() };
    t.write(&[push_all(&queue, &["a", "b", "c"], PushOptions::default()), push_all(&queue, &["high"], high)]).await;
    let jobs = t.store.peek(&queue, 3).await.unwrap();
    assert_eq!(payloads(&jobs), ["high", "a", "b"]);
    assert!(jobs[0].id > 0 && jobs[1].id == 0, "a plain job gets its number when it is taken");
    assert_eq!(payloads(&take(t, &queue, 4).await.1), ["high", "a", "b", "c"]);
    assert_eq!(t.store.peek(&queue, 3).await, Ok(vec![]));
}

async fn dead_letters_of_jobs_are_bounded(t: &Fixture) {
    let queue = queue(t);
    for _ in 0..3 {
        t.write(&[push(&queue.list, End::Front, &["x"; 100], None)]).await;
        let (lease, jobs) = take(t, &queue, 100).await;
        let dead = jobs.iter().map(|job| DeadJob { id: job.id, fields: fields(&[("reason", "x")]) }).collect();
        let settlement = LeaseSettlement { dead, is_last: true, ..LeaseSettlement::new(lease, Loss::Fenced) };
        settle(t, settlement, &[]).await.unwrap();
    }
    let (.., dead) = lengths(t, &queue).await;
    // A server keeps whole nodes.
    assert!((5..=205).contains(&dead), "{dead}");
}

async fn a_job_is_not_given_up_where_its_dead_letter_cannot_be_kept(t: &Fixture) {
    let queue = queue(t);
    t.write(&[push(&queue.list, End::Front, &["x"], None), set(&queue.dead_key, "no stream")]).await;
    let (lease, jobs) = take(t, &queue, 1).await;
    let dead = vec![DeadJob { id: jobs[0].id, fields: fields(&[("reason", "x")]) }];
    let settlement = LeaseSettlement { dead, is_last: true, ..LeaseSettlement::new(lease.clone(), Loss::Fenced) };
    let answer = settle(t, settlement, &[add(&t.key("n"), 1)]).await;
    assert!(matches!(answer, Err(CommitError::Refused(StoreError::WrongType(_)))), "{answer:?}");
    assert_eq!(t.store.get(&t.key("n")).await, Ok(None));
    assert_eq!(settle(t, done(&lease, &jobs, true), &[]).await, Ok(Committed::default()));
}

async fn other_kinds_are_no_queues(t: &Fixture) {
    let queue = queue(t);
    t.write(&[set(&queue.list, "text")]).await;
    assert_wrong_type(t.store.take(&Lease::new(queue.clone()), want(1)).await, &queue.list);
    assert_wrong_type(t.store.lengths(&queue).await, &queue.list);
    assert_wrong_type(t.store.peek(&queue, 1).await, &queue.list);
    let once = PushOptions { deduplicate: Some(("x".to_owned(), HOUR_MS)), ..delayed(5) };
    for options in [PushOptions::default(), delayed(5), once.clone()] {
        let committed = t.try_write(&[push_all(&queue, &["a"], options), add(&t.key("n"), 1)]).await.unwrap();
        assert_eq!(committed.refused.iter().map(|refusal| refusal.effect).collect::<Vec<_>>(), [0]);
    }
    assert_eq!(t.store.get(&t.key("n")).await, Ok(Some(bytes("3"))));
    t.write(&[delete(&queue.list), push_all(&queue, &["b"], PushOptions { priority: 1, ..once })]).await;
    t.write(&[set(&queue.list, "text")]).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(payloads(&take(t, &queue, 1).await.1), ["b"], "what is beside the list can still be taken");
}

async fn a_push_of_the_commit_wakes(t: &Fixture) {
    let queue = queue(t);
    let wake = t.store.watch_queue(&queue);
    wake.wait().await;
    let pushes = [PushOptions::default(), delayed(HOUR_MS), PushOptions { priority: 1, ..PushOptions::default() }];
    for options in pushes {
        poll_until(SOON, "a waiter is woken", async || {
            t.write(&[push_all(&queue, &["a"], options.clone())]).await;
            tokio::time::timeout(Duration::from_millis(100), wake.wait()).await.is_ok()
        })
        .await;
    }
    poll_until(SOON, "a waiter is woken by a plain push", async || {
        t.write(&[push(&queue.list, End::Front, &["b"], None)]).await;
        tokio::time::timeout(Duration::from_millis(100), wake.wait()).await.is_ok()
    })
    .await;
}

async fn pushes_are_combined_in_their_order(t: &Fixture) {
    let queue = queue(t);
    let one = |payload| sandbar_store::combine::Gathered {
        effect: push_all(&queue, &[payload], PushOptions::default()),
        event: None,
    };
    let combined = sandbar_store::combine::combine(["a", "b", "c"].map(one).to_vec());
    assert_eq!(combined.len(), 1);
    t.write(&combined.into_iter().map(|combined| combined.effect).collect::<Vec<_>>()).await;
    assert_eq!(payloads(&take(t, &queue, 3).await.1), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_server_out_of_memory_refuses_commits_that_push_with_options_as_a_whole() {
    let server = Options::new().config("maxmemory", "3mb").config("maxmemory-policy", "noeviction").start();
    let store = connect(&server.url()).await;
    let queue = Arc::new(JobQueue::new("", "q"));
    let value = "x".repeat(10_000);
    let mut refused = None;
    for n in 0..1000 {
        // The deletion alone would be allowed, and a script is refused only when it runs.
        let effects = [delete("gone"), push_all(&queue, &[&value], delayed(HOUR_MS)), delete("gone too")];
        let settlement = Settlement::default();
        server.ask(&["DEL", "gone"]);
        let commit = Commit { consumer: None, watched: &[], effects: &effects, settlement, leases: &[], atomic: true };
        match store.commit(commit).await {
            Ok(committed) => assert_eq!(committed, Committed::default()),
            Err(error) => {
                refused = Some((n, error));
                break;
            }
        }
    }
    let (commits, error) = refused.expect("a full server");
    assert!(matches!(&error, CommitError::Refused(StoreError::Refused(text)) if text.contains("OOM")), "{error:?}");
    assert_eq!(store.lengths(&queue).await.unwrap().delayed, commits, "what was refused left nothing behind");
}
