//! Plain values in a server. Each call is one command over a shared connection.

use ::redis::{Value, cmd};
use async_trait::async_trait;
use bytes::Bytes;

use super::{Redis, reply};
use crate::{Cache, Page, Remaining, StoreError};
use sandbar_core::pattern::literal_beginning;

/// What PTTL answers for a key that is not there.
const PTTL_MISSING: i64 = -2;
/// What PTTL answers for a key that does not expire.
const PTTL_NEVER: i64 = -1;
/// From how many members the memory of a whole collection is guessed.
const MEMORY_SAMPLES: u32 = 64;

#[async_trait]
impl Cache for Redis {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        reply::bytes(self.query(cmd("GET").arg(key)).await?, key)
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let Some(first) = keys.first() else { return Ok(Vec::new()) };
        let values = reply::list(self.query(cmd("MGET").arg(keys)).await?, first)?;
        values.into_iter().map(|value| reply::bytes(value, first)).collect()
    }

    async fn memory(&self, key: &str) -> Result<Option<u64>, StoreError> {
        match self.query(cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(MEMORY_SAMPLES)).await? {
            // Counting memory may not be permitted.
            Value::Nil | Value::ServerError(_) => Ok(None),
            answer => reply::count(answer, key).map(Some),
        }
    }

    async fn ttl(&self, key: &str) -> Result<Remaining, StoreError> {
        remaining(self.query(cmd("PTTL").arg(key)).await?, key)
    }

    async fn increment(&self, key: &str, by: i64) -> Result<i64, StoreError> {
        let answer = self.query(cmd("INCRBY").arg(key).arg(by)).await;
        self.changes.changed(key);
        reply::integer(answer?, key)
    }

    async fn scan(&self, pattern: &str, cursor: u64, count: u32) -> Result<Page, StoreError> {
        self.is_within(pattern, &literal_beginning(pattern))?;
        let mut command = cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(count.max(1));
        let mut parts = reply::list(self.query(&command).await?, pattern)?.into_iter();
        let next = reply::count(parts.next().unwrap_or_default(), pattern)?;
        let keys = reply::list(parts.next().unwrap_or_default(), pattern)?;
        // A key that is not text belongs to another client: a plugin could not name it.
        let keys = keys.into_iter().filter_map(|key| reply::text(key, pattern).ok()).collect();
        Ok(Page { keys, next: (next != 0).then_some(next) })
    }
}

/// How long a key has left, as PTTL answers.
pub(super) fn remaining(answer: Value, key: &str) -> Result<Remaining, StoreError> {
    Ok(match reply::integer(answer, key)? {
        PTTL_MISSING => Remaining::Missing,
        PTTL_NEVER => Remaining::Never,
        ms => Remaining::Ms(ms.unsigned_abs()),
    })
}
