//! Which events a worker has in its hands, so that it can tell the store that they are alive.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use sandbar_store::{EntryId, Epoch};

#[derive(Debug)]
struct Held {
    epoch: Epoch,
    ids: Vec<EntryId>,
    since: Instant,
}

/// The events of all batches of one worker; bounded by the number of its batches.
#[derive(Debug, Clone, Default)]
pub(super) struct InFlight {
    held: Arc<Mutex<HashMap<u64, Held>>>,
    next: Arc<AtomicU64>,
}

/// The events of one batch; they leave with it.
#[derive(Debug)]
pub(super) struct Ticket {
    number: u64,
    all: InFlight,
}

impl InFlight {
    /// Takes a batch into the hands.
    pub(super) fn add(&self, epoch: Epoch, ids: impl Iterator<Item = EntryId>) -> Ticket {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.held.lock().insert(number, Held { epoch, ids: ids.collect(), since: Instant::now() });
        Ticket { number, all: self.clone() }
    }

    /// The events that have been held for so long.
    pub(super) fn older_than(&self, age: Duration) -> Vec<(Epoch, Vec<EntryId>)> {
        let held = self.held.lock();
        held.values()
            .filter(|held| !held.ids.is_empty() && held.since.elapsed() >= age)
            .map(|held| (held.epoch, held.ids.clone()))
            .collect()
    }
}

impl Ticket {
    /// These events are settled. An event that waits for a retry must not be kept alive: it is in nobody's hands.
    pub(super) fn settled(&self, ids: &[EntryId]) {
        if let Some(held) = self.all.held.lock().get_mut(&self.number) {
            held.ids.retain(|id| !ids.contains(id));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.all.held.lock().remove(&self.number);
    }
}
