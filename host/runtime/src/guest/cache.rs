//! `sandbar:plugin/cache`.

use bytes::Bytes;

use super::check;
use super::state::State;
use crate::bindings::sandbar::plugin::cache::{Condition, Expiry, FetchPolicy, Host, Page, Remaining};
use crate::bindings::sandbar::plugin::types::Error;
use crate::replay::Recorder;
use crate::tiered_cache::policy::Policy;
use crate::tiered_cache::{Fetch, FetchError};
use sandbar_core::pattern::escape_glob;
use sandbar_store::pending_writes::{self, PendingValue, Seen};
use sandbar_store::{Effect, LoadSlot, StoreError};

/// The most keys of `get-many`, and the largest hint of `scan`.
const KEYS_MAX: u32 = 1000;

impl Host for State {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, Error> {
        let full = self.readable(&key)?;
        self.look(&full).await.map(|value| value.map(Vec::from))
    }

    async fn get_many(&mut self, keys: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, Error> {
        check::parts("get-many", "keys", keys.len())?;
        let full = keys.iter().map(|key| self.readable(key)).collect::<Result<Vec<_>, _>>()?;
        let store = self.store();
        let mut values: Vec<Option<Vec<u8>>> = Vec::with_capacity(full.len());
        // No more at once than the call may still read, if each is as large as a value may be.
        while let Some(rest) = full.get(values.len()..).filter(|rest| !rest.is_empty()) {
            let count = self.call.budget.values_at_once(self.context.limits.value_bytes.as_u64()).min(rest.len());
            let some = rest.get(..count).unwrap_or(rest);
            let answer =
                self.recorder_slot.ask(|| format!("cache.get-many {}", some.join(" ")), store.get_many(some)).await;
            values.extend(self.answered(answer)?.into_iter().map(|value| value.map(Vec::from)));
        }
        for (key, value) in full.iter().zip(&mut values) {
            if self.call.writes_to(key).next().is_some() {
                // A key of another kind answers none here, so what the writes make of it has to be looked at alone.
                *value = match self.look(key).await {
                    Err(Error::WrongType(_)) => None,
                    seen => seen?.map(Vec::from),
                };
            }
        }
        Ok(values)
    }

    async fn ttl(&mut self, key: String) -> Result<Remaining, Error> {
        let full = self.readable(&key)?;
        let seen = self.see(&full, true).await?;
        Ok(match seen.ttl {
            sandbar_store::Remaining::Missing => Remaining::Missing,
            sandbar_store::Remaining::Never => Remaining::Never,
            sandbar_store::Remaining::Ms(ms) => Remaining::Ms(ms),
        })
    }

    async fn scan(&mut self, pattern: String, cursor: u64, count: u32) -> Result<Page, Error> {
        self.scannable(&pattern)?;
        check::count(&pattern, count, KEYS_MAX)?;
        let (store, full) = (self.store(), format!("{}{pattern}", escape_glob(self.prefix())));
        let answer = self
            .recorder_slot
            .ask(|| format!("cache.scan {full} {cursor} {count}"), store.scan(&full, cursor, count))
            .await;
        let page = self.answered(answer)?;
        let prefix = self.prefix();
        let granted = |key: &&str| self.allowed(|policy| policy.read(key)).is_ok();
        let keys = page.keys.iter().filter_map(|key| key.strip_prefix(prefix)).filter(granted).map(str::to_owned);
        Ok(Page { keys: keys.collect(), next: page.next })
    }

    async fn get_for_update(&mut self, key: String) -> Result<Option<Vec<u8>>, Error> {
        let full = self.readable(&key)?;
        let store = self.store();
        let answer = self.recorder_slot.ask(|| format!("cache.get {full}"), store.get(&full)).await;
        let value = self.answered(answer)?;
        self.call.watch_key(&full, value.clone()).map_err(|limit| self.limited(&limit))?;
        let mut seen = Seen {
            value: value.map_or(PendingValue::Nothing, PendingValue::Plain),
            ttl: sandbar_store::Remaining::Never,
        };
        self.call.writes_to(&full).for_each(|effect| seen.apply(effect));
        plain(&key, seen.value).map(|value| value.map(Vec::from))
    }

    async fn fetch(&mut self, key: String, policy: FetchPolicy) -> Result<Option<Vec<u8>>, Error> {
        let full = self.readable(&key)?;
        let policy = Policy::from(policy);
        policy.check().map_err(|error| Error::Invalid(format!("`{key}`: {error}")))?;
        if self.call.writes_to(&full).any(pending_writes::decides) {
            return self.look(&full).await.map(|value| value.map(Vec::from));
        }
        let mut seen = match self.read_through(&key, &policy).await {
            Err(Error::WrongType(_)) if self.call.writes_to(&full).next().is_some() => PendingValue::Other,
            found => found?.map_or(PendingValue::Nothing, PendingValue::Plain),
        };
        if self.call.writes_to(&full).next().is_some() {
            let mut written = Seen { value: seen, ttl: sandbar_store::Remaining::Never };
            self.call.writes_to(&full).for_each(|effect| written.apply(effect));
            seen = written.value;
        }
        plain(&key, seen).map(|value| value.map(Vec::from))
    }

    async fn increment(&mut self, key: String, by: i64) -> Result<i64, Error> {
        let full = self.writable(&key)?;
        if self.call.writes_to(&full).next().is_some() {
            return Err(Error::Invalid(format!(
                "`{key}` was written by this call, and the write waits for the commit: use `add` instead of `increment`"
            )));
        }
        let (outage, store) = (self.outage().cloned(), self.context.store.clone());
        let live = async {
            match outage {
                Some(outage) => outage.increment(&full, by).await,
                None => store.increment(&full, by).await,
            }
        };
        let pretended = async |recorder: &Recorder| {
            let value = store.get(&full).await?;
            let number = value.and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok());
            Ok(recorder.pretend(&full, number.unwrap_or(0), by))
        };
        let answer = self.recorder_slot.act(|| format!("cache.increment {full} {by}"), live, pretended).await;
        self.answered(answer)
    }

