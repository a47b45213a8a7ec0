//! What a tenant and its plugins have used of a host, and whether they may have more.
//!
//! One [`TenantQuota`] for each tenant, one [`PluginQuota`] for each plugin, shared by all of its versions. What is
//! asked for before something is done waits or is refused here; the limits of one call are counted in
//! [`crate::call`]. Knows no pools, triggers or stores.

mod idle_lru;
mod rate;
mod usage;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::scheduling::fair::{Share, Threads};
use crate::telemetry::CpuTime;
pub use idle_lru::Displaced;
use idle_lru::IdleLru;
use rate::Rate;
use sandbar_core::config::QuotaConfig;
use sandbar_core::manifest::Limits;
use usage::Total;
pub use usage::{InstancePlace, MemoryCharge};

/// The longest that a call waits for another one to end.
const CALL_WAIT: Duration = Duration::from_millis(250);
/// How long a wait for a rate sleeps at most before it looks again.
const RATE_SLEEP_MAX: Duration = Duration::from_millis(500);

/// What all tenants of a host share.
#[derive(Debug)]
pub struct HostTotals {
    threads: Arc<Threads>,
    /// Instances that are kept although they are idle.
    idle_lru: IdleLru,
    /// See [`QuotaConfig::instances`].
    instances: u32,
}

/// A total or a rate is used up. Says nothing about the events that it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{limit}` ({max}) is used up")]
pub struct Exhausted {
    /// Its name in the configuration or in the manifest.
    pub limit: &'static str,
    /// What it allows.
    pub max: u64,
    /// When it makes sense to ask again.
    pub retry_in: Duration,
}

/// Something that a tenant has and can do without.
pub trait Spare: Send + Sync + std::fmt::Debug {
    /// Gives all of it up.
    fn shed(&self);
    /// Gives up the instance that rests by this number, if it still does.
    fn give_up(&self, number: u64);
}

/// What a tenant uses on a host, and may use.
#[derive(Debug)]
pub struct TenantQuota {
    tenant: String,
    config: QuotaConfig,
    host: Arc<HostTotals>,
    share: Arc<Share>,
    calls: Option<Semaphore>,
    commits: Option<Semaphore>,
    instances: Total,
    memory: Total,
    rates: Rates,
    plugins: Mutex<HashMap<String, Arc<PluginQuota>>>,
    spare: Mutex<Vec<Weak<dyn Spare>>>,
}

/// What a plugin uses on a host, all of its versions together.
#[derive(Debug)]
pub struct PluginQuota {
    tenant: Arc<TenantQuota>,
    plugin: String,
    cpu: Arc<CpuTime>,
    calls: Semaphore,
    calls_max: u32,
    events: Option<(u32, Mutex<Rate>)>,
}

/// A call in flight, until it is dropped.
#[derive(Debug)]
pub struct CallTurn<'a> {
    _plugin: SemaphorePermit<'a>,
    _tenant: Option<SemaphorePermit<'a>>,
}

/// The rates of a tenant.
#[derive(Debug)]
struct Rates {
    events: Option<(u32, Mutex<Rate>)>,
    effects: Option<(u32, Mutex<Rate>)>,
    log_lines: Mutex<Rate>,
    begun: Instant,
}

impl HostTotals {
    /// Totals of a host with so many instances, which several tenants share or not.
    pub fn new(instances: u32, is_shared: bool) -> Arc<Self> {
        let idle_lru = IdleLru::new(usize::try_from(instances / 2).unwrap_or(usize::MAX));
        Arc::new(Self { threads: Threads::for_this_machine(is_shared), idle_lru, instances })
    }

    /// Gives one more idle instance a number by which it rests until [`HostTotals::wake`], and answers which one has
    /// to go for it. None where it is not to be kept itself. `is_first` says that its owner has no other one.
    pub fn rest(&self, owner: Weak<dyn Spare>, is_first: bool) -> Option<(u64, Option<Displaced>)> {
        self.idle_lru.rest(owner, is_first)
    }

    /// The instances of these numbers are no longer idle.
    pub fn wake(&self, numbers: impl IntoIterator<Item = u64>) {
        self.idle_lru.wake(numbers);
    }
}

