//! The store in this process: for trying things out, and for tests of plugins.
//!
//! It answers what Redis 7 answers through the same traits, keeps nothing when the process ends, and is bounded only
//! by what is put into it. Everything lives behind one mutex, which is never held over an await: each call is one
//! instant. Fences, waiting retries, counts of attempts, lines for locks and what queues have beside their lists are
//! kept beside the keys, not in them, so a scan does not meet them. It does not know plugins, tenants or grants.

mod apply;
mod cache;
mod channels;
mod collections;
mod commit;
mod confine;
mod delivery;
mod fences;
pub(super) mod glob;
mod group;
mod integer;
mod jobs;
mod keyspace;
mod loading;
mod lock;
mod log;
mod queue;
mod ranks;
mod sorted;
mod stream;
mod tally;
mod value;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::broadcast;

use self::channels::Channels;
use self::fences::Fences;
use self::jobs::QueueJobs;
use self::keyspace::Keyspace;
use self::lock::Locks;
use super::{Changes, PubSub, StoreError, Subject, Subscriber, Subscription, Wakes};

pub use self::channels::CHANNEL_MESSAGES_MAX;

/// A store in this process. Share it behind an `Arc`.
pub struct Embedded {
    state: Mutex<State>,
    /// Milliseconds since 1970; asked once a call.
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Who waits for entries; has its own lock, which is taken while the state's is not held.
    wakes: Wakes,
    /// Who keeps copies of values; called while the state's lock is not held.
    changes: Changes,
}

/// What is behind the mutex.
#[derive(Debug, Default)]
struct State {
    keys: Keyspace,
    channels: Channels,
    fences: Fences,
    locks: Locks,
    /// What is beside the lists of queues, by the list's key.
    lines: HashMap<String, QueueJobs>,
}

impl Embedded {
    /// An empty store, which goes by the system's clock.
    pub fn new() -> Self {
        Self::with_clock(|| {
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// An empty store that goes by another clock, which answers milliseconds since 1970 and must not call the store.
    pub fn with_clock(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { state: Mutex::default(), clock: Box::new(clock), wakes: Wakes::default(), changes: Changes::local() }
    }

    /// A new listener of a channel. One that is [`CHANNEL_MESSAGES_MAX`] messages behind loses the oldest and is
    /// learn how many.
    pub fn subscribe(&self, channel: &str) -> broadcast::Receiver<Bytes> {
        self.state().channels.subscribe(channel)
    }

    /// The state at this instant.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        state.keys.advance((self.clock)());
        state
    }

    /// All keys with their values and last milliseconds, to be compared with another store's.
    #[cfg(test)]
    pub(crate) fn contents(&self) -> impl PartialEq + fmt::Debug + use<> {
        self.state().keys.contents()
    }
}

impl Default for Embedded {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("state", &self.state).field("wakes", &self.wakes).finish_non_exhaustive()
    }
}

#[async_trait]
impl PubSub for Embedded {
    async fn subscribers(&self, channel: &str) -> Result<u64, StoreError> {
        Ok(self.state().channels.subscribers(channel))
    }

    fn subscribe(&self, subject: Subject, listener: Arc<dyn Subscriber>) -> Subscription {
        self.state().channels.listen(&subject, listener)
    }
}

#[cfg(test)]
mod tests;