    fn set(&mut self, key: String, value: Vec<u8>, expiry: Expiry, condition: Condition) -> Result<(), Error> {
        self.may_write(&key)?;
        let value = self.value(&key, value)?;
        let expiry = match expiry {
            Expiry::Never => sandbar_store::Expiry::Never,
            Expiry::KeepTtl => sandbar_store::Expiry::KeepTtl,
            Expiry::TtlMs(ms) => sandbar_store::Expiry::TtlMs(check::ttl_ms(&key, ms)?),
        };
        let condition = match condition {
            Condition::Always => sandbar_store::Condition::Always,
            Condition::IfAbsent => sandbar_store::Condition::IfAbsent,
            Condition::IfPresent => sandbar_store::Condition::IfPresent,
        };
        let bytes = value.len();
        self.write(Effect::Set { key: self.full(key), value, expiry, condition }, bytes)
    }

    fn delete(&mut self, key: String) -> Result<(), Error> {
        let full = self.writable(&key)?;
        self.write(Effect::Delete { key: full }, 0)?;
        // What `fetch` remembers of the key goes with it, also where the key itself has expired.
        let LoadSlot { note, .. } = LoadSlot::new(self.prefix(), &key);
        self.write(Effect::Delete { key: note }, 0)
    }

    fn expire(&mut self, key: String, ttl_ms: u64) -> Result<(), Error> {
        let full = self.writable(&key)?;
        let ttl_ms = check::ttl_ms(&key, ttl_ms)?;
        self.write(Effect::Expire { key: full, ttl_ms }, 0)
    }

    fn add(&mut self, key: String, by: i64) -> Result<(), Error> {
        let full = self.writable(&key)?;
        self.write(Effect::Add { key: full, by }, 0)
    }
}

