//! The queue trigger: jobs of a queue, handled and acknowledged in one commit.
//!
//! One [`Worker`] task per trigger and host takes batches of jobs, each under a lease of its own, and hands them to
//! tasks of their own (`batch.rs`). Timers say when a job is due, a lease ends or the rate allows more; without any
//! of these the worker looks at the queue every [`LOOK_MAX`].
//!
//! Whenever it is not certain what the store has of a lease (a lost reply, a commit that was not made), the worker
//! moves the lease to a new name over a new connection, and handles what is still in it: see the store's `queue.rs`.
//! Leases of other hosts that ended are dissolved by the store with each take.

mod leased_batch;
mod plan;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sandbar_core::manifest::QueueTrigger;
use sandbar_runtime::rollout::Rollout;
use sandbar_runtime::telemetry::PluginMetrics;
use sandbar_store::{Backlog, Job, JobQueue, Lease, LeaseId, Rate, Store, StoreError, Want};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::WorkerEnd;
use super::backoff::Backoff;
use super::batch::{self, BatchEnd, Common, RecordingWriter};
use super::pacing::look_after;
use super::pump::{self, Pump, Reader};
use leased_batch::{HeldLeases, LeasedBatch};
use sandbar_runtime::protocol::Protocol;

/// The longest time between two looks at the queue without a wake-up.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// The shortest time until the next look where the store says that there will be more.
const LOOK_MIN: Duration = Duration::from_millis(1);

/// What a worker and its batches share.
#[derive(Debug)]
pub struct QueueContext {
    queue: Arc<JobQueue>,
    trigger: QueueTrigger,
    common: Common,
}

impl QueueContext {
    /// What a worker needs. `prefix` is the tenant's.
    pub fn new(
        store: Arc<dyn Store>,
        prefix: &str,
        trigger: QueueTrigger,
        rollout: Arc<Rollout>,
        metrics: PluginMetrics,
        protocol: Protocol,
    ) -> Self {
        let queue =
            JobQueue::new(prefix, &trigger.queue).with_dead_bounds(trigger.dead_max_len, millis(trigger.dead_max_age));
        let common = Common {
            store,
            rollout,
            metrics,
            protocol,
            source: trigger.queue.clone(),
            group: None,
            worker: queue.list.clone(),
            max_attempts: trigger.max_attempts,
            backoff: Backoff { min: trigger.retry_min, max: trigger.retry_max },
            recording: trigger.record.then(RecordingWriter::default),
            handling: Semaphore::new(usize::try_from(trigger.concurrency).unwrap_or(1)),
        };
        Self { queue: Arc::new(queue), trigger, common }
    }

    fn visibility_ms(&self) -> u64 {
        millis(self.trigger.visibility_timeout)
    }
}

/// A lease of which it is not certain what the store has.
#[derive(Debug)]
struct UncertainLease {
    lease: Lease,
    /// The name that it is moved to.
    to: LeaseId,
}

impl UncertainLease {
    fn new(lease: Lease) -> Self {
        Self { lease, to: LeaseId::random() }
    }
}

/// What takes jobs of a queue, as a task.
#[derive(Debug)]
pub struct Worker {
    context: Arc<QueueContext>,
    pump: Pump<LeaseId>,
    held: HeldLeases,
    uncertain: Vec<UncertainLease>,
    /// The last take was full, or a wake-up came: there may be more.
    may_have_more: bool,
    /// When there may be more without a wake-up.
    look_at: Instant,
}

impl Worker {
    /// A worker that has not begun. `ready` becomes true once it takes jobs.
    pub fn new(context: Arc<QueueContext>, ready: Arc<AtomicBool>) -> Self {
        let trigger = &context.trigger;
        let wake = context.common.store.watch_queue(&context.queue);
        let pump = Pump::new(wake, trigger.concurrency, trigger.prefetch, trigger.visibility_timeout / 3, ready);
        let (held, uncertain, look_at) = (HeldLeases::default(), Vec::new(), Instant::now());
        Self { context, pump, held, uncertain, may_have_more: true, look_at }
    }

    /// Runs until `stop`, then finishes its batches. `give_up` drops those that are still running.
    pub async fn run(self, stop: CancellationToken, give_up: CancellationToken) -> WorkerEnd {
        pump::run(self, stop, give_up).await
    }

