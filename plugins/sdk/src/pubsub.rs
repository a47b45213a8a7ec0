//! Messages to the clients that listen at the moment: at most once by nature.

use crate::bindings::sandbar::plugin::pubsub as host;
use crate::types::Error;

/// How many clients subscribe to the channel by its name; those that subscribe to a pattern are not counted.
///
/// # Errors
///
/// Only those that all functions have: `denied`, `unavailable` and their like.
pub fn subscribers(channel: &str) -> Result<u64, Error> {
    host::subscribers(channel)
}

/// Publishes to a channel in the commit, so that subscribers never see what was not committed.
///
/// # Errors
///
/// `denied` where the channel is not granted, `limit` for too large a message.
pub fn publish(channel: &str, payload: impl AsRef<[u8]>) -> Result<(), Error> {
    host::publish(channel, payload.as_ref())
}
