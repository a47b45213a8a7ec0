//! The events that a worker is handling, so that it can keep them alive in the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use sandbar_store::{EntryId, Epoch};

/// The events of one batch that are not settled.
#[derive(Debug)]
struct Unsettled {
    epoch: Epoch,
    ids: Vec<EntryId>,
    since: Instant,
}

/// The events of all batches of one worker; bounded by the number of its batches.
#[derive(Debug, Clone, Default)]
pub(super) struct InFlight {
    batches: Arc<Mutex<HashMap<u64, Unsettled>>>,
    next: Arc<AtomicU64>,
}

/// One batch; its events are forgotten when it is dropped.
#[derive(Debug)]
pub(super) struct InFlightBatch {
    number: u64,
    all: InFlight,
}

impl InFlight {
    /// Adds a batch.
    pub(super) fn add(&self, epoch: Epoch, ids: impl Iterator<Item = EntryId>) -> InFlightBatch {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.batches.lock().insert(number, Unsettled { epoch, ids: ids.collect(), since: Instant::now() });
        InFlightBatch { number, all: self.clone() }
    }

    /// The events of batches that are at least this old.
    pub(super) fn older_than(&self, age: Duration) -> Vec<(Epoch, Vec<EntryId>)> {
        let batches = self.batches.lock();
        batches
            .values()
            .filter(|batch| !batch.ids.is_empty() && batch.since.elapsed() >= age)
            .map(|batch| (batch.epoch, batch.ids.clone()))
            .collect()
    }
}

impl InFlightBatch {
    /// These events are settled. An event that waits for a retry must not be kept alive: no worker is handling it.
    pub(super) fn settled(&self, ids: &[EntryId]) {
        if let Some(batch) = self.all.batches.lock().get_mut(&self.number) {
            batch.ids.retain(|id| !ids.contains(id));
        }
    }
}

impl Drop for InFlightBatch {
    fn drop(&mut self) {
        self.all.batches.lock().remove(&self.number);
    }
}
