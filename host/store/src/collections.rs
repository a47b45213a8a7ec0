//! Reads of hashes, sets, sorted sets and lists.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Field, StoreError};

/// The most members that one read of a collection answers.
pub const COLLECTION_MEMBERS_MAX: u64 = 10_000;

/// A member of a sorted set.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// The member.
    pub member: String,
    /// Its score, never NaN.
    pub score: f64,
}

/// Reads of collections. A missing key is an empty collection; a key of another kind is
/// [`StoreError::WrongType`]; more than [`COLLECTION_MEMBERS_MAX`] members are [`StoreError::Limit`]; a member that is
/// not UTF-8 is [`StoreError::Invalid`].
#[async_trait]
pub trait Collections: Send + Sync {
    /// Fields of a hash, in the order of the names.
    async fn hash_get_many(&self, key: &str, names: &[String]) -> Result<Vec<Option<Bytes>>, StoreError>;
    /// All fields of a hash, in no order.
    async fn hash_get_all(&self, key: &str) -> Result<Vec<Field>, StoreError>;
    /// Number of fields of a hash.
    async fn hash_length(&self, key: &str) -> Result<u64, StoreError>;

    /// Whether a set has the member.
    async fn set_contains(&self, key: &str, member: &str) -> Result<bool, StoreError>;
    /// All members of a set, in no order.
    async fn set_members(&self, key: &str) -> Result<Vec<String>, StoreError>;
    /// Number of members of a set.
    async fn set_size(&self, key: &str) -> Result<u64, StoreError>;

    /// The score of a member.
    async fn sorted_score(&self, key: &str, member: &str) -> Result<Option<f64>, StoreError>;
    /// Number of members of a sorted set.
    async fn sorted_size(&self, key: &str) -> Result<u64, StoreError>;
    /// Members by rank, both ends included, negative from the end; equal scores in the order of their bytes.
    async fn sorted_range(&self, key: &str, start: i64, stop: i64, reverse: bool) -> Result<Vec<Scored>, StoreError>;
    /// Up to `count` members by score, both ends included, lowest first.
    async fn sorted_range_by_score(&self, key: &str, min: f64, max: f64, count: u32)
    -> Result<Vec<Scored>, StoreError>;

    /// Values of a list by index, both ends included, negative from the back.
    async fn list_range(&self, key: &str, start: i64, stop: i64) -> Result<Vec<Bytes>, StoreError>;
    /// Number of values of a list.
    async fn list_length(&self, key: &str) -> Result<u64, StoreError>;
}
