//! What becomes of calls while the store is away, for plugins that ask for `on-outage = "fallback"`.
//!
//! Their reads and writes go to a store in this process, and each commit to a bounded journal. Once the store answers
//! again the journal is replayed in order, each commit exactly once, and only then do calls go to the store again:
//! until then new commits join the end of the journal, so that nothing overtakes. The fallback then forgets all that
//! it held.
//!
//! Deliveries never come here: what a stream or a queue hands out waits for the store that it came from.
//! The journal is in memory: it ends with the process, and says so when it begins.

mod journal;
mod replay;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::{Mutex, Notify};
use tokio_util::task::AbortOnDropHandle;

use crate::telemetry::OutageMetrics;
use journal::{Entry, Journal};
use sandbar_store::embedded::Embedded;
use sandbar_store::{Cache as _, Commit, CommitError, Committed, Delivery as _, Effect, Store, StoreError};

pub use journal::{JOURNAL_BYTES_MAX, JOURNAL_ENTRIES_MAX};

/// The store of a host, with what stands in for it; cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Outage {
    shared: Arc<Shared>,
    _replay: AbortOnDropHandle<()>,
}

/// What calls and the replay share.
#[derive(Debug)]
struct Shared {
    primary: Arc<dyn Store>,
    /// Replaced by an empty one when an outage is over.
    fallback: ArcSwap<Embedded>,
    /// Whether calls go to the fallback. Ended only while the journal is locked and empty.
    degraded: AtomicBool,
    journal: Mutex<Journal>,
    /// Commits in the journal, for readers without the lock.
    waiting: AtomicUsize,
    /// An outage has begun.
    begun: Notify,
    metrics: OutageMetrics,
}

impl Outage {
    /// Stands by for a store. `key` is where the store keeps how much of this host's journal it has.
    pub fn start(primary: Arc<dyn Store>, key: String) -> Self {
        let shared = Arc::new(Shared {
            primary,
            fallback: ArcSwap::from_pointee(Embedded::new()),
            degraded: AtomicBool::new(false),
            journal: Mutex::default(),
            waiting: AtomicUsize::new(0),
            begun: Notify::new(),
            metrics: OutageMetrics::new(),
        });
        let replay = tokio::spawn(replay::run(shared.clone(), key));
        Self { shared, _replay: AbortOnDropHandle::new(replay) }
    }

    /// Where calls go now: the store, or what stands in for it.
    pub fn store(&self) -> Arc<dyn Store> {
        if self.is_degraded() { self.shared.fallback.load_full() } else { self.shared.primary.clone() }
    }

    /// Whether calls go to the fallback now.
    pub fn is_degraded(&self) -> bool {
        self.shared.degraded.load(Ordering::Acquire)
    }

    /// How many commits wait to be replayed; none while calls go to the store.
    pub fn journal(&self) -> Option<usize> {
        self.is_degraded().then(|| self.shared.waiting.load(Ordering::Relaxed))
    }

    /// The store has failed a call. Where it is away, calls go to the fallback from here on.
    pub fn failed(&self) {
        // Only the replay ends an outage, and it does so while the journal is locked; to begin one needs no lock.
        if !self.shared.primary.is_available() {
            self.begin();
        }
    }

    /// Commits writes that belong to no delivery.
    ///
    /// A commit of which it is not known whether the store has made it is answered as such and not journaled.
    pub async fn commit(
        &self,
        effects: &[Effect],
        watched: &[(String, Option<Bytes>)],
    ) -> Result<Committed, CommitError> {
        if !self.is_degraded() {
            match self.shared.primary.commit(Commit::plain(effects, watched)).await {
                Err(CommitError::Refused(StoreError::Unavailable(_) | StoreError::TimedOut(_))) => self.begin(),
                Err(error @ CommitError::Unknown(_)) => {
                    self.failed();
                    return Err(error);
                }
                answer => return answer,
            }
        }
        let mut journal = self.shared.journal.lock().await;
        if !self.is_degraded() {
            drop(journal);
            return self.shared.primary.commit(Commit::plain(effects, watched)).await;
        }
        let entry = Entry::new(effects.to_vec(), watched.to_vec());
        journal.check_room(&entry).map_err(|full| {
            self.shared.metrics.refused();
            CommitError::Refused(StoreError::Unavailable(full.to_string()))
        })?;
        // The fallback decides like the store would: a watched key that has changed, a wrong type.
        let committed = self.shared.fallback.load().commit(Commit::plain(effects, watched)).await?;
        journal.push(entry.without(&committed.refused));
        self.shared.tell(&journal);
        Ok(committed)
    }

    /// Adds to an integer at once, and journals the addition.
    pub async fn increment(&self, key: &str, by: i64) -> Result<i64, StoreError> {
        let mut journal = self.shared.journal.lock().await;
        if !self.is_degraded() {
            drop(journal);
            return self.shared.primary.increment(key, by).await;
        }
        let entry = Entry::new(vec![Effect::Add { key: key.to_owned(), by }], Vec::new());
        journal.check_room(&entry).map_err(|full| StoreError::Unavailable(full.to_string()))?;
        let sum = self.shared.fallback.load().increment(key, by).await?;
        journal.push(entry);
        self.shared.tell(&journal);
        Ok(sum)
    }

    fn begin(&self) {
        if !self.shared.degraded.swap(true, Ordering::AcqRel) {
            self.shared.metrics.degraded(true);
            tracing::warn!(
                "the store is away: plugins with `on-outage = \"fallback\"` go on in this process's memory, and what they write is journaled"
            );
            self.shared.begun.notify_one();
        }
    }
}

impl Shared {
    /// Reports the length of the journal.
    fn tell(&self, journal: &Journal) {
        self.waiting.store(journal.len(), Ordering::Relaxed);
        self.metrics.journal(journal.len());
    }
}
