//! The schedule trigger: ticks at given times, each run once by the whole fleet.
//!
//! Every host has a [`Worker`] for a schedule, which sleeps until a tick is due. Who then takes the schedule's lock
//! runs it; the others look again after [`LOOK_AGAIN`]. The commit of a tick moves the mark of the last one on in the
//! same transaction, and is made only while the lock is held and the mark is where it was: so each tick is committed
//! once, whatever is killed, stopped or delayed. Between ticks nothing is asked of the store.

mod plan;
mod record;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::pacing::{Pause, jittered};
use super::stream::WorkerEnd;
use plan::{Next, Plan};
use sandbar_core::manifest::ScheduleTrigger;
use sandbar_runtime::bindings::exports::sandbar::plugin::schedule::Instant as Tick;
use sandbar_runtime::call::{FinishedCall, Takes};
use sandbar_runtime::commit::{CallCommit, Delivery, effects};
use sandbar_runtime::context::PluginContext;
use sandbar_runtime::pool::CallError;
use sandbar_runtime::rollout::{Chosen, Rollout};
use sandbar_runtime::telemetry::PluginMetrics;
use sandbar_store::held_lock::{HeldLock, release_all};
use sandbar_store::{Claim, Commit, CommitError, Condition, Effect, End, Expiry, Store, StoreError};

pub use record::{Keys, Run, TickOutcome, parse_last};

/// How long the lock is held beyond the death of its host, in milliseconds.
const LOCK_TTL_MS: u64 = 5000;
/// How long a host waits that finds another one at work, up to.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The longest sleep: clocks may be changed.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// How often a tick is run again at once because a key that it watched had changed, before it has failed.
const CONFLICTS_MAX: u32 = 50;
/// How often it is run again because the store failed while the plugin used it, before that counts as its failure.
const RERUNS_MAX: u32 = 10;
/// How long it waits before that.
const STORE_PAUSE: Duration = Duration::from_millis(100);
/// The most skipped ticks that are counted at a time.
const SKIPPED_MAX: u64 = 10_000;

/// What a worker needs.
#[derive(Debug)]
pub struct ScheduleContext {
    /// Where the schedule is kept.
    pub store: Arc<dyn Store>,
    /// Its keys.
    pub keys: Keys,
    /// The host's name.
    pub host: String,
    /// The trigger's part of the manifest.
    pub trigger: ScheduleTrigger,
    /// The instances of the active version; replaced while ticks run.
    pub rollout: Arc<Rollout>,
    /// The plugin's numbers.
    pub metrics: PluginMetrics,
}

/// Looks after a schedule on one host, as a task.
#[derive(Debug)]
pub struct Worker {
    context: ScheduleContext,
    ready: Arc<AtomicBool>,
    /// A tick is being run.
    running: Arc<AtomicBool>,
    pause: Pause,
}

/// How a tick ended that this host ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ran {
    /// It is committed, or noted as failed.
    Settled,
    /// The lock was lost: another host may run it, or has.
    Overtaken,
}

/// What a call came to.
enum TickAnswer {
    Done(FinishedCall),
    Failed(CallError),
    /// The store failed, or there is no instance: it is to be run again.
    Again(String),
    LockLost,
}

impl Worker {
    /// A worker that has not begun. `ready` becomes true once it knows where the schedule stands.
    pub fn new(context: ScheduleContext, ready: Arc<AtomicBool>) -> Self {
        Self { context, ready, running: Arc::default(), pause: Pause::default() }
    }

