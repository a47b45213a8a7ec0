//! The numbers of tiered reads.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};
use parking_lot::Mutex;

use super::histogram::{Histogram, Spread};

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

/// The numbers of all tenants of the process; those that were dropped are swept when the text is made.
static TENANTS: Mutex<Vec<Weak<Numbers>>> = Mutex::new(Vec::new());

/// Where tiered reads of a tenant were answered from; cheap to clone. Make it after [`super::Exporter::install`].
#[derive(Debug, Clone)]
pub struct CacheMetrics(Arc<Numbers>);

#[derive(Debug)]
struct Numbers {
    tenant: String,
    memory: Counter,
    store: Counter,
    stale: Counter,
    negative: Counter,
    loaded: Counter,
    failed: Counter,
    bytes: Gauge,
    /// By plugin.
    loads: Mutex<HashMap<String, Arc<Histogram>>>,
}

impl CacheMetrics {
    /// The numbers of a tenant, all at zero.
    pub fn new(tenant: &str) -> Self {
        let tier = |tier: &'static str| counter!("sandbar_cache_total", "tenant" => tenant.to_owned(), "tier" => tier);
        let numbers = Arc::new(Numbers {
            tenant: tenant.to_owned(),
            memory: tier("memory"),
            store: tier("store"),
            stale: tier("stale"),
            negative: tier("negative"),
            loaded: tier("loaded"),
            failed: tier("failed"),
            bytes: gauge!("sandbar_cache_memory_bytes", "tenant" => tenant.to_owned()),
            loads: Mutex::default(),
        });
        TENANTS.lock().push(Arc::downgrade(&numbers));
        Self(numbers)
    }

    /// A read was answered.
    pub fn answered(&self, tier: Tier) {
        match tier {
            Tier::Memory => &self.0.memory,
            Tier::Store => &self.0.store,
            Tier::Stale => &self.0.stale,
            Tier::Negative => &self.0.negative,
            Tier::Loaded => &self.0.loaded,
        }
        .increment(1);
    }

    /// A read got nothing but an error.
    pub fn failed(&self) {
        self.0.failed.increment(1);
    }

    /// So many bytes are kept in memory.
    pub fn memory_bytes(&self, bytes: u64) {
        self.0.bytes.set(bytes as f64);
    }

    /// A plugin has loaded a batch, well or not.
    pub fn loaded(&self, plugin: &str, took: Duration) {
        let histogram = {
            let mut loads = self.0.loads.lock();
            match loads.get(plugin) {
                Some(histogram) => histogram.clone(),
                None => loads.entry(plugin.to_owned()).or_default().clone(),
            }
        };
        histogram.record(took);
    }
}

/// The times of all loads, by tenant and plugin.
pub(super) fn load_times() -> Vec<(String, String, Spread)> {
    let mut tenants = TENANTS.lock();
    tenants.retain(|numbers| numbers.strong_count() > 0);
    let numbers: Vec<Arc<Numbers>> = tenants.iter().filter_map(Weak::upgrade).collect();
    drop(tenants);
    let mut times: Vec<(String, String, Spread)> = Vec::new();
    for numbers in &numbers {
        for (plugin, histogram) in &*numbers.loads.lock() {
            let known = times.iter_mut().find(|(tenant, name, _)| *tenant == numbers.tenant && name == plugin);
            match known {
                Some((_, _, spread)) => spread.merge(&histogram.spread()),
                None => times.push((numbers.tenant.clone(), plugin.clone(), histogram.spread())),
            }
        }
    }
    times
}