impl TenantQuota {
    /// A tenant that uses nothing yet. `commits` is how many it may have under way where its configuration does not
    /// say; `is_alone` whether it is the only one.
    pub fn new(
        tenant: &str,
        config: &QuotaConfig,
        host: &Arc<HostTotals>,
        commits: Option<u32>,
        is_alone: bool,
    ) -> Arc<Self> {
        let semaphore = |count: u32| Semaphore::new(usize::try_from(count).unwrap_or(1));
        let rate = |per_second: u32| (per_second, Mutex::new(Rate::new(per_second)));
        let half = (!is_alone).then_some((host.instances / 2).max(1));
        Arc::new(Self {
            tenant: tenant.to_owned(),
            share: Arc::new(host.threads.share(config.weight)),
            calls: config.calls.map(semaphore),
            commits: config.commits.or(commits).map(semaphore),
            instances: Total::new(config.instances.or(half).map(u64::from)),
            memory: Total::new(config.memory.map(|memory| memory.as_u64())),
            rates: Rates {
                events: config.events_per_second.map(rate),
                effects: config.effects_per_second.map(rate),
                log_lines: Mutex::new(Rate::new(config.log_lines_per_second)),
                begun: Instant::now(),
            },
            config: config.clone(),
            host: host.clone(),
            plugins: Mutex::default(),
            spare: Mutex::default(),
        })
    }

    /// The tenant's configuration.
    pub fn config(&self) -> &QuotaConfig {
        &self.config
    }

    /// The quota of a plugin, the same for all of its versions unless their limits differ.
    pub fn plugin(self: &Arc<Self>, plugin: &str, limits: &Limits) -> Arc<PluginQuota> {
        let mut plugins = self.plugins.lock();
        let known = plugins.get(plugin);
        if let Some(known) = known.filter(|known| known.fits(limits)) {
            return known.clone();
        }
        let cpu = known.map_or_else(|| CpuTime::new(&self.tenant, plugin), |known| known.cpu.clone());
        let quota = Arc::new(PluginQuota {
            tenant: self.clone(),
            plugin: plugin.to_owned(),
            cpu,
            calls: Semaphore::new(usize::try_from(limits.calls).unwrap_or(1)),
            calls_max: limits.calls,
            events: limits.events_per_second.map(|rate| (rate, Mutex::new(Rate::new(rate)))),
        });
        plugins.insert(plugin.to_owned(), quota.clone());
        quota
    }

    /// The plugin is no longer there.
    pub fn forget(&self, plugin: &str) {
        self.plugins.lock().remove(plugin);
    }

    /// Remembers what the tenant can do without when its memory or instances run out.
    pub fn can_spare(&self, spare: Weak<dyn Spare>) {
        let mut all = self.spare.lock();
        all.retain(|spare| spare.strong_count() > 0);
        all.push(spare);
    }

    fn shed(&self) {
        let all: Vec<Arc<dyn Spare>> = self.spare.lock().iter().filter_map(Weak::upgrade).collect();
        all.iter().for_each(|spare| spare.shed());
    }
}

impl Rates {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1_000_000_000)
    }
}

impl PluginQuota {
    fn fits(&self, limits: &Limits) -> bool {
        self.calls_max == limits.calls && self.events.as_ref().map(|(rate, _)| *rate) == limits.events_per_second
    }

    /// The tenant's part of the threads.
    pub fn share(&self) -> &Arc<Share> {
        &self.tenant.share
    }

    /// What all tenants share.
    pub fn host(&self) -> &HostTotals {
        &self.tenant.host
    }

    /// Remembers what the tenant can do without.
    pub fn can_spare(&self, spare: Weak<dyn Spare>) {
        self.tenant.can_spare(spare);
    }

    /// The CPU time of the plugin, in nanoseconds.
    pub fn cpu_ns(&self) -> &AtomicU64 {
        self.cpu.nanos()
    }

    /// A limit was met.
    pub fn hit(&self, limit: &'static str) {
        let (tenant, plugin) = (self.tenant.tenant.clone(), self.plugin.clone());
        metrics::counter!("sandbar_limit_hits_total", "tenant" => tenant, "plugin" => plugin, "limit" => limit)
            .increment(1);
    }

