//! Which keys have changed, for caches of values.
//!
//! A store tells of every change below the prefixes that are wanted, as far as it hears of it, and of its own commits
//! at once. While it cannot hear (its connection is down, or the server does not allow it), [`Changes::hears`] is
//! false and no copy may be kept. A copy may be answered only as long as it is certain that all changes were heard
//! until shortly before: the store asks its server for a sign of life again and again while somebody trusts it
//! ([`TRUST`]). So a change is never overlooked for longer, however late its news are, and whatever stands still
//! meanwhile. Listeners are called synchronously and must not wait.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound::{Included, Unbounded};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::Effect;

/// For how long what was heard is believed to be all, counted from when the last sign of life was asked for. It
/// bounds for how long an old value may be answered.
pub const TRUST: Duration = Duration::from_millis(40);

/// Receives the keys that change.
pub trait Listener: Send + Sync + fmt::Debug {
    /// The value under a key has changed, or may have.
    fn changed(&self, key: &str);
    /// Anything may have changed.
    fn lost(&self);
}

/// The changes of a store; cheap to clone.
#[derive(Debug, Clone)]
pub struct Changes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// By what their keys begin with: a change concerns few of many tenants, and the others cost it nothing.
    listeners: RwLock<BTreeMap<String, Vec<Weak<dyn Listener>>>>,
    wanted: Mutex<BTreeSet<String>>,
    /// Prefixes of which every change is heard now; empty while nothing is heard.
    heard: ArcSwap<Vec<String>>,
    /// From when on milliseconds are counted.
    origin: Instant,
    /// Until when what is heard is trusted, in milliseconds from `origin`.
    trusted_until_ms: AtomicU64,
    /// Trust was asked for since that was last looked at.
    is_needed: AtomicBool,
    /// A task waits for a sign of life.
    needed: Notify,
}

impl Changes {
    /// Nothing is heard yet.
    pub fn remote() -> Self {
        Self::new(Vec::new(), 0)
    }

    /// All keys are in this process, so every change is heard.
    pub fn local() -> Self {
        Self::new(vec![String::new()], u64::MAX)
    }

    fn new(heard: Vec<String>, trusted_until_ms: u64) -> Self {
        Self(Arc::new(Inner {
            listeners: RwLock::default(),
            wanted: Mutex::default(),
            heard: ArcSwap::from_pointee(heard),
            origin: Instant::now(),
            trusted_until_ms: AtomicU64::new(trusted_until_ms),
            is_needed: AtomicBool::new(false),
            needed: Notify::new(),
        }))
    }

    /// Notifies this listener of keys that begin with `prefix` from now on, as long as it lives.
    pub fn listen<L: Listener + 'static>(&self, prefix: &str, listener: &Arc<L>) {
        let weak: Weak<L> = Arc::downgrade(listener);
        let mut listeners = self.0.listeners.write();
        let same = listeners.entry(prefix.to_owned()).or_default();
        same.retain(|other| other.strong_count() > 0);
        same.push(weak);
    }

    /// Asks to hear of the keys that begin with this. True where that is new; the task that holds the connection must
    /// then be woken.
    pub(super) fn want(&self, prefix: &str) -> bool {
        let mut wanted = self.0.wanted.lock();
        if wanted.iter().any(|known| prefix.starts_with(known.as_str())) {
            return false;
        }
        wanted.retain(|known| !known.starts_with(prefix));
        wanted.insert(prefix.to_owned())
    }

    /// The prefixes that are wanted, none of which begins with another.
    pub(super) fn wanted(&self) -> Vec<String> {
        self.0.wanted.lock().iter().cloned().collect()
    }

    /// Whether every change of this key is heard.
    pub fn hears(&self, key: &str) -> bool {
        self.0.heard.load().iter().any(|prefix| key.starts_with(prefix.as_str()))
    }

    /// Whether what was heard so far is all that has happened until shortly before `now`.
    pub fn is_trusted(&self, now: Instant) -> bool {
        let trusted = self.ms(now) < self.0.trusted_until_ms.load(Ordering::Acquire);
        // Only the first to ask writes, so that readers do not disturb each other.
        if !self.0.is_needed.load(Ordering::Relaxed) {
            self.0.is_needed.store(true, Ordering::Relaxed);
        }
        if !trusted {
            self.0.needed.notify_one();
        }
        trusted
    }

    /// Whether trust was asked for since the last time.
    pub(super) fn was_needed(&self) -> bool {
        self.0.is_needed.swap(false, Ordering::Relaxed)
    }

    /// Waits until trust is asked for and not given. Cancel-safe.
    pub(super) async fn needed(&self) {
        self.0.needed.notified().await;
    }

    /// Every change of keys with these prefixes is heard from now on.
    pub fn hear(&self, prefixes: Vec<String>) {
        self.0.heard.store(Arc::new(prefixes));
    }

    /// Everything that happened before `at` was heard.
    pub fn alive(&self, at: Instant) {
        let until = self.ms(at).saturating_add(u64::try_from(TRUST.as_millis()).unwrap_or(u64::MAX));
        self.0.trusted_until_ms.fetch_max(until, Ordering::AcqRel);
    }

    /// A key has changed.
    pub(super) fn changed(&self, key: &str) {
        let listeners = self.0.listeners.read();
        let mut at = key;
        // What a key begins with stands before it, and before that only what begins with the same.
        while let Some((prefix, concerned)) = listeners.range::<str, _>((Unbounded, Included(at))).next_back() {
            let shared = common_prefix(key, prefix);
            if shared.len() < prefix.len() {
                at = shared;
                continue;
            }
            for listener in concerned.iter().filter_map(Weak::upgrade) {
                listener.changed(key);
            }
            let Some((last, _)) = prefix.char_indices().next_back() else { break };
            at = key.get(..last).unwrap_or_default();
        }
    }

    /// These effects were made. Messages change nothing.
    pub(super) fn made(&self, effects: &[Effect]) {
        for effect in effects.iter().filter(|effect| !matches!(effect, Effect::Publish { .. })) {
            self.changed(effect.key());
        }
    }

    /// Something may have changed without being heard.
    pub(super) fn missed(&self) {
        for listener in self.0.listeners.read().values().flatten().filter_map(Weak::upgrade) {
            listener.lost();
        }
    }

    /// Nothing is heard any more.
    pub(super) fn lost(&self) {
        self.0.heard.store(Arc::default());
        self.missed();
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.0.origin).as_millis()).unwrap_or(u64::MAX)
    }
}

