//! Locks: who holds them, who waits for them, and who may not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sandbar_store::{
    Claim, Commit, CommitError, Condition, Expiry, Holder, LockKey, LockLease, Remaining, Settlement, Store, StoreError,
};
use sandbar_test_harness::poll_until;
use tokio::sync::mpsc;

use super::build::*;
use super::fixture::{SOON, assert_wrong_type};
use super::{Fixture, conformance};

conformance! {
    a_lock_has_one_holder,
    a_lock_expires_and_its_holder_touches_no_other,
    a_renewed_lock_does_not_expire,
    asking_again_changes_nothing,
    those_who_wait_are_served_in_order,
    who_waits_long_enough_gives_up,
    who_stops_waiting_leaves_the_line,
    who_stops_waiting_gives_back_what_he_was_handed,
    those_in_line_come_first,
    a_dead_holder_is_followed,
    plain_clients_exclude_and_are_excluded,
    who_waits_for_a_plain_client_is_served,
    a_commit_is_made_under_the_lock_or_not_at_all,
    renewals_do_not_disturb_commits,
    a_broken_lock_goes_to_the_next,
    what_is_no_lock_is_left_alone,
    locks_are_listed,
    a_lock_is_given_back_later,
}

/// Longer than any test.
const LONG_MS: u64 = 60_000;
const LONG: Duration = Duration::from_secs(60);

fn claim(t: &Fixture, name: &str, ttl_ms: u64) -> Claim {
    Claim::new(LockKey::new(t.prefix(), name), "0f3a", "visits", ttl_ms)
}

async fn try_take(t: &Fixture, name: &str, ttl_ms: u64) -> Option<LockLease> {
    t.store.acquire(&claim(t, name, ttl_ms), Duration::ZERO).await.unwrap()
}

async fn take(t: &Fixture, name: &str) -> LockLease {
    try_take(t, name, LONG_MS).await.expect("a free lock")
}

async fn waiters(store: &dyn Store, lock: &LockKey) -> u64 {
    store.look(lock).await.unwrap().map_or(0, |locked| locked.waiters)
}

/// Lets somebody wait for a lock, and returns once he is in line. What he gets comes over the channel.
async fn wait_in_line(t: &Fixture, claim: Claim, to: &mpsc::UnboundedSender<LockLease>) -> tokio::task::JoinHandle<()> {
    let before = waiters(&*t.store, &claim.lock).await;
    let (store, lock, to): (Arc<dyn Store>, _, _) = (t.store.clone(), claim.lock.clone(), to.clone());
    let task = tokio::spawn(async move {
        if let Some(lease) = store.acquire(&claim, LONG).await.unwrap() {
            to.send(lease).unwrap();
        }
    });
    poll_until(SOON, "he is in line", async || waiters(&*t.store, &lock).await > before).await;
    task
}

async fn next(from: &mut mpsc::UnboundedReceiver<LockLease>) -> LockLease {
    tokio::time::timeout(SOON, from.recv()).await.expect("a lock is handed over").unwrap()
}

async fn a_lock_has_one_holder(t: &Fixture) {
    let first = take(t, "a").await;
    assert_eq!(try_take(t, "a", LONG_MS).await, None);
    let locked = t.store.look(&first.lock).await.unwrap().unwrap();
    assert_eq!((&locked.value, locked.waiters), (&first.value, 0));
    assert!(matches!(locked.remaining, Remaining::Ms(left) if left > LONG_MS - 10_000 && left <= LONG_MS));
    let holder = Holder::parse(&locked.value).unwrap();
    assert_eq!((holder.token, &*holder.host, &*holder.plugin), (first.token, "0f3a", "visits"));
    assert!(holder.acquired_ms.abs_diff(t.store.now_ms()) < 10_000);
    assert_eq!(t.store.release(&first).await, Ok(true));
    assert_eq!(t.store.look(&first.lock).await, Ok(None));
    assert_eq!(t.store.release(&first).await, Ok(false));
    let second = take(t, "a").await;
    assert!(second.token > first.token);
    assert_eq!((t.store.release(&first).await, t.store.renew(&first, LONG_MS).await), (Ok(false), Ok(false)));
    assert_eq!(t.store.look(&second.lock).await.unwrap().unwrap().value, second.value, "another's lock is not touched");
    assert_eq!(try_take(t, "b", LONG_MS).await.map(|other| other.lock.key), Some(t.key("b")), "locks are apart");
}

async fn a_lock_expires_and_its_holder_touches_no_other(t: &Fixture) {
    let first = try_take(t, "a", 50).await.unwrap();
    let mut second = None;
    poll_until(SOON, "it expires", async || {
        second = try_take(t, "a", LONG_MS).await;
        second.is_some()
    })
    .await;
    let second = second.unwrap();
    assert!(second.token > first.token);
    assert_eq!(t.store.renew(&first, LONG_MS).await, Ok(false));
    assert_eq!(t.store.release(&first).await, Ok(false));
    assert_eq!(t.store.renew(&second, LONG_MS).await, Ok(true));
}

