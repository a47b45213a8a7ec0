//! Jobs that a call has taken on its way: acknowledged by its commit, or given back.
//!
//! Dropping [`Takes`] without settling them gives the jobs back, so that no way out of a call keeps them. Where even
//! that fails, their leases end by themselves.

use std::sync::Arc;

use sandbar_store::{Lease, LeaseSettlement, Loss, Store};

/// The most times that one call takes jobs.
pub const TAKES_MAX: usize = 256;

/// One take.
#[derive(Debug)]
struct Taken {
    lease: Lease,
    /// Nothing where the take's answer was lost, or it found nothing.
    jobs: Vec<u64>,
    /// Which event of the batch it belongs to.
    event: Option<u32>,
}

/// What a call has taken since it began or last committed.
#[derive(Debug, Default)]
pub struct Takes {
    taken: Vec<Taken>,
    /// There as soon as something was taken.
    store: Option<Arc<dyn Store>>,
}

impl Takes {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.taken.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// Notes a take that is about to be made.
    pub fn begin(&mut self, store: &Arc<dyn Store>, lease: Lease, event: Option<u32>) {
        self.store.get_or_insert_with(|| store.clone());
        self.taken.push(Taken { lease, jobs: Vec::new(), event });
    }

    /// The last take has come to these jobs.
    pub fn found(&mut self, jobs: Vec<u64>) {
        if jobs.is_empty() {
            self.taken.pop();
        } else if let Some(last) = self.taken.last_mut() {
            last.jobs = jobs;
        }
    }

    /// Gives back what belongs to events that do not count.
    pub fn retain(&mut self, counts: impl Fn(Option<u32>) -> bool) {
        let (kept, others) = self.taken.drain(..).partition(|taken| counts(taken.event));
        self.taken = kept;
        drop(Self { taken: others, store: self.store.clone() });
    }

    /// What a commit does with them: all jobs are done.
    pub fn settlements(&self) -> impl Iterator<Item = LeaseSettlement> {
        self.taken.iter().filter(|taken| !taken.jobs.is_empty()).map(|taken| LeaseSettlement {
            done: taken.jobs.clone(),
            is_last: true,
            ..LeaseSettlement::new(taken.lease.clone(), Loss::Conflict)
        })
    }

    /// They are committed. What a lost answer may have taken is still given back.
    pub fn settled(&mut self) {
        self.taken.retain(|taken| taken.jobs.is_empty());
    }

    /// Gives all back at once, which does not count against the jobs: it was not the call that failed.
    pub async fn give_back(&mut self) {
        let Some(store) = &self.store else { return };
        give_back(store, std::mem::take(&mut self.taken), false).await;
    }
}

impl Drop for Takes {
    fn drop(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        if taken.is_empty() {
            return;
        }
        if let (Some(store), Ok(runtime)) = (self.store.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { give_back(&store, taken, true).await });
        }
    }
}

async fn give_back(store: &Arc<dyn Store>, taken: Vec<Taken>, counts_as_crash: bool) {
    for Taken { lease, .. } in taken {
        if let Err(error) = store.give_back(&lease, counts_as_crash).await {
            tracing::debug!(queue = lease.queue.list, %error, "jobs that a call took come back when their lease ends");
        }
    }
}
