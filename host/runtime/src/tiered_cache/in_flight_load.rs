//! One load: a key that is looked at, and loaded where it is missing, by a task of its own.
//!
//! It asks the store for the grant of the load, waits while another host has it, asks the loader, and keeps the
//! answer. Whatever happens, it ends within its bound of time and wakes all waiters.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::watch;

use super::in_flight_loads::{LoadEnd, LoadTicket, Over, Progress};
use super::loaders::Loaded;
use super::memory::Reading;
use super::policy::Policy;
use super::{Tier, TieredCache};
use crate::call::Lineage;
use sandbar_store::{Fill, Filled, Kept, LoadClaim, LoadClaimed, LoadSlot, StoreError};

/// For how long a load is granted before the grant has to be renewed: so long others wait for a host that died.
pub const LEASE: Duration = Duration::from_secs(3);
/// How often the grant of a load is renewed.
const RENEW_INTERVAL: Duration = Duration::from_secs(1);
/// The first and the longest pause between two looks at a key that another host loads, where nothing wakes us.
const LOOK_MIN: Duration = Duration::from_millis(50);
/// See [`LOOK_MIN`].
const LOOK_MAX: Duration = Duration::from_millis(500);
/// How many times its loader's deadline a load may take, beside [`LOAD_SLACK`]: waiting for another host, for a turn,
/// and loading.
const LOAD_DEADLINES: u32 = 3;
/// See [`LOAD_DEADLINES`].
const LOAD_SLACK: Duration = Duration::from_secs(10);
/// How often a load is repeated whose grant was taken away.
const RELOADS_MAX: u32 = 3;

/// A key that is looked at, and loaded where it is missing.
pub(super) struct InFlightLoad {
    pub(super) tiered_cache: Arc<TieredCache>,
    pub(super) slot: LoadSlot,
    /// The key as plugins name it.
    pub(super) name: String,
    /// The key with its prefix.
    pub(super) full: Arc<str>,
    pub(super) policy: Policy,
    pub(super) loader: Option<String>,
    pub(super) lineage: Lineage,
    pub(super) progress: watch::Sender<Progress>,
    /// Lets other callers join; dropped before the end is announced, so that no caller joins what is over.
    pub(super) ticket: Option<LoadTicket>,
}

impl InFlightLoad {
    /// Runs to the end, and wakes all waiters.
    pub(super) async fn run(mut self) {
        if !self.tiered_cache.follows.swap(true, Ordering::SeqCst) {
            self.tiered_cache.store.follow(&self.tiered_cache.notes);
        }
        let token = format!("{:016x}", rand::random::<u64>());
        let limit = self.tiered_cache.loaders.deadline(self.loader.as_deref()) * LOAD_DEADLINES + LOAD_SLACK;
        let stop = self.tiered_cache.stop.clone();
        let ended = tokio::select! {
            ended = tokio::time::timeout(limit, self.look_and_load(&token)) => {
                ended.map_err(|_| format!("it took longer than {limit:?}"))
            }
            () = stop.cancelled() => Err("the host is shutting down".to_owned()),
        };
        let cut_off = match ended {
            Ok(ended) => return self.end(ended.unwrap_or_else(LoadEnd::Store)),
            Err(reason) => reason,
        };
        self.end(LoadEnd::Failed(cut_off.clone(), None));
        // So that no other host waits for a load that was given up.
        if let Err(error) = self.tiered_cache.store.fail(&self.slot, &token, &cut_off).await {
            tracing::debug!(key = self.slot.key, %error, "could not give up a load");
        }
    }

    fn end(&mut self, ended: LoadEnd) {
        self.ticket = None;
        self.progress.send_replace(Progress::LoadEnd(ended));
        self.tiered_cache.metrics.memory_bytes(self.tiered_cache.memory.bytes());
    }

