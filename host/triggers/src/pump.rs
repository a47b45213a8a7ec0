//! What the workers of streams and queues have in common: batches that run, timers, back-off, and the drain.
//!
//! A worker is a [`Reader`], which knows its source. [`run`] drives it: it never has more than `concurrency +
//! prefetch` batches, measures the backlog, keeps what is being handled alive, and waits with back-off while the
//! store fails. A reader never waits in the store: wake-ups of all triggers come over one connection, and between
//! them the reader looks by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sandbar_runtime::rollout::Rollout;
use sandbar_runtime::telemetry::PluginMetrics;
use sandbar_store::{Backlog, StoreError, Wake};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::WorkerEnd;
use crate::batch::{BatchEnd, Common};
use crate::batch_order::BatchOrder;
use crate::pacing::{Measuring, Pause};

/// A source that batches are read from.
pub(crate) trait Reader: Send {
    /// Identifies a batch of the worker.
    type Key: Copy + Send + 'static;

    /// What the batches share.
    fn common(&self) -> &Common;

    /// The batches, and when the worker acts next.
    fn pump(&mut self) -> &mut Pump<Self::Key>;

    /// Makes what must be there before anything is read.
    async fn open(&mut self) -> Result<(), StoreError>;

    /// Makes it certain again what the store has, where it is not. Answers whether there was something to do.
    async fn recover(&mut self, stop: &CancellationToken) -> Result<bool, StoreError>;

    /// Reads, and starts batches. Answers none where there may be more to read, else when to look again.
    async fn read(&mut self) -> Result<Option<Instant>, StoreError>;

    /// There may be something to read.
    fn woken(&mut self);

    /// A batch has ended; none where its task panicked.
    fn ended(&mut self, batch: Option<(Self::Key, BatchEnd)>);

    /// Reports to the store what is still being handled.
    async fn keep_alive(&mut self) -> Result<(), StoreError>;

    /// How far the trigger is behind.
    async fn backlog(&self) -> Result<Backlog, StoreError>;

    /// The store failed.
    fn failed(&mut self, error: &StoreError);

    /// Gives back what is left after the last batch.
    async fn leave(&mut self);
}

/// The batches of one worker, and its timers.
#[derive(Debug)]
pub(crate) struct Pump<K> {
    batches: JoinSet<(K, BatchEnd)>,
    order: BatchOrder,
    /// The most batches that run or wait for their turn.
    batches_max: usize,
    wake: Wake,
    ready: Arc<AtomicBool>,
    measuring: Measuring,
    keep_alive_interval: Duration,
    keep_alive_at: Instant,
    pause: Pause,
}

impl<K: Send + 'static> Pump<K> {
    /// A pump without batches. `ready` becomes true once the worker reads.
    pub(crate) fn new(
        wake: Wake,
        concurrency: u32,
        prefetch: u32,
        keep_alive_interval: Duration,
        ready: Arc<AtomicBool>,
    ) -> Self {
        Self {
            batches: JoinSet::new(),
            order: BatchOrder::new(concurrency),
            batches_max: usize::try_from(concurrency.saturating_add(prefetch)).unwrap_or(1),
            wake,
            ready,
            measuring: Measuring::new(),
            keep_alive_interval,
            keep_alive_at: Instant::now(),
            pause: Pause::default(),
        }
    }

    /// The worker reads.
    pub(crate) fn ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Whether no batch runs.
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Starts a batch, in the order of the worker and within the share of the plugin's tenant.
    pub(crate) fn start(&mut self, rollout: &Rollout, key: K, batch: impl Future<Output = BatchEnd> + Send + 'static) {
        self.measuring.touch();
        let share = rollout.active().context().quota.share().clone();
        let run = async move { (key, share.place(batch).await.unwrap_or(BatchEnd::Lost)) };
        self.batches.spawn(self.order.next(run));
    }

    /// One batch that has ended already.
    fn try_next(&mut self) -> Option<Option<(K, BatchEnd)>> {
        self.batches.try_join_next().map(Result::ok)
    }

    /// How long what is being handled must have been so before it is kept alive.
    pub(crate) fn keep_alive_age(&self) -> Duration {
        self.keep_alive_interval / 2
    }
}

