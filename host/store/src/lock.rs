//! Locks: one holder at a time, a number that orders the holders, and a line of those who wait.
//!
//! A lock is a plain value under the key that is named, which expires by itself: exactly what `SET key value NX PX
//! ttl` makes. So every client that sets and deletes that key in the usual way excludes, and is excluded. The value
//! is unique to its [`LockLease`], and nothing is ever done to a lock without comparing it.
//!
//! Who gives a lock back hands it to the first of the line in the same step, and tells him; a line is in the order of
//! arrival. Who dies without giving back is followed when the lock has expired, by the next client that looks.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::{Remaining, StoreError};

/// The most waiters of one lock.
pub const WAITERS_MAX: u32 = 4096;
/// The most locks that [`Lock::locks`] answers.
pub const LOCKS_MAX: usize = 10_000;

/// Where a lock is, and what Sandbar keeps beside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LockKey {
    /// The lock's key, with the tenant's prefix.
    pub key: String,
    /// The number of its last holder.
    pub token_key: String,
    /// List: the waiters, in the order of arrival.
    pub waiters_key: String,
}

impl LockKey {
    /// A lock with its keys. `prefix` is the tenant's; `name` comes without it.
    pub fn new(prefix: &str, name: &str) -> Self {
        let own = Self::own_keys(prefix);
        Self {
            key: format!("{prefix}{name}"),
            token_key: format!("{own}{name}{TOKEN_SUFFIX}"),
            waiters_key: format!("{own}{name}:waiters"),
        }
    }

    /// The lock whose [`Self::token_key`] this is.
    pub fn of_token_key(prefix: &str, token_key: &str) -> Option<Self> {
        let name = token_key.strip_prefix(&Self::own_keys(prefix))?.strip_suffix(TOKEN_SUFFIX)?;
        Some(Self::new(prefix, name))
    }

    /// What the keys beside the locks of a tenant begin with.
    pub fn own_keys(prefix: &str) -> String {
        format!("{prefix}sandbar:lock:")
    }
}

/// What a [`LockKey::token_key`] ends with.
pub const TOKEN_SUFFIX: &str = ":token";

/// Who asks for a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The lock.
    pub lock: LockKey,
    /// The host that asks.
    pub host: String,
    /// The plugin for which it asks.
    pub plugin: String,
    /// Unique to this claim.
    pub id: String,
    /// How long the lock is held unless it is renewed, in milliseconds, from 1.
    pub ttl_ms: u64,
}

impl Claim {
    /// A claim. The names of host and plugin are words without `:` and spaces; others are changed into such.
    pub fn new(lock: LockKey, host: &str, plugin: &str, ttl_ms: u64) -> Self {
        let word = |text: &str| text.replace(|c: char| c == ':' || c.is_whitespace() || c.is_control(), "_");
        let id = format!("{:032x}", rand::random::<u128>());
        Self { lock, host: word(host), plugin: word(plugin), id, ttl_ms }
    }
}

/// A lock that was taken, for as long as its time to live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockLease {
    /// The lock.
    pub lock: LockKey,
    /// What its key holds as long as it is held.
    pub value: Bytes,
    /// Larger than that of every earlier holder.
    pub token: u64,
    /// When its time to live began at the earliest, by the clock of this process.
    pub begun: Instant,
}

/// Who holds a lock, as its value tells: `token:host:plugin:acquired-ms:id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The number of this holder.
    pub token: u64,
    /// The host.
    pub host: String,
    /// The plugin.
    pub plugin: String,
    /// When the lock was taken, in milliseconds since 1970 by the store's clock.
    pub acquired_ms: u64,
    /// Unique to this claim.
    pub id: String,
}

