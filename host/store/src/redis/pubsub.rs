//! Who listens, asked of a server, and what listens here. It counts the subscribers of this node alone.

use std::sync::Arc;

use ::redis::cmd;
use async_trait::async_trait;

use super::{Redis, reply};
use crate::{PubSub, StoreError, Subject, Subscriber, Subscription};

#[async_trait]
impl PubSub for Redis {
    async fn subscribers(&self, channel: &str) -> Result<u64, StoreError> {
        self.is_within(channel, channel)?;
        let answer = self.query(cmd("PUBSUB").arg("NUMSUB").arg(channel)).await?;
        match reply::pairs(answer, channel)?.into_iter().next() {
            Some((_, count)) => reply::count(count, channel),
            None => Ok(0),
        }
    }

    fn subscribe(&self, subject: Subject, listener: Arc<dyn Subscriber>) -> Subscription {
        self.subscriptions.add(subject, listener)
    }
}