    /// Runs until `stop`, then finishes the tick that is being run. `give_up` drops it.
    pub async fn run(mut self, stop: CancellationToken, give_up: CancellationToken) -> WorkerEnd {
        let (ready, running) = (self.ready.clone(), self.running.clone());
        let plan = match Plan::new(&self.context.trigger, &self.context.keys.last) {
            Ok(plan) => plan,
            Err(error) => {
                // The manifest was checked with the very same code.
                tracing::error!(%error, "a schedule cannot be read");
                return WorkerEnd::Drained;
            }
        };
        let work = async {
            while !stop.is_cancelled() {
                match self.step(&plan, &stop).await {
                    Ok(()) if self.pause.reset() => {
                        tracing::info!(schedule = self.context.keys.last, "the trigger goes on")
                    }
                    Ok(()) => {}
                    Err(error) => self.failed(&error, &stop).await,
                }
            }
        };
        let ended = tokio::select! {
            () = work => WorkerEnd::Drained,
            () = give_up.cancelled() => WorkerEnd::Dropped(usize::from(running.load(Ordering::Relaxed))),
        };
        ready.store(false, Ordering::Relaxed);
        ended
    }

    /// Waits until a tick is due, and runs those that are unless another host does.
    async fn step(&self, plan: &Plan, stop: &CancellationToken) -> Result<(), StoreError> {
        let store = &self.context.store;
        let Some(last) = self.last().await? else { return self.begin().await };
        self.ready.store(true, Ordering::Relaxed);
        let now = store.now_ms();
        match plan.next(last, now, false) {
            Next::Run(_) => self.run_due(plan, stop).await,
            Next::Wait(until) => {
                let left = Duration::from_millis(until.saturating_sub(now));
                sleep(left.min(SLEEP_MAX), stop).await;
                Ok(())
            }
            Next::Never => {
                sleep(SLEEP_MAX, stop).await;
                Ok(())
            }
        }
    }

    /// The last tick that is settled; none for a schedule that is new.
    async fn last(&self) -> Result<Option<u64>, StoreError> {
        let key = &self.context.keys.last;
        let Some(value) = self.context.store.get(key).await? else { return Ok(None) };
        let odd = || StoreError::WrongType(format!("`{key}` holds no time in milliseconds: delete it"));
        parse_last(&value).map(Some).ok_or_else(odd)
    }

    /// Begins a schedule: what was due before now is not missed.
    async fn begin(&self) -> Result<(), StoreError> {
        let ScheduleContext { store, keys, .. } = &self.context;
        let (watched, effects) = ([(keys.last.clone(), None)], [mark(&keys.last, store.now_ms())]);
        match store.commit(Commit::plain(&effects, &watched)).await {
            // Another host was faster.
            Ok(_) | Err(CommitError::Conflict(_) | CommitError::Fenced) => Ok(()),
            Err(CommitError::Refused(error) | CommitError::Unacceptable(error) | CommitError::Unknown(error)) => {
                Err(error)
            }
        }
    }

    /// Runs all ticks that are due.
    async fn run_due(&self, plan: &Plan, stop: &CancellationToken) -> Result<(), StoreError> {
        let ScheduleContext { store, keys, host, .. } = &self.context;
        let plugin = self.context.rollout.active().context().plugin.clone();
        let claim = Claim::new(keys.lock.clone(), host, &plugin, LOCK_TTL_MS);
        let Some(lock) = HeldLock::acquire(store, &claim, Duration::ZERO).await? else {
            sleep(jittered(LOOK_AGAIN), stop).await;
            return Ok(());
        };
        let mut continues = false;
        while !stop.is_cancelled() {
            // Another host may have run it between the look and the lock.
            let Some(last) = self.last().await? else { break };
            let Next::Run(tick) = plan.next(last, store.now_ms(), continues) else { break };
            self.running.store(true, Ordering::Relaxed);
            let ran = self.tick(plan, &lock, last, tick).await;
            self.running.store(false, Ordering::Relaxed);
            if ran? == Ran::Overtaken {
                break;
            }
            continues = true;
        }
        release_all(&[lock]).await;
        Ok(())
    }

