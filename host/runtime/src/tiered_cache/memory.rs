//! The first tier: copies of values in this process, bounded by their bytes.
//!
//! A copy is answered only while the store is known to tell of every change (see [`Changes`]), and never longer than
//! the store keeps the value. An invalidation that comes between the read of a value and its insertion wins: a
//! [`Reading`] begun before it inserts nothing.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moka::Expiry;
use moka::sync::Cache;
use parking_lot::Mutex;

use sandbar_store::Changes;

/// What an entry takes beside its key and value, roughly, in bytes.
const ENTRY_OVERHEAD_BYTES: usize = 256;
/// Invalidations are distinguished by the hash of their key, in so many parts.
const SHARDS: usize = 64;
/// After this part of the bound has been inserted, what is over it is evicted at once and not in the background.
const SETTLE_PART: u64 = 16;

/// Copies of values.
#[derive(Debug)]
pub(super) struct Memory {
    cache: Cache<Arc<str>, Entry>,
    changes: Changes,
    /// Something was read to be kept: before that, changes are none of our business.
    used: AtomicBool,
    hasher: RandomState,
    /// How many invalidations each part has seen. Held while entries come and go.
    shards: Vec<Mutex<u64>>,
    /// How often all entries were dropped; those of an earlier epoch are over.
    epoch: AtomicU64,
    bytes_max: u64,
    /// Bytes inserted since the bound was last enforced.
    unsettled: AtomicU64,
}

/// A copy.
#[derive(Debug, Clone)]
struct Entry {
    /// The value; none where the source has nothing.
    value: Option<Bytes>,
    /// When it was read.
    read_at: Instant,
    /// When the store no longer keeps it, or the one who read it no longer wants it.
    until: Instant,
    epoch: u64,
}

/// The state of a key's invalidations before it is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    shard: usize,
    generation: u64,
    epoch: u64,
    at: Instant,
}

/// Entries go by themselves when they are over.
struct Until;

impl Expiry<Arc<str>, Entry> for Until {
    fn expire_after_create(&self, _: &Arc<str>, entry: &Entry, created_at: Instant) -> Option<Duration> {
        Some(entry.until.saturating_duration_since(created_at))
    }

    fn expire_after_update(
        &self,
        _: &Arc<str>,
        entry: &Entry,
        updated_at: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.until.saturating_duration_since(updated_at))
    }
}

impl Memory {
    /// An empty memory of so many bytes, keys and an overhead for each entry included.
    pub(super) fn new(bytes_max: u64, changes: Changes) -> Self {
        let cache = Cache::builder().max_capacity(bytes_max).weigher(weight).expire_after(Until).build();
        Self {
            cache,
            changes,
            used: AtomicBool::new(false),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::new(0)).collect(),
            epoch: AtomicU64::new(0),
            bytes_max,
            unsettled: AtomicU64::new(0),
        }
    }

    /// What is known of a key that was read at most `age` ago; an inner none stands for a source that has nothing.
    pub(super) fn get(&self, key: &str, age: Duration) -> Option<Option<Bytes>> {
        let entry = self.cache.get(key)?;
        let now = Instant::now();
        let fresh = now < entry.until && now.saturating_duration_since(entry.read_at) < age;
        let known = entry.epoch == self.epoch.load(Ordering::Acquire) && self.changes.is_trusted(now);
        (fresh && known).then_some(entry.value)
    }

    /// Begins to read a key that is to be kept; none where nothing would tell of its changes.
    pub(super) fn begin(&self, key: &str) -> Option<Reading> {
        self.used.store(true, Ordering::SeqCst);
        let (shard, at) = (self.shard(key), Instant::now());
        let epoch = self.epoch.load(Ordering::SeqCst);
        let generation = *self.shards.get(shard)?.lock();
        self.changes.hears(key).then_some(Reading { shard, generation, epoch, at })
    }

    /// Keeps what was read for so long, counted from the beginning of the reading.
    pub(super) fn insert(&self, key: &Arc<str>, reading: Reading, value: Option<Bytes>, ttl: Duration) {
        let entry = Entry { value, read_at: reading.at, until: reading.at + ttl, epoch: reading.epoch };
        let bytes = u64::from(weight(key, &entry));
        if bytes > self.bytes_max {
            return;
        }
        {
            let Some(shard) = self.shards.get(reading.shard) else { return };
            let generation = shard.lock();
            if *generation != reading.generation || self.epoch.load(Ordering::SeqCst) != reading.epoch {
                return;
            }
            self.cache.insert(key.clone(), entry);
        }
        let unsettled = self.unsettled.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if unsettled > self.bytes_max / SETTLE_PART {
            self.unsettled.store(0, Ordering::Relaxed);
            self.cache.run_pending_tasks();
        }
    }

    /// Drops a key.
    pub(super) fn drop(&self, key: &str) {
        if !self.used.load(Ordering::SeqCst) {
            return;
        }
        let Some(shard) = self.shards.get(self.shard(key)) else { return };
        let mut generation = shard.lock();
        *generation = generation.wrapping_add(1);
        self.cache.invalidate(key);
    }

    /// Drops everything.
    pub(super) fn clear(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.cache.invalidate_all();
    }

    /// How many bytes the entries take, as far as is known without waiting.
    pub(super) fn bytes(&self) -> u64 {
        self.cache.weighted_size()
    }

    /// The same after all that waits was done.
    pub(super) fn settled_bytes(&self) -> u64 {
        self.cache.run_pending_tasks();
        self.cache.weighted_size()
    }

    fn shard(&self, key: &str) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default()
    }
}

