//! One call of a plugin: what it gathers while it runs.
//!
//! Bookkeeping, bounded by the plugin's limits. The call ends as a [`Gathered`] list of writes and the values it
//! watched, with the locks that it holds and the jobs that it took; whether and how they are committed is decided
//! elsewhere.

mod budget;
mod locks;
mod takes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

pub use budget::{Budget, CallLimit};
use sandbar_store::combine::Gathered;
use sandbar_store::held_lock::HeldLock;
use sandbar_store::{Consumer, Effect, Epoch, Lease};
pub use takes::{TAKES_MAX, Takes};

pub use locks::{GUARDS_MAX, GivenBack, Guard, LOCKS_MAX, Locks, Untakable};

/// The most keys that one call may rely on with `get-for-update`.
pub const WATCHED_KEYS_MAX: usize = 256;

/// Writes that room is made for, for each event of a call.
const WRITES_AN_EVENT: usize = 2;

/// On whose scope a call commits by itself.
#[derive(Debug, Clone)]
pub enum CommitScope {
    /// A consumer of a stream, and the epoch in which the batch was read.
    Consumer(Arc<Consumer>, Epoch),
    /// The lease of a batch of jobs.
    Lease(Lease),
}

/// Which keys a call loads for `cache.fetch`, with those whose loads wait for it: it may not wait for any of them.
#[derive(Debug, Clone, Default)]
pub struct Lineage {
    /// The keys, with the tenant's prefix.
    pub keys: Arc<[String]>,
    /// How deep the load is nested; 0 outside of a load.
    pub depth: u32,
}

/// A call that is running.
#[derive(Debug)]
pub struct Call {
    /// When it is ended.
    pub deadline: Instant,
    /// Whose events it handles; none outside of a delivery.
    pub scope: Option<CommitScope>,
    /// Ids of the batch's events.
    pub events: Arc<[String]>,
    /// Whether what stands in for the store may serve it while the store is away. Calls that were made for an event
    /// or for a tick wait for the store that it came from.
    pub falls_back: bool,
    /// Which event writes belong to now.
    pub current: Option<u32>,
    /// A host call was answered `unavailable` or `timed-out`: the plugin's verdict may not be the event's fault.
    pub store_failed: bool,
    /// Log lines written so far.
    pub log_lines: u32,
    /// The locks that it holds.
    pub locks: Locks,
    /// What every commit of the call relies on, from the beginning.
    standing: Vec<(String, Option<Bytes>)>,
    /// What it loads.
    pub lineage: Lineage,
    writes: Vec<Gathered>,
    write_bytes: u64,
    by_key: HashMap<String, Vec<usize>>,
    watched: Vec<(String, Option<Bytes>)>,
    /// Jobs taken so far.
    pub taken: Takes,
    /// What it may still use.
    pub budget: Budget,
    /// The value that was written last.
    last_value: Bytes,
    /// Why it was interrupted; none where it was not.
    pub interrupted: Option<Interrupted>,
}

/// Why a call was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupted {
    /// Its deadline has passed.
    Deadline,
    /// It has held a thread for as long as it may.
    Cpu,
}

/// What a call has gathered when it ends.
#[derive(Debug, Default)]
pub struct FinishedCall {
    /// Its writes, in order.
    pub writes: Vec<Gathered>,
    /// Watched keys with the values that it read.
    pub watched: Vec<(String, Option<Bytes>)>,
    /// Jobs that it took.
    pub taken: Takes,
    /// See [`Call::store_failed`].
    pub store_failed: bool,
    /// Its locks, which are to be kept until the writes are committed. Dropping them gives them back.
    pub locks: Vec<HeldLock>,
}

impl Call {
    /// A call that begins.
    pub fn new(deadline: Instant, scope: Option<CommitScope>, events: Arc<[String]>, budget: Budget) -> Self {
        Self {
            deadline,
            scope,
            falls_back: false,
            current: None,
            store_failed: false,
            log_lines: 0,
            locks: Locks::default(),
            standing: Vec::new(),
            lineage: Lineage::default(),
            writes: Vec::with_capacity(events.len().saturating_mul(WRITES_AN_EVENT)),
            write_bytes: 0,
            by_key: HashMap::new(),
            watched: Vec::new(),
            taken: Takes::default(),
            budget,
            events,
            last_value: Bytes::new(),
            interrupted: None,
        }
    }

    /// A value that is to be written. One that is the same as the one before it takes no memory of its own: what is
    /// published is often set under a key as well.
    pub fn value(&mut self, value: Vec<u8>) -> Bytes {
        if self.last_value != value {
            self.last_value = Bytes::from(value);
        }
        self.last_value.clone()
    }

    /// Gathers a write of about so many bytes.
    pub fn write(&mut self, effect: Effect, bytes: usize) -> Result<(), CallLimit> {
        if self.writes.len() >= usize::try_from(self.budget.effects).unwrap_or(usize::MAX) {
            return Err(CallLimit::Effects(self.budget.effects));
        }
        let total = self.write_bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if total > self.budget.effect_bytes {
            return Err(CallLimit::EffectBytes(self.budget.effect_bytes));
        }
        self.write_bytes = total;
        if !self.by_key.is_empty() {
            self.index(&effect, self.writes.len());
        }
        self.writes.push(Gathered { effect, event: self.current });
        Ok(())
    }