    /// Runs one tick to its end.
    async fn tick(&self, plan: &Plan, lock: &HeldLock, last: u64, tick: u64) -> Result<Ran, StoreError> {
        let ScheduleContext { store, keys, host, metrics, .. } = &self.context;
        let standing = vec![lock.watched(), (keys.last.clone(), Some(Bytes::from(last.to_string())))];
        let skipped = plan.between(last, tick, SKIPPED_MAX);
        let (mut conflicts, mut reruns) = (0, 0);
        // One version runs a tick from beginning to end.
        let mut pool = self.context.rollout.choose();
        loop {
            let (started, begun) = (store.now_ms(), Instant::now());
            let (ended, mut error) = match self.call(&pool, lock, tick, started, &standing).await {
                TickAnswer::Done(ended) => (ended, None),
                TickAnswer::Failed(error) => {
                    metrics.failed(error.kind());
                    (FinishedCall::default(), Some(error.to_string()))
                }
                TickAnswer::LockLost => return Ok(Ran::Overtaken),
                TickAnswer::Again(reason) if reruns < RERUNS_MAX || !store.is_available() => {
                    tracing::debug!(schedule = keys.last, reason, "a tick is run again");
                    reruns += 1;
                    tokio::time::sleep(jittered(STORE_PAUSE)).await;
                    pool = self.context.rollout.choose();
                    continue;
                }
                TickAnswer::Again(reason) => {
                    metrics.failed("store");
                    (FinishedCall::default(), Some(reason))
                }
            };
            let (mut watched, mut effects) = (ended.watched, effects(ended.writes));
            let (locks, mut taken) = (ended.locks, ended.taken);
            let run = |outcome: TickOutcome, error: Option<String>| Run {
                tick,
                started,
                duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
                host: host.clone(),
                version: pool.context().version.clone(),
                outcome,
                error,
                skipped,
            };
            loop {
                if error.is_some() {
                    watched.clone_from(&standing);
                    effects.clear();
                }
                let outcome = if error.is_some() { TickOutcome::Failed } else { TickOutcome::Done };
                let writes = effects.len();
                let settled = plan.settled(tick, started, store.now_ms());
                effects.push(mark(&keys.last, settled));
                effects.extend(self.note(&run(outcome, error.clone())));
                let mut none = Takes::default();
                let taken = if error.is_none() { &mut taken } else { &mut none };
                let (effects, watched, locks) = (&effects, &watched, &locks);
                let commit = CallCommit { effects, own_effects: 0, watched, taken, locks, delivery: Delivery::None };
                match commit.make(pool.context()).await {
                    Ok(committed) => {
                        let refused = committed.refused.iter().find(|refused| refused.effect < writes);
                        let refused = refused.map(ToString::to_string);
                        let failure = error.as_ref().or(refused.as_ref());
                        pool.settled(1, failure.iter().map(|_| format!("{} {tick}", self.context.trigger.name)));
                        let outcome = if refused.is_some() { TickOutcome::Refused } else { outcome };
                        let overlapping = plan.between(tick, settled.saturating_add(1), SKIPPED_MAX);
                        self.count(outcome, skipped + overlapping, error.as_deref(), tick);
                        if refused.is_some() {
                            self.note_refused(pool.context(), &run(outcome, refused)).await;
                        }
                        return Ok(Ran::Settled);
                    }
                    Err(CommitError::Conflict(key)) if key == lock.lock().key || key == keys.last => {
                        metrics.commit_lost("conflict");
                        return Ok(Ran::Overtaken);
                    }
                    Err(CommitError::Conflict(key)) if conflicts < CONFLICTS_MAX => {
                        conflicts += 1;
                        metrics.commit_lost("conflict");
                        tracing::debug!(%key, "a key that the tick watched has changed: it is run again");
                        break;
                    }
                    Err(CommitError::Conflict(key)) if error.is_none() => {
                        metrics.failed("conflict");
                        error = Some(format!("`{key}` was changed by another client, each time"));
                    }
                    Err(CommitError::Unacceptable(reason)) if error.is_none() => {
                        metrics.failed("unacceptable");
                        error = Some(format!("a write was not accepted: {reason}"));
                    }
                    Err(
                        ref lost @ (CommitError::Refused(ref error)
                        | CommitError::Unacceptable(ref error)
                        | CommitError::Unknown(ref error)),
                    ) => {
                        metrics.commit_lost(lost.kind());
                        return Err(error.clone());
                    }
                    Err(CommitError::Conflict(_) | CommitError::Fenced) => return Ok(Ran::Overtaken),
                }
            }
        }
    }