/// Runs a worker until `stop`, then finishes its batches. `give_up` drops those that are still running.
pub(crate) async fn run<R: Reader>(mut reader: R, stop: CancellationToken, give_up: CancellationToken) -> WorkerEnd {
    while !stop.is_cancelled() {
        if let Err(error) = step(&mut reader, &stop).await {
            back_off(&mut reader, &error, &stop).await;
        }
    }
    reader.pump().ready.store(false, Ordering::Relaxed);
    tokio::select! {
        () = drain(&mut reader) => WorkerEnd::Drained,
        () = give_up.cancelled() => {
            let batches = &mut reader.pump().batches;
            let dropped = batches.len();
            batches.shutdown().await;
            match dropped {
                // It did not leave its group or give back leases, which others take over after a time.
                0 => WorkerEnd::Drained,
                dropped => WorkerEnd::Dropped(dropped),
            }
        }
    }
}

/// Does the one thing that is most needed now, or waits until something is.
async fn step<R: Reader>(reader: &mut R, stop: &CancellationToken) -> Result<(), StoreError> {
    while let Some(ended) = reader.pump().try_next() {
        reader.ended(ended);
    }
    reader.open().await?;
    keep_alive(reader).await?;
    if reader.recover(stop).await? {
        return Ok(());
    }
    measure(reader).await?;
    let pump = reader.pump();
    if pump.batches.len() >= pump.batches_max {
        wait(reader, stop, None).await;
    } else if let Some(look_at) = reader.read().await? {
        wait(reader, stop, Some(look_at)).await;
    }
    if reader.pump().pause.reset() {
        tracing::info!(source = reader.common().source, "the trigger goes on");
    }
    Ok(())
}

/// Waits until a batch ends or a timer is due; with `look_at` also until then, or until there may be something to read.
pub(crate) async fn wait<R: Reader>(reader: &mut R, stop: &CancellationToken, look_at: Option<Instant>) {
    let pump = reader.pump();
    let timers = pump.keep_alive_at.min(pump.measuring.at());
    let until = look_at.map_or(timers, |look_at| timers.min(look_at));
    tokio::select! {
        Some(ended) = pump.batches.join_next() => reader.ended(ended.ok()),
        () = pump.wake.wait(), if look_at.is_some() => reader.woken(),
        () = tokio::time::sleep_until(until) => {}
        () = stop.cancelled() => {}
    }
}

async fn keep_alive<R: Reader>(reader: &mut R) -> Result<(), StoreError> {
    let pump = reader.pump();
    if Instant::now() < pump.keep_alive_at {
        return Ok(());
    }
    pump.keep_alive_at = Instant::now() + pump.keep_alive_interval;
    reader.keep_alive().await
}

async fn measure<R: Reader>(reader: &mut R) -> Result<(), StoreError> {
    if Instant::now() < reader.pump().measuring.at() {
        return Ok(());
    }
    reader.pump().measuring.begin();
    let backlog = reader.backlog().await?;
    reader.pump().measuring.end(&backlog);
    let Common { metrics, rollout, .. } = reader.common();
    report(metrics, rollout, backlog);
    Ok(())
}

fn report(metrics: &PluginMetrics, rollout: &Rollout, backlog: Backlog) {
    metrics.backlog(backlog);
    let (idle, busy) = rollout.active().counts();
    metrics.instances(idle, busy);
}

/// Finishes the batches that run, and leaves the source. What they handle is kept alive meanwhile.
async fn drain<R: Reader>(reader: &mut R) {
    while !reader.pump().is_empty() {
        let pump = reader.pump();
        tokio::select! {
            Some(ended) = pump.batches.join_next() => reader.ended(ended.ok()),
            () = tokio::time::sleep_until(pump.keep_alive_at) => {
                if let Err(error) = keep_alive(reader).await {
                    tracing::debug!(%error, source = reader.common().source, "could not keep alive what is being handled");
                }
            }
        }
    }
    reader.leave().await;
}

/// Notes a fault of the store, and waits a little.
async fn back_off<R: Reader>(reader: &mut R, error: &StoreError, stop: &CancellationToken) {
    if reader.pump().pause.is_first() {
        let Common { source, group, worker, .. } = reader.common();
        tracing::warn!(source, group, worker, %error, "the trigger waits for the store");
    }
    reader.failed(error);
    let pause = reader.pump().pause.next();
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = stop.cancelled() => {}
    }
}
