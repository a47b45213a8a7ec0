//! The CPU time of plugins.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

/// The times of all plugins of the process; those that were dropped are swept when the text is made.
static ALL: Mutex<Vec<Weak<CpuTime>>> = Mutex::new(Vec::new());

/// For how long the code of one plugin has held threads.
#[derive(Debug)]
pub struct CpuTime {
    tenant: String,
    plugin: String,
    nanos: AtomicU64,
}

impl CpuTime {
    /// None yet. Make one per plugin, not per version.
    pub fn new(tenant: &str, plugin: &str) -> Arc<Self> {
        let (tenant, plugin) = (tenant.to_owned(), plugin.to_owned());
        let time = Arc::new(Self { tenant, plugin, nanos: AtomicU64::new(0) });
        ALL.lock().push(Arc::downgrade(&time));
        time
    }

    /// The time so far, in nanoseconds, to be added to.
    pub fn nanos(&self) -> &AtomicU64 {
        &self.nanos
    }
}

/// The times by tenant and plugin.
pub(super) fn times() -> BTreeMap<(String, String), Duration> {
    let all: Vec<Arc<CpuTime>> = {
        let mut all = ALL.lock();
        all.retain(|time| time.strong_count() > 0);
        all.iter().filter_map(Weak::upgrade).collect()
    };
    let mut sums: BTreeMap<(String, String), Duration> = BTreeMap::new();
    for time in all {
        let sum = sums.entry((time.tenant.clone(), time.plugin.clone())).or_default();
        *sum += Duration::from_nanos(time.nanos.load(Ordering::Relaxed));
    }
    sums
}
