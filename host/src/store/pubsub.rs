//! Who listens to a channel.

use async_trait::async_trait;

use super::StoreError;

/// Reads about channels; publishing is an effect.
#[async_trait]
pub trait PubSub: Send + Sync {
    /// How many clients subscribe to the channel by its name.
    async fn subscribers(&self, channel: &str) -> Result<u64, StoreError>;
}
