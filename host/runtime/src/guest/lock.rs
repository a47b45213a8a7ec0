//! `sandbar:plugin/lock`.

use std::time::{Duration, Instant};

use wasmtime::component::Resource;

use super::state::State;
use crate::bindings::sandbar::plugin::lock::{Host, HostGuard};
use crate::bindings::sandbar::plugin::types::Error;
use crate::call::{GivenBack, Guard, Untakable};
use sandbar_store::held_lock::HeldLock;
use sandbar_store::{Claim, LockKey, StoreError};

/// The shortest time to live, in milliseconds.
const TTL_MS_MIN: u64 = 100;
/// The longest time to live and the longest wait, in milliseconds: an hour.
const TIME_MS_MAX: u64 = 3_600_000;

impl From<Untakable> for Error {
    fn from(untakable: Untakable) -> Self {
        let text = untakable.to_string();
        match untakable {
            Untakable::Held(_) => Self::Invalid(text),
            Untakable::Lost(_) => Self::Conflict(text),
            Untakable::Guards | Untakable::Waiting => Self::Limit(text),
        }
    }
}

impl Host for State {
    async fn acquire(&mut self, key: String, ttl_ms: u64, wait_ms: u64) -> Result<Resource<Guard>, Error> {
        let full = self.writable(&key)?;
        check_ttl(&key, ttl_ms)?;
        if wait_ms > TIME_MS_MAX {
            return Err(Error::Invalid(format!("a wait of {wait_ms} ms for `{key}`; 0 to {TIME_MS_MAX} are allowed")));
        }
        self.guards = self.guards.wrapping_add(1);
        let number = self.guards;
        if self.call.locks.take_again(&full, number)? {
            let token = self.call.locks.of_guard(number).map_or(0, HeldLock::token);
            return self.guard(Guard { number, key, token });
        }
        let recorded = self.recorder_slot.recorder().map(|recorder| (recorder, format!("lock.acquire {full}")));
        if let Some((recorder, question)) = recorded.as_ref().filter(|(recorder, _)| recorder.is_replaying()) {
            // A guard without a lock, which no other call sees. The same again has the number that it had.
            let token = recorder.find::<Option<u64>, StoreError>(question).unwrap_or(Ok(Some(0)));
            return match self.answered(token)? {
                Some(token) => self.guard(Guard { number, key, token }),
                None => Err(not_free(&key, wait_ms)),
            };
        }
        let (store, context) = (self.shared_store(&key)?, &self.context);
        let claim = Claim::new(LockKey::new(self.prefix(), &key), &context.host, &context.plugin, ttl_ms);
        let left = self.call.deadline.saturating_duration_since(Instant::now());
        let answer = HeldLock::acquire(&store, &claim, Duration::from_millis(wait_ms).min(left)).await;
        if let Some((recorder, question)) = recorded {
            let token = answer.as_ref().map(|lock| lock.as_ref().map(HeldLock::token));
            recorder.note(question, token.as_ref().map_err(|error| *error));
        }
        let Some(lock) = self.answered(answer)? else {
            self.count("timed-out");
            return Err(not_free(&key, wait_ms));
        };
        self.count("acquired");
        let token = lock.token();
        self.call.keep(lock, number);
        self.guard(Guard { number, key, token })
    }
}

impl HostGuard for State {
    fn token(&mut self, guard: Resource<Guard>) -> u64 {
        self.table.get(&guard).map_or(0, |guard| guard.token)
    }

    async fn extend(&mut self, guard: Resource<Guard>, ttl_ms: u64) -> Result<(), Error> {
        self.counted()?;
        let (number, key) = self.known(&guard)?;
        check_ttl(&key, ttl_ms)?;
        if self.recorder_slot.replaying().is_some() {
            return Ok(());
        }
        let answer = match self.call.locks.of_guard(number) {
            Some(lock) => lock.extend(ttl_ms).await,
            None => Ok(false),
        };
        if self.answered(answer)? { Ok(()) } else { Err(lost(&key)) }
    }

    async fn release(&mut self, guard: Resource<Guard>) -> Result<(), Error> {
        let (number, key) = self.known(&guard)?;
        if self.recorder_slot.replaying().is_some() {
            return Ok(());
        }
        let is_held = match self.call.give_back(number) {
            GivenBack::Never => false,
            GivenBack::AfterCommit(is_lost) => !is_lost,
            GivenBack::Now(lock) => {
                let answer = lock.release().await;
                self.answered(answer)?
            }
        };
        if is_held { Ok(()) } else { Err(lost(&key)) }
    }

    async fn drop(&mut self, guard: Resource<Guard>) -> wasmtime::Result<()> {
        let guard = self.table.delete(guard)?;
        if let GivenBack::Now(lock) = self.call.give_back(guard.number) {
            sandbar_store::held_lock::release_all(&[lock]).await;
        }
        Ok(())
    }
}

impl State {
    /// Hands a guard to the plugin.
    fn guard(&mut self, guard: Guard) -> Result<Resource<Guard>, Error> {
        self.table.push(guard).map_err(|error| Error::Internal(format!("a guard could not be made: {error}")))
    }

    /// The number of a guard and the key of its lock.
    fn known(&self, guard: &Resource<Guard>) -> Result<(u64, String), Error> {
        let unknown = |error| Error::Internal(format!("a guard is not known: {error}"));
        self.table.get(guard).map(|guard| (guard.number, guard.key.clone())).map_err(unknown)
    }

    fn count(&self, outcome: &'static str) {
        let (tenant, plugin) = (self.context.tenant.clone(), self.context.plugin.clone());
        metrics::counter!("sandbar_locks_total", "tenant" => tenant, "plugin" => plugin, "outcome" => outcome)
            .increment(1);
    }
}

fn not_free(key: &str, wait_ms: u64) -> Error {
    Error::TimedOut(format!("`{key}` was not free within {wait_ms} ms"))
}

fn lost(key: &str) -> Error {
    Error::Conflict(format!("`{key}` is no longer held: it was lost, or given back before"))
}

fn check_ttl(key: &str, ttl_ms: u64) -> Result<(), Error> {
    if (TTL_MS_MIN..=TIME_MS_MAX).contains(&ttl_ms) {
        return Ok(());
    }
    Err(Error::Invalid(format!("a time to live of {ttl_ms} ms for `{key}`; {TTL_MS_MIN} to {TIME_MS_MAX} are allowed")))
}
