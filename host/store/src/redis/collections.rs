//! Collections of a server.
//!
//! No read fetches more than [`COLLECTION_MEMBERS_MAX`] members and one: whole hashes and sets are measured first
//! (somebody may add to them in between), ranges are narrowed.

use ::redis::{Value, cmd};
use async_trait::async_trait;
use bytes::Bytes;

use super::{Redis, reply};
use crate::{COLLECTION_MEMBERS_MAX, Collections, Field, Scored, StoreError};

/// As many members as are fetched to see that there are too many.
const FETCH_MAX: i64 = COLLECTION_MEMBERS_MAX as i64 + 1;

#[async_trait]
impl Collections for Redis {
    async fn hash_get_many(&self, key: &str, names: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let values = reply::list(self.query(cmd("HMGET").arg(key).arg(names)).await?, key)?;
        values.into_iter().map(|value| reply::bytes(value, key)).collect()
    }

    async fn hash_get_all(&self, key: &str) -> Result<Vec<Field>, StoreError> {
        check_members(self.hash_length(key).await?, key)?;
        reply::fields(self.query(cmd("HGETALL").arg(key)).await?, key)
    }

    async fn hash_length(&self, key: &str) -> Result<u64, StoreError> {
        self.count("HLEN", key).await
    }

    async fn set_contains(&self, key: &str, member: &str) -> Result<bool, StoreError> {
        Ok(reply::integer(self.query(cmd("SISMEMBER").arg(key).arg(member)).await?, key)? != 0)
    }

    async fn set_members(&self, key: &str) -> Result<Vec<String>, StoreError> {
        check_members(self.set_size(key).await?, key)?;
        let members = reply::list(self.query(cmd("SMEMBERS").arg(key)).await?, key)?;
        members.into_iter().map(|member| reply::text(member, key)).collect()
    }

    async fn set_size(&self, key: &str) -> Result<u64, StoreError> {
        self.count("SCARD", key).await
    }

    async fn sorted_score(&self, key: &str, member: &str) -> Result<Option<f64>, StoreError> {
        reply::score(self.query(cmd("ZSCORE").arg(key).arg(member)).await?, key)
    }

    async fn sorted_size(&self, key: &str) -> Result<u64, StoreError> {
        self.count("ZCARD", key).await
    }

    async fn sorted_range(&self, key: &str, start: i64, stop: i64, reverse: bool) -> Result<Vec<Scored>, StoreError> {
        let (start, stop) = self.narrow("ZCARD", key, start, stop).await?;
        let mut command = cmd(if reverse { "ZREVRANGE" } else { "ZRANGE" });
        let answer = self.query(command.arg(key).arg(start).arg(stop).arg("WITHSCORES")).await?;
        bounded(reply::scored(answer, key)?, key)
    }

    async fn sorted_range_by_score(
        &self,
        key: &str,
        min: f64,
        max: f64,
        count: u32,
    ) -> Result<Vec<Scored>, StoreError> {
        let mut command = cmd("ZRANGEBYSCORE");
        command.arg(key).arg(min).arg(max).arg("WITHSCORES").arg("LIMIT").arg(0).arg(FETCH_MAX.min(count.into()));
        bounded(reply::scored(self.query(&command).await?, key)?, key)
    }

    async fn list_range(&self, key: &str, start: i64, stop: i64) -> Result<Vec<Bytes>, StoreError> {
        let (start, stop) = self.narrow("LLEN", key, start, stop).await?;
        let values = reply::list(self.query(cmd("LRANGE").arg(key).arg(start).arg(stop)).await?, key)?;
        let bytes = |value| reply::bytes(value, key).map(Option::unwrap_or_default);
        bounded(values.into_iter().map(bytes).collect::<Result<_, StoreError>>()?, key)
    }

    async fn list_length(&self, key: &str) -> Result<u64, StoreError> {
        self.count("LLEN", key).await
    }
}

impl Redis {
    /// The answer of a command that counts the members of a key.
    async fn count(&self, command: &str, key: &str) -> Result<u64, StoreError> {
        let answer: Value = self.query(cmd(command).arg(key)).await?;
        reply::count(answer, key)
    }

    /// A range of at most [`FETCH_MAX`] members that shows whether the range asked for is within bounds. It asks for
    /// the size only where the two ends are counted from different sides.
    async fn narrow(&self, size: &str, key: &str, start: i64, stop: i64) -> Result<(i64, i64), StoreError> {
        if let Some(range) = narrowed(start, stop) {
            return Ok(range);
        }
        let size = i64::try_from(self.count(size, key).await?).unwrap_or(i64::MAX);
        let from_front = |index: i64| if index < 0 { size.saturating_add(index).max(-1) } else { index };
        let (start, stop) = (from_front(start).max(0), from_front(stop));
        // An empty range, not one that ends at the last member.
        if stop < 0 {
            return Ok((1, 0));
        }
        Ok((start, stop.min(start.saturating_add(FETCH_MAX - 1))))
    }
}

/// Narrows a range to [`FETCH_MAX`] members so that it answers the same where it has fewer: from the far end of
/// what it counts from. None where that depends on the size.
fn narrowed(start: i64, stop: i64) -> Option<(i64, i64)> {
    match (start < 0, stop < 0) {
        (false, false) => Some((start, stop.min(start.saturating_add(FETCH_MAX - 1)))),
        (true, true) => Some((start.max(stop.saturating_sub(FETCH_MAX - 1)), stop)),
        // To the very end: the same as to an index that no collection reaches.
        (false, true) if stop == -1 => Some((start, start.saturating_add(FETCH_MAX - 1))),
        _ => None,
    }
}

fn bounded<T>(members: Vec<T>, key: &str) -> Result<Vec<T>, StoreError> {
    check_members(members.len() as u64, key)?;
    Ok(members)
}

fn check_members(count: u64, key: &str) -> Result<(), StoreError> {
    if count <= COLLECTION_MEMBERS_MAX {
        return Ok(());
    }
    Err(StoreError::Limit(format!("`{key}` would answer more than {COLLECTION_MEMBERS_MAX} members: read it in parts")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a server makes of a range, as indexes into `size` members.
    fn indexes(size: i64, start: i64, stop: i64) -> std::ops::Range<i64> {
        let absolute = |index: i64| if index < 0 { size.saturating_add(index) } else { index };
        let (start, stop) = (absolute(start).max(0), absolute(stop).min(size - 1));
        if start > stop { 0..0 } else { start..stop + 1 }
    }

    proptest! {
        #[test]
        fn a_narrowed_range_answers_the_same_or_too_much(
            size in 0..30_000_i64,
            start in prop_oneof![-40_000..40_000_i64, any::<i64>()],
            stop in prop_oneof![Just(-1), -40_000..40_000_i64, any::<i64>()],
        ) {
            let wanted = indexes(size, start, stop);
            if let Some((start, stop)) = narrowed(start, stop) {
                let got = indexes(size, start, stop);
                let length = |range: &std::ops::Range<i64>| range.end - range.start;
                prop_assert!(length(&got) <= FETCH_MAX);
                if length(&wanted) < FETCH_MAX {
                    prop_assert_eq!(got, wanted);
                } else {
                    prop_assert_eq!(length(&got), FETCH_MAX);
                }
            }
        }
    }
}
