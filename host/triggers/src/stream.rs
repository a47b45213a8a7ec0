//! The stream trigger: entries of a stream, handled and acknowledged in one commit.
//!
//! One [`Worker`] task per trigger and host is one consumer of the group. It reads ahead, hands batches to tasks of their
//! own (`trigger/batch.rs`), and never has more than `concurrency + prefetch` of them. It never waits in the store: wake-ups of all
//! triggers come over one connection, and in between it looks by itself every [`SWEEP_MAX`].
//!
//! Whenever it is not certain what the store has of it (a lost reply, a fenced commit, a group that was deleted), it
//! lets its batches end, advances its own fence and reads its own pending entries before anything else. That one way back
//! serves every fault.

mod consumer_batch;
mod gauge;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::batch::{self, BatchEnd, Batches, Common, Part, RecordingWriter};
use super::plan::{self, Measuring, Pause};
use super::turns::Turns;
pub use super::{Protocol, WorkerEnd};
use consumer_batch::ConsumerBatch;
use gauge::InFlight;
use sandbar_core::manifest::StreamTrigger;
use sandbar_runtime::rollout::Rollout;
use sandbar_runtime::telemetry::PluginMetrics;
use sandbar_store::{Batch, Consumer, EntryId, GroupStart, Store, StoreError, Wake};

/// The longest time between two looks at the stream without a wake-up, and between two looks for abandoned entries.
const SWEEP_MAX: Duration = Duration::from_secs(5);
/// How many pending entries one look for abandoned entries passes over.
const TAKE_OVER_SPAN: u32 = 1000;
/// How long that look rests after a span in which nothing was abandoned.
const TAKE_OVER_REST: Duration = Duration::from_millis(20);

/// What a worker and its batches share.
#[derive(Debug)]
pub struct StreamContext {
    /// The consumer that the worker is.
    pub consumer: Arc<Consumer>,
    /// The trigger's part of the manifest.
    pub trigger: StreamTrigger,
    /// What all kinds of batches have.
    common: Common,
}

impl StreamContext {
    /// What a worker needs.
    pub fn new(
        store: Arc<dyn Store>,
        consumer: Consumer,
        trigger: StreamTrigger,
        rollout: Arc<Rollout>,
        metrics: PluginMetrics,
        protocol: Protocol,
    ) -> Self {
        let common = Common {
            store,
            rollout,
            metrics,
            protocol,
            source: trigger.stream.clone(),
            group: Some(consumer.source.group.clone()),
            worker: consumer.name.clone(),
            max_attempts: trigger.max_attempts,
            backoff: Backoff { min: trigger.retry_min, max: trigger.retry_max },
            recording: trigger.record.then(RecordingWriter::default),
            handling: Semaphore::new(usize::try_from(trigger.concurrency).unwrap_or(1)),
        };
        Self { consumer: Arc::new(consumer), trigger, common }
    }
}

/// One consumer of a group, as a task.
#[derive(Debug)]
pub struct Worker {
    context: Arc<StreamContext>,
    batches: Batches,
    turns: Turns,
    wake: Wake,
    in_flight: InFlight,
    ready: Arc<std::sync::atomic::AtomicBool>,
    /// Own pending entries are to be read behind this id, before anything else.
    own: Option<EntryId>,
    /// It is not certain what the store has of this consumer.
    lost: bool,
    /// The consumer and its group are made.
    joined: bool,
    /// The last read was full, or a wake-up came: there may be more.
    more: bool,
    /// The last thing taken were abandoned entries: new ones come next, so that neither kind starves the other.
    swept: bool,
    /// Up to where the stream was read. A group that somebody deletes is made again from here.
    position: Option<EntryId>,
    /// Where the look for abandoned entries goes on.
    sweep_after: EntryId,
    sweep_at: Instant,
    due_at: Instant,
    measuring: Measuring,
    heartbeat_at: Instant,
    pause: Pause,
}

