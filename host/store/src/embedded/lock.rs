//! Locks in this process. A lock is a plain value in the keyspace, as in a server; the line of those who wait is
//! beside it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::value::Plain;
use super::{Embedded, State};
use crate::lock::{Claim, Holder, LOCKS_MAX, Lock, LockKey, LockLease, Locked, WAITERS_MAX};
use crate::{Remaining, StoreError};

/// The longest time between two looks at a lock that somebody waits for: nobody tells when its key was deleted or has
/// expired.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// So many locks that are not held may be remembered, beside as many as are held.
const LEFT_OVER_MAX: usize = 64;

/// What is known of locks beside their keys.
#[derive(Debug)]
pub(super) struct Locks {
    /// Locks by key, with their waiters.
    known: HashMap<String, Known>,
    /// The number of the last holder of any lock.
    last_token: u64,
    /// At so many locks those that are not held are forgotten.
    prune_at: usize,
}

impl Default for Locks {
    fn default() -> Self {
        Self { known: HashMap::new(), last_token: 0, prune_at: LEFT_OVER_MAX }
    }
}

#[derive(Debug)]
struct Known {
    lock: LockKey,
    line: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    claim: Claim,
    handed: oneshot::Sender<LockLease>,
}

impl State {
    /// Takes a lock that is not held. Waiters come first.
    fn take_lock(&mut self, claim: &Claim) -> Option<LockLease> {
        if let Some(lease) = self.held_by(claim) {
            return Some(lease);
        }
        if self.keys.contains(&claim.lock.key) || self.hand_over(&claim.lock) {
            // It may have been handed to the one who asks.
            return self.held_by(claim);
        }
        Some(self.grant(claim))
    }

    /// The lock, where the claim holds it.
    fn held_by(&self, claim: &Claim) -> Option<LockLease> {
        let value = self.keys.get::<Plain>(&claim.lock.key).ok()??;
        let holder = Holder::parse(value).filter(|holder| holder.id == claim.id)?;
        Some(LockLease { lock: claim.lock.clone(), value: value.clone(), token: holder.token, begun: Instant::now() })
    }

    fn grant(&mut self, claim: &Claim) -> LockLease {
        let (now_ms, Claim { lock, host, plugin, id, ttl_ms }) = (self.keys.now_ms(), claim);
        let token = (self.locks.last_token + 1).max(now_ms.saturating_mul(1000));
        self.locks.last_token = token;
        let holder = Holder { token, host: host.clone(), plugin: plugin.clone(), acquired_ms: now_ms, id: id.clone() };
        let value = Bytes::from(holder.to_string());
        self.keys.set(&lock.key, value.clone(), false);
        self.keys.expire(&lock.key, now_ms.saturating_add(*ttl_ms));
        self.know(lock);
        LockLease { lock: lock.clone(), value, token, begun: Instant::now() }
    }

    /// Hands a lock that nobody holds to the first of the line who is still there. False where nobody waits.
    fn hand_over(&mut self, lock: &LockKey) -> bool {
        while let Some(first) = self.locks.known.get_mut(&lock.key).and_then(|known| known.line.pop_front()) {
            if !first.handed.is_closed() {
                let lease = self.grant(&first.claim);
                if first.handed.send(lease).is_ok() {
                    return true;
                }
                self.keys.delete(&lock.key);
            }
        }
        false
    }

    /// Gives a lock back that is held under a value.
    fn give_back(&mut self, lock: &LockKey, value: &[u8]) -> bool {
        let is_held = matches!(self.keys.get::<Plain>(&lock.key), Ok(Some(held)) if held == value);
        if is_held {
            self.keys.delete(&lock.key);
            self.hand_over(lock);
        }
        is_held
    }

    fn know(&mut self, lock: &LockKey) -> &mut Known {
        if self.locks.known.len() >= self.locks.prune_at {
            let keys = &self.keys;
            self.locks.known.retain(|key, known| !known.line.is_empty() || keys.contains(key));
            self.locks.prune_at = 2 * self.locks.known.len() + LEFT_OVER_MAX;
        }
        let unknown = || Known { lock: lock.clone(), line: VecDeque::new() };
        self.locks.known.entry(lock.key.clone()).or_insert_with(unknown)
    }

