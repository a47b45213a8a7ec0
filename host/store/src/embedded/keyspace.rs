//! All keys with their values and times to live.
//!
//! Time stands still within one call: [`Keyspace::advance`] sets the instant of which everything until the next
//! one is true. A key that has expired is missing from then on, and is removed by the call that meets it or by the
//! sweep that comes with each advance, at most [`SWEEP_KEYS_MAX`] keys at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::glob;
use super::value::{Kind, Value};
use crate::{Page, Remaining, StoreError};

/// The most expired keys that one call removes beside its own work.
pub(super) const SWEEP_KEYS_MAX: usize = 64;

/// A key's place.
#[derive(Debug)]
struct KeyEntry {
    /// Its number in [`Keyspace::order`].
    number: u64,
    /// The last millisecond of its life.
    expires_ms: Option<u64>,
    value: Value,
}

impl KeyEntry {
    /// As in Redis, a key is still there in the millisecond in which its time to live reaches 0.
    fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| now_ms > expires_ms)
    }
}

/// The keys of a store.
#[derive(Debug, Default)]
pub(super) struct Keyspace {
    now_ms: u64,
    slots: HashMap<Arc<str>, KeyEntry>,
    /// Keys by age: a scan goes from the newest down, so that keys made during it do not lengthen it.
    order: BTreeMap<u64, Arc<str>>,
    /// Keys that expire: when, and their numbers in `order`.
    expiries: BTreeSet<(u64, u64)>,
    /// The number of the newest key.
    last_number: u64,
}

impl Keyspace {
    /// Sets the time, and sweeps.
    pub(super) fn advance(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        for _ in 0..SWEEP_KEYS_MAX {
            let Some(&(expires_ms, number)) = self.expiries.first() else { return };
            if now_ms <= expires_ms {
                return;
            }
            self.expiries.pop_first();
            if let Some(key) = self.order.get(&number).cloned() {
                self.delete(&key);
            }
        }
    }

    /// Milliseconds since 1970, as last set.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Whether there is such a key.
    pub(super) fn contains(&self, key: &str) -> bool {
        self.live(key).is_some()
    }

    /// How long a key has left.
    pub(super) fn remaining(&self, key: &str) -> Remaining {
        match self.live(key).map(|slot| slot.expires_ms) {
            None => Remaining::Missing,
            Some(None) => Remaining::Never,
            Some(Some(expires_ms)) => Remaining::Ms(expires_ms.saturating_sub(self.now_ms)),
        }
    }

    /// The value of a key, of one kind; [`StoreError::WrongType`] where it is of another.
    pub(super) fn get<T: Kind>(&self, key: &str) -> Result<Option<&T>, StoreError> {
        self.live(key).map(|slot| slot.value.as_kind(key)).transpose()
    }