impl Worker {
    /// A worker that has not begun. `ready` becomes true once it reads its stream.
    pub fn new(context: Arc<StreamContext>, ready: Arc<std::sync::atomic::AtomicBool>) -> Self {
        let now = Instant::now();
        Self {
            wake: context.common.store.watch(&context.consumer.source.stream),
            turns: Turns::new(context.trigger.concurrency),
            context,
            batches: Batches(JoinSet::new()),
            in_flight: InFlight::default(),
            ready,
            own: None,
            lost: false,
            joined: false,
            more: true,
            swept: false,
            position: None,
            sweep_after: EntryId::ZERO,
            sweep_at: now,
            due_at: now,
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
        self.ready.store(false, std::sync::atomic::Ordering::Relaxed);
        let drain = async {
            while let Some(outcome) = self.batches.next().await {
                self.finished(outcome);
            }
        };
        tokio::select! {
            () = drain => {}
            () = give_up.cancelled() => {
                let dropped = self.batches.0.len();
                self.batches.0.shutdown().await;
                return WorkerEnd::Dropped(dropped);
            }
        }
        if self.joined
            && let Err(error) = self.context.common.store.leave(&self.context.consumer).await
        {
            tracing::debug!(%error, consumer = self.context.consumer.name, "could not remove the consumer");
        }
        WorkerEnd::Drained
    }

    /// Does the one thing that is most needed now, or waits until something is.
    async fn step(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        while let Some(outcome) = self.batches.try_next() {
            self.finished(outcome);
        }
        if !self.joined {
            self.join().await?;
        }
        let now = Instant::now();
        if now >= self.heartbeat_at {
            self.heartbeat().await?;
        }
        if self.lost {
            return self.recover(stop).await;
        }
        if now >= self.measuring.at() {
            self.measure().await?;
        }
        if self.batches.0.len() >= self.capacity() {
            self.wait(stop, false).await;
        } else if let Some(after) = self.own {
            self.read_own(after).await?;
        } else if now >= self.due_at {
            self.read_due().await?;
        } else if now >= self.sweep_at && !(self.swept && self.more) {
            self.sweep().await?;
        } else if self.more {
            self.read().await?;
        } else {
            self.wait(stop, true).await;
        }
        if self.pause.reset() {
            tracing::info!(stream = self.context.consumer.source.stream, "the trigger goes on");
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        let trigger = &self.context.trigger;
        usize::try_from(trigger.concurrency.saturating_add(trigger.prefetch)).unwrap_or(1)
    }

    /// Waits until a batch ends, a timer is due, or (with `idle`) the stream may have grown.
    async fn wait(&mut self, stop: &CancellationToken, idle: bool) {
        let mut until = self.heartbeat_at.min(self.measuring.at());
        if idle {
            until = until.min(self.due_at).min(self.sweep_at);
        }
        tokio::select! {
            Some(outcome) = self.batches.next() => self.finished(outcome),
            () = self.wake.wait(), if idle => self.more = true,
            () = tokio::time::sleep_until(until) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Makes the group and the consumer.
    async fn join(&mut self) -> Result<(), StoreError> {
        let StreamContext { consumer, trigger, common: Common { store, .. } } = &*self.context;
        let start = self.position.map_or(trigger.start, GroupStart::After);
        store.open(&consumer.source, start).await?;
        store.join(consumer).await?;
        self.position.get_or_insert(match trigger.start {
            GroupStart::New => EntryId { ms: store.now_ms(), seq: 0 },
            GroupStart::After(id) => id,
        });
        self.joined = true;
        self.ready.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    /// Makes it certain again what the store has of this consumer.
    async fn recover(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        if !self.batches.0.is_empty() {
            self.wait(stop, false).await;
            return Ok(());
        }
        if self.context.common.protocol.fence_after_lost_reply {
            self.context.common.store.fence(&self.context.consumer).await?;
        }
        self.lost = false;
        self.own = Some(EntryId::ZERO);
        Ok(())
    }

    async fn read(&mut self) -> Result<(), StoreError> {
        let count = self.context.trigger.batch;
        let batch = self.context.common.store.read(&self.context.consumer, count).await?;
        self.more = u32::try_from(batch.events.len()).unwrap_or(u32::MAX) >= count;
        self.swept = false;
        self.position = batch.events.last().map(|event| event.id).max(self.position);
        self.dispatch(batch);
        Ok(())
    }

    async fn read_own(&mut self, after: EntryId) -> Result<(), StoreError> {
        let taken =
            self.context.common.store.pending(&self.context.consumer, after, self.context.trigger.batch).await?;
        self.own = taken.next;
        self.context.common.metrics.vanished(taken.vanished);
        self.dispatch(taken.batch);
        Ok(())
    }

    async fn read_due(&mut self) -> Result<(), StoreError> {
        let store = &self.context.common.store;
        let due = store.due(&self.context.consumer, self.context.trigger.batch).await?;
        let now_ms = store.now_ms();
        let next = due.next_ms.map(|next| Instant::now() + Duration::from_millis(next.saturating_sub(now_ms)));
        // Another host may list an event that is due earlier than all that are known here.
        let look_at = plan::look_after(SWEEP_MAX);
        self.due_at = next.map_or(look_at, |next| next.min(look_at));
        self.context.common.metrics.vanished(due.vanished);
        self.dispatch(due.batch);
        Ok(())
    }

    /// Looks for entries of consumers that are not heard of any more.
    async fn sweep(&mut self) -> Result<(), StoreError> {
        let idle = self.context.trigger.claim_idle;
        let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        let span = TAKE_OVER_SPAN.min(self.context.trigger.batch.max(100));
        let taken =
            self.context.common.store.take_over(&self.context.consumer, idle_ms, self.sweep_after, span).await?;
        self.sweep_after = taken.next.unwrap_or(EntryId::ZERO);
        self.swept = true;
        if taken.next.is_some() && taken.batch.events.is_empty() {
            self.sweep_at = Instant::now() + TAKE_OVER_REST;
        } else if taken.next.is_none() {
            self.sweep_at = plan::look_after(SWEEP_MAX.min(idle / 2));
            // Wake-ups can be lost with their connection, so the stream itself is looked at as well.
            self.more = true;
        }
        if !taken.batch.events.is_empty() {
            // Wake-ups are only heard while the worker rests, which it does not as long as it finds something here.
            self.more = true;
            let Consumer { source, name, .. } = &*self.context.consumer;
            let events = taken.batch.events.len();
            tracing::info!(stream = source.stream, group = source.group, consumer = name, events, "took events over");
            self.context.common.metrics.taken_over(events);
        }
        self.context.common.metrics.vanished(taken.vanished);
        self.dispatch(taken.batch);
        Ok(())
    }

    /// Tells the store which entries are still being handled.
    async fn heartbeat(&mut self) -> Result<(), StoreError> {
        let interval = self.context.trigger.claim_idle / 3;
        self.heartbeat_at = Instant::now() + interval;
        for (epoch, ids) in self.in_flight.older_than(interval / 2) {
            if !self.context.common.store.keep_alive(&self.context.consumer, epoch, &ids).await? {
                // Their commits will be refused; nothing is to be done before that.
                tracing::debug!(consumer = self.context.consumer.name, "events being handled were taken over");
            }
        }
        Ok(())
    }

    async fn measure(&mut self) -> Result<(), StoreError> {
        self.measuring.begin();
        let backlog = self.context.common.store.backlog(&self.context.consumer.source).await?;
        self.measuring.end(&backlog);
        self.context.common.metrics.backlog(backlog);
        let (idle, busy) = self.context.common.rollout.active().counts();
        self.context.common.metrics.instances(idle, busy);
        Ok(())
    }

    /// Hands a batch to a task of its own. Take-overs may answer more than a batch.
    fn dispatch(&mut self, batch: Batch) {
        let Batch { epoch, mut events } = batch;
        if events.is_empty() {
            return;
        }
        self.measuring.touch();
        let Some(epoch) = epoch else {
            // The fence key has expired: the entries are pending, and come back once there is a new epoch.
            self.lost = true;
            return;
        };
        let size = usize::try_from(self.context.trigger.batch).unwrap_or(usize::MAX);
        while !events.is_empty() {
            let rest = events.split_off(size.min(events.len()));
            let ticket = self.in_flight.add(epoch, events.iter().map(|event| event.id));
            let run =
                batch::run(ConsumerBatch { context: self.context.clone(), epoch, ticket }, vec![Part::new(events)]);
            let share = self.context.common.rollout.active().context().quota.share().clone();
            let run = async move { share.place(run).await.unwrap_or(BatchEnd::Lost) };
            self.batches.0.spawn(self.turns.next(run));
            events = rest;
        }
    }

    fn finished(&mut self, outcome: BatchEnd) {
        match outcome {
            BatchEnd::Settled { retry_in: None } => {}
            BatchEnd::Settled { retry_in: Some(delay) } => self.due_at = self.due_at.min(Instant::now() + delay),
            BatchEnd::Lost => self.lost = true,
        }
    }

    /// Takes note of a fault of the store and waits a little.
    async fn failed(&mut self, error: &StoreError, stop: &CancellationToken) {
        let Consumer { source, name, .. } = &*self.context.consumer;
        if self.pause.is_first() {
            tracing::warn!(stream = source.stream, group = source.group, consumer = name, %error, "the trigger waits for the store");
        }
        self.lost = self.joined;
        if matches!(error, StoreError::NoGroup(_) | StoreError::WrongType(_)) {
            self.joined = false;
        }
        tokio::select! {
            () = tokio::time::sleep(self.pause.next()) => {}
            () = stop.cancelled() => {}
        }
    }
}