impl State {
    /// The value of a key through all tiered_cache.
    async fn read_through(&mut self, key: &str, policy: &Policy) -> Result<Option<Bytes>, Error> {
        let (until, lineage) = (self.call.deadline, self.call.lineage.clone());
        let context = self.context.clone();
        if let Some(recorder) = self.recorder_slot.replaying() {
            // Nothing is loaded, and nothing kept.
            let full = self.prefixed(key);
            let live = async { context.store.get(&full).await.map_err(Error::from) };
            return recorder.ask(format!("cache.fetch {full}"), live).await;
        }
        let fetch = Fetch { key, policy, loader: context.loader.as_deref(), until, lineage: &lineage };
        let found: Result<(Option<Bytes>, _), Error> =
            context.tiered_cache.fetch(fetch).await.map_err(|error| match error {
                FetchError::Store(error) => {
                    self.call.store_failed |= error.is_transient();
                    error.into()
                }
                FetchError::Failed(_) => Error::Unavailable(format!("`{key}`: {error}")),
                FetchError::TimedOut => Error::TimedOut(format!("`{key}`: {error}")),
                FetchError::Recursive => Error::Invalid(format!("`{key}`: {error}")),
                FetchError::TooMany => Error::Limit(format!("`{key}`: {error}")),
            });
        let found = found.map(|(value, _)| value);
        if let Some(recorder) = self.recorder_slot.recording() {
            recorder.note(format!("cache.fetch {}", self.prefixed(key)), found.as_ref());
        }
        let value = found?;
        self.read(&value)?;
        Ok(value)
    }

    /// The value of a key as this call would leave it.
    async fn look(&mut self, full: &str) -> Result<Option<Bytes>, Error> {
        if self.call.writes_to(full).next().is_none() {
            let store = self.store();
            let answer = self.recorder_slot.ask(|| format!("cache.get {full}"), store.get(full)).await;
            return self.answered(answer);
        }
        let seen = self.see(full, false).await?;
        plain(full, seen.value)
    }

    /// A key as this call would leave it. The store is asked only where the writes do not decide by themselves.
    async fn see(&mut self, full: &str, with_ttl: bool) -> Result<Seen, Error> {
        let mut seen = Seen::MISSING;
        if !self.call.writes_to(full).any(pending_writes::decides) {
            let store = self.store();
            let conditional = self.call.writes_to(full).next().is_some();
            seen.ttl = if with_ttl || conditional {
                let answer = self.recorder_slot.ask(|| format!("cache.ttl {full}"), store.ttl(full)).await;
                self.answered(answer)?
            } else {
                sandbar_store::Remaining::Never
            };
            seen.value = match self.recorder_slot.ask(|| format!("cache.get {full}"), store.get(full)).await {
                Err(StoreError::WrongType(_)) => PendingValue::Other,
                answer => self.answered(answer)?.map_or(PendingValue::Nothing, PendingValue::Plain),
            };
        }
        self.call.writes_to(full).for_each(|effect| seen.apply(effect));
        Ok(seen)
    }
}

fn plain(key: &str, held: PendingValue) -> Result<Option<Bytes>, Error> {
    match held {
        PendingValue::Nothing => Ok(None),
        PendingValue::Plain(value) => Ok(Some(value)),
        PendingValue::Other => Err(Error::WrongType(format!("`{key}` holds another kind of value"))),
    }
}

impl From<FetchPolicy> for Policy {
    fn from(policy: FetchPolicy) -> Self {
        Self {
            ttl_ms: policy.ttl_ms,
            jitter_percent: policy.jitter_percent,
            memory_ttl_ms: policy.memory_ttl_ms,
            negative_ttl_ms: policy.negative_ttl_ms,
            stale_while_revalidate_ms: policy.stale_while_revalidate_ms,
            stale_on_error_ms: policy.stale_on_error_ms,
        }
    }
}