fn weight(key: &Arc<str>, entry: &Entry) -> u32 {
    let bytes = key.len() + entry.value.as_ref().map_or(0, Bytes::len) + ENTRY_OVERHEAD_BYTES;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbar_store::TRUST;

    const LONG: Duration = Duration::from_secs(60);

    fn memory(bytes_max: u64) -> Memory {
        Memory::new(bytes_max, Changes::local())
    }

    fn key(number: usize) -> Arc<str> {
        Arc::from(format!("k:{number}"))
    }

    #[test]
    fn what_is_kept_is_answered_until_it_is_over() {
        let memory = memory(1 << 20);
        let key = key(1);
        assert_eq!(memory.get(&key, LONG), None);
        let reading = memory.begin(&key).unwrap();
        memory.insert(&key, reading, Some(Bytes::from_static(b"v")), LONG);
        assert_eq!(memory.get(&key, LONG), Some(Some(Bytes::from_static(b"v"))));
        assert_eq!(memory.get(&key, Duration::ZERO), None, "older than the caller wants");
        memory.insert(&key, reading, None, Duration::ZERO);
        assert_eq!(memory.get(&key, LONG), None, "over");
        memory.insert(&key, reading, None, LONG);
        assert_eq!(memory.get(&key, LONG), Some(None), "the source has nothing");
        memory.drop(&key);
        assert_eq!(memory.get(&key, LONG), None);
        memory.insert(&key, memory.begin(&key).unwrap(), None, LONG);
        memory.clear();
        assert_eq!(memory.get(&key, LONG), None);
    }

    #[test]
    fn an_invalidation_during_a_read_wins() {
        let memory = memory(1 << 20);
        for invalidate in [(|memory: &Memory| memory.drop("k:1")) as fn(&Memory), Memory::clear] {
            let reading = memory.begin("k:1").unwrap();
            invalidate(&memory);
            memory.insert(&key(1), reading, Some(Bytes::from_static(b"old")), LONG);
            assert_eq!(memory.get("k:1", LONG), None);
        }
    }

    #[test]
    fn nothing_is_answered_without_a_sign_of_life() {
        let changes = Changes::remote();
        let memory = Memory::new(1 << 20, changes.clone());
        assert!(memory.begin("k:1").is_none(), "nothing would tell of changes");
        changes.hear(vec!["k:".to_owned()]);
        memory.insert(&key(1), memory.begin("k:1").unwrap(), None, LONG);
        assert_eq!(memory.get("k:1", LONG), None, "nothing was heard yet");
        changes.alive(Instant::now() - TRUST / 2);
        assert_eq!(memory.get("k:1", LONG), Some(None));
        assert!(memory.begin("other").is_none());
    }

    #[test]
    fn the_bound_is_in_bytes() {
        let memory = memory(1 << 20);
        let value = Bytes::from(vec![7; 10_000]);
        for number in 0..2_000 {
            let key = key(number);
            let reading = memory.begin(&key).unwrap();
            memory.insert(&key, reading, Some(value.clone()), LONG);
            assert!(memory.bytes() <= (1 << 20) + (1 << 20) / SETTLE_PART, "{}", memory.bytes());
        }
        let bytes = memory.settled_bytes();
        assert!((1 << 19..=1 << 20).contains(&bytes), "{bytes}");
        let large = Bytes::from(vec![7; 2 << 20]);
        memory.insert(&key(0), memory.begin("k:0").unwrap(), Some(large), LONG);
        assert_ne!(memory.get("k:0", LONG).flatten().map(|value| value.len()), Some(2 << 20));
    }
}
