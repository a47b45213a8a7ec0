//! The queue trigger: jobs of a queue, handled and acknowledged in one commit.
//!
//! One [`Worker`] task per trigger and host takes batches of jobs, each under a lease of its own, hands them to tasks of their own
//! (`trigger/batch.rs`), and never has more than `concurrency + prefetch` of them. It never waits in the store: wake-ups of
//! all triggers come over one connection, timers tell when a job is due, a lease ends or the rate allows more, and in between
//! it looks by itself every [`SWEEP_MAX`].
//!
//! Whenever it is not certain what the store has of a lease (a lost reply, a commit that was not made), the lease is moved to a new
//! name over a new connection, and what is still in it is handled: see `store/queue.rs`. Leases of other hosts that ended are
//! dissolved by the store with each take.

mod leased_batch;
mod plan;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::batch::{self, BatchEnd, Common, RecordingWriter};
use super::plan::{Measuring, Pause, look_after};
use super::turns::Turns;
use super::{Protocol, WorkerEnd};
use leased_batch::{Held, LeasedBatch};
use sandbar_core::manifest::QueueTrigger;
use sandbar_runtime::rollout::Rollout;
use sandbar_runtime::telemetry::PluginMetrics;
use sandbar_store::{Backlog, Job, JobQueue, Lease, LeaseId, Rate, Store, StoreError, Wake, Want};

/// The longest time between two looks at the queue without a wake-up.
const SWEEP_MAX: Duration = Duration::from_secs(5);
/// How long a worker rests at least where it was told that there may be more soon.
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

/// A lease of which it is not certain what the store has, and the name that it is to get.
#[derive(Debug)]
struct Lost {
    lease: Lease,
    to: LeaseId,
}

/// What takes jobs of a queue, as a task.
#[derive(Debug)]
pub struct Worker {
    context: Arc<QueueContext>,
    batches: JoinSet<(LeaseId, BatchEnd)>,
    turns: Turns,
    wake: Wake,
    held: Held,
    lost: Vec<Lost>,
    ready: Arc<AtomicBool>,
    /// The last take was full, or a wake-up came: there may be more.
    more: bool,
    /// When there may be more without a wake-up.
    look_at: Instant,
    measuring: Measuring,
    heartbeat_at: Instant,
    pause: Pause,
}

impl Worker {
    /// A worker that has not begun. `ready` becomes true once it takes jobs.
    pub fn new(context: Arc<QueueContext>, ready: Arc<AtomicBool>) -> Self {
        let now = Instant::now();
        Self {
            wake: context.common.store.watch_queue(&context.queue),
            turns: Turns::new(context.trigger.concurrency),
            context,
            batches: JoinSet::new(),
            held: Held::default(),
            lost: Vec::new(),
            ready,
            more: true,
            look_at: now,
            measuring: Measuring::new(),
            heartbeat_at: now,
            pause: Pause::default(),
        }
    }

    /// Runs until `stop`, then finishes its batches. `give_up` drops those that are still running.
    pub async fn run(mut self, stop: CancellationToken, give_up: CancellationToken) -> WorkerEnd {
        while !stop.is_cancelled() {
            if let Err(error) = self.step(&stop).await {
                self.failed(&error, &stop).await;
            }
        }
        self.ready.store(false, Ordering::Relaxed);
        tokio::select! {
            () = self.drain() => WorkerEnd::Drained,
            () = give_up.cancelled() => {
                let dropped = self.batches.len();
                self.batches.shutdown().await;
                WorkerEnd::Dropped(dropped)
            }
        }
    }

    /// Finishes the batches that run, whose leases are still extended.
    async fn drain(&mut self) {
        while !self.batches.is_empty() {
            tokio::select! {
                Some(ended) = self.batches.join_next() => self.finished(ended.ok()),
                () = tokio::time::sleep_until(self.heartbeat_at) => {
                    if let Err(error) = self.heartbeat().await {
                        tracing::debug!(%error, queue = self.context.queue.list, "could not extend leases");
                    }
                }
            }
        }
        for Lost { lease, to } in self.lost.drain(..) {
            // Others are to have them now, not when the lease ends.
            for lease in [Lease { id: to, ..lease.clone() }, lease] {
                if let Err(error) = self.context.common.store.give_back(&lease, false).await {
                    tracing::debug!(%error, queue = self.context.queue.list, "a lease was left behind");
                }
            }
        }
    }

    /// Does the one thing that is most needed now, or waits until something is.
    async fn step(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        while let Some(ended) = self.batches.try_join_next() {
            self.finished(ended.ok());
        }
        let now = Instant::now();
        if now >= self.heartbeat_at {
            self.heartbeat().await?;
        }
        if !self.lost.is_empty() {
            return self.recover().await;
        }
        if now >= self.measuring.at() {
            self.measure().await?;
        }
        let capacity = self.context.trigger.concurrency.saturating_add(self.context.trigger.prefetch);
        if self.batches.len() >= usize::try_from(capacity).unwrap_or(1) {
            self.wait(stop, false).await;
        } else if self.more || now >= self.look_at {
            self.take().await?;
        } else {
            self.wait(stop, true).await;
        }
        if self.pause.reset() {
            tracing::info!(queue = self.context.queue.list, "the trigger goes on");
        }
        Ok(())
    }