async fn a_renewed_lock_does_not_expire(t: &Fixture) {
    let lease = try_take(t, "a", 300).await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(900) {
        assert_eq!(t.store.renew(&lease, 300).await, Ok(true));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(t.store.renew(&lease, LONG_MS).await, Ok(true));
    assert!(matches!(t.store.ttl(&t.key("a")).await, Ok(Remaining::Ms(left)) if left > 10_000));
}

async fn asking_again_changes_nothing(t: &Fixture) {
    let claim = claim(t, "a", LONG_MS);
    let first = t.store.acquire(&claim, Duration::ZERO).await.unwrap().unwrap();
    let again = t.store.acquire(&claim, Duration::ZERO).await.unwrap().unwrap();
    assert_eq!((first.value, first.token), (again.value, again.token));
}

async fn those_who_wait_are_served_in_order(t: &Fixture) {
    let mut held = take(t, "a").await;
    let (to, mut from) = mpsc::unbounded_channel();
    let claims: Vec<Claim> = (0..8).map(|_| claim(t, "a", LONG_MS)).collect();
    for claim in &claims {
        wait_in_line(t, claim.clone(), &to).await;
    }
    for claim in &claims {
        assert_eq!(t.store.release(&held).await, Ok(true));
        let given = next(&mut from).await;
        assert_eq!(Holder::parse(&given.value).unwrap().id, claim.id, "in the order of arrival");
        assert!(given.token > held.token);
        assert_eq!(try_take(t, "a", LONG_MS).await, None, "nobody comes between");
        held = given;
    }
    assert_eq!(t.store.release(&held).await, Ok(true));
    assert_eq!(t.store.look(&held.lock).await, Ok(None));
}

async fn who_waits_long_enough_gives_up(t: &Fixture) {
    let held = take(t, "a").await;
    let begun = Instant::now();
    let answer = t.store.acquire(&claim(t, "a", LONG_MS), Duration::from_millis(200)).await.unwrap();
    assert_eq!(answer, None);
    assert!((Duration::from_millis(190)..SOON).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(waiters(&*t.store, &held.lock).await, 0);
    assert_eq!(t.store.release(&held).await, Ok(true));
    assert_eq!(t.store.look(&held.lock).await, Ok(None), "it is not handed to one who is gone");
}

async fn who_stops_waiting_leaves_the_line(t: &Fixture) {
    let held = take(t, "a").await;
    let (to, mut from) = mpsc::unbounded_channel();
    let gone = wait_in_line(t, claim(t, "a", LONG_MS), &to).await;
    wait_in_line(t, claim(t, "a", LONG_MS), &to).await;
    gone.abort();
    poll_until(SOON, "he has left", async || waiters(&*t.store, &held.lock).await == 1).await;
    t.store.release(&held).await.unwrap();
    next(&mut from).await;
}

async fn who_stops_waiting_gives_back_what_he_was_handed(t: &Fixture) {
    for _ in 0..20 {
        let held = take(t, "a").await;
        let (to, mut from) = mpsc::unbounded_channel();
        let waiting = wait_in_line(t, claim(t, "a", LONG_MS), &to).await;
        let store = t.store.clone();
        let release = tokio::spawn(async move { store.release(&held).await });
        waiting.abort();
        let _ = waiting.await;
        assert_eq!(release.await.unwrap(), Ok(true));
        // Either he left before, or he got it, and then it is ours to give back.
        drop(to);
        if let Some(given) = from.recv().await {
            t.store.release(&given).await.unwrap();
        }
        poll_until(SOON, "it is free", async || t.store.look(&LockKey::new(t.prefix(), "a")).await == Ok(None)).await;
    }
}

async fn those_in_line_come_first(t: &Fixture) {
    let held = take(t, "a").await;
    let (to, mut from) = mpsc::unbounded_channel();
    let first = claim(t, "a", LONG_MS);
    wait_in_line(t, first.clone(), &to).await;
    // As if the holder had died, and the lock expired: nobody hands it over.
    t.write(&[delete(&held.lock.key)]).await;
    assert_eq!(try_take(t, "a", LONG_MS).await, None, "another one waits for it");
    assert_eq!(Holder::parse(&next(&mut from).await.value).unwrap().id, first.id);
}

async fn a_dead_holder_is_followed(t: &Fixture) {
    try_take(t, "a", 100).await.unwrap();
    let (to, mut from) = mpsc::unbounded_channel();
    for _ in 0..3 {
        wait_in_line(t, claim(t, "a", 100), &to).await;
    }
    for _ in 0..3 {
        next(&mut from).await;
    }
}

async fn plain_clients_exclude_and_are_excluded(t: &Fixture) {
    let key = t.key("a");
    t.write(&[set_with(&key, "a uuid", Expiry::TtlMs(LONG_MS), Condition::IfAbsent)]).await;
    assert_eq!(try_take(t, "a", LONG_MS).await, None);
    let locked = t.store.look(&LockKey::new(t.prefix(), "a")).await.unwrap().unwrap();
    assert_eq!((&*locked.value, Holder::parse(&locked.value)), (b"a uuid".as_slice(), None));
    t.write(&[delete(&key)]).await;
    let lease = take(t, "a").await;
    t.write(&[set_with(&key, "a uuid", Expiry::TtlMs(LONG_MS), Condition::IfAbsent)]).await;
    assert_eq!(t.store.get(&key).await, Ok(Some(lease.value)));
}

async fn who_waits_for_a_plain_client_is_served(t: &Fixture) {
    let key = t.key("a");
    t.write(&[set(&key, "a uuid")]).await;
    let (to, mut from) = mpsc::unbounded_channel();
    wait_in_line(t, claim(t, "a", LONG_MS), &to).await;
    t.write(&[delete(&key)]).await;
    next(&mut from).await;
}

async fn under(t: &Fixture, lease: &LockLease) -> Result<(), CommitError> {
    let watched = [(lease.lock.key.clone(), Some(lease.value.clone()))];
    let (effects, settlement) = ([add(&t.key("n"), 1)], Settlement::default());
    let commit = Commit { consumer: None, watched: &watched, effects: &effects, settlement, leases: &[], atomic: true };
    t.store.commit(commit).await.map(drop)
}

async fn a_commit_is_made_under_the_lock_or_not_at_all(t: &Fixture) {
    let first = take(t, "a").await;
    assert_eq!(under(t, &first).await, Ok(()));
    t.store.release(&first).await.unwrap();
    assert_eq!(under(t, &first).await, Err(CommitError::Conflict(t.key("a"))));
    let second = take(t, "a").await;
    assert_eq!(under(t, &first).await, Err(CommitError::Conflict(t.key("a"))));
    assert_eq!(under(t, &second).await, Ok(()));
    assert_eq!(t.store.get(&t.key("n")).await, Ok(Some(Bytes::from("2"))));
}

async fn renewals_do_not_disturb_commits(t: &Fixture) {
    let lease = take(t, "a").await;
    let (store, renewed) = (t.store.clone(), lease.clone());
    let renewals = tokio::spawn(async move {
        loop {
            assert_eq!(store.renew(&renewed, LONG_MS).await, Ok(true));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    for _ in 0..200 {
        assert_eq!(under(t, &lease).await, Ok(()));
        tokio::task::yield_now().await;
    }
    renewals.abort();
    assert!(renewals.await.unwrap_err().is_cancelled());
    assert_eq!(t.store.get(&t.key("n")).await, Ok(Some(Bytes::from("200"))));
}

async fn a_broken_lock_goes_to_the_next(t: &Fixture) {
    let held = take(t, "a").await;
    assert_eq!(t.store.break_open(&LockKey::new(t.prefix(), "free")).await, Ok(None));
    let (to, mut from) = mpsc::unbounded_channel();
    wait_in_line(t, claim(t, "a", LONG_MS), &to).await;
    assert_eq!(t.store.break_open(&held.lock).await, Ok(Some(held.value.clone())));
    let given = next(&mut from).await;
    assert!(given.token > held.token);
    assert_eq!(t.store.release(&held).await, Ok(false));
    assert_eq!(t.store.break_open(&held.lock).await, Ok(Some(given.value)));
    assert_eq!(t.store.look(&held.lock).await, Ok(None));
}

async fn what_is_no_lock_is_left_alone(t: &Fixture) {
    let key = t.key("a");
    t.write(&[set_add(&key, &["member"])]).await;
    assert_eq!(try_take(t, "a", LONG_MS).await, None);
    let lease = LockLease { lock: LockKey::new(t.prefix(), "a"), ..take(t, "b").await };
    assert_eq!((t.store.renew(&lease, 1).await, t.store.release(&lease).await), (Ok(false), Ok(false)));
    assert_wrong_type(t.store.look(&lease.lock).await, &key);
    assert!(matches!(t.store.break_open(&lease.lock).await, Err(StoreError::WrongType(_))));
    assert_eq!(t.store.set_size(&key).await, Ok(1));
}

async fn locks_are_listed(t: &Fixture) {
    assert_eq!(t.store.locks(t.prefix()).await, Ok(vec![]));
    for name in ["lock:a", "lock:*", "task"] {
        take(t, name).await;
    }
    let mut keys: Vec<String> = t.store.locks(t.prefix()).await.unwrap().into_iter().map(|lock| lock.key).collect();
    keys.sort();
    assert_eq!(keys, [t.key("lock:*"), t.key("lock:a"), t.key("task")]);
    assert_eq!(t.store.locks(&t.key("nothing:")).await, Ok(vec![]));
}

async fn a_lock_is_given_back_later(t: &Fixture) {
    let lease = take(t, "a").await;
    t.store.release_later(lease.clone());
    t.store.released().await;
    assert_eq!(t.store.look(&lease.lock).await, Ok(None));
    let lease = take(t, "a").await;
    t.store.release_later(lease.clone());
    t.store.released().await;
    assert_eq!(t.store.look(&lease.lock).await, Ok(None));
}
