//! The stream trigger: entries of a stream, handled and acknowledged in one commit.
//!
//! One [`Worker`] task per trigger and host is one consumer of the group. It reads ahead, and hands batches to tasks
//! of their own (`batch.rs`). Without a wake-up it looks at the stream every [`LOOK_MAX`].
//!
//! Whenever it is not certain what the store has of the consumer (a lost reply, a fenced commit, a deleted group),
//! the worker lets its batches end, advances its own fence, and reads its own pending entries before anything else.
//! Every fault takes this one way back.

mod consumer_batch;
mod in_flight;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sandbar_core::manifest::StreamTrigger;
use sandbar_runtime::rollout::Rollout;
use sandbar_runtime::telemetry::PluginMetrics;
use sandbar_store::{Backlog, Batch, Consumer, EntryId, GroupStart, Store, StoreError};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use super::WorkerEnd;
use super::backoff::Backoff;
use super::batch::{self, BatchEnd, Common, Part, RecordingWriter};
use super::pacing;
use super::pump::{self, Pump, Reader};
use consumer_batch::ConsumerBatch;
use in_flight::InFlight;
use sandbar_runtime::protocol::Protocol;

/// The longest time between two looks at the stream without a wake-up, and between two searches for idle entries.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// How many pending entries one step of a takeover scans.
const TAKE_OVER_SPAN: u32 = 1000;
/// How long a takeover pauses after a step that found nothing.
const TAKE_OVER_PAUSE: Duration = Duration::from_millis(20);

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

/// What a worker reads next.
///
/// ```text
/// Unopened -> New <-> Idle, NewFirst
///    ^         |
///    |      (a fault)
///    |         v
///    +---- Recovering -> OwnPending -> New
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadState {
    /// The group and the consumer are not made yet, or were deleted. With `recovers` the consumer has read before.
    Unopened { recovers: bool },
    /// It is not certain what the store has of this consumer: its batches end first.
    Recovering,
    /// Its own pending entries after this id.
    OwnPending { after: EntryId },
    /// New entries; there may be some.
    New,
    /// The same, before the next takeover, so that neither starves the other.
    NewFirst,
    /// Nothing until a wake-up or a timer.
    Idle,
}

impl ReadState {
    /// There may be new entries.
    fn woken(&mut self) {
        if *self == Self::Idle {
            *self = Self::New;
        }
    }

    /// It is not certain any more what the store has of the consumer.
    fn lost(&mut self) {
        *self = match *self {
            Self::Unopened { .. } => Self::Unopened { recovers: true },
            _ => Self::Recovering,
        };
    }

    /// The group is gone, or the key is no stream.
    fn deleted(&mut self) {
        let recovers = !matches!(self, Self::Unopened { recovers: false });
        *self = Self::Unopened { recovers };
    }

    /// The group and the consumer are there.
    fn opened(&mut self) {
        if let Self::Unopened { recovers } = *self {
            *self = if recovers { Self::Recovering } else { Self::New };
        }
    }

    /// A takeover took a step. `found` says whether new entries must be looked for now.
    fn took_over(&mut self, found: bool) {
        if found || *self == Self::New {
            *self = Self::NewFirst;
        }
    }
}

/// One consumer of a group, as a task.
#[derive(Debug)]
pub struct Worker {
    context: Arc<StreamContext>,
    pump: Pump<()>,
    in_flight: InFlight,
    state: ReadState,
    /// Up to where the stream was read. A group that was deleted is made again from here.
    position: Option<EntryId>,
    /// Where the search for idle entries goes on.
    take_over_after: EntryId,
    take_over_at: Instant,
    /// When the earliest known retry is due.
    due_at: Instant,
}