    async fn look_and_load(&self, token: &str) -> Result<LoadEnd, StoreError> {
        let Self { tiered_cache, slot, policy, .. } = self;
        let reading = tiered_cache.begin(slot, policy);
        if let Some(kept) = tiered_cache.store.kept(slot, policy.stale_ms()).await? {
            self.keep(reading, &kept);
            return Ok(LoadEnd::Value(kept.value, Tier::Store));
        }
        let Some(loader) = &self.loader else { return Ok(LoadEnd::Missing(Tier::Store)) };
        let (mut waited, mut wake, mut pause, mut over) = (String::new(), None, LOOK_MIN, None);
        let mut reloads = 0;
        loop {
            let reading = tiered_cache.begin(slot, policy);
            let lease_ms = millis(LEASE);
            let claim = LoadClaim { token, lease_ms, waited: &waited, wants_stale: over.is_none() };
            match tiered_cache.store.claim(slot, claim).await? {
                LoadClaimed::Value(kept) => {
                    self.keep(reading, &kept);
                    return Ok(LoadEnd::Value(kept.value, if waited.is_empty() { Tier::Store } else { Tier::Loaded }));
                }
                LoadClaimed::Missing(left_ms) => {
                    let ttl = Duration::from_millis(left_ms.min(policy.memory_ttl_ms));
                    if let Some(reading) = reading
                        && !ttl.is_zero()
                    {
                        tiered_cache.memory.insert(&self.full, reading, None, ttl);
                    }
                    return Ok(LoadEnd::Missing(Tier::Negative));
                }
                LoadClaimed::Failed { reason, stale } => {
                    return Ok(LoadEnd::Failed(reason, stale.map(Over::new).or(over)));
                }
                LoadClaimed::Busy { token: other, stale } => {
                    over = stale.map(Over::new).or(over);
                    self.progress.send_replace(Progress::Loading(over.clone()));
                    waited = other;
                    // It is woken once at the start, so a load that ends before it is watched is not missed.
                    let wake = wake.get_or_insert_with(|| tiered_cache.store.watch(&slot.note));
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
            self.tiered_cache.memory.insert(&self.full, reading, Some(kept.value.clone()), ttl);
        }
    }

    /// Asks the source, and keeps the grant meanwhile.
    async fn load(&self, loader: &str, token: &str) -> Loaded {
        let mut answer = self.tiered_cache.loaders.submit(loader, &self.name, &self.lineage);
        loop {
            tokio::select! {
                source = &mut answer => {
                    return source.unwrap_or_else(|_| Loaded::Failed("the load was given up".to_owned()));
                }
                () = tokio::time::sleep(RENEW_INTERVAL) => {
                    // Whether it was taken away is found out at the end.
                    if let Err(error) = self.tiered_cache.store.renew_load(&self.slot, token, millis(LEASE)).await {
                        tracing::debug!(key = self.slot.key, %error, "could not keep the grant of a load");
                    }
                }
            }
        }
    }

    /// Keeps what the source said in the store. None where it has to be asked again, because the key was deleted
    /// meanwhile.
    async fn fill(&self, token: &str, source: Loaded, over: Option<Over>, reloads: u32) -> Option<LoadEnd> {
        let Self { tiered_cache, slot, policy, .. } = self;
        let (fill, ended) = match &source {
            Loaded::Value(value) => {
                let ttl_ms = policy.jittered_ttl_ms(rand::random());
                let fill = Fill::Value { value, ttl_ms, stale_ms: policy.stale_ms() };
                (fill, LoadEnd::Value(value.clone(), Tier::Loaded))
            }
            Loaded::Missing => (Fill::Missing { ttl_ms: policy.negative_ttl_ms }, LoadEnd::Missing(Tier::Loaded)),
            Loaded::Failed(reason) => {
                if let Err(error) = tiered_cache.store.fail(slot, token, reason).await {
                    tracing::debug!(key = slot.key, %error, "could not give up a load");
                }
                return Some(LoadEnd::Failed(reason.clone(), over));
            }
        };
        match tiered_cache.store.fill(slot, token, fill).await {
            Ok(Filled::Kept) => Some(ended),
            Ok(Filled::Overtaken(kept)) => Some(LoadEnd::Value(kept.value, Tier::Store)),
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
