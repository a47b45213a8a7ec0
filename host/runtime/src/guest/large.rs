//! Reads whose answer may be large.
//!
//! What a call reads is counted once it is there, but a store is one for all: a read that would be far larger than
//! the call may still read is refused before it is made. The store only estimates how many bytes a key takes, so the
//! answer is counted again.

use std::sync::Arc;

use super::state::State;
use crate::call::CallLimit;
use crate::scheduling::quota::PluginQuota;
use sandbar_store::{Store, StoreError};

/// A read of so many members or fewer is made without asking how large it is.
const MEMBERS_SMALL: u64 = 64;
/// What a member may take in a store beside its bytes.
const MEMBER_OVERHEAD_BYTES: u64 = 64;

/// What one call may still read.
pub(super) struct Large {
    pub(super) store: Arc<dyn Store>,
    quota: Arc<PluginQuota>,
    left: u64,
    max: u64,
}

impl State {
    /// For a read of which it is not known how large it is.
    pub(super) fn large(&self) -> Large {
        let (quota, max) = (self.context.quota.clone(), self.context.limits.read_bytes.as_u64());
        Large { store: self.store(), quota, left: self.call.budget.read_left(), max }
    }
}

impl Large {
    /// Reads `asked` members of a key that has `size` of them. [`StoreError::Limit`] where they are surely more than
    /// the call may read.
    pub(super) async fn read<T>(
        &self,
        key: &str,
        asked: u64,
        size: impl Future<Output = Result<u64, StoreError>>,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let room = self.left.saturating_add(asked.saturating_mul(MEMBER_OVERHEAD_BYTES));
        if asked > MEMBERS_SMALL
            && let Some(bytes) = self.store.memory(key).await?
            && bytes > room
        {
            let size = size.await?.max(1);
            if u128::from(bytes) * u128::from(asked.min(size)) / u128::from(size) > u128::from(room) {
                let limit = CallLimit::ReadBytes(self.max);
                self.quota.hit(limit.name());
                return Err(StoreError::Limit(limit.to_string()));
            }
        }
        read.await
    }
}
