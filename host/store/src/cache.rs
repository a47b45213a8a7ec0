//! Plain values under keys.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::StoreError;

/// How long a key has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remaining {
    /// There is no such key.
    Missing,
    /// The key does not expire.
    Never,
    /// The key expires after so many milliseconds.
    Ms(u64),
}

/// One step of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Page {
    /// Keys that match. Keys that are not UTF-8 are skipped.
    pub keys: Vec<String>,
    /// Where the scan goes on; none when it is complete.
    pub next: Option<u64>,
}

/// Reads of plain values, and the one write that happens at once.
#[async_trait]
pub trait Cache: Send + Sync {
    /// The value of a key. [`StoreError::WrongType`] where it holds something other than a plain value.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError>;

    /// The values of several keys at one instant; none for a key that holds something else.
    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError>;

    /// About how many bytes a key of any kind takes; none where it is not there, or where reading it holds nobody up.
    async fn memory(&self, key: &str) -> Result<Option<u64>, StoreError>;

    /// How long a key of any kind has left.
    async fn ttl(&self, key: &str) -> Result<Remaining, StoreError>;

    /// Adds to an integer at once and answers the sum. [`StoreError::WrongType`] where the key holds no integer of 64
    /// bits, [`StoreError::Invalid`] on overflow; nothing is changed then.
    async fn increment(&self, key: &str, by: i64) -> Result<i64, StoreError>;

    /// Walks over the keys that match a glob pattern, from cursor 0 on, looking at about `count` keys a step.
    async fn scan(&self, pattern: &str, cursor: u64, count: u32) -> Result<Page, StoreError>;
}
