//! Reads of streams, and trimming.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Entry, EntryId, Retention, StoreError};

/// A consumer group of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// How many consumers it has.
    pub consumers: u64,
    /// Entries delivered and not acknowledged.
    pub pending: u64,
    /// Entries not yet delivered; none where the store cannot tell.
    pub lag: Option<u64>,
    /// The last entry delivered.
    pub last_delivered: EntryId,
}

/// The state of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Number of entries.
    pub length: u64,
    /// The oldest entry.
    pub first_id: Option<EntryId>,
    /// The newest entry.
    pub last_id: Option<EntryId>,
    /// Bytes of memory in the store, as far as it can tell.
    pub memory_bytes: u64,
    /// Its groups, by name.
    pub groups: Vec<Group>,
}

/// Reads of streams. All answer [`StoreError::WrongType`] where the key holds no stream.
#[async_trait]
pub trait Stream: Send + Sync {
    /// Up to `count` entries from `start` to `end`, both included, oldest first. `reverse` answers the newest first.
    async fn range(
        &self,
        stream: &str,
        start: EntryId,
        end: EntryId,
        count: u32,
        reverse: bool,
    ) -> Result<Vec<Entry>, StoreError>;

    /// Number of entries; 0 where there is no such stream.
    async fn length(&self, stream: &str) -> Result<u64, StoreError>;

    /// The state of a stream; none where there is no such stream.
    async fn info(&self, stream: &str) -> Result<Option<StreamInfo>, StoreError>;

    /// Removes the oldest entries at once and answers how many. With `keep_unread`, none that some group has not read
    /// or not acknowledged. [`StoreError::Invalid`] for [`Retention::Unlimited`].
    async fn trim(&self, stream: &str, retention: Retention, keep_unread: bool) -> Result<u64, StoreError>;
}