    /// Has the plugin run a tick, as long as the lock is held.
    async fn call(
        &self,
        pool: &Chosen,
        lock: &HeldLock,
        due_ms: u64,
        now_ms: u64,
        standing: &[(String, Option<Bytes>)],
    ) -> TickAnswer {
        let trigger = &self.context.trigger;
        let deadline = trigger.deadline.unwrap_or(pool.context().limits.deadline);
        let begun = Instant::now();
        let (name, standing, version) = (trigger.name.clone(), standing.to_vec(), pool.clone());
        let call = async move {
            version.admit(1).await;
            version.tick(Tick { trigger: &name, due_ms, now_ms }, deadline, standing).await
        };
        let answer = tokio::select! {
            answer = pool.context().quota.share().clone().place(call) => answer,
            () = lock.lost() => return TickAnswer::LockLost,
        };
        let answer = answer.unwrap_or_else(|ended| Err(CallError::Trap(ended.to_string()).into()));
        match answer {
            Ok(ended) => {
                let took = begun.elapsed();
                self.context.metrics.handled(1, took);
                pool.answered(1, took);
                TickAnswer::Done(ended)
            }
            Err(failure) if failure.error.is_busy() || failure.store_failed => TickAnswer::Again(failure.to_string()),
            Err(failure) => TickAnswer::Failed(failure.error),
        }
    }

    /// What adds a run to the history; nothing where none is kept.
    fn note(&self, run: &Run) -> Option<Effect> {
        let keep = u64::from(self.context.trigger.history);
        let key = self.context.keys.history.clone();
        (keep > 0).then(|| Effect::ListPush { key, end: End::Front, values: vec![run.line()], keep: Some(keep) })
    }

    /// Adds what the store refused. The other writes stand, so this is a commit of its own.
    async fn note_refused(&self, context: &PluginContext, run: &Run) {
        let note: Vec<Effect> = self.note(run).into_iter().collect();
        let taken = &mut Takes::default();
        let commit =
            CallCommit { effects: &note, own_effects: 0, watched: &[], taken, locks: &[], delivery: Delivery::None };
        if let Err(error) = commit.make(context).await {
            tracing::error!(%error, "the history could not be written");
        }
    }

    fn count(&self, outcome: TickOutcome, skipped: u64, error: Option<&str>, tick: u64) {
        let (pool, schedule) = (self.context.rollout.active(), self.context.trigger.name.clone());
        let (tenant, plugin) = (pool.context().tenant.clone(), pool.context().plugin.clone());
        if let Some(error) = error {
            tracing::warn!(plugin, schedule, tick, error, "a tick failed");
        }
        let labels = [("tenant", tenant), ("plugin", plugin), ("schedule", schedule)];
        metrics::counter!("sandbar_ticks_skipped_total", &labels).increment(skipped);
        let [tenant, plugin, schedule] = labels;
        let labels = [tenant, plugin, schedule, ("outcome", outcome.word().to_owned())];
        metrics::counter!("sandbar_ticks_total", &labels).increment(1);
    }

    /// Takes note of a fault of the store and waits a little.
    async fn failed(&mut self, error: &StoreError, stop: &CancellationToken) {
        if self.pause.is_first() {
            tracing::warn!(schedule = self.context.keys.last, %error, "the trigger waits for the store");
        }
        sleep(self.pause.next(), stop).await;
    }
}

async fn sleep(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = stop.cancelled() => {}
    }
}

/// Moves the mark of the last tick.
fn mark(key: &str, tick: u64) -> Effect {
    let (expiry, condition) = (Expiry::Never, Condition::Always);
    Effect::Set { key: key.to_owned(), value: tick.to_string().into(), expiry, condition }
}
