//! A lock that a host holds: renewed at a third of its time to live, given back when it is dropped.
//!
//! Whether it is still held is known for certain only to a commit that relies on it (see [`HeldLock::watched`]). What
//! is said here ([`HeldLock::is_lost`]) is early news: a renewal was refused, or none has succeeded for a whole time
//! to live.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::{Claim, LockKey, LockLease, Store, StoreError};

/// The shortest pause after a renewal that the store did not answer.
const RETRY_MIN: Duration = Duration::from_millis(10);
/// The longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// A lock that this host holds.
#[derive(Debug)]
pub struct HeldLock {
    shared: Arc<Shared>,
    _renewal: AbortOnDropHandle<()>,
}

/// What the holder and the renewal share.
#[derive(Debug)]
struct Shared {
    store: Arc<dyn Store>,
    lease: LockLease,
    ttl_ms: AtomicU64,
    /// When the time to live ends unless it is renewed, by the clock of this process and at the earliest.
    ends: Mutex<Instant>,
    /// The time to live was changed.
    extended: Notify,
    lost: CancellationToken,
    given_back: AtomicBool,
}

impl HeldLock {
    /// Takes a lock, waiting in line for up to `wait`; none where that was not enough. Cancel-safe.
    pub async fn acquire(store: &Arc<dyn Store>, claim: &Claim, wait: Duration) -> Result<Option<Self>, StoreError> {
        Ok(store.acquire(claim, wait).await?.map(|lease| Self::new(store.clone(), lease, claim.ttl_ms)))
    }

    fn new(store: Arc<dyn Store>, lease: LockLease, ttl_ms: u64) -> Self {
        let ends = Mutex::new(lease.begun + Duration::from_millis(ttl_ms));
        let (extended, lost) = (Notify::new(), CancellationToken::new());
        let (ttl_ms, given_back) = (AtomicU64::new(ttl_ms), AtomicBool::new(false));
        let shared = Arc::new(Shared { store, lease, ttl_ms, ends, extended, lost, given_back });
        let renewal = AbortOnDropHandle::new(tokio::spawn(renew(shared.clone())));
        Self { shared, _renewal: renewal }
    }

    /// The lock.
    pub fn lock(&self) -> &LockKey {
        &self.shared.lease.lock
    }

    /// Larger than that of every earlier holder.
    pub fn token(&self) -> u64 {
        self.shared.lease.token
    }

    /// What a commit that is to be made only while the lock is held relies on: its key, and what that holds.
    pub fn watched(&self) -> (String, Option<Bytes>) {
        let LockLease { lock, value, .. } = &self.shared.lease;
        (lock.key.clone(), Some(value.clone()))
    }

    /// Whether the lock is known to be lost.
    pub fn is_lost(&self) -> bool {
        self.shared.lost.is_cancelled()
    }

    /// Waits until the lock is known to be lost. Cancel-safe.
    pub async fn lost(&self) {
        self.shared.lost.cancelled().await;
    }

    /// Gives the lock so many milliseconds from now, and renews it for as long from then on. False where it is lost.
    pub async fn extend(&self, ttl_ms: u64) -> Result<bool, StoreError> {
        if self.is_lost() {
            return Ok(false);
        }
        let shared = &self.shared;
        if shared.renew(ttl_ms).await? {
            shared.ttl_ms.store(ttl_ms, Ordering::Relaxed);
            shared.extended.notify_one();
            return Ok(true);
        }
        Ok(false)
    }

    /// Gives the lock back. False where it was lost, or given back before.
    pub async fn release(&self) -> Result<bool, StoreError> {
        if self.shared.given_back.swap(true, Ordering::Relaxed) {
            return Ok(false);
        }
        self.shared.extended.notify_one();
        let answer = self.shared.store.release(&self.shared.lease).await;
        if answer.is_err() {
            self.shared.store.release_later(self.shared.lease.clone());
        }
        answer
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        if !self.shared.given_back.swap(true, Ordering::Relaxed) {
            self.shared.store.release_later(self.shared.lease.clone());
        }
    }
}