    fn join_line(&mut self, claim: &Claim) -> Result<oneshot::Receiver<LockLease>, StoreError> {
        let (handed, receiver) = oneshot::channel();
        let line = &mut self.know(&claim.lock).line;
        if line.len() >= WAITERS_MAX as usize {
            let key = &claim.lock.key;
            return Err(StoreError::Limit(format!("{WAITERS_MAX} wait for `{key}`, which is all that may")));
        }
        line.push_back(Waiting { claim: claim.clone(), handed });
        Ok(receiver)
    }
}

/// A place in line. Who leaves it gives back what he was handed and did not take.
struct WaiterSlot<'a> {
    store: &'a Embedded,
    claim: &'a Claim,
    is_over: bool,
}

impl Drop for WaiterSlot<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.store.state();
        if let Some(known) = state.locks.known.get_mut(&self.claim.lock.key) {
            known.line.retain(|waiting| waiting.claim.id != self.claim.id);
        }
        if let Some(lease) = state.held_by(self.claim) {
            state.give_back(&lease.lock, &lease.value);
        }
    }
}

#[async_trait]
impl Lock for Embedded {
    async fn acquire(&self, claim: &Claim, wait: Duration) -> Result<Option<LockLease>, StoreError> {
        let mut handed = {
            let mut state = self.state();
            if let Some(lease) = state.take_lock(claim) {
                return Ok(Some(lease));
            }
            if wait.is_zero() {
                return Ok(None);
            }
            state.join_line(claim)?
        };
        let until = Instant::now() + wait;
        let mut place = WaiterSlot { store: self, claim, is_over: false };
        loop {
            let left = match self.state().keys.remaining(&claim.lock.key) {
                // A key is still there in the millisecond in which its time to live reaches 0.
                Remaining::Ms(ms) => Duration::from_millis(ms.saturating_add(1)).min(LOOK_MAX),
                Remaining::Missing | Remaining::Never => LOOK_MAX,
            };
            tokio::select! {
                Ok(lease) = &mut handed => {
                    place.is_over = true;
                    return Ok(Some(lease));
                }
                () = tokio::time::sleep_until(until) => return Ok(None),
                () = tokio::time::sleep(left) => {
                    let mut state = self.state();
                    if !state.keys.contains(&claim.lock.key) {
                        state.hand_over(&claim.lock);
                    }
                }
            }
        }
    }

    async fn renew(&self, lease: &LockLease, ttl_ms: u64) -> Result<bool, StoreError> {
        let mut state = self.state();
        let is_held = matches!(state.keys.get::<Plain>(&lease.lock.key), Ok(Some(held)) if *held == lease.value);
        if is_held {
            let expires_ms = state.keys.now_ms().saturating_add(ttl_ms);
            state.keys.expire(&lease.lock.key, expires_ms);
        }
        Ok(is_held)
    }

    async fn release(&self, lease: &LockLease) -> Result<bool, StoreError> {
        Ok(self.state().give_back(&lease.lock, &lease.value))
    }

    fn release_later(&self, lease: LockLease) {
        self.state().give_back(&lease.lock, &lease.value);
    }

    async fn released(&self) {}

    async fn locks(&self, prefix: &str) -> Result<Vec<LockKey>, StoreError> {
        let (state, own) = (self.state(), LockKey::own_keys(prefix));
        let known = state.locks.known.values().map(|known| &known.lock);
        Ok(known.filter(|lock| lock.token_key.starts_with(&own)).take(LOCKS_MAX).cloned().collect())
    }

    async fn look(&self, lock: &LockKey) -> Result<Option<Locked>, StoreError> {
        let state = self.state();
        let Some(value) = state.keys.get::<Plain>(&lock.key)?.cloned() else { return Ok(None) };
        let waiters = state.locks.known.get(&lock.key).map_or(0, |known| known.line.len() as u64);
        Ok(Some(Locked { value, remaining: state.keys.remaining(&lock.key), waiters }))
    }

    async fn break_open(&self, lock: &LockKey) -> Result<Option<Bytes>, StoreError> {
        let mut state = self.state();
        let value = state.keys.get::<Plain>(&lock.key)?.cloned();
        if let Some(value) = &value {
            state.give_back(lock, value);
        }
        Ok(value)
    }
}
