//! Reads of hashes, sets, sorted sets and lists.

use async_trait::async_trait;
use bytes::Bytes;

use super::Embedded;
use super::ranks::ranks;
use super::sorted::Sorted;
use super::value::{Hash, List, Set};
use crate::{COLLECTION_MEMBERS_MAX, Collections, Field, Scored, StoreError};

/// [`StoreError::Limit`] where a read of so many members would answer more than it may.
fn bounded(key: &str, members: usize) -> Result<(), StoreError> {
    if members as u64 > COLLECTION_MEMBERS_MAX {
        let limit = format!("`{key}`: {members} members are more than {COLLECTION_MEMBERS_MAX}, read them in parts");
        return Err(StoreError::Limit(limit));
    }
    Ok(())
}

#[async_trait]
impl Collections for Embedded {
    async fn hash_get_many(&self, key: &str, names: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let state = self.state();
        let hash = state.keys.get::<Hash>(key)?;
        Ok(names.iter().map(|name| hash.and_then(|hash| hash.get(name)).cloned()).collect())
    }

    async fn hash_get_all(&self, key: &str) -> Result<Vec<Field>, StoreError> {
        let state = self.state();
        let Some(hash) = state.keys.get::<Hash>(key)? else { return Ok(Vec::new()) };
        bounded(key, hash.len())?;
        Ok(hash.iter().map(|(name, value)| Field::new(name.as_str(), value.clone())).collect())
    }

    async fn hash_length(&self, key: &str) -> Result<u64, StoreError> {
        Ok(self.state().keys.get::<Hash>(key)?.map_or(0, |hash| hash.len() as u64))
    }

    async fn set_contains(&self, key: &str, member: &str) -> Result<bool, StoreError> {
        Ok(self.state().keys.get::<Set>(key)?.is_some_and(|set| set.contains(member)))
    }

    async fn set_members(&self, key: &str) -> Result<Vec<String>, StoreError> {
        let state = self.state();
        let Some(set) = state.keys.get::<Set>(key)? else { return Ok(Vec::new()) };
        bounded(key, set.len())?;
        Ok(set.iter().cloned().collect())
    }

    async fn set_size(&self, key: &str) -> Result<u64, StoreError> {
        Ok(self.state().keys.get::<Set>(key)?.map_or(0, |set| set.len() as u64))
    }

    async fn sorted_score(&self, key: &str, member: &str) -> Result<Option<f64>, StoreError> {
        Ok(self.state().keys.get::<Sorted>(key)?.and_then(|sorted| sorted.score(member)))
    }

    async fn sorted_size(&self, key: &str) -> Result<u64, StoreError> {
        Ok(self.state().keys.get::<Sorted>(key)?.map_or(0, |sorted| sorted.len() as u64))
    }

    async fn sorted_range(&self, key: &str, start: i64, stop: i64, reverse: bool) -> Result<Vec<Scored>, StoreError> {
        let state = self.state();
        let Some(sorted) = state.keys.get::<Sorted>(key)? else { return Ok(Vec::new()) };
        bounded(key, ranks(start, stop, sorted.len()).len())?;
        Ok(sorted.by_rank(start, stop, reverse))
    }

    async fn sorted_range_by_score(
        &self,
        key: &str,
        min: f64,
        max: f64,
        count: u32,
    ) -> Result<Vec<Scored>, StoreError> {
        if min.is_nan() || max.is_nan() {
            return Err(StoreError::Invalid(format!("`{key}`: a score is not a number")));
        }
        let state = self.state();
        let Some(sorted) = state.keys.get::<Sorted>(key)? else { return Ok(Vec::new()) };
        let members = sorted.by_score(min, max, count as usize);
        bounded(key, members.len())?;
        Ok(members)
    }

    async fn list_range(&self, key: &str, start: i64, stop: i64) -> Result<Vec<Bytes>, StoreError> {
        let state = self.state();
        let Some(list) = state.keys.get::<List>(key)? else { return Ok(Vec::new()) };
        let range = ranks(start, stop, list.len());
        bounded(key, range.len())?;
        Ok(list.range(range).cloned().collect())
    }

    async fn list_length(&self, key: &str) -> Result<u64, StoreError> {
        Ok(self.state().keys.get::<List>(key)?.map_or(0, |list| list.len() as u64))
    }
}
