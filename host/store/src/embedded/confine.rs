//! All that is in this process is the host's, so there is nobody who could keep a tenant below its prefix but the host.

use std::sync::Arc;

use async_trait::async_trait;

use super::Embedded;
use crate::{Confine, Store, StoreError};

#[async_trait]
impl Confine for Embedded {
    async fn confine(&self, tenant: &str, _: &str) -> Result<Arc<dyn Store>, StoreError> {
        let reason = format!("the tenant `{tenant}` has `acl = true`, but the embedded store knows no users");
        Err(StoreError::Invalid(reason))
    }

    async fn unconfine(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
