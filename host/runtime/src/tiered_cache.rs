//! The tiered cache: memory, the store, and a loader.
//!
//! [`TieredCache::fetch`] looks into the memory of this process, then into the store, then asks a loader, and fills
//! what it gets back upwards. One caller of the whole fleet loads a missing key: callers in this process join one
//! in-flight load, and a grant in the store ([`Loading`](sandbar_store::Loading)), which the loading host renews,
//! excludes other hosts. A load is a task of its own, so a caller that traps, is cancelled or runs out of time leaves
//! nothing behind. A load has a bound in time, and ends with an error for all waiters where that is over. Knows no
//! WebAssembly.

pub mod policy;

mod in_flight_load;
mod in_flight_loads;
mod loaders;
mod memory;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::call::Lineage;
use crate::telemetry::CacheMetrics;
pub use crate::telemetry::Tier;
use in_flight_load::InFlightLoad;
use in_flight_loads::InFlightLoads;
use loaders::Loaders;
use memory::{Memory, Reading};
use policy::Policy;
use sandbar_store::{Listener, LoadSlot, Store, StoreError};

pub use in_flight_load::LEASE;
pub use in_flight_loads::IN_FLIGHT_LOADS_MAX;
pub use loaders::{BATCH_MAX, DEPTH_MAX, LOADS_MAX, Loaded, Loader, WAITING_MAX};

/// How many groups of keys are followed one by one; with more of them all keys of the tenant are.
const GROUPS_MAX: usize = 16;
/// How much before its own end a call stops waiting, so that it can still do something about it.
const MARGIN: Duration = Duration::from_millis(20);

/// What is to be read.
#[derive(Debug, Clone, Copy)]
pub struct Fetch<'a> {
    /// The key, without the tenant's prefix.
    pub key: &'a str,
    /// How; it is within its bounds.
    pub policy: &'a Policy,
    /// The plugin that loads what is missing.
    pub loader: Option<&'a str>,
    /// When the caller ends.
    pub until: Instant,
    /// What the caller itself loads.
    pub lineage: &'a Lineage,
}

/// Why a read got nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The source failed, and nothing may be answered in its place.
    #[error("the source failed: {0}")]
    Failed(String),
    /// It took too long.
    #[error("it was not loaded in time")]
    TimedOut,
    /// The caller loads this very key.
    #[error("the call loads this key itself, or is needed to load it: it would wait for ever")]
    Recursive,
    /// Too many keys are looked at or loaded.
    #[error("{IN_FLIGHT_LOADS_MAX} keys are being looked at or loaded already")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The tiered_cache of a tenant on this host.
#[derive(Debug)]
pub struct TieredCache {
    store: Arc<dyn Store>,
    prefix: String,
    /// What the keys of notes begin with.
    notes: String,
    memory: Memory,
    in_flight: Arc<InFlightLoads>,
    loaders: Loaders,
    /// What keys in memory begin with, as far as that is followed.
    groups: Mutex<BTreeSet<String>>,
    /// Notes are followed.
    follows: AtomicBool,
    metrics: CacheMetrics,
    stop: CancellationToken,
}

impl TieredCache {
    /// Empty tiered_cache over a store; `memory_bytes` bounds what is kept in this process.
    pub fn new(store: Arc<dyn Store>, tenant: &str, prefix: &str, memory_bytes: u64) -> Arc<Self> {
        let metrics = CacheMetrics::new(tenant);
        let tiered_cache = Arc::new(Self {
            memory: Memory::new(memory_bytes, store.changes().clone()),
            prefix: prefix.to_owned(),
            notes: LoadSlot::notes(prefix),
            in_flight: Arc::default(),
            loaders: Loaders::default(),
            groups: Mutex::default(),
            follows: AtomicBool::new(false),
            metrics,
            stop: CancellationToken::new(),
            store,
        });
        tiered_cache.store.changes().listen(prefix, &tiered_cache);
        tiered_cache
    }

