//! Messages that wait for the plugin. Bounded by the trigger's `buffer` and by [`BYTES_MAX`]; what finds no room is
//! dropped and counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use sandbar_core::manifest::Drop as Policy;
use sandbar_store::Subscriber;

/// The most bytes that wait for one trigger.
const BYTES_MAX: usize = 64 << 20;
/// The most bytes of one batch, but for a single message that is larger.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// Counts the messages of the trigger, from 1.
    pub(super) number: u64,
    /// The channel, without the tenant's prefix.
    pub(super) channel: String,
    /// What was published.
    pub(super) payload: Bytes,
    /// When it came.
    pub(super) came: Instant,
}

/// A bounded queue. Pure.
#[derive(Debug)]
struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
    policy: Policy,
}

impl Queue {
    /// Adds a message, and answers how many were dropped for it, itself included.
    fn push(&mut self, message: Message) -> u64 {
        let size = message.payload.len();
        let fits = |queue: &Self| queue.messages.len() < queue.count_max && queue.bytes + size <= queue.bytes_max;
        let mut dropped = 0;
        while self.policy == Policy::Oldest && !fits(self) && size <= self.bytes_max {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= oldest.payload.len();
            dropped += 1;
        }
        if !fits(self) {
            return dropped + 1;
        }
        self.bytes += size;
        self.messages.push_back(message);
        dropped
    }

    /// Takes up to `count` of the oldest, of up to `bytes` but at least one.
    fn take(&mut self, count: usize, bytes: usize) -> Vec<Message> {
        let (mut taken, mut sum) = (Vec::new(), 0_usize);
        while let Some(next) = self.messages.front()
            && taken.len() < count
            && (taken.is_empty() || sum + next.payload.len() <= bytes)
        {
            sum += next.payload.len();
            taken.extend(self.messages.pop_front());
        }
        self.bytes -= sum;
        taken
    }
}

/// Where a subscription puts what it hears.
#[derive(Debug)]
pub(super) struct Mailbox {
    queue: Mutex<(Queue, u64)>,
    arrived: Notify,
    /// What stands before the names of channels.
    prefix: String,
    /// Counts what is dropped.
    dropped: metrics::Counter,
    ready: Arc<AtomicBool>,
}

impl Mailbox {
    /// An empty one. `ready` follows whether messages are heard.
    pub(super) fn new(
        prefix: String,
        buffer: u32,
        policy: Policy,
        dropped: metrics::Counter,
        ready: Arc<AtomicBool>,
    ) -> Self {
        let count_max = usize::try_from(buffer).unwrap_or(usize::MAX);
        let queue = Queue { messages: VecDeque::new(), bytes: 0, count_max, bytes_max: BYTES_MAX, policy };
        Self { queue: Mutex::new((queue, 0)), arrived: Notify::new(), prefix, dropped, ready }
    }

    /// Up to `count` of the oldest messages; waits for the first. Cancel-safe.
    pub(super) async fn next(&self, count: u32) -> Vec<Message> {
        loop {
            let taken = self.take(count);
            if !taken.is_empty() {
                return taken;
            }
            self.arrived.notified().await;
        }
    }

    /// Those that are there.
    pub(super) fn take(&self, count: u32) -> Vec<Message> {
        self.queue.lock().0.take(usize::try_from(count).unwrap_or(usize::MAX), BATCH_BYTES_MAX)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.queue.lock().0.messages.len()
    }
}

impl Subscriber for Mailbox {
    fn message(&self, channel: &str, payload: Bytes) {
        let channel = channel.strip_prefix(&self.prefix).unwrap_or(channel).to_owned();
        let dropped = {
            let (queue, number) = &mut *self.queue.lock();
            *number += 1;
            queue.push(Message { number: *number, channel, payload, came: Instant::now() })
        };
        if dropped > 0 {
            self.dropped.increment(dropped);
        }
        self.arrived.notify_one();
    }

    fn listening(&self, is_listening: bool) {
        self.ready.store(is_listening, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(number: u64, size: usize) -> Message {
        Message { number, channel: String::new(), payload: vec![0; size].into(), came: Instant::now() }
    }

    fn queue(policy: Policy, count_max: usize, bytes_max: usize) -> Queue {
        Queue { messages: VecDeque::new(), bytes: 0, count_max, bytes_max, policy }
    }

    #[test]
    fn which_is_dropped_is_the_triggers_choice() {
        let numbers = |queue: &Queue| queue.messages.iter().map(|message| message.number).collect::<Vec<_>>();
        for (policy, left) in [(Policy::Oldest, [4, 5]), (Policy::Newest, [1, 2])] {
            let mut queue = queue(policy, 2, 100);
            let dropped: u64 = (1..=5).map(|number| queue.push(message(number, 1))).sum();
            assert_eq!((numbers(&queue), dropped), (left.to_vec(), 3));
        }
        let mut queue = queue(Policy::Oldest, 10, 100);
        queue.push(message(1, 60));
        assert_eq!(queue.push(message(2, 101)), 1, "what never fits drops nothing else");
        assert_eq!(queue.push(message(3, 60)), 1);
        assert_eq!(numbers(&queue), [3]);
        assert_eq!(queue.take(10, 1).len(), 1, "one at least");
    }

    proptest! {
        #[test]
        fn bounds_hold_and_nothing_is_lost_without_being_counted(
            oldest: bool,
            count_max in 1usize..5,
            steps in prop::collection::vec((0usize..40, any::<bool>()), 0..60),
        ) {
            let mut queue = queue(if oldest { Policy::Oldest } else { Policy::Newest }, count_max, 64);
            let (mut dropped, mut taken, mut last) = (0, 0, 0);
            for (number, (size, takes)) in (1_u64..).zip(&steps) {
                dropped += queue.push(message(number, *size));
                prop_assert!(queue.messages.len() <= count_max && queue.bytes <= 64);
                prop_assert_eq!(queue.bytes, queue.messages.iter().map(|message| message.payload.len()).sum::<usize>());
                for message in queue.take(if *takes { 2 } else { 0 }, 50) {
                    prop_assert!(message.number > last, "in order");
                    last = message.number;
                    taken += 1;
                }
                prop_assert_eq!(dropped + taken + queue.messages.len() as u64, number);
            }
        }
    }
}
