//! Locks in a server. Whatever changes one is one script.
//!
//! While somebody waits, the server tells him when it is his turn. Only where a holder has died, or where another
//! kind of client gave the lock back, nobody tells: so the first who waits for a lock in this process looks after it,
//! and not more often than once in [`LOOK_MIN`].

pub(super) mod waiters;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ::redis::Value;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::connector::Backoff;
use super::private::PrivatePool;
use super::scripts::{Script, Scripts};
use super::shared::SharedPool;
use super::{Redis, reply};
use crate::lock::{Claim, LOCKS_MAX, Lock, LockKey, LockLease, Locked, TOKEN_SUFFIX, WAITERS_MAX};
use crate::{Cache, StoreError};
use sandbar_core::pattern::escape_glob;
use waiters::{WaiterSlot, Waiters};

/// The shortest time between two looks at a lock with a waiter.
const LOOK_MIN: Duration = Duration::from_millis(1500);
/// The longest time between two looks; a holder's death is met by a look at the moment at which the lock expires.
const LOOK_MAX: Duration = Duration::from_millis(3000);
/// How often giving a lock back is tried; after that it expires.
const RELEASES_MAX: u32 = 10;
/// About how many keys one step of the search for locks looks at.
const SCAN_STEP: u32 = 1000;

/// What is needed to work on locks; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct LockClient {
    shared: Arc<SharedPool>,
    private: Arc<PrivatePool>,
    scripts: Arc<Scripts>,
    waiters: Waiters,
    /// Says that the channel of this process is to be listened to.
    listen: Arc<Notify>,
    /// Locks that are being given back.
    releases: TaskTracker,
}

/// What asking for a lock came to.
#[derive(Debug)]
enum Acquired {
    Taken(LockLease),
    /// It is held for so many milliseconds more; none for ever.
    Held(Option<u64>),
}

/// Whether to stand in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Once,
    InLine,
}

impl LockClient {
    pub(super) fn new(
        shared: Arc<SharedPool>,
        private: Arc<PrivatePool>,
        scripts: Arc<Scripts>,
        listen: Arc<Notify>,
        waiters: Waiters,
    ) -> Self {
        Self { shared, private, scripts, waiters, listen, releases: TaskTracker::new() }
    }

    /// Those who wait in this process.
    pub(super) fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// Takes note of a message on the channel of this process.
    pub(super) fn handed_over(&self, message: &[u8]) {
        let Some(lease) = waiters::parse(message) else {
            return tracing::warn!("a message on the channel of locks is not understood");
        };
        if let Some(lease) = self.waiters.hand(lease) {
            // Its waiter is gone, and the withdrawal came too early or was lost.
            self.release_later(lease);
        }
    }

    async fn ask(&self, claim: &Claim, ask: Ask) -> Result<Acquired, StoreError> {
        let LockKey { key, .. } = &claim.lock;
        let begun = Instant::now();
        let in_line: &[u8] = if ask == Ask::InLine { b"1" } else { b"0" };
        let arguments = [self.waiters.text(claim).into_bytes(), in_line.to_vec(), WAITERS_MAX.to_string().into_bytes()];
        let answer = self.eval(Script::LockAcquire, &claim.lock, &arguments).await?;
        let mut parts = reply::list(answer, key)?.into_iter();
        let mut next = || parts.next().unwrap_or_default();
        if let Some(value) = reply::bytes(next(), key)? {
            let lease = waiters::lease(claim.lock.clone(), value, begun);
            return lease
                .map(Acquired::Taken)
                .ok_or_else(|| StoreError::Unavailable(format!("`{key}` has an odd value")));
        }
        let (left_ms, place) = (reply::integer(next(), key)?, reply::integer(next(), key)?);
        if place < 0 {
            return Err(StoreError::Limit(format!("{WAITERS_MAX} wait for `{key}`, which is all that may")));
        }
        Ok(Acquired::Held(u64::try_from(left_ms).ok()))
    }

