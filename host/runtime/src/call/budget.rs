//! What one call may use, and has used. Pure.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use super::{TAKES_MAX, WATCHED_KEYS_MAX};
use sandbar_core::manifest::Limits;

/// A call would use more than its plugin may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallLimit {
    /// Too many writes.
    #[error("the call has made {0} writes, which is all that `limits.effects` allows")]
    Effects(u32),
    /// Too many bytes of writes.
    #[error("the writes of the call would exceed `limits.effect-bytes` ({0} bytes)")]
    EffectBytes(u64),
    /// Too many calls to the host.
    #[error("the call has called the host {0} times, which is all that `limits.host-calls` allows")]
    HostCalls(u32),
    /// Too many keys.
    #[error("the call has named {0} keys and channels, which is all that `limits.keys` allows")]
    Keys(u32),
    /// Too many bytes read.
    #[error("what the store answers to the call would exceed `limits.read-bytes` ({0} bytes)")]
    ReadBytes(u64),
    /// A value that is too large.
    #[error("a value for `{key}` has {bytes} bytes; `limits.value-bytes` allows {max}")]
    ValueBytes {
        /// What it is for.
        key: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: u64,
    },
    /// Too many watched keys.
    #[error("the call relies on {WATCHED_KEYS_MAX} keys, which is all that `get-for-update` allows")]
    WatchedKeys,
    /// Too many takes.
    #[error("the call has taken jobs {TAKES_MAX} times, which is all that `queue.take` allows")]
    Takes,
}

impl CallLimit {
    /// Its name in the manifest, or the function that has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Effects(_) => "limits.effects",
            Self::EffectBytes(_) => "limits.effect-bytes",
            Self::HostCalls(_) => "limits.host-calls",
            Self::Keys(_) => "limits.keys",
            Self::ReadBytes(_) => "limits.read-bytes",
            Self::ValueBytes { .. } => "limits.value-bytes",
            Self::WatchedKeys => "get-for-update",
            Self::Takes => "queue.take",
        }
    }
}

/// What one call may still use.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Writes that wait for a commit.
    pub(super) effects: u32,
    /// Bytes of them.
    pub(super) effect_bytes: u64,
    host_calls: u32,
    host_calls_left: u32,
    read_bytes: u64,
    read_bytes_left: u64,
    keys: u32,
    /// Hashes of the names so far. Two names with one hash count as one.
    named: HashSet<u64, BuildHasherDefault<AsItIs>>,
    hasher: RandomState,
}

/// What is a hash already needs no other.
#[derive(Debug, Clone, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Budget {
    /// A budget of nothing, for an instance that serves no call.
    pub fn none() -> Self {
        Self::of(0, 0, 0, 0, 0)
    }

    /// What the limits of a plugin allow.
    pub fn new(limits: &Limits) -> Self {
        let (effect_bytes, read_bytes) = (limits.effect_bytes.as_u64(), limits.read_bytes.as_u64());
        Self::of(limits.effects, effect_bytes, limits.host_calls, read_bytes, limits.keys)
    }

    fn of(effects: u32, effect_bytes: u64, host_calls: u32, read_bytes: u64, keys: u32) -> Self {
        Self {
            effects,
            effect_bytes,
            host_calls,
            host_calls_left: host_calls,
            read_bytes,
            read_bytes_left: read_bytes,
            keys,
            named: HashSet::default(),
            hasher: RandomState::new(),
        }
    }

    /// Counts a call to the host.
    pub fn call_host(&mut self) -> Result<(), CallLimit> {
        self.host_calls_left = self.host_calls_left.checked_sub(1).ok_or(CallLimit::HostCalls(self.host_calls))?;
        Ok(())
    }

    /// Counts a key or a channel, and the call to the host that names it.
    pub fn name(&mut self, name: &str) -> Result<(), CallLimit> {
        self.call_host()?;
        let hash = self.hasher.hash_one(name);
        if self.named.len() >= usize::try_from(self.keys).unwrap_or(usize::MAX) && !self.named.contains(&hash) {
            return Err(CallLimit::Keys(self.keys));
        }
        self.named.insert(hash);
        Ok(())
    }

    /// Counts bytes that the store has answered.
    pub fn read(&mut self, bytes: u64) -> Result<(), CallLimit> {
        match self.read_bytes_left.checked_sub(bytes) {
            Some(left) => {
                self.read_bytes_left = left;
                Ok(())
            }
            None => {
                // What was too large is not handed out, and nothing else either.
                self.read_bytes_left = 0;
                Err(CallLimit::ReadBytes(self.read_bytes))
            }
        }
    }

    /// How many bytes may still be read.
    pub fn read_left(&self) -> u64 {
        self.read_bytes_left
    }

    /// How many values of at most so many bytes may be asked for at once, at least one.
    pub fn values_at_once(&self, value_bytes: u64) -> usize {
        usize::try_from(self.read_bytes_left / value_bytes.max(1)).unwrap_or(usize::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;
    use proptest::prelude::*;

    use super::*;

    fn budget(host_calls: u32, keys: u32, read_bytes: u64) -> Budget {
        Budget::new(&Limits { host_calls, keys, read_bytes: ByteSize(read_bytes), ..Limits::default() })
    }

    #[test]
    fn each_limit_is_named() {
        let mut calls = budget(2, 10, 10);
        assert!(calls.call_host().is_ok() && calls.name("a").is_ok());
        assert_eq!(calls.name("a"), Err(CallLimit::HostCalls(2)));
        let mut keys = budget(100, 2, 10);
        assert!(["a", "b", "a", "b"].into_iter().all(|name| keys.name(name).is_ok()), "each counts once");
        assert_eq!(keys.name("c"), Err(CallLimit::Keys(2)));
        let mut bytes = budget(100, 10, 10);
        assert!(bytes.read(10).is_ok() && bytes.read(0).is_ok());
        assert_eq!(bytes.read(1), Err(CallLimit::ReadBytes(10)));
        for limit in [CallLimit::HostCalls(1), CallLimit::Keys(1), CallLimit::ReadBytes(1)] {
            assert!(limit.to_string().contains(&format!("`{}`", limit.name())));
        }
    }

    #[test]
    fn how_many_values_are_asked_for_at_once_depends_on_what_is_left() {
        let mut budget = budget(10, 10, 100);
        assert_eq!((budget.values_at_once(30), budget.values_at_once(1000)), (3, 1));
        assert!(budget.read(60).is_ok());
        assert_eq!(budget.values_at_once(30), 1);
    }

    proptest! {
        #[test]
        fn no_more_is_allowed_than_there_is(keys in 1u32..5, names in prop::collection::vec(0u8..10, 0..30)) {
            let (mut budget, mut seen) = (budget(20, keys, 0), HashSet::new());
            for (number, name) in names.iter().enumerate() {
                let allowed = budget.name(&name.to_string()).is_ok();
                let fits = seen.contains(name) || seen.len() < keys as usize;
                prop_assert_eq!(allowed, fits && number < 20);
                if allowed {
                    seen.insert(*name);
                }
            }
        }
    }
}
