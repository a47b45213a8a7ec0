//! Values through tiers: memory, the store, a plugin that loads them.
//!
//! [`Tiers::fetch`] looks into the memory of this process, then into the store, then asks a loader, and keeps what it gets on the way
//! back. One caller of the whole fleet loads a missing key: in this process callers join one flight, and flights of several
//! hosts are told apart by a grant in the store ([`Loading`](crate::store::Loading)), which the loading host renews while it loads. A flight is a task
//! of its own, so a caller that traps, is cancelled or runs out of time leaves nothing behind; it has a bound in time, and ends
//! with an error for all who wait where that is over. Knows no WebAssembly but for the pool that it calls.

pub mod policy;

mod flights;
mod loaders;
mod memory;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use rand::RngExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::call::Lineage;
use crate::pool::Pool;
use crate::store::{Fill, Filled, Kept, Listener, LoadClaim, LoadClaimed, Slot, Store, StoreError};
use crate::telemetry::CacheMetrics;
use flights::{Ended, Flights, Over, Progress, Ticket};
use loaders::{Loaders, Source};
use memory::{Memory, Reading};
use policy::Policy;

pub use flights::FLIGHTS_MAX;
pub use loaders::{BATCH_MAX, DEPTH_MAX, LOADS_MAX, WAITING_MAX};

/// For how long a load is granted before the grant has to be renewed: so long others wait for a host that died.
pub const LEASE: Duration = Duration::from_secs(3);
/// How often the grant of a load is renewed.
const RENEW_INTERVAL: Duration = Duration::from_secs(1);
/// The first and the longest pause between two looks at a key that another host loads, where nothing wakes us.
const LOOK_MIN: Duration = Duration::from_millis(50);
/// See [`LOOK_MIN`].
const LOOK_MAX: Duration = Duration::from_millis(500);
/// How many times its loader's deadline a flight may take, beside [`FLIGHT_SLACK`]: waiting for another host, for a turn, and
/// loading.
const FLIGHT_DEADLINES: u32 = 3;
/// See [`FLIGHT_DEADLINES`].
const FLIGHT_SLACK: Duration = Duration::from_secs(10);
/// How often a load is repeated whose grant was taken away.
const RELOADS_MAX: u32 = 3;
/// How many groups of keys are followed one by one; with more of them all keys of the tenant are.
const GROUPS_MAX: usize = 16;
/// How much before its own end a call stops waiting, so that it can still do something about it.
const MARGIN: Duration = Duration::from_millis(20);

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// The memory of this process.
    Memory,
    /// The store.
    Store,
    /// A value that was over.
    Stale,
    /// It was remembered that the source has nothing.
    Negative,
    /// The source, just now.
    Loaded,
}

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
    #[error("{FLIGHTS_MAX} keys are being looked at or loaded already")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The tiers of a tenant on this host.
#[derive(Debug)]
pub struct Tiers {
    store: Arc<dyn Store>,
    prefix: String,
    /// What the keys of notes begin with.
    notes: String,
    memory: Memory,
    flights: Arc<Flights>,
    loaders: Loaders,
    /// What keys in memory begin with, as far as that is followed.
    groups: Mutex<BTreeSet<String>>,
    /// Notes are followed.
    follows: AtomicBool,
    metrics: CacheMetrics,
    stop: CancellationToken,
}

impl Tiers {
    /// Empty tiers over a store; `memory_bytes` bounds what is kept in this process.
    pub fn new(store: Arc<dyn Store>, tenant: &str, prefix: &str, memory_bytes: u64) -> Arc<Self> {
        let metrics = CacheMetrics::new(tenant);
        let tiers = Arc::new(Self {
            memory: Memory::new(memory_bytes, store.changes().clone()),
            prefix: prefix.to_owned(),
            notes: Slot::notes(prefix),
            flights: Arc::default(),
            loaders: Loaders::new(metrics.clone()),
            groups: Mutex::default(),
            follows: AtomicBool::new(false),
            metrics,
            stop: CancellationToken::new(),
            store,
        });
        tiers.store.changes().listen(&tiers);
        tiers
    }

    /// A plugin that may be asked to load from now on. Its instances may be replaced at any time.
    pub fn register(&self, plugin: &str, active: &Arc<ArcSwap<Pool>>) {
        self.loaders.register(plugin, active);
    }