    /// Asks for a lock until it is there or the time is over.
    async fn wait(
        &self,
        claim: &Claim,
        place: &mut WaiterSlot,
        until: Instant,
    ) -> Result<Option<LockLease>, StoreError> {
        let mut heard = self.waiters.heard();
        loop {
            let in_line = heard.borrow_and_update().now;
            let left_ms = match self.ask(claim, if in_line { Ask::InLine } else { Ask::Once }).await? {
                Acquired::Taken(lease) => return Ok(Some(lease)),
                Acquired::Held(left_ms) => left_ms,
            };
            if !in_line && self.waiters.want() {
                self.listen.notify_one();
            }
            let mut look_at = Instant::now() + look_in(left_ms);
            loop {
                tokio::select! {
                    Some(lease) = place.handed() => return Ok(Some(lease)),
                    Ok(()) = heard.changed() => {
                        // Only a new beginning calls for a new place in line; an end is followed by one.
                        if heard.borrow_and_update().now {
                            break;
                        }
                    }
                    () = tokio::time::sleep_until(until) => return Ok(place.take()),
                    () = tokio::time::sleep_until(look_at) => {
                        if place.is_first() {
                            break;
                        }
                        look_at = Instant::now() + LOOK_MIN;
                    }
                }
            }
        }
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), StoreError> {
        let answer = self.eval(Script::LockWithdraw, &claim.lock, &[self.waiters.text(claim).into_bytes()]).await?;
        reply::done(answer, &claim.lock.key)
    }

    async fn release(&self, lease: &LockLease) -> Result<bool, StoreError> {
        let answer = self.eval(Script::LockRelease, &lease.lock, &[lease.value.to_vec()]).await?;
        Ok(reply::integer(answer, &lease.lock.key)? == 1)
    }

    fn release_later(&self, lease: LockLease) {
        let client = self.clone();
        self.later(async move {
            let arguments = [lease.value.to_vec()];
            client.insist(Script::LockRelease, &lease.lock, &arguments).await;
        });
    }

    fn withdraw_later(&self, claim: Claim) {
        let client = self.clone();
        self.later(async move {
            let arguments = [client.waiters.text(&claim).into_bytes()];
            client.insist(Script::LockWithdraw, &claim.lock, &arguments).await;
        });
    }

    fn later(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Outside of a runtime the process is about to end: the lock expires.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.releases.spawn_on(work, &runtime);
        }
    }

    /// Runs a script that may be repeated, over new connections where the shared ones fail.
    async fn insist(&self, script: Script, lock: &LockKey, arguments: &[Vec<u8>]) {
        let mut backoff = Backoff::default();
        for attempt in 0..RELEASES_MAX {
            let answer = match attempt {
                0 => self.eval(script, lock, arguments).await,
                _ => self.eval_fresh(script, lock, arguments).await,
            };
            match answer.and_then(|answer| reply::done(answer, &lock.key)) {
                Ok(()) => return,
                Err(error) if error.is_transient() => backoff.pause().await,
                Err(error) => return tracing::warn!(%error, lock = lock.key, "a lock could not be given back"),
            }
        }
        tracing::warn!(lock = lock.key, "a lock could not be given back: the store does not answer; it will expire");
    }

    async fn eval(&self, script: Script, lock: &LockKey, arguments: &[Vec<u8>]) -> Result<Value, StoreError> {
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let keys = [lock.key.as_str(), &lock.token_key, &lock.waiters_key];
        self.shared.eval(self.scripts.get(script), &keys, &arguments).await
    }

    async fn eval_fresh(&self, script: Script, lock: &LockKey, arguments: &[Vec<u8>]) -> Result<Value, StoreError> {
        let mut connection = self.private.fresh().await?;
        let mut invocation = self.scripts.get(script).prepare_invoke();
        invocation.key(&lock.key).key(&lock.token_key).key(&lock.waiters_key);
        arguments.iter().for_each(|argument| {
            invocation.arg(argument.as_slice());
        });
        invocation.invoke_async(&mut connection).await.map_err(|error| reply::error(&error))
    }
}

/// When to look at a lock again that is held for so many milliseconds more.
fn look_in(left_ms: Option<u64>) -> Duration {
    // A key is still there in the millisecond in which its time to live reaches 0.
    let expired = left_ms.map_or(LOOK_MAX, |ms| Duration::from_millis(ms.saturating_add(2)));
    if expired < LOOK_MAX { expired.max(LOOK_MIN) } else { LOOK_MIN }
}