    /// Sets a key to a value of any kind, whatever it held. `keep_ttl` leaves its time to live, else it has
    /// none afterwards.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>, keep_ttl: bool) {
        self.drop_expired(key);
        match self.slots.get_mut(key) {
            Some(slot) => {
                slot.value = value.into();
                let number = slot.number;
                if !keep_ttl && let Some(expires_ms) = slot.expires_ms.take() {
                    self.expiries.remove(&(expires_ms, number));
                }
            }
            None => {
                self.last_number += 1;
                let key: Arc<str> = Arc::from(key);
                self.order.insert(self.last_number, Arc::clone(&key));
                self.slots.insert(key, KeyEntry { number: self.last_number, expires_ms: None, value: value.into() });
            }
        }
    }

    /// Gives a key a last millisecond; a missing key stays missing.
    pub(super) fn expire(&mut self, key: &str, expires_ms: u64) {
        self.drop_expired(key);
        if let Some(slot) = self.slots.get_mut(key) {
            if let Some(old) = slot.expires_ms.replace(expires_ms) {
                self.expiries.remove(&(old, slot.number));
            }
            self.expiries.insert((expires_ms, slot.number));
        }
    }

    /// Removes a key of any kind; a missing key stays missing.
    pub(super) fn delete(&mut self, key: &str) {
        let Some(slot) = self.slots.remove(key) else { return };
        self.order.remove(&slot.number);
        if let Some(expires_ms) = slot.expires_ms {
            self.expiries.remove(&(expires_ms, slot.number));
        }
    }

    /// Changes the value of a key, which is made where it is missing and goes away where it vanishes.
    /// A change that fails must have changed nothing.
    pub(super) fn update<T: Kind, R>(
        &mut self,
        key: &str,
        change: impl FnOnce(&mut T) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        self.drop_expired(key);
        let Some(slot) = self.slots.get_mut(key) else {
            let mut value = T::default();
            let answer = change(&mut value)?;
            if !value.vanishes() {
                self.set(key, value, false);
            }
            return Ok(answer);
        };
        let value: &mut T = slot.value.as_kind_mut(key)?;
        let answer = change(value)?;
        if value.vanishes() {
            self.delete(key);
        }
        Ok(answer)
    }

    /// Changes the value of a key where it is there; the key goes away where the value vanishes.
    /// A change that fails must have changed nothing.
    pub(super) fn update_existing<T: Kind, R>(
        &mut self,
        key: &str,
        change: impl FnOnce(&mut T) -> Result<R, StoreError>,
    ) -> Result<Option<R>, StoreError> {
        if self.contains(key) { self.update(key, change).map(Some) } else { Ok(None) }
    }

    /// One step of a scan, which looks at up to `count` keys. The cursor is the number of the key looked at last.
    pub(super) fn scan(&self, pattern: &str, cursor: u64, count: usize) -> Page {
        let below = if cursor == 0 { u64::MAX } else { cursor };
        let mut older = self.order.range(..below).rev();
        let mut page = Page::default();
        let mut last = None;
        for (&number, key) in older.by_ref().take(count) {
            last = Some(number);
            if glob::matches(pattern.as_bytes(), key.as_bytes()) && self.contains(key) {
                page.keys.push(key.as_ref().to_owned());
            }
        }
        page.next = older.next().and(last);
        page
    }

    /// Copies of all values with their last milliseconds.
    #[cfg(test)]
    pub(super) fn contents(&self) -> BTreeMap<String, (Value, Option<u64>)> {
        let live = self.slots.iter().filter(|(_, slot)| !slot.is_expired(self.now_ms));
        live.map(|(key, slot)| (key.as_ref().to_owned(), (slot.value.clone(), slot.expires_ms))).collect()
    }

    fn live(&self, key: &str) -> Option<&KeyEntry> {
        self.slots.get(key).filter(|slot| !slot.is_expired(self.now_ms))
    }

    fn drop_expired(&mut self, key: &str) {
        if self.slots.get(key).is_some_and(|slot| slot.is_expired(self.now_ms)) {
            self.delete(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::Plain;
    use super::*;

    fn keyspace(keys: impl IntoIterator<Item = &'static str>) -> Keyspace {
        let mut keyspace = Keyspace::default();
        keys.into_iter().for_each(|key| keyspace.set(key, Plain::from(key), false));
        keyspace
    }

    #[test]
    fn a_key_is_missing_after_its_last_millisecond() {
        let mut keys = keyspace(["a"]);
        keys.expire("a", 5);
        keys.advance(5);
        assert_eq!(keys.remaining("a"), Remaining::Ms(0));
        keys.now_ms = 6;
        assert_eq!(keys.remaining("a"), Remaining::Missing);
        assert_eq!(keys.get::<Plain>("a"), Ok(None));
        assert!(keys.scan("*", 0, 10).keys.is_empty());
    }

    #[test]
    fn the_sweep_removes_what_nobody_asks_for_in_bounded_steps() {
        let mut keys = Keyspace::default();
        for number in 0..=SWEEP_KEYS_MAX {
            let key = number.to_string();
            keys.set(&key, Plain::new(), false);
            keys.expire(&key, 1);
        }
        keys.advance(2);
        assert_eq!((keys.slots.len(), keys.order.len(), keys.expiries.len()), (1, 1, 1));
        keys.advance(2);
        assert_eq!((keys.slots.len(), keys.order.len(), keys.expiries.len()), (0, 0, 0));
    }

    #[test]
    fn setting_drops_the_time_to_live_unless_told() {
        let mut keys = keyspace(["a"]);
        keys.expire("a", 5);
        keys.set("a", Plain::new(), true);
        assert_eq!(keys.remaining("a"), Remaining::Ms(5));
        keys.set("a", Plain::new(), false);
        assert_eq!(keys.remaining("a"), Remaining::Never);
        assert!(keys.expiries.is_empty());
    }

    #[test]
    fn a_key_made_anew_after_it_expired_does_not_expire() {
        let mut keys = keyspace(["a"]);
        keys.expire("a", 5);
        keys.now_ms = 6;
        keys.set("a", Plain::new(), true);
        assert_eq!(keys.remaining("a"), Remaining::Never);
    }

    #[test]
    fn a_scan_meets_all_that_stays_although_keys_come_and_go() {
        let mut keys = keyspace(["a", "b", "c", "d", "e"]);
        let first = keys.scan("*", 0, 2);
        assert_eq!(first.keys, ["e", "d"]);
        keys.set("new", Plain::new(), false);
        keys.delete("d");
        let second = keys.scan("*", first.next.unwrap(), 2);
        assert_eq!(second.keys, ["c", "b"]);
        let third = keys.scan("*", second.next.unwrap(), 2);
        assert_eq!((third.keys, third.next), (vec!["a".to_owned()], None));
    }
}
