//! Jobs of one lease, as the origin of a batch, and which leases a worker holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::QueueContext;
use crate::batch::{Common, Decision, Fields, Origin, Settled};
use sandbar_runtime::bindings::exports::sandbar::plugin::handler;
use sandbar_runtime::bindings::sandbar::plugin::types::FieldParam;
use sandbar_runtime::call::CommitScope;
use sandbar_store::dead_letter;
use sandbar_store::{Consumer, DeadJob, Epoch, Field, Job, Lease, LeaseId, LeaseSettlement, Loss};

/// The leases of all batches of one worker; bounded by the number of its batches.
#[derive(Debug, Clone, Default)]
pub(super) struct HeldLeases(Arc<Mutex<HashMap<LeaseId, Instant>>>);

/// The lease of one batch; it is forgotten when it is dropped.
#[derive(Debug)]
pub(super) struct HeldLease {
    lease: LeaseId,
    all: HeldLeases,
}

impl HeldLeases {
    /// Adds a lease.
    pub(super) fn add(&self, lease: LeaseId) -> HeldLease {
        self.0.lock().insert(lease, Instant::now());
        HeldLease { lease, all: self.clone() }
    }

    /// The leases that are at least this old.
    pub(super) fn older_than(&self, age: Duration) -> Vec<LeaseId> {
        let held = self.0.lock();
        held.iter().filter(|(_, since)| since.elapsed() >= age).map(|(lease, _)| *lease).collect()
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.lease);
    }
}

/// Jobs that were taken together.
#[derive(Debug)]
pub(super) struct LeasedBatch {
    context: Arc<QueueContext>,
    lease: Lease,
    /// How many of its jobs are not settled.
    left: AtomicUsize,
    _held: HeldLease,
}

impl LeasedBatch {
    /// So many jobs under a lease.
    pub(super) fn new(context: Arc<QueueContext>, lease: Lease, jobs: usize, held_lease: HeldLease) -> Self {
        Self { context, lease, left: AtomicUsize::new(jobs), _held: held_lease }
    }
}

impl Origin for LeasedBatch {
    type Event = Job;

    fn common(&self) -> &Common {
        &self.context.common
    }

    fn scope(&self) -> CommitScope {
        CommitScope::Lease(self.lease.clone())
    }

    fn consumer(&self) -> Option<(&Consumer, Epoch)> {
        None
    }

    fn is_atomic(&self) -> bool {
        true
    }

    fn id(job: &Job) -> String {
        job.id.to_string()
    }

    fn attempt(job: &Job) -> u32 {
        job.attempt
    }

    fn time_ms(job: &Job) -> u64 {
        job.time_ms
    }

    fn fields(_: &Job) -> Fields<'_> {
        Fields::new()
    }

    fn content<'a>(job: &'a Job, _: &'a [FieldParam<'a>]) -> handler::Content<'a> {
        handler::Content::Payload(&job.payload)
    }

    fn remains(job: &Job) -> Vec<Field> {
        dead_letter::remains(job)
    }

    fn settle<'a>(&self, decided: impl Iterator<Item = (&'a Job, Decision)>) -> Settled {
        let mut settlement = LeaseSettlement::new(self.lease.clone(), Loss::Fenced);
        let mut count = 0;
        for (job, decision) in decided {
            count += 1;
            match decision {
                Decision::Done => settlement.done.push(job.id),
                Decision::Retry(delay_ms) => {
                    settlement.retry.push((Job { attempt: job.attempt.saturating_add(1), ..job.clone() }, delay_ms));
                }
                Decision::Dead(fields) => settlement.dead.push(DeadJob { id: job.id, fields }),
            }
        }
        settlement.is_last = count >= self.left.load(Ordering::Relaxed);
        Settled { lease: Some(settlement), ..Settled::default() }
    }

    fn settled(&self, jobs: &[Job]) {
        self.left.fetch_sub(jobs.len(), Ordering::Relaxed);
    }
}
