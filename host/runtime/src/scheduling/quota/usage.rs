//! Totals that are taken and given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{CALL_WAIT, Exhausted, PluginQuota, TenantQuota};

/// A total with a bound.
#[derive(Debug)]
pub(super) struct Total {
    used: AtomicU64,
    max: u64,
}

impl Total {
    /// Nothing used of so much; of as much as there is where there is no bound.
    pub(super) fn new(max: Option<u64>) -> Self {
        Self { used: AtomicU64::new(0), max: max.unwrap_or(u64::MAX) }
    }

    /// Takes some, or nothing where there is not as much left.
    pub(super) fn add(&self, count: u64) -> bool {
        let fits = |used: u64| used.checked_add(count).filter(|sum| *sum <= self.max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    pub(super) fn give_back(&self, count: u64) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }

    pub(super) fn max(&self) -> u64 {
        self.max
    }
}

/// The place of one instance, given back when it is dropped.
#[derive(Debug)]
pub struct InstancePlace(pub(super) Arc<TenantQuota>);

impl Drop for InstancePlace {
    fn drop(&mut self) {
        self.0.instances.give_back(1);
    }
}

/// What one instance takes of its tenant's memory, given back when it is dropped.
#[derive(Debug)]
pub struct MemoryCharge {
    quota: Arc<PluginQuota>,
    bytes: u64,
}

impl MemoryCharge {
    pub(super) fn new(quota: Arc<PluginQuota>) -> Self {
        Self { quota, bytes: 0 }
    }

    /// Takes so many bytes more, after giving up what the tenant can do without.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Exhausted> {
        let tenant = &self.quota.tenant;
        let took = tenant.memory.add(bytes) || {
            tenant.shed();
            tenant.memory.add(bytes)
        };
        if !took {
            return Err(self.quota.exhausted("quota.memory", tenant.memory.max(), CALL_WAIT));
        }
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }
}

impl Drop for MemoryCharge {
    fn drop(&mut self) {
        self.quota.tenant.memory.give_back(self.bytes);
    }
}
