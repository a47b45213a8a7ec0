//! Delivery of stream entries to the consumers of a group, and the commit that acknowledges them.
//!
//! Exactly once rests on one number. Each consumer has an [`Epoch`], kept in the store under its fence key. What a
//! consumer reads carries the epoch of that moment, and a commit is only made while the epoch is still the same. A
//! consumer that takes entries away from a consumer advances its epoch in the same step; a consumer that does not
//! know whether its last commit was made advances its own before it looks at its pending entries again. So of two
//! commits for one entry at most one is ever made, whatever is killed, stopped or delayed.
//!
//! An event that waits for a retry stays pending and is listed with its due time; while it is listed, nobody handles
//! it, and neither [`Delivery::pending`] nor [`Delivery::take_over`] deliver it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::effect::Effect;
use super::wake::Wake;
use super::{EntryId, Field, GroupStart, LeaseSettlement, StoreError};

/// One consumer group of one stream, and the keys that Sandbar keeps beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The stream's key, with the tenant's prefix.
    pub stream: String,
    /// The consumer group.
    pub group: String,
    /// Sorted set: ids that wait for a retry, by due time in milliseconds.
    pub retry_key: String,
    /// Hash: failed attempts by id; an event that has not failed has no field.
    pub attempts_key: String,
    /// The dead-letter stream.
    pub dead_key: String,
    /// How many dead letters stay, the newest.
    pub dead_max_len: u64,
    /// How long dead letters stay, in milliseconds.
    pub dead_max_age_ms: u64,
    /// Where fence keys begin; the consumer's name follows.
    fence_prefix: String,
}

impl Source {
    /// A source with its keys. `prefix` is the tenant's; `stream` comes without it.
    pub fn new(prefix: &str, stream: &str, group: &str, dead_max_len: u64, dead_max_age_ms: u64) -> Self {
        Self {
            stream: format!("{prefix}{stream}"),
            group: group.to_owned(),
            retry_key: format!("{prefix}sandbar:retry:{stream}:{group}"),
            attempts_key: format!("{prefix}sandbar:attempts:{stream}:{group}"),
            dead_key: format!("{prefix}{stream}:dead"),
            dead_max_len,
            dead_max_age_ms,
            fence_prefix: format!("{prefix}sandbar:fence:{stream}:{group}:"),
        }
    }

    /// The fence key of a consumer of this group.
    pub fn fence_key(&self, consumer: &str) -> String {
        format!("{}{consumer}", self.fence_prefix)
    }

    /// Where the fence keys of this group begin; a consumer's name follows.
    pub fn fence_prefix(&self) -> &str {
        &self.fence_prefix
    }
}

/// One consumer of a source. Its name is unique per process incarnation, so it starts with nothing pending.
#[derive(Debug, Clone)]
pub struct Consumer {
    /// What it reads.
    pub source: Arc<Source>,
    /// Its name within the group.
    pub name: String,
    /// Its fence key.
    pub fence_key: String,
}

impl Consumer {
    /// A consumer of a source.
    pub fn new(source: Arc<Source>, name: String) -> Self {
        let fence_key = source.fence_key(&name);
        Self { source, name, fence_key }
    }
}

/// The value of a consumer's fence key. It starts at a random value and only grows, so that a fence key that
/// expired and was made anew never repeats an old value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Stands for any epoch: a commit that presents it is not fenced. Only for tests of the protocol, which show that
    /// it loses exactness without its fence.
    pub const UNCHECKED: Self = Self(u64::MAX);
}

/// An entry that is handed to a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Its id.
    pub id: EntryId,
    /// Its fields.
    pub fields: Vec<Field>,
    /// Which attempt to handle it this is, from 1. Deaths of hosts do not count.
    pub attempt: u32,
}

/// Entries read in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The epoch of that step; the commit of these entries must present it. None where the consumer's fence key is gone
    /// (it was idle for days): the entries are pending, and the consumer must advance its fence and read them again.
    pub epoch: Option<Epoch>,
    /// The entries, oldest first.
    pub events: Vec<Delivered>,
}

/// What a step of [`Delivery::take_over`] or [`Delivery::pending`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// What was taken.
    pub batch: Batch,
    /// Where the walk over the pending entries goes on; none when it reached the end.
    pub next: Option<EntryId>,
    /// Entries that were pending but are no longer in the stream (trimmed or deleted); they were acknowledged.
    pub vanished: u64,
}

/// What a step of [`Delivery::due`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Events whose time for a retry has come.
    pub batch: Batch,
    /// When the next one is due, in milliseconds since 1970 by the store's clock.
    pub next_ms: Option<u64>,
    /// Entries that were to be retried but are no longer in the stream; they were acknowledged.
    pub vanished: u64,
}

/// What becomes of the events of a batch, in its commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settlement {
    /// Handled: acknowledged.
    pub done: Vec<EntryId>,
    /// Failed: counted as an attempt, pending until the delay (in milliseconds) is over.
    pub retry: Vec<(EntryId, u64)>,
    /// Given up: appended to the dead letters and acknowledged.
    pub dead: Vec<DeadLetter>,
    /// Those of `done` and `dead` that have failed before: the count of their attempts is dropped.
    pub forget: Vec<EntryId>,
}