    /// Ends what is still being loaded.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// How many bytes are kept in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.settled_bytes()
    }

    /// Reads a key through all tiers, and tells from which the answer came; none where the source has nothing, or where there is
    /// neither a value nor a loader.
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
        let (mut progress, new) = self.flights.join(&full, loader).ok_or(FetchError::TooMany)?;
        if let Some((sender, ticket)) = new {
            let flight = Flight {
                tiers: self.clone(),
                slot: Slot::new(&self.prefix, key),
                name: key.to_owned(),
                full,
                policy: *policy,
                loader: loader.map(str::to_owned),
                lineage: lineage.clone(),
                progress: sender,
                ticket: Some(ticket),
            };
            tokio::spawn(flight.run());
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
    fn begin(&self, slot: &Slot, policy: &Policy) -> Option<Reading> {
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

impl Listener for Tiers {
    fn changed(&self, key: &str) {
        self.memory.drop(key);
        self.flights.detach(key);
        // A deletion of the note says that what is remembered of the key is over.
        if let Some(name) = key.strip_prefix(self.notes.as_str()) {
            self.memory.drop(&format!("{}{name}", self.prefix));
        }
    }

    fn lost(&self) {
        self.memory.clear();
        self.flights.detach_all();
    }
}

/// A key that is looked at, and loaded where it is missing.
struct Flight {
    tiers: Arc<Tiers>,
    slot: Slot,
    /// The key as plugins name it.
    name: String,
    /// The key with its prefix.
    full: Arc<str>,
    policy: Policy,
    loader: Option<String>,
    lineage: Lineage,
    progress: watch::Sender<Progress>,
    /// Lets others join; gone before the end is told, so that nobody joins what is over.
    ticket: Option<Ticket>,
}

impl Flight {
    /// Flies to the end, and tells everybody who waits.
    async fn run(mut self) {
        if !self.tiers.follows.swap(true, Ordering::SeqCst) {
            self.tiers.store.follow(&self.tiers.notes);
        }
        let token = format!("{:016x}", rand::random::<u64>());
        let limit = self.tiers.loaders.deadline(self.loader.as_deref()) * FLIGHT_DEADLINES + FLIGHT_SLACK;
        let stop = self.tiers.stop.clone();
        let flown = tokio::select! {
            flown = tokio::time::timeout(limit, self.fly(&token)) => {
                flown.map_err(|_| format!("it took longer than {limit:?}"))
            }
            () = stop.cancelled() => Err("the host is shutting down".to_owned()),
        };
        let cut_off = match flown {
            Ok(ended) => return self.end(ended.unwrap_or_else(Ended::Store)),
            Err(reason) => reason,
        };
        self.end(Ended::Failed(cut_off.clone(), None));
        // So that no other host waits for a load that was given up.
        if let Err(error) = self.tiers.store.fail(&self.slot, &token, &cut_off).await {
            tracing::debug!(key = self.slot.key, %error, "could not give up a load");
        }
    }

    fn end(&mut self, ended: Ended) {
        self.ticket = None;
        self.progress.send_replace(Progress::Ended(ended));
        self.tiers.metrics.memory_bytes(self.tiers.memory.bytes());
    }

    async fn fly(&self, token: &str) -> Result<Ended, StoreError> {
        let Self { tiers, slot, policy, .. } = self;
        let reading = tiers.begin(slot, policy);
        if let Some(kept) = tiers.store.kept(slot, policy.stale_ms()).await? {
            self.keep(reading, &kept);
            return Ok(Ended::Value(kept.value, Tier::Store));
        }
        let Some(loader) = &self.loader else { return Ok(Ended::Missing(Tier::Store)) };
        let (mut waited, mut wake, mut pause, mut over) = (String::new(), None, LOOK_MIN, None);
        let mut reloads = 0;
        loop {
            let reading = tiers.begin(slot, policy);
            let lease_ms = millis(LEASE);
            let claim = LoadClaim { token, lease_ms, waited: &waited, wants_stale: over.is_none() };
            match tiers.store.claim(slot, claim).await? {
                LoadClaimed::Value(kept) => {
                    self.keep(reading, &kept);
                    return Ok(Ended::Value(kept.value, if waited.is_empty() { Tier::Store } else { Tier::Loaded }));
                }
                LoadClaimed::Missing(left_ms) => {
                    let ttl = Duration::from_millis(left_ms.min(policy.memory_ttl_ms));
                    if let Some(reading) = reading
                        && !ttl.is_zero()
                    {
                        tiers.memory.insert(&self.full, reading, None, ttl);
                    }
                    return Ok(Ended::Missing(Tier::Negative));
                }
                LoadClaimed::Failed { reason, stale } => {
                    return Ok(Ended::Failed(reason, stale.map(Over::new).or(over)));
                }
                LoadClaimed::Busy { token: other, stale } => {
                    over = stale.map(Over::new).or(over);
                    self.progress.send_replace(Progress::Loading(over.clone()));
                    waited = other;
                    // It is woken once at the start, so a load that ends before it is watched is not missed.
                    let wake = wake.get_or_insert_with(|| tiers.store.watch(&slot.note));
                    let jittered = pause.mul_f64(rand::rng().random_range(0.5..=1.0));
                    tokio::select! {
                        () = wake.wait() => {}
                        () = tokio::time::sleep(jittered) => pause = (pause * 2).min(LOOK_MAX),
                    }
                }
                LoadClaimed::Granted { stale } => {
                    over = stale.map(Over::new).or(over);
                    self.progress.send_replace(Progress::Loading(over.clone()));
                    let source = self.load(loader, token).await;
                    if let Some(ended) = self.fill(token, source, over.clone(), reloads).await {
                        return Ok(ended);
                    }
                    reloads += 1;
                }
            }
        }
    }

    /// Keeps what was read from the store in memory, for no longer than the store does.
    fn keep(&self, reading: Option<Reading>, kept: &Kept) {
        if let (Some(reading), Some(ttl)) = (reading, self.policy.memory_ttl(kept.remaining)) {
            self.tiers.memory.insert(&self.full, reading, Some(kept.value.clone()), ttl);
        }
    }

    /// Asks the source, and keeps the grant meanwhile.
    async fn load(&self, loader: &str, token: &str) -> Source {
        let mut answer = self.tiers.loaders.submit(loader, &self.name, &self.lineage);
        loop {
            tokio::select! {
                source = &mut answer => {
                    return source.unwrap_or_else(|_| Source::Failed("the load was given up".to_owned()));
                }
                () = tokio::time::sleep(RENEW_INTERVAL) => {
                    // Whether it was taken away is found out at the end.
                    if let Err(error) = self.tiers.store.renew_load(&self.slot, token, millis(LEASE)).await {
                        tracing::debug!(key = self.slot.key, %error, "could not keep the grant of a load");
                    }
                }
            }
        }
    }

    /// Keeps what the source said in the store. None where it has to be asked again, because the key was deleted meanwhile.
    async fn fill(&self, token: &str, source: Source, over: Option<Over>, reloads: u32) -> Option<Ended> {
        let Self { tiers, slot, policy, .. } = self;
        let (fill, ended) = match &source {
            Source::Value(value) => {
                let ttl_ms = policy.jittered_ttl_ms(rand::random());
                let fill = Fill::Value { value, ttl_ms, stale_ms: policy.stale_ms() };
                (fill, Ended::Value(value.clone(), Tier::Loaded))
            }
            Source::Missing => (Fill::Missing { ttl_ms: policy.negative_ttl_ms }, Ended::Missing(Tier::Loaded)),
            Source::Failed(reason) => {
                if let Err(error) = tiers.store.fail(slot, token, reason).await {
                    tracing::debug!(key = slot.key, %error, "could not give up a load");
                }
                return Some(Ended::Failed(reason.clone(), over));
            }
        };
        match tiers.store.fill(slot, token, fill).await {
            Ok(Filled::Kept) => Some(ended),
            Ok(Filled::Overtaken(kept)) => Some(Ended::Value(kept.value, Tier::Store)),
            Ok(Filled::Revoked) if reloads < RELOADS_MAX => None,
            Ok(Filled::Revoked) => Some(ended),
            Err(error) => {
                // It was loaded, so it is answered; the grant ends by itself.
                tracing::warn!(key = slot.key, %error, "what was loaded could not be kept");
                Some(ended)
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