    /// A loader that may be asked from now on, by the name of its plugin, until it is gone.
    pub fn register(&self, plugin: &str, loader: Arc<dyn Loader>) {
        self.loaders.register(plugin, loader);
    }

    /// The numbers of the tenant's tiered reads.
    pub fn metrics(&self) -> &CacheMetrics {
        &self.metrics
    }

    /// Ends what is still being loaded.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// How many bytes are kept in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.settled_bytes()
    }

    /// Reads a key through memory, the store and its loader, and returns which of them answered; none where the source
    /// has nothing, or where there is neither a value nor a loader.
    pub async fn fetch(self: &Arc<Self>, fetch: Fetch<'_>) -> Result<(Option<Bytes>, Tier), FetchError> {
        let found = self.find(fetch).await;
        match &found {
            Ok((_, tier)) => self.metrics.answered(*tier),
            Err(_) => self.metrics.failed(),
        }
        found
    }

    async fn find(self: &Arc<Self>, fetch: Fetch<'_>) -> Result<(Option<Bytes>, Tier), FetchError> {
        let Fetch { key, policy, loader, until, lineage } = fetch;
        let full = format!("{}{key}", self.prefix);
        if policy.memory_ttl_ms > 0
            && let Some(value) = self.memory.get(&full, Duration::from_millis(policy.memory_ttl_ms))
        {
            return Ok((value, Tier::Memory));
        }
        if lineage.keys.contains(&full) {
            return Err(FetchError::Recursive);
        }
        let full: Arc<str> = full.into();
        let (mut progress, new) = self.in_flight.join(&full, loader).ok_or(FetchError::TooMany)?;
        if let Some((sender, ticket)) = new {
            let load = InFlightLoad {
                tiered_cache: self.clone(),
                slot: LoadSlot::new(&self.prefix, key),
                name: key.to_owned(),
                full,
                policy: *policy,
                loader: loader.map(str::to_owned),
                lineage: lineage.clone(),
                progress: sender,
                ticket: Some(ticket),
            };
            tokio::spawn(load.run());
        }
        let until = until.checked_sub(MARGIN).unwrap_or(until);
        let waited = tokio::time::timeout_at(until.into(), async {
            match progress.wait_for(|progress| progress.answer(policy).is_some()).await {
                Ok(progress) => progress.answer(policy),
                Err(_) => None,
            }
        });
        match waited.await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(FetchError::Failed("the load was given up".to_owned())),
            Err(_) => progress.borrow().answer_late(policy).ok_or(FetchError::TimedOut),
        }
    }

    /// Begins to read a key that is to be kept in memory.
    fn begin(&self, slot: &LoadSlot, policy: &Policy) -> Option<Reading> {
        if policy.memory_ttl_ms == 0 {
            return None;
        }
        let reading = self.memory.begin(&slot.key);
        if reading.is_none() {
            self.follow_group(&slot.key);
        }
        reading
    }

    /// Follows the keys that begin as this one does, up to its first colon.
    fn follow_group(&self, key: &str) {
        let name = key.strip_prefix(self.prefix.as_str()).unwrap_or(key);
        let end = name.find(':').map_or(name.len(), |at| at + 1);
        let group = key.get(..key.len() - name.len() + end).unwrap_or(key);
        let mut groups = self.groups.lock();
        if groups.contains(group) {
            return;
        }
        if groups.len() < GROUPS_MAX {
            groups.insert(group.to_owned());
            self.store.follow(group);
        } else {
            self.store.follow(&self.prefix);
        }
    }
}

impl Listener for TieredCache {
    fn changed(&self, key: &str) {
        self.memory.drop(key);
        self.in_flight.detach(key);
        // A deletion of the note says that what is remembered of the key is over.
        if let Some(name) = key.strip_prefix(self.notes.as_str()) {
            self.memory.drop(&format!("{}{name}", self.prefix));
        }
    }

    fn lost(&self) {
        self.memory.clear();
        self.in_flight.detach_all();
    }
}