/// Gives locks back, all at once. What the store does not answer is tried again in the background.
pub async fn release_all(locks: &[HeldLock]) {
    let releases = locks.iter().map(async |lock| {
        if let Err(error) = lock.release().await {
            tracing::debug!(%error, lock = lock.lock().key, "a lock is given back later");
        }
    });
    futures_util::future::join_all(releases).await;
}

impl Shared {
    fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms.load(Ordering::Relaxed))
    }

    /// Renews once. False where the lock is lost, which all holders of it learn.
    async fn renew(&self, ttl_ms: u64) -> Result<bool, StoreError> {
        let begun = Instant::now();
        let is_held = self.store.renew(&self.lease, ttl_ms).await?;
        if is_held {
            *self.ends.lock() = begun + Duration::from_millis(ttl_ms);
        } else {
            self.lose();
        }
        Ok(is_held)
    }

    fn lose(&self) {
        if !self.lost.is_cancelled() && !self.given_back.load(Ordering::Relaxed) {
            tracing::warn!(lock = self.lease.lock.key, token = self.lease.token, "a lock was lost");
            metrics::counter!("sandbar_locks_lost_total").increment(1);
        }
        self.lost.cancel();
    }
}

/// Renews until the lock is lost or given back.
async fn renew(shared: Arc<Shared>) {
    let mut pause = shared.ttl() / 3;
    while !shared.given_back.load(Ordering::Relaxed) {
        let ends = *shared.ends.lock();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = tokio::time::sleep_until(ends) => {}
            () = shared.extended.notified() => {
                pause = shared.ttl() / 3;
                continue;
            }
        }
        let ttl_ms = shared.ttl_ms.load(Ordering::Relaxed);
        pause = match tokio::time::timeout_at(ends, shared.renew(ttl_ms)).await {
            Ok(Ok(true)) => shared.ttl() / 3,
            Ok(Ok(false)) => return,
            Ok(Err(_)) | Err(_) => (shared.ttl() / 10).clamp(RETRY_MIN, RETRY_MAX),
        };
        if Instant::now() >= *shared.ends.lock() {
            return shared.lose();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::Embedded;

    const TTL_MS: u64 = 150;

    async fn held(store: &Arc<dyn Store>) -> HeldLock {
        let claim = Claim::new(LockKey::new("", "lock:a"), "h", "p", TTL_MS);
        HeldLock::acquire(store, &claim, Duration::ZERO).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_lock_is_renewed_while_it_is_held_and_given_back_when_it_is_dropped() {
        let store: Arc<dyn Store> = Arc::new(Embedded::new());
        let lock = held(&store).await;
        tokio::time::sleep(Duration::from_millis(3 * TTL_MS)).await;
        assert!(!lock.is_lost());
        assert!(store.look(lock.lock()).await.unwrap().is_some());
        let key = lock.lock().clone();
        drop(lock);
        assert_eq!(store.look(&key).await, Ok(None));
    }

    #[tokio::test]
    async fn a_lock_that_is_broken_is_lost_at_the_next_renewal() {
        let store: Arc<dyn Store> = Arc::new(Embedded::new());
        let lock = held(&store).await;
        store.break_open(lock.lock()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), lock.lost()).await.unwrap();
        assert_eq!((lock.extend(TTL_MS).await, lock.release().await), (Ok(false), Ok(false)));
    }

    #[tokio::test]
    async fn extending_changes_what_it_is_renewed_to() {
        let store: Arc<dyn Store> = Arc::new(Embedded::new());
        let lock = held(&store).await;
        assert_eq!(lock.extend(10_000).await, Ok(true));
        tokio::time::sleep(Duration::from_millis(TTL_MS)).await;
        let crate::Remaining::Ms(left) = store.look(lock.lock()).await.unwrap().unwrap().remaining else {
            panic!("a lock expires")
        };
        assert!(left > 9_000, "{left}");
        assert_eq!((lock.release().await, lock.release().await), (Ok(true), Ok(false)));
    }
}
