//! Writes that wait for a commit.

use std::sync::Arc;

use bytes::Bytes;

use super::{EntryId, Field, JobQueue, PushOptions, Scored};

/// What becomes of a key's time to live when it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The key does not expire.
    Never,
    /// The key keeps the time to live that it has.
    KeepTtl,
    /// The key expires after so many milliseconds.
    TtlMs(u64),
}

/// When a key is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// In any case.
    Always,
    /// Only where there is no such key.
    IfAbsent,
    /// Only where there is such a key.
    IfPresent,
}

/// How much of a stream stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// All of it.
    Unlimited,
    /// About so many of the newest entries; a store may keep somewhat more.
    About(u64),
    /// Exactly so many of the newest entries.
    Exactly(u64),
    /// Only entries with this id or a newer one.
    MinId(EntryId),
}

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where index 0 is.
    Front,
    /// Where index -1 is.
    Back,
}

/// One write of a commit. Keys carry their tenant's prefix.
///
/// An effect that meets a key of another kind, a value that is no integer, or an integer overflow is refused
/// alone; the rest of the commit stands (see [`super::Refusal`]).
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Sets a key, whatever it held.
    Set {
        /// The key.
        key: String,
        /// Its new value.
        value: Bytes,
        /// What becomes of its time to live.
        expiry: Expiry,
        /// When it is set.
        condition: Condition,
    },
    /// Deletes a key of any kind.
    Delete {
        /// The key.
        key: String,
    },
    /// Gives a key of any kind a time to live.
    Expire {
        /// The key.
        key: String,
        /// Milliseconds, at least 1.
        ttl_ms: u64,
    },
    /// Adds to an integer; a missing key counts as 0 and a time to live is kept.
    Add {
        /// The key.
        key: String,
        /// What is added.
        by: i64,
    },
    /// Appends an entry to a stream, which is made where it is missing.
    Append {
        /// The stream's key.
        stream: String,
        /// At least one field.
        fields: Vec<Field>,
        /// What the stream keeps then.
        retention: Retention,
    },
    /// Removes entries from a stream; for operators, not offered to plugins.
    Remove {
        /// The stream's key.
        stream: String,
        /// The entries.
        ids: Vec<EntryId>,
    },
    /// Pushes jobs to a queue.
    Push {
        /// The queue.
        queue: Arc<JobQueue>,
        /// At least one payload; the first is pushed first.
        payloads: Vec<Bytes>,
        /// How each of them is pushed.
        options: PushOptions,
    },
    /// Publishes a message.
    Publish {
        /// The channel.
        channel: String,
        /// The message.
        payload: Bytes,
    },
    /// Sets fields of a hash.
    HashSet {
        /// The key.
        key: String,
        /// At least one field.
        fields: Vec<Field>,
    },
    /// Deletes fields of a hash.
    HashDelete {
        /// The key.
        key: String,
        /// At least one name.
        names: Vec<String>,
    },
    /// Adds to an integer in a hash.
    HashAdd {
        /// The key.
        key: String,
        /// The field.
        name: String,
        /// What is added.
        by: i64,
    },
    /// Adds members to a set.
    SetAdd {
        /// The key.
        key: String,
        /// At least one member.
        members: Vec<String>,
    },
    /// Removes members from a set.
    SetRemove {
        /// The key.
        key: String,
        /// At least one member.
        members: Vec<String>,
    },
    /// Adds members to a sorted set, or gives them new scores.
    SortedAdd {
        /// The key.
        key: String,
        /// At least one member.
        members: Vec<Scored>,
    },
    /// Removes members from a sorted set.
    SortedRemove {
        /// The key.
        key: String,
        /// At least one member.
        members: Vec<String>,
    },
    /// Removes members by score, both ends included.
    SortedRemoveByScore {
        /// The key.
        key: String,
        /// The lowest score removed.
        min: f64,
        /// The highest score removed.
        max: f64,
    },
    /// Pushes values to a list one after the other.
    ListPush {
        /// The key.
        key: String,
        /// Where to.
        end: End,
        /// At least one value.
        values: Vec<Bytes>,
        /// How many values, counted from that end, stay then; all where none.
        keep: Option<u64>,
    },
    /// Removes all equal values from a list.
    ListRemove {
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
    },
}

impl Effect {
    /// The key, stream or channel that the effect works on.
    pub fn key(&self) -> &str {
        match self {
            Self::Set { key, .. }
            | Self::Delete { key }
            | Self::Expire { key, .. }
            | Self::Add { key, .. }
            | Self::HashSet { key, .. }
            | Self::HashDelete { key, .. }
            | Self::HashAdd { key, .. }
            | Self::SetAdd { key, .. }
            | Self::SetRemove { key, .. }
            | Self::SortedAdd { key, .. }
            | Self::SortedRemove { key, .. }
            | Self::SortedRemoveByScore { key, .. }
            | Self::ListPush { key, .. }
            | Self::ListRemove { key, .. } => key,
            Self::Append { stream, .. } | Self::Remove { stream, .. } => stream,
            Self::Push { queue, .. } => &queue.list,
            Self::Publish { channel, .. } => channel,
        }
    }

    /// The WIT function that makes such an effect, for reasons and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Set { .. } => "cache.set",
            Self::Delete { .. } => "cache.delete",
            Self::Expire { .. } => "cache.expire",
            Self::Add { .. } => "cache.add",
            Self::Append { .. } => "stream.append",
            Self::Remove { .. } => "stream.remove",
            Self::Push { .. } => "queue.push",
            Self::Publish { .. } => "pubsub.publish",
            Self::HashSet { .. } => "collections.hash-set",
            Self::HashDelete { .. } => "collections.hash-delete",
            Self::HashAdd { .. } => "collections.hash-add",
            Self::SetAdd { .. } => "collections.set-add",
            Self::SetRemove { .. } => "collections.set-remove",
            Self::SortedAdd { .. } => "collections.sorted-add",
            Self::SortedRemove { .. } => "collections.sorted-remove",
            Self::SortedRemoveByScore { .. } => "collections.sorted-remove-by-score",
            Self::ListPush { .. } => "collections.list-push",
            Self::ListRemove { .. } => "collections.list-remove",
        }
    }
}
