//! Reads of plain values, and the increment.

use async_trait::async_trait;
use bytes::Bytes;

use super::keyspace::Keyspace;
use super::value::Plain;
use super::{Embedded, integer};
use crate::{Cache, Page, Remaining, StoreError};

#[async_trait]
impl Cache for Embedded {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.state().keys.get::<Plain>(key)?.cloned())
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let state = self.state();
        Ok(keys.iter().map(|key| state.keys.get::<Plain>(key).ok().flatten().cloned()).collect())
    }

    async fn memory(&self, _key: &str) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    async fn ttl(&self, key: &str) -> Result<Remaining, StoreError> {
        Ok(self.state().keys.remaining(key))
    }

    async fn increment(&self, key: &str, by: i64) -> Result<i64, StoreError> {
        let sum = add(&mut self.state().keys, key, by);
        self.changes.changed(key);
        sum
    }

    async fn scan(&self, pattern: &str, cursor: u64, count: u32) -> Result<Page, StoreError> {
        Ok(self.state().keys.scan(pattern, cursor, count.max(1) as usize))
    }
}

/// Adds to the integer under a key, which keeps its time to live, and answers the sum.
pub(super) fn add(keys: &mut Keyspace, key: &str, by: i64) -> Result<i64, StoreError> {
    let sum = integer::add(keys.get::<Plain>(key)?, by, &format!("`{key}`"))?;
    keys.set(key, integer::format(sum), true);
    Ok(sum)
}