impl Worker {
    /// A worker that has not begun. `ready` becomes true once it reads its stream.
    pub fn new(context: Arc<StreamContext>, ready: Arc<AtomicBool>) -> Self {
        let (trigger, now) = (&context.trigger, Instant::now());
        let wake = context.common.store.watch(&context.consumer.source.stream);
        let pump = Pump::new(wake, trigger.concurrency, trigger.prefetch, trigger.claim_idle / 3, ready);
        Self {
            context,
            pump,
            in_flight: InFlight::default(),
            state: ReadState::Unopened { recovers: false },
            position: None,
            take_over_after: EntryId::ZERO,
            take_over_at: now,
            due_at: now,
        }
    }

    /// Runs until `stop`, then finishes its batches. `give_up` drops those that are still running.
    pub async fn run(self, stop: CancellationToken, give_up: CancellationToken) -> WorkerEnd {
        pump::run(self, stop, give_up).await
    }

    fn store(&self) -> &Arc<dyn Store> {
        &self.context.common.store
    }

    async fn read_new(&mut self) -> Result<(), StoreError> {
        let count = self.context.trigger.batch;
        let batch = self.store().read(&self.context.consumer, count).await?;
        let is_full = u32::try_from(batch.events.len()).unwrap_or(u32::MAX) >= count;
        self.state = if is_full { ReadState::New } else { ReadState::Idle };
        self.position = batch.events.last().map(|event| event.id).max(self.position);
        self.dispatch(batch);
        Ok(())
    }

    async fn read_own_pending(&mut self, after: EntryId) -> Result<(), StoreError> {
        let taken = self.store().pending(&self.context.consumer, after, self.context.trigger.batch).await?;
        self.state = taken.next.map_or(ReadState::New, |after| ReadState::OwnPending { after });
        self.context.common.metrics.vanished(taken.vanished);
        self.dispatch(taken.batch);
        Ok(())
    }

    async fn read_due(&mut self) -> Result<(), StoreError> {
        let due = self.store().due(&self.context.consumer, self.context.trigger.batch).await?;
        let now_ms = self.store().now_ms();
        let next = due.next_ms.map(|next| Instant::now() + Duration::from_millis(next.saturating_sub(now_ms)));
        // Another host may list an event that is due earlier than all that are known here.
        let look_at = pacing::look_after(LOOK_MAX);
        self.due_at = next.map_or(look_at, |next| next.min(look_at));
        self.context.common.metrics.vanished(due.vanished);
        self.dispatch(due.batch);
        Ok(())
    }

    /// Takes over entries of consumers that have been silent for too long.
    async fn take_over(&mut self) -> Result<(), StoreError> {
        let idle = self.context.trigger.claim_idle;
        let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        let span = TAKE_OVER_SPAN.min(self.context.trigger.batch.max(100));
        let taken = self.store().take_over(&self.context.consumer, idle_ms, self.take_over_after, span).await?;
        self.take_over_after = taken.next.unwrap_or(EntryId::ZERO);
        let events = taken.batch.events.len();
        // Wake-ups are only heard while the worker waits, which it does not as long as it finds something here. They
        // can also be lost with their connection, so the stream itself is looked at after each full search.
        self.state.took_over(events > 0 || taken.next.is_none());
        if taken.next.is_none() {
            self.take_over_at = pacing::look_after(LOOK_MAX.min(idle / 2));
        } else if events == 0 {
            self.take_over_at = Instant::now() + TAKE_OVER_PAUSE;
        }
        if events > 0 {
            let Consumer { source, name, .. } = &*self.context.consumer;
            tracing::info!(stream = source.stream, group = source.group, consumer = name, events, "took events over");
            self.context.common.metrics.taken_over(events);
        }
        self.context.common.metrics.vanished(taken.vanished);
        self.dispatch(taken.batch);
        Ok(())
    }

    /// Starts batches. Takeovers may answer more events than fit into one.
    fn dispatch(&mut self, batch: Batch) {
        let Batch { epoch, mut events } = batch;
        if events.is_empty() {
            return;
        }
        let Some(epoch) = epoch else {
            // The fence key has expired: the entries are pending, and come back once there is a new epoch.
            self.state.lost();
            return;
        };
        let size = usize::try_from(self.context.trigger.batch).unwrap_or(usize::MAX);
        while !events.is_empty() {
            let rest = events.split_off(size.min(events.len()));
            let in_flight = self.in_flight.add(epoch, events.iter().map(|event| event.id));
            let origin = ConsumerBatch { context: self.context.clone(), epoch, in_flight };
            self.pump.start(&self.context.common.rollout, (), batch::run(origin, vec![Part::new(events)]));
            events = rest;
        }
    }
}