    async fn take(&mut self) -> Result<(), StoreError> {
        let QueueContext { queue, trigger, common } = &*self.context;
        let lease = Lease::new(queue.clone());
        let rate = trigger.rate.map(|jobs| Rate { jobs, per_ms: millis(trigger.rate_per) });
        let want = Want { count: trigger.batch, visibility_ms: self.context.visibility_ms(), rate };
        let took = match common.store.take(&lease, want).await {
            Ok(took) => took,
            Err(error) => {
                // Its answer may have been lost.
                if matches!(error, StoreError::Unavailable(_) | StoreError::TimedOut(_)) {
                    self.uncertain.push(UncertainLease::new(lease));
                }
                return Err(error);
            }
        };
        self.pump.ready();
        if took.returned > 0 {
            tracing::info!(queue = queue.list, jobs = took.returned, "jobs of abandoned leases came back");
            common.metrics.taken_over(usize::try_from(took.returned).unwrap_or(usize::MAX));
        }
        self.may_have_more = u32::try_from(took.jobs.len()).unwrap_or(u32::MAX) >= trigger.batch;
        let next = took.next_in_ms.map(|ms| Instant::now() + Duration::from_millis(ms).max(LOOK_MIN));
        let look_at = look_after(LOOK_MAX);
        self.look_at = next.map_or(look_at, |next| next.min(look_at));
        self.dispatch(lease, took.jobs);
        Ok(())
    }

    /// Starts a batch of the jobs of a lease.
    fn dispatch(&mut self, lease: Lease, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let id = lease.id;
        let origin = LeasedBatch::new(self.context.clone(), lease, jobs.len(), self.held.add(id));
        let batch = batch::run(origin, plan::parts(jobs, self.context.trigger.max_crashes));
        self.pump.start(&self.context.common.rollout, id, batch);
    }
}

impl Reader for Worker {
    type Key = LeaseId;

    fn common(&self) -> &Common {
        &self.context.common
    }

    fn pump(&mut self) -> &mut Pump<LeaseId> {
        &mut self.pump
    }

    async fn open(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn recover(&mut self, _: &CancellationToken) -> Result<bool, StoreError> {
        let Some(UncertainLease { lease, to }) = self.uncertain.last() else { return Ok(false) };
        let Common { store, protocol, .. } = &self.context.common;
        let to = if protocol.fence_after_lost_reply() { *to } else { lease.id };
        // Where it fails it is tried again with the same names.
        let jobs = store.recover(lease, to, self.context.visibility_ms()).await?;
        let lease = Lease { id: to, queue: lease.queue.clone() };
        self.uncertain.pop();
        self.dispatch(lease, jobs);
        Ok(true)
    }

    async fn read(&mut self) -> Result<Option<Instant>, StoreError> {
        if !self.may_have_more && Instant::now() < self.look_at {
            return Ok(Some(self.look_at));
        }
        self.take().await?;
        Ok(None)
    }

    fn woken(&mut self) {
        self.may_have_more = true;
    }

    fn ended(&mut self, batch: Option<(LeaseId, BatchEnd)>) {
        match batch {
            // The lease of a task that panicked ends by itself.
            None | Some((_, BatchEnd::Settled { retry_in: None })) => {}
            Some((_, BatchEnd::Settled { retry_in: Some(delay) })) => {
                self.look_at = self.look_at.min(Instant::now() + delay + LOOK_MIN);
            }
            Some((id, BatchEnd::Lost)) => {
                let lease = Lease { id, queue: self.context.queue.clone() };
                self.uncertain.push(UncertainLease::new(lease));
            }
        }
    }

    async fn keep_alive(&mut self) -> Result<(), StoreError> {
        let leases = self.held.older_than(self.pump.keep_alive_age());
        if leases.is_empty() {
            return Ok(());
        }
        let QueueContext { queue, common, .. } = &*self.context;
        let there = common.store.extend(queue, &leases, self.context.visibility_ms()).await?;
        if there < leases.len() as u64 {
            // Their commits will be refused, or were just made; nothing has to be done before that.
            tracing::debug!(queue = queue.list, there, held = leases.len(), "leases in use are not there");
        }
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let lengths = self.context.common.store.lengths(&self.context.queue).await?;
        let lag = Some(lengths.ready.saturating_add(lengths.delayed));
        Ok(Backlog { pending: lengths.leased, lag, dead: lengths.dead })
    }

    fn failed(&mut self, _: &StoreError) {
        // Wake-ups may be lost meanwhile.
        self.may_have_more = true;
    }

    /// Other hosts are to have the jobs now, not when the leases end.
    async fn leave(&mut self) {
        for UncertainLease { lease, to } in self.uncertain.drain(..) {
            for lease in [Lease { id: to, ..lease.clone() }, lease] {
                if let Err(error) = self.context.common.store.give_back(&lease, false).await {
                    tracing::debug!(%error, queue = self.context.queue.list, "a lease was left behind");
                }
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
