//! Where the primitives live: the contract that every store keeps.
//!
//! A store knows keys, values, streams and consumer groups, queues and leases. It does not know plugins, tenants,
//! grants or WebAssembly: keys arrive with their tenant's prefix already on them, and checked. Two stores keep the
//! contract, [`redis`] and [`embedded`]; one conformance suite runs against both.
//!
//! Reads and calls that answer something happen at once ([`Cache`], [`Stream`], [`PubSub`], [`Collections`],
//! [`Lock`], [`Queue`], [`Loading`]). All other writes are [`Effect`]s, which take place in a [`Commit`] and nowhere
//! else.

pub mod combine;
pub mod effect;
pub mod entry;
pub mod error;

mod cache;
mod changes;
mod collections;
mod confine;
pub mod dead_letter;
mod delivery;
pub mod held_lock;
mod loading;
pub mod lock;
pub mod pending_writes;
mod pubsub;
mod queue;
mod stream;
mod wake;

pub mod embedded;
pub mod redis;

pub use cache::{Cache, Page, Remaining};
pub use changes::{Changes, Listener, TRUST};
pub use collections::{COLLECTION_MEMBERS_MAX, Collections, Scored};
pub use confine::Confine;
pub use delivery::{
    Backlog, Batch, Commit, CommitError, Committed, Consumer, DeadLetter, Delivered, Delivery, Due, Epoch, Refusal,
    Settlement, Source, Taken,
};
pub use effect::{Condition, Effect, End, Expiry, Retention};
pub use entry::{Bound, Entry, Field};
pub use error::StoreError;
pub use loading::{ENDED_MS, Fill, Filled, Kept, LoadClaim, LoadClaimed, LoadSlot, Loading, Stale};
pub use lock::{Claim, Holder, Lock, LockKey, LockLease, Locked};
pub use pubsub::{PubSub, Subject, Subscriber, Subscription};
pub use queue::{
    DeadJob, Job, JobQueue, Lease, LeaseId, LeaseSettlement, Lengths, Loss, PushOptions, Queue, Rate, TAKE_MAX, Took,
    Want,
};
pub use stream::{Group, Stream, StreamInfo};
pub use wake::{Wake, Wakes};

use std::sync::Arc;

use sandbar_core::config::StoreConfig;
pub use sandbar_core::entry_id::{EntryId, GroupStart};

/// The url of the store that lives in this process.
pub const EMBEDDED_URL: &str = "embedded";

/// Everything that a host asks of a store.
pub trait Store:
    Cache + Stream + PubSub + Collections + Queue + Delivery + Lock + Loading + Confine + std::fmt::Debug
{
}

impl<T> Store for T where
    T: Cache + Stream + PubSub + Collections + Queue + Delivery + Lock + Loading + Confine + std::fmt::Debug
{
}

/// The store that a configuration names.
pub async fn connect(config: &StoreConfig) -> Result<Arc<dyn Store>, StoreError> {
    if config.url == EMBEDDED_URL {
        return Ok(Arc::new(embedded::Embedded::new()));
    }
    Ok(Arc::new(redis::Redis::connect(config).await?))
}