/// Takes a claim back when it is dropped: its owner does not know what became of it, or no longer wants it.
struct Withdrawal<'a> {
    client: &'a LockClient,
    claim: Option<&'a Claim>,
}

impl Withdrawal<'_> {
    /// There is nothing to take back.
    fn forget(mut self) {
        self.claim = None;
    }
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim {
            self.client.withdraw_later(claim.clone());
        }
    }
}

#[async_trait]
impl Lock for Redis {
    async fn acquire(&self, claim: &Claim, wait: Duration) -> Result<Option<LockLease>, StoreError> {
        let client = &self.client;
        let withdrawal = Withdrawal { client, claim: Some(claim) };
        if wait.is_zero() {
            let answer = client.ask(claim, Ask::Once).await?;
            withdrawal.forget();
            return Ok(match answer {
                Acquired::Taken(lease) => Some(lease),
                Acquired::Held(_) => None,
            });
        }
        let mut place = client.waiters.enter(claim);
        match client.wait(claim, &mut place, Instant::now() + wait).await? {
            Some(lease) => {
                withdrawal.forget();
                Ok(Some(lease))
            }
            None => {
                client.withdraw(claim).await?;
                withdrawal.forget();
                Ok(None)
            }
        }
    }

    async fn renew(&self, lease: &LockLease, ttl_ms: u64) -> Result<bool, StoreError> {
        let arguments = [&lease.value[..], ttl_ms.to_string().as_bytes()].map(<[u8]>::to_vec);
        let answer = self.client.eval(Script::LockRenew, &lease.lock, &arguments).await?;
        Ok(reply::integer(answer, &lease.lock.key)? == 1)
    }

    async fn release(&self, lease: &LockLease) -> Result<bool, StoreError> {
        self.client.release(lease).await
    }

    fn release_later(&self, lease: LockLease) {
        self.client.release_later(lease);
    }

    async fn released(&self) {
        // Stays closed: what is given back afterwards is still run, and counted by the next waiter.
        self.client.releases.close();
        self.client.releases.wait().await;
    }

    async fn locks(&self, prefix: &str) -> Result<Vec<LockKey>, StoreError> {
        let pattern = format!("{}*{TOKEN_SUFFIX}", escape_glob(&LockKey::own_keys(prefix)));
        let (mut found, mut cursor) = (Vec::new(), Some(0));
        while let Some(from) = cursor.filter(|_| found.len() < LOCKS_MAX) {
            let page = self.scan(&pattern, from, SCAN_STEP).await?;
            found.extend(page.keys.iter().filter_map(|key| LockKey::of_token_key(prefix, key)));
            cursor = page.next;
        }
        // A scan may answer a key more than once.
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        found.dedup();
        found.truncate(LOCKS_MAX);
        Ok(found)
    }

    async fn look(&self, lock: &LockKey) -> Result<Option<Locked>, StoreError> {
        let mut pipeline = ::redis::pipe();
        pipeline.cmd("GET").arg(&lock.key).cmd("PTTL").arg(&lock.key).cmd("LLEN").arg(&lock.waiters_key);
        let mut parts = self.query_all(&pipeline).await?.into_iter();
        let mut next = || parts.next().unwrap_or_default();
        let Some(value) = reply::bytes(next(), &lock.key)? else { return Ok(None) };
        let remaining = super::cache::remaining(next(), &lock.key)?;
        Ok(Some(Locked { value, remaining, waiters: reply::count(next(), &lock.key)? }))
    }

    async fn break_open(&self, lock: &LockKey) -> Result<Option<Bytes>, StoreError> {
        reply::bytes(self.client.eval(Script::LockBreak, lock, &[]).await?, &lock.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_looked_at_when_it_expires_but_not_all_the_time() {
        assert_eq!(look_in(Some(5)), LOOK_MIN);
        assert_eq!(look_in(Some(2000)), Duration::from_millis(2002));
        assert_eq!(look_in(Some(60_000)), LOOK_MIN);
        assert_eq!(look_in(None), LOOK_MIN);
    }
}
