//! Tenants that the store itself keeps below their prefix.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Store, StoreError};

/// Makes stores that reach no further than a prefix.
#[async_trait]
pub trait Confine: Send + Sync {
    /// A store for one tenant, on connections of its own, whose server refuses all that lies outside of the prefix.
    /// [`StoreError::Invalid`] where the server cannot, or the user of the host may not see to that.
    async fn confine(&self, tenant: &str, prefix: &str) -> Result<Arc<dyn Store>, StoreError>;

    /// Takes back what [`Confine::confine`] has made in the server for this store.
    async fn unconfine(&self) -> Result<(), StoreError>;
}