    /// Begins with writes that were gathered before it.
    pub fn go_on_from(&mut self, writes: Vec<Gathered>) {
        self.writes = writes;
    }

    /// The writes to a key so far, in order. The index is only made when a call asks for it: most handlers never read
    /// what they have written.
    pub fn writes_to(&mut self, key: &str) -> impl Iterator<Item = &Effect> {
        if self.by_key.is_empty() {
            let writes = std::mem::take(&mut self.writes);
            writes.iter().enumerate().for_each(|(at, write)| self.index(&write.effect, at));
            self.writes = writes;
        }
        let at = self.by_key.get(key).map(Vec::as_slice).unwrap_or_default();
        at.iter().filter_map(|at| self.writes.get(*at)).map(|write| &write.effect)
    }

    fn index(&mut self, effect: &Effect, at: usize) {
        if !matches!(effect, Effect::Publish { .. }) {
            self.by_key.entry(effect.key().to_owned()).or_default().push(at);
        }
    }

    /// Notes that the call relies on a value. The first value counts: that is what the plugin built upon.
    pub fn watch_key(&mut self, key: &str, value: Option<Bytes>) -> Result<(), CallLimit> {
        if self.watched.iter().any(|(known, _)| known == key) {
            return Ok(());
        }
        if self.watched.len() >= WATCHED_KEYS_MAX {
            return Err(CallLimit::WatchedKeys);
        }
        self.watched.push((key.to_owned(), value));
        Ok(())
    }

    /// Lets every commit of the call rely on these values.
    pub fn watch_always(&mut self, standing: Vec<(String, Option<Bytes>)>) {
        self.standing = standing;
    }

    /// Keeps a lock for the guard of this number.
    pub fn keep(&mut self, lock: HeldLock, guard: u64) {
        self.locks.keep(lock, guard, self.writes.len());
    }

    /// Gives the lock of a guard back, or notes that it is to be given back after the commit.
    pub fn give_back(&mut self, guard: u64) -> GivenBack {
        self.locks.give_back(guard, self.writes.len())
    }

    /// What was gathered so far.
    pub fn writes(&self) -> &[Gathered] {
        &self.writes
    }

    /// Takes what was gathered so far out of the call. The locks stay.
    pub fn take(&mut self) -> FinishedCall {
        self.write_bytes = 0;
        self.last_value = Bytes::new();
        self.by_key.clear();
        let mut watched = self.standing.clone();
        watched.extend(self.locks.watched(self.writes.len()));
        watched.append(&mut self.watched);
        FinishedCall {
            writes: std::mem::take(&mut self.writes),
            watched,
            taken: std::mem::take(&mut self.taken),
            store_failed: self.store_failed,
            locks: Vec::new(),
        }
    }

    /// Ends the call: the same with its locks.
    pub fn end(&mut self) -> FinishedCall {
        let ended = self.take();
        FinishedCall { locks: self.locks.take(), ..ended }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbar_core::manifest::Limits;

    fn call() -> Call {
        let limits = Limits { effects: 3, effect_bytes: bytesize::ByteSize(100), ..Limits::default() };
        Call::new(Instant::now(), None, Arc::default(), Budget::new(&limits))
    }

    fn add(key: &str) -> Effect {
        Effect::Add { key: key.to_owned(), by: 1 }
    }

    #[test]
    fn limits_are_named() {
        let mut call = call();
        assert_eq!(call.write(add("a"), 101), Err(CallLimit::EffectBytes(100)));
        for _ in 0..3 {
            call.write(add("a"), 10).unwrap();
        }
        assert!(call.write(add("a"), 1).unwrap_err().to_string().contains("limits.effects"));
        call.take();
        assert_eq!(call.write(add("a"), 100), Ok(()), "a commit makes room");
    }

    #[test]
    fn writes_are_found_by_key_before_and_after_the_index_is_made() {
        let mut call = call();
        call.write(add("a"), 1).unwrap();
        assert_eq!(call.writes_to("a").count(), 1);
        call.write(add("a"), 1).unwrap();
        call.write(add("b"), 1).unwrap();
        assert_eq!((call.writes_to("a").count(), call.writes_to("b").count(), call.writes_to("c").count()), (2, 1, 0));
    }

    #[test]
    fn a_value_that_is_the_same_as_the_one_before_is_kept_once() {
        let mut call = call();
        let values = [call.value(vec![7; 9]), call.value(vec![7; 9]), call.value(vec![8; 9]), call.value(vec![8; 8])];
        assert_eq!(values, [vec![7; 9], vec![7; 9], vec![8; 9], vec![8; 8]]);
        let [first, second, third, last] = values.map(|value| value.as_ptr());
        assert_eq!(first, second);
        assert!(second != third && third != last);
        let value = call.value(vec![9; 9]);
        call.take();
        assert!(value.is_unique(), "an idle instance keeps nothing");
    }

    #[test]
    fn the_first_watched_value_counts() {
        let mut call = call();
        call.watch_key("a", None).unwrap();
        call.watch_key("a", Some(Bytes::from_static(b"later"))).unwrap();
        assert_eq!(call.take().watched, [("a".to_owned(), None)]);
    }
}