    /// Counts a call in flight, and waits a little where there are as many as may be.
    pub async fn call(&self) -> Result<CallTurn<'_>, Exhausted> {
        let mine = self.turn("limits.calls", self.calls_max, &self.calls).await?;
        let all = match (&self.tenant.calls, self.tenant.config.calls) {
            (Some(calls), Some(max)) => Some(self.turn("quota.calls", max, calls).await?),
            _ => None,
        };
        Ok(CallTurn { _plugin: mine, _tenant: all })
    }

    async fn turn<'a>(
        &self,
        limit: &'static str,
        max: u32,
        turns: &'a Semaphore,
    ) -> Result<SemaphorePermit<'a>, Exhausted> {
        if let Ok(permit) = turns.try_acquire() {
            return Ok(permit);
        }
        match timeout(CALL_WAIT, turns.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(self.exhausted(limit, max.into(), CALL_WAIT)),
        }
    }

    /// Has place for one more instance, after giving up what the tenant can do without.
    pub fn instance(&self) -> Result<InstancePlace, Exhausted> {
        let tenant = &self.tenant;
        let took = tenant.instances.add(1) || {
            tenant.shed();
            tenant.instances.add(1)
        };
        if took {
            return Ok(InstancePlace(tenant.clone()));
        }
        Err(self.exhausted("quota.instances", tenant.instances.max(), CALL_WAIT))
    }

    /// What an instance takes of the tenant's memory, which is nothing yet.
    pub fn memory(self: &Arc<Self>) -> MemoryCharge {
        MemoryCharge::new(self.clone())
    }

    /// Takes so many events, and waits until they may be handled.
    pub async fn admit(&self, events: usize) {
        while let Err(exhausted) = self.try_admit(events) {
            tokio::time::sleep(exhausted.retry_in.min(RATE_SLEEP_MAX)).await;
        }
    }

    /// Takes so many events, or none where they may not be handled now.
    pub fn try_admit(&self, events: usize) -> Result<(), Exhausted> {
        let rates = &self.tenant.rates;
        if self.events.is_none() && rates.events.is_none() {
            return Ok(());
        }
        let now = rates.now();
        let mut own = self.events.as_ref().map(|(max, rate)| (*max, rate.lock()));
        let mut all = rates.events.as_ref().map(|(max, rate)| (*max, rate.lock()));
        let names = ["limits.events-per-second", "quota.events-per-second"];
        for (limit, rate) in names.into_iter().zip([&own, &all]) {
            if let Some((max, rate)) = rate
                && rate.wait_ns(now) > 0
            {
                let (max, wait) = (u64::from(*max), Duration::from_nanos(rate.wait_ns(now)));
                return Err(self.exhausted(limit, max, wait));
            }
        }
        for (_, rate) in [&mut own, &mut all].into_iter().flatten() {
            rate.charge(events as u64, now);
        }
        Ok(())
    }

    /// Waits for the turn to make a commit of so many writes, which lasts until the answer is dropped.
    pub async fn commit(&self, effects: usize) -> Option<SemaphorePermit<'_>> {
        let tenant = &self.tenant;
        if let Some((_, rate)) = &tenant.rates.effects {
            let mut is_late = false;
            loop {
                let wait_ns = {
                    let (mut rate, now) = (rate.lock(), tenant.rates.now());
                    let wait_ns = rate.wait_ns(now);
                    if wait_ns == 0 {
                        rate.charge(effects as u64, now);
                    }
                    wait_ns
                };
                if wait_ns == 0 {
                    break;
                }
                if !std::mem::replace(&mut is_late, true) {
                    self.hit("quota.effects-per-second");
                }
                tokio::time::sleep(Duration::from_nanos(wait_ns).min(RATE_SLEEP_MAX)).await;
            }
        }
        let commits = tenant.commits.as_ref()?;
        if let Ok(permit) = commits.try_acquire() {
            return Some(permit);
        }
        self.hit("quota.commits");
        commits.acquire().await.ok()
    }

    /// Whether the tenant may log one more line now.
    pub fn log_line(&self) -> bool {
        let rates = &self.tenant.rates;
        let now = rates.now();
        let mut rate = rates.log_lines.lock();
        let may = rate.wait_ns(now) == 0;
        if may {
            rate.charge(1, now);
        }
        may
    }

    fn exhausted(&self, limit: &'static str, max: u64, retry_in: Duration) -> Exhausted {
        self.hit(limit);
        Exhausted { limit, max, retry_in }
    }
}

#[cfg(test)]
mod tests;