impl Reader for Worker {
    type Key = ();

    fn common(&self) -> &Common {
        &self.context.common
    }

    fn pump(&mut self) -> &mut Pump<()> {
        &mut self.pump
    }

    async fn open(&mut self) -> Result<(), StoreError> {
        if !matches!(self.state, ReadState::Unopened { .. }) {
            return Ok(());
        }
        let StreamContext { consumer, trigger, common: Common { store, .. } } = &*self.context;
        let start = self.position.map_or(trigger.start, GroupStart::After);
        store.open(&consumer.source, start).await?;
        store.join(consumer).await?;
        self.position.get_or_insert(match trigger.start {
            GroupStart::New => EntryId { ms: store.now_ms(), seq: 0 },
            GroupStart::After(id) => id,
        });
        self.state.opened();
        self.pump.ready();
        Ok(())
    }

    async fn recover(&mut self, stop: &CancellationToken) -> Result<bool, StoreError> {
        if self.state != ReadState::Recovering {
            return Ok(false);
        }
        if !self.pump.is_empty() {
            pump::wait(self, stop, None).await;
            return Ok(true);
        }
        if self.context.common.protocol.fence_after_lost_reply() {
            self.store().fence(&self.context.consumer).await?;
        }
        self.state = ReadState::OwnPending { after: EntryId::ZERO };
        Ok(true)
    }

    async fn read(&mut self) -> Result<Option<Instant>, StoreError> {
        let now = Instant::now();
        match self.state {
            ReadState::Unopened { .. } | ReadState::Recovering => {}
            ReadState::OwnPending { after } => self.read_own_pending(after).await?,
            _ if now >= self.due_at => self.read_due().await?,
            ReadState::New | ReadState::Idle if now >= self.take_over_at => self.take_over().await?,
            ReadState::New | ReadState::NewFirst => self.read_new().await?,
            ReadState::Idle => return Ok(Some(self.due_at.min(self.take_over_at))),
        }
        Ok(None)
    }

    fn woken(&mut self) {
        self.state.woken();
    }

    fn ended(&mut self, batch: Option<((), BatchEnd)>) {
        // A task of ours that panicked or was aborted has settled nothing that is known here.
        match batch.map_or(BatchEnd::Lost, |((), end)| end) {
            BatchEnd::Settled { retry_in: None } => {}
            BatchEnd::Settled { retry_in: Some(delay) } => self.due_at = self.due_at.min(Instant::now() + delay),
            BatchEnd::Lost => self.state.lost(),
        }
    }

    async fn keep_alive(&mut self) -> Result<(), StoreError> {
        for (epoch, ids) in self.in_flight.older_than(self.pump.keep_alive_age()) {
            if !self.store().keep_alive(&self.context.consumer, epoch, &ids).await? {
                // Their commits will be refused; nothing has to be done before that.
                tracing::debug!(consumer = self.context.consumer.name, "events being handled were taken over");
            }
        }
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.store().backlog(&self.context.consumer.source).await
    }

    fn failed(&mut self, error: &StoreError) {
        if !matches!(self.state, ReadState::Unopened { .. }) {
            self.state.lost();
        }
        if matches!(error, StoreError::NoGroup(_) | StoreError::WrongType(_)) {
            self.state.deleted();
        }
    }

    async fn leave(&mut self) {
        if matches!(self.state, ReadState::Unopened { .. }) {
            return;
        }
        if let Err(error) = self.store().leave(&self.context.consumer).await {
            tracing::debug!(%error, consumer = self.context.consumer.name, "could not remove the consumer");
        }
    }
}