impl Settlement {
    /// Whether it settles nothing.
    pub fn is_empty(&self) -> bool {
        self.done.is_empty() && self.retry.is_empty() && self.dead.is_empty()
    }
}

/// An event that is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event.
    pub id: EntryId,
    /// What the dead-letter stream gets.
    pub fields: Vec<Field>,
}

/// A transaction: all of it is applied, or none.
#[derive(Debug)]
pub struct Commit<'a> {
    /// On whose scope, and in which epoch its events were read; none outside of a delivery.
    pub consumer: Option<(&'a Consumer, Epoch)>,
    /// Keys with the values that the writer relies on.
    pub watched: &'a [(String, Option<Bytes>)],
    /// The writes, in order.
    pub effects: &'a [Effect],
    /// What becomes of the events; empty without a consumer.
    pub settlement: Settlement,
    /// What becomes of jobs that are leased.
    pub leases: &'a [LeaseSettlement],
    /// False for at-least-once delivery: the same commands without the transaction and its checks.
    pub atomic: bool,
}

impl<'a> Commit<'a> {
    /// Writes that belong to no delivery.
    pub fn plain(effects: &'a [Effect], watched: &'a [(String, Option<Bytes>)]) -> Self {
        Self { consumer: None, watched, effects, settlement: Settlement::default(), leases: &[], atomic: true }
    }
}

/// A commit that was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Effects that the store refused; all others stand, the acknowledgements too.
    pub refused: Vec<Refusal>,
}

/// An effect that a store refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its index among the effects of the commit.
    pub effect: usize,
    /// The store's words.
    pub error: String,
}

/// A commit that was not made, or of which that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Not made: the consumer's epoch, or the lease, is over. Pending entries must be read again.
    #[error("the events were taken over by another client")]
    Fenced,
    /// Not made: a watched key has changed.
    #[error("`{0}` was changed by another client")]
    Conflict(String),
    /// Not made: the store refused the transaction as a whole (out of memory, too few replicas).
    #[error(transparent)]
    Refused(StoreError),
    /// Not made: the store will not take one of the writes as it is, however often it is asked.
    #[error("a write was not accepted: {0}")]
    Unacceptable(StoreError),
    /// Not known: the reply was lost. The consumer must advance its own epoch before it reads its pending entries
    /// again.
    #[error("it is not known whether the commit was made: {0}")]
    Unknown(StoreError),
}

impl CommitError {
    /// One word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::Conflict(_) => "conflict",
            Self::Refused(_) => "refused",
            Self::Unacceptable(_) => "unacceptable",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// How far a group is behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Entries delivered and not acknowledged.
    pub pending: u64,
    /// Entries not yet delivered; none where the store cannot tell.
    pub lag: Option<u64>,
    /// Dead letters.
    pub dead: u64,
}

/// Delivery of stream entries, and commits.
#[async_trait]
pub trait Delivery: Send + Sync {
    /// Milliseconds since 1970 by the store's clock, from the last time it was asked.
    fn now_ms(&self) -> u64;

    /// Whether the store answered lately.
    fn is_available(&self) -> bool;

    /// Makes the group where it is missing, and the stream with it.
    async fn open(&self, source: &Source, start: GroupStart) -> Result<(), StoreError>;

    /// Makes a consumer and its fence key.
    async fn join(&self, consumer: &Consumer) -> Result<(), StoreError>;

    /// Removes a consumer that has nothing pending, with its fence key; leaves it alone otherwise.
    async fn leave(&self, consumer: &Consumer) -> Result<(), StoreError>;

    /// Up to `count` entries that no consumer of the group has had. Never waits for entries.
    async fn read(&self, consumer: &Consumer, count: u32) -> Result<Batch, StoreError>;

    /// Advances the consumer's own epoch, over a connection on which nothing else was sent before, so that a commit
    /// that is still on its way cannot be made any more.
    async fn fence(&self, consumer: &Consumer) -> Result<Epoch, StoreError>;

    /// The consumer's own pending entries behind `after`, looking at up to `count`; those that wait for a retry are
    /// skipped.
    async fn pending(&self, consumer: &Consumer, after: EntryId, count: u32) -> Result<Taken, StoreError>;

    /// Looks at up to `count` pending entries of the whole group behind `after` and takes those that nobody has
    /// touched for `idle_ms`, advancing the epoch of each consumer they are taken from. Removes consumers that died and
    /// have nothing pending any more.
    async fn take_over(
        &self,
        consumer: &Consumer,
        idle_ms: u64,
        after: EntryId,
        count: u32,
    ) -> Result<Taken, StoreError>;

    /// Takes up to `count` events whose time for a retry has come.
    async fn due(&self, consumer: &Consumer, count: u32) -> Result<Due, StoreError>;

    /// Reports that these entries are still being handled. False where the epoch is over.
    async fn keep_alive(&self, consumer: &Consumer, epoch: Epoch, ids: &[EntryId]) -> Result<bool, StoreError>;

    /// Makes a commit.
    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, CommitError>;

    /// How far the group is behind.
    async fn backlog(&self, source: &Source) -> Result<Backlog, StoreError>;

    /// Tells when entries are appended to a stream. It may tell without cause, and always does after a
    /// connection was lost.
    fn watch(&self, stream: &str) -> Wake;
}