impl Holder {
    /// Reads the value of a lock; none where it was set by a client of another kind.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(value).ok()?.split(':');
        let mut next = || parts.next();
        let (token, host, plugin, acquired_ms, id) = (next()?, next()?, next()?, next()?, next()?);
        let is_whole = parts.next().is_none() && !id.is_empty();
        let holder = Self {
            token: token.parse().ok()?,
            host: host.to_owned(),
            plugin: plugin.to_owned(),
            acquired_ms: acquired_ms.parse().ok()?,
            id: id.to_owned(),
        };
        is_whole.then_some(holder)
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { token, host, plugin, acquired_ms, id } = self;
        write!(f, "{token}:{host}:{plugin}:{acquired_ms}:{id}")
    }
}

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// What its key holds; see [`Holder::parse`].
    pub value: Bytes,
    /// How long it is held unless it is renewed; [`Remaining::Never`] only where another kind of client set it.
    pub remaining: Remaining,
    /// How many wait for it.
    pub waiters: u64,
}

/// Locks.
#[async_trait]
pub trait Lock: Send + Sync {
    /// Takes a lock. While another client holds it, waits in line for up to `wait`; none where that was not enough.
    /// Cancel-safe: who stops waiting leaves the line, and what was handed over meanwhile is given back.
    /// [`StoreError::Limit`] where [`WAITERS_MAX`] wait already.
    async fn acquire(&self, claim: &Claim, wait: Duration) -> Result<Option<LockLease>, StoreError>;

    /// Gives a lock so many milliseconds from now. False where it is no longer held.
    async fn renew(&self, lease: &LockLease, ttl_ms: u64) -> Result<bool, StoreError>;

    /// Gives a lock back, to the first of the line where somebody waits. False where it is no longer held; another's
    /// lock is never touched, so this may be repeated.
    async fn release(&self, lease: &LockLease) -> Result<bool, StoreError>;

    /// The same in the background, tried several times where the store does not answer. Does nothing outside of a
    /// runtime; the lock expires then.
    fn release_later(&self, lease: LockLease);

    /// Waits until [`Lock::release_later`] has nothing left to do.
    async fn released(&self);

    /// Up to [`LOCKS_MAX`] locks that Sandbar has held below a prefix, in no order; some may be held by nobody now.
    async fn locks(&self, prefix: &str) -> Result<Vec<LockKey>, StoreError>;

    /// Who holds a lock; none where nobody does. [`StoreError::WrongType`] where the key holds something other than a
    /// plain value.
    async fn look(&self, lock: &LockKey) -> Result<Option<Locked>, StoreError>;

    /// Takes a lock from its holder and hands it to the first of the line, where somebody waits. Answers what the key
    /// held.
    async fn break_open(&self, lock: &LockKey) -> Result<Option<Bytes>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_read_back_and_strangers_are_not_holders() {
        let text = "1795000000000001:0f3a:visits:1795000000000:00ff";
        let holder = Holder::parse(text.as_bytes()).unwrap();
        assert_eq!((holder.token, holder.plugin.as_str()), (1_795_000_000_000_001, "visits"));
        assert_eq!(holder.to_string(), text);
        for stranger in ["", "1", "my-uuid", "a:b:c:d:e", "1:b:c:2:", "1:b:c:2:e:f"] {
            assert_eq!(Holder::parse(stranger.as_bytes()), None, "{stranger}");
        }
    }

    #[test]
    fn names_become_words_and_ids_differ() {
        let claim = Claim::new(LockKey::new("t:", "lock:a"), "a b", "c:d", 1);
        assert_eq!((claim.host.as_str(), claim.plugin.as_str()), ("a_b", "c_d"));
        assert_ne!(claim.id, Claim::new(claim.lock.clone(), "a", "b", 1).id);
    }

    #[test]
    fn a_lock_is_found_by_its_counter() {
        let lock = LockKey::new("t:", "lock:a:token");
        assert_eq!(lock.token_key, "t:sandbar:lock:lock:a:token:token");
        assert_eq!(LockKey::of_token_key("t:", &lock.token_key), Some(lock));
        assert_eq!(LockKey::of_token_key("t:", "t:sandbar:lock:a:waiters"), None);
    }
}