/// What both begin with.
pub(crate) fn common_prefix<'a>(a: &'a str, b: &str) -> &'a str {
    let end = a.char_indices().zip(b.chars()).find(|((_, x), y)| x != y).map(|((at, _), _)| at);
    a.get(..end.unwrap_or(a.len().min(b.len()))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Listener for Heard {
        fn changed(&self, key: &str) {
            self.0.lock().push(key.to_owned());
        }

        fn lost(&self) {}
    }

    proptest! {
        #[test]
        fn those_are_told_whose_keys_begin_so(prefixes in prop::collection::vec("[ab:é]{0,4}", 0..30), key in "[ab:é]{0,6}") {
            let changes = Changes::remote();
            let listeners: Vec<Arc<Heard>> = prefixes.iter().map(|_| Arc::default()).collect();
            for (prefix, listener) in prefixes.iter().zip(&listeners) {
                changes.listen(prefix, listener);
            }
            changes.changed(&key);
            for (prefix, listener) in prefixes.iter().zip(&listeners) {
                prop_assert_eq!(listener.0.lock().len(), usize::from(key.starts_with(prefix.as_str())), "{}", prefix);
            }
        }
    }

    #[test]
    fn messages_change_nothing() {
        let (changes, told) = (Changes::local(), Arc::new(Heard::default()));
        changes.listen("a", &told);
        let message = Effect::Publish { channel: "a:channel".to_owned(), payload: bytes::Bytes::new() };
        changes.made(&[message, Effect::Delete { key: "a:key".to_owned() }, Effect::Delete { key: "b".to_owned() }]);
        assert_eq!(*told.0.lock(), ["a:key"]);
    }

    #[test]
    fn trust_ends_without_a_sign_of_life() {
        let (changes, now) = (Changes::remote(), Instant::now());
        assert!(!changes.is_trusted(now), "nothing was heard yet");
        changes.alive(now);
        assert!(changes.is_trusted(now) && changes.is_trusted(now + TRUST / 2));
        assert!(!changes.is_trusted(now + TRUST + Duration::from_millis(1)));
        assert!(changes.was_needed() && !changes.was_needed());
        assert!(Changes::local().is_trusted(now + Duration::from_secs(1_000_000)));
    }

    #[test]
    fn wanted_prefixes_do_not_overlap() {
        let changes = Changes::remote();
        assert!(changes.want("t:quote:") && changes.want("t:ind:"));
        assert!(!changes.want("t:quote:"), "it is wanted already");
        assert_eq!(changes.wanted(), ["t:ind:", "t:quote:"]);
        assert!(changes.want("t:") && !changes.want("t:kline:"));
        assert_eq!(changes.wanted(), ["t:"]);
        assert!(!changes.hears("t:quote:a"));
        changes.hear(changes.wanted());
        assert!(changes.hears("t:quote:a") && !changes.hears("other"));
        changes.lost();
        assert!(!changes.hears("t:quote:a"));
    }
}
