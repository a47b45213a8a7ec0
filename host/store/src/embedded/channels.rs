//! Who listens to which channel in this process: receivers of single channels, and the listeners of triggers. Sharded
//! channels are another world, as in Redis, in which nobody here can publish.
//!
//! A receiver that is [`CHANNEL_MESSAGES_MAX`] messages behind loses the oldest and learns how many.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast;

use super::glob;
use crate::pubsub::{Subject, Subscriber, Subscribers, Subscription};

/// How many messages of a channel wait for its slowest listener.
pub const CHANNEL_MESSAGES_MAX: usize = 1_024;
/// So many channels may be left over by listeners that went away, beside as many as are listened to.
const LEFT_OVER_MAX: usize = 64;

/// All channels with listeners.
#[derive(Debug)]
pub(super) struct Channels {
    senders: HashMap<String, broadcast::Sender<Bytes>>,
    /// At so many channels those without listeners are removed.
    prune_at: usize,
    listeners: Subscribers,
}

impl Default for Channels {
    fn default() -> Self {
        Self { senders: HashMap::new(), prune_at: LEFT_OVER_MAX, listeners: Subscribers::default() }
    }
}

impl Channels {
    /// A new listener, which hears what is published from now on.
    pub(super) fn subscribe(&mut self, channel: &str) -> broadcast::Receiver<Bytes> {
        if let Some(sender) = self.senders.get(channel) {
            return sender.subscribe();
        }
        if self.senders.len() >= self.prune_at {
            self.senders.retain(|_, sender| sender.receiver_count() > 0);
            self.prune_at = 2 * self.senders.len() + LEFT_OVER_MAX;
        }
        let (sender, receiver) = broadcast::channel(CHANNEL_MESSAGES_MAX);
        self.senders.insert(channel.to_owned(), sender);
        receiver
    }

    /// A new listener, which hears what is published from now on.
    pub(super) fn listen(&mut self, subject: &Subject, listener: Arc<dyn Subscriber>) -> Subscription {
        self.listeners.forget();
        let subscription = self.listeners.add(subject.clone(), listener);
        self.listeners.heard(subject, true);
        subscription
    }

    /// Sends a message to the listeners of a channel; without listeners it is lost.
    pub(super) fn publish(&mut self, channel: &str, payload: &Bytes) {
        let is_meant = |subject: &Subject| match subject {
            Subject::Channel(name) => name == channel,
            Subject::Pattern(pattern) => glob::matches(pattern.as_bytes(), channel.as_bytes()),
            Subject::Sharded(_) => false,
        };
        self.listeners.deliver_to(is_meant, channel, payload);
        if let Some(sender) = self.senders.get(channel)
            && sender.send(payload.clone()).is_err()
        {
            self.senders.remove(channel);
        }
    }

    /// Number of listeners by name. Those of triggers count as one, as those of a host do in Redis.
    pub(super) fn subscribers(&self, channel: &str) -> u64 {
        let receivers = self.senders.get(channel).map_or(0, |sender| sender.receiver_count() as u64);
        receivers + u64::from(self.listeners.has(&Subject::Channel(channel.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_counted_while_they_live() {
        let mut channels = Channels::default();
        let mut first = channels.subscribe("a");
        let second = channels.subscribe("a");
        assert_eq!((channels.subscribers("a"), channels.subscribers("b")), (2, 0));
        drop(second);
        channels.publish("a", &Bytes::from("1"));
        assert_eq!(first.try_recv(), Ok(Bytes::from("1")));
        drop(first);
        assert_eq!(channels.subscribers("a"), 0);
        channels.publish("a", &Bytes::from("2"));
        assert!(channels.senders.is_empty());
    }

    #[test]
    fn channels_without_listeners_do_not_pile_up() {
        let mut channels = Channels::default();
        let _kept: Vec<_> = (0..100).map(|number| channels.subscribe(&format!("kept:{number}"))).collect();
        for number in 0..10_000 {
            channels.subscribe(&number.to_string());
        }
        assert!(channels.senders.len() <= 2 * 100 + LEFT_OVER_MAX + 1, "{}", channels.senders.len());
        assert_eq!(channels.subscribers("kept:0"), 1);
    }
}