    /// Waits until a batch ends, a timer is due, or (with `idle`) there may be something to take.
    async fn wait(&mut self, stop: &CancellationToken, idle: bool) {
        let mut until = self.heartbeat_at.min(self.measuring.at());
        if idle {
            until = until.min(self.look_at);
        }
        tokio::select! {
            Some(ended) = self.batches.join_next() => self.finished(ended.ok()),
            () = self.wake.wait(), if idle => self.more = true,
            () = tokio::time::sleep_until(until) => {}
            () = stop.cancelled() => {}
        }
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
                    self.lost.push(Lost { lease, to: LeaseId::random() });
                }
                return Err(error);
            }
        };
        self.ready.store(true, Ordering::Relaxed);
        if took.returned > 0 {
            tracing::info!(queue = queue.list, jobs = took.returned, "jobs of abandoned leases came back");
            common.metrics.taken_over(usize::try_from(took.returned).unwrap_or(usize::MAX));
        }
        self.more = u32::try_from(took.jobs.len()).unwrap_or(u32::MAX) >= trigger.batch;
        let next = took.next_in_ms.map(|ms| Instant::now() + Duration::from_millis(ms).max(LOOK_MIN));
        let look_at = look_after(SWEEP_MAX);
        self.look_at = next.map_or(look_at, |next| next.min(look_at));
        self.dispatch(lease, took.jobs);
        Ok(())
    }

    /// Makes it certain again what the store has of a lease, and handles what is left in it.
    async fn recover(&mut self) -> Result<(), StoreError> {
        let Some(Lost { lease, to }) = self.lost.last() else { return Ok(()) };
        let Common { store, protocol, .. } = &self.context.common;
        let to = if protocol.fence_after_lost_reply { *to } else { lease.id };
        // Where it fails it is tried again with the same names.
        let jobs = store.recover(lease, to, self.context.visibility_ms()).await?;
        let lease = Lease { id: to, queue: lease.queue.clone() };
        self.lost.pop();
        self.dispatch(lease, jobs);
        Ok(())
    }

    /// Tells the store which leases are still in use.
    async fn heartbeat(&mut self) -> Result<(), StoreError> {
        let interval = self.context.trigger.visibility_timeout / 3;
        self.heartbeat_at = Instant::now() + interval;
        let leases = self.held.older_than(interval / 2);
        if leases.is_empty() {
            return Ok(());
        }
        let QueueContext { queue, common, .. } = &*self.context;
        let there = common.store.extend(queue, &leases, self.context.visibility_ms()).await?;
        if there < leases.len() as u64 {
            // Their commits will be refused, or were just made; nothing is to be done before that.
            tracing::debug!(queue = queue.list, there, held = leases.len(), "leases being used are not there");
        }
        Ok(())
    }

    async fn measure(&mut self) -> Result<(), StoreError> {
        let QueueContext { queue, common, .. } = &*self.context;
        self.measuring.begin();
        let lengths = common.store.lengths(queue).await?;
        let lag = Some(lengths.ready.saturating_add(lengths.delayed));
        let backlog = Backlog { pending: lengths.leased, lag, dead: lengths.dead };
        self.measuring.end(&backlog);
        common.metrics.backlog(backlog);
        let (idle, busy) = common.rollout.active().counts();
        common.metrics.instances(idle, busy);
        Ok(())
    }

    /// Hands jobs of a lease to a task of their own.
    fn dispatch(&mut self, lease: Lease, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        self.measuring.touch();
        let id = lease.id;
        let ticket = self.held.add(id);
        let origin = LeasedBatch::new(self.context.clone(), lease, jobs.len(), ticket);
        let run = batch::run(origin, plan::parts(jobs, self.context.trigger.max_crashes));
        let share = self.context.common.rollout.active().context().quota.share().clone();
        let run = async move { (id, share.place(run).await.unwrap_or(BatchEnd::Lost)) };
        self.batches.spawn(self.turns.next(run));
    }

    /// A batch has ended; none where its task panicked, which leaves its lease to end by itself.
    fn finished(&mut self, ended: Option<(LeaseId, BatchEnd)>) {
        match ended {
            None | Some((_, BatchEnd::Settled { retry_in: None })) => {}
            Some((_, BatchEnd::Settled { retry_in: Some(delay) })) => {
                self.look_at = self.look_at.min(Instant::now() + delay + LOOK_MIN);
            }
            Some((id, BatchEnd::Lost)) => {
                let lease = Lease { id, queue: self.context.queue.clone() };
                self.lost.push(Lost { lease, to: LeaseId::random() });
            }
        }
    }

    /// Takes note of a fault of the store and waits a little.
    async fn failed(&mut self, error: &StoreError, stop: &CancellationToken) {
        if self.pause.is_first() {
            tracing::warn!(queue = self.context.queue.list, %error, "the trigger waits for the store");
        }
        // Wake-ups may be lost meanwhile.
        self.more = true;
        tokio::select! {
            () = tokio::time::sleep(self.pause.next()) => {}
            () = stop.cancelled() => {}
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
