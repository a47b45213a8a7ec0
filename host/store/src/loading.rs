//! Values that are loaded from a source: one load at a time over all hosts, and what is remembered beside a value.
//!
//! The key itself holds the plain value and nothing else, so that every client reads and writes it as usual. Beside
//! it lies a note, one hash that expires: who loads the value now and until when, how the last load ended, that the
//! source had nothing, and a copy of the value that outlives the key by the time for which stale values may be
//! answered. A load is granted against a token; a client that deletes the note takes the grant away, so what was
//! loaded before a deletion is not kept after it.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Remaining, StoreError};

/// How long the end of a load is announced: to those who waited for it, and, where there is a stale value, to
/// everybody. In that time the source is not asked again then.
pub const ENDED_MS: u64 = 1_000;

/// How much earlier than it should a key may expire without being taken for deleted, in milliseconds: the two clocks
/// of one server.
pub(super) const EXPIRY_SLACK_MS: u64 = 10;

/// A key, and the note beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadSlot {
    /// The key, with the tenant's prefix.
    pub key: String,
    /// The key of the note.
    pub note: String,
}

impl LoadSlot {
    /// The slot of a key; `prefix` is the tenant's, `name` comes without it.
    pub fn new(prefix: &str, name: &str) -> Self {
        Self { key: format!("{prefix}{name}"), note: format!("{}{name}", Self::notes(prefix)) }
    }

    /// What all notes of a tenant begin with.
    pub fn notes(prefix: &str) -> String {
        format!("{prefix}sandbar:cache:")
    }
}

/// A value that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The value.
    pub value: Bytes,
    /// How long it stays.
    pub remaining: Remaining,
}

/// A value that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// The value.
    pub value: Bytes,
    /// For how many milliseconds it has been over.
    pub age_ms: u64,
}

/// Asks for a load.
#[derive(Debug, Clone, Copy)]
pub struct LoadClaim<'a> {
    /// Who asks; no other load has the same.
    pub token: &'a str,
    /// For how many milliseconds the load is granted.
    pub lease_ms: u64,
    /// The load that was waited for; empty at first.
    pub waited: &'a str,
    /// Whether the stale value is to be answered, too.
    pub wants_stale: bool,
}

/// What becomes of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadClaimed {
    /// There is a value.
    Value(Kept),
    /// The source had nothing, which is remembered for so many milliseconds more.
    Missing(u64),
    /// The last load failed, for this reason, and is not to be repeated yet.
    Failed {
        /// Why.
        reason: String,
        /// What may be answered in its place.
        stale: Option<Stale>,
    },
    /// Another client loads it.
    Busy {
        /// Who.
        token: String,
        /// What may be answered meanwhile.
        stale: Option<Stale>,
    },
    /// Who asked is to load it.
    Granted {
        /// What may be answered meanwhile.
        stale: Option<Stale>,
    },
}

/// What was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill<'a> {
    /// A value.
    Value {
        /// The value.
        value: &'a Bytes,
        /// How long it stays, in milliseconds, at least 1.
        ttl_ms: u64,
        /// For how long after that a copy stays.
        stale_ms: u64,
    },
    /// The source has nothing.
    Missing {
        /// For how long that is remembered, in milliseconds; 0 tells it to those who wait, and nobody else.
        ttl_ms: u64,
    },
}

/// What became of what was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filled {
    /// It is kept.
    Kept,
    /// The key was set meanwhile: that is newer, and stays.
    Overtaken(Kept),
    /// The grant was taken away, by a deletion or because it was over: nothing is kept.
    Revoked,
}

/// What a store does for values that are loaded.
#[async_trait]
pub trait Loading: Send + Sync {
    /// The value of a key with what is left of it. With `stale_ms` more than 0 a copy that outlives an expiring value
    /// by so long is kept in step with it. [`StoreError::WrongType`] where the key holds something else.
    async fn kept(&self, slot: &LoadSlot, stale_ms: u64) -> Result<Option<Kept>, StoreError>;

    /// Asks to load a key.
    async fn claim(&self, slot: &LoadSlot, claim: LoadClaim<'_>) -> Result<LoadClaimed, StoreError>;

    /// Keeps a grant for so many milliseconds from now. False where it was taken away.
    async fn renew_load(&self, slot: &LoadSlot, token: &str, lease_ms: u64) -> Result<bool, StoreError>;

    /// Ends a load that found something, or nothing.
    async fn fill(&self, slot: &LoadSlot, token: &str, fill: Fill<'_>) -> Result<Filled, StoreError>;

    /// Ends a load that failed, for a reason that is kept for [`ENDED_MS`].
    async fn fail(&self, slot: &LoadSlot, token: &str, reason: &str) -> Result<(), StoreError>;

    /// Hears of changes of keys that begin with this, from soon on.
    fn follow(&self, prefix: &str);

    /// What is heard.
    fn changes(&self) -> &super::Changes;
}

/// A number that differs for different values, to tell whether a copy is still that of the value (FNV-1a, in
/// hexadecimal).
pub(super) fn sum(value: &[u8]) -> String {
    let hash = value
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}
