//! Warm instances of one plugin.
//!
//! An instance serves one call at a time and is used again, until it has served `calls-per-instance` calls, or until
//! a call ends in any other way than well: then its store is thrown away, because nothing in it can be trusted. How
//! many calls run at the same time is the caller's bound; idle instances are never more than have run at once.

mod error;
mod idle;
mod incoming;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use wasmtime::{Store, Trap, UpdateDeadline};

use crate::bindings::exports::sandbar::plugin::handler::{Event, Outcome};
use crate::bindings::exports::sandbar::plugin::loader::Loaded;
use crate::bindings::exports::sandbar::plugin::schedule::Instant as Tick;
use crate::call::{Budget, Call, CommitScope, FinishedCall, Interrupted, Lineage};
use crate::context::PluginContext;
use crate::guest::{Occasion, State};
use crate::plugin::{Exported, Version};
use crate::replay::Recorder;
use crate::scheduling::fair::Meter;
use crate::scheduling::quota::{CallTurn, Exhausted};
use sandbar_core::priority::Priority;

pub use error::{CallError, CallFailure};
use idle::Idle;
pub use incoming::IncomingAnswer;

/// How much longer than its deadline a call may take before it is dropped from outside: it waits for the host then,
/// where epochs do not reach it.
const DEADLINE_SLACK: Duration = Duration::from_millis(30);
/// What one call to the host may carry beside the largest value: names, and the lists around them.
const HOSTCALL_SLACK_BYTES: u64 = 4 << 20;

/// The instances of one version of a plugin.
#[derive(Debug)]
pub struct Pool {
    context: Arc<PluginContext>,
    version: Version,
    idle: Arc<Idle>,
    busy: AtomicUsize,
}

struct Instance {
    store: Store<State>,
    exports: Exported,
    meter: Arc<Meter>,
    calls: u32,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool without instances.
    pub fn new(context: Arc<PluginContext>, version: Version) -> Self {
        let idle = Idle::new(&context.quota);
        Self { context, version, idle, busy: AtomicUsize::new(0) }
    }

    /// The same version with instances that are each new, and alike: what they do is the same each time.
    #[must_use]
    pub fn alike(&self) -> Self {
        let mut context = PluginContext::clone(&self.context);
        context.limits.calls_per_instance = 1;
        context.seed = Some(0);
        Self::new(Arc::new(context), self.version.clone())
    }

    /// Who the plugin is.
    pub fn context(&self) -> &Arc<PluginContext> {
        &self.context
    }

    /// Whether the plugin loads what `cache.fetch` misses.
    pub fn has_loader(&self) -> bool {
        self.version.exports.has_loader()
    }

    /// How many instances are idle, and how many are serving a call.
    pub fn counts(&self) -> (usize, usize) {
        (self.idle.len(), self.busy.load(Ordering::Relaxed))
    }

    /// Makes one instance, so that a plugin that cannot even start is found before it gets events.
    pub async fn warm(&self) -> Result<(), CallError> {
        let instance = self.instantiate().await?;
        self.idle.keep(instance);
        Ok(())
    }

    /// Waits until so many events may be handled.
    pub async fn admit(&self, events: usize) {
        self.context.quota.admit(events).await;
    }

    /// Whether so many events may be handled now; if so they count.
    pub fn try_admit(&self, events: usize) -> Result<(), Exhausted> {
        self.context.quota.try_admit(events)
    }

    /// Hands a batch, whose events have these ids, to the plugin. What the call has gathered counts only where it
    /// answered outcomes. The call records what it reads, or plays what was recorded, where there is a recorder; one
    /// that plays must be on nobody's scope.
    pub async fn handle(
        &self,
        scope: Option<CommitScope>,
        ids: Arc<[String]>,
        events: &[Event<'_>],
        recorder: Option<Arc<Recorder>>,
    ) -> Result<(Vec<Outcome>, FinishedCall), CallFailure> {
        let kind = match &scope {
            Some(CommitScope::Consumer(..)) => "stream",
            Some(CommitScope::Lease(_)) => "queue",
            None => "channel",
        };
        let mut running = self.begin(scope, ids, self.context.limits.deadline, recorder).await?;
        running.occasion(kind, events.first().map_or("", |event| event.source));
        let (store, exports, meter, limit) = running.parts();
        let call = async { export(exports.handler.as_ref())?.call_handle(store, events).await };
        let answer = timeout(limit, self.run(meter, call)).await;
        let (outcomes, ended) = self.end(running, answer)?;
        fits(outcomes.len(), events.len(), &ended)?;
        Ok((outcomes, ended))
    }

    /// Has the plugin run a tick of a schedule. All that it commits relies on these values.
    pub async fn tick(
        &self,
        tick: Tick<'_>,
        deadline: Duration,
        watched: Vec<(String, Option<Bytes>)>,
    ) -> Result<FinishedCall, CallFailure> {
        let mut running = self.begin(None, Arc::default(), deadline, None).await?;
        running.occasion("schedule", tick.trigger);
        running.instance.store.data_mut().call().watch_always(watched);
        let (store, exports, meter, limit) = running.parts();
        let call = async { export(exports.schedule.as_ref())?.call_tick(store, tick).await };
        let answer = timeout(limit, self.run(meter, call)).await;
        let ((), ended) = self.end(running, answer)?;
        Ok(ended)
    }

    /// Has the plugin load keys for `cache.fetch`.
    pub async fn load(&self, keys: &[&str], lineage: Lineage) -> Result<(Vec<Loaded>, FinishedCall), CallFailure> {
        // A call that waits for this one has a turn, so this one must not wait for another.
        let mut running = self.begin_in(None, None, Arc::default(), self.context.limits.deadline, None).await?;
        running.occasion("loader", "");
        running.instance.store.data_mut().call().lineage = lineage;
        let (store, exports, meter, limit) = running.parts();
        let call = async { export(exports.loader.as_ref())?.call_load(store, keys).await };
        let answer = timeout(limit, self.run(meter, call)).await;
        let (loaded, ended) = self.end(running, answer)?;
        fits(loaded.len(), keys.len(), &ended)?;
        Ok((loaded, ended))
    }

    /// Begins a call in a warm instance, or in a new one.
    async fn begin(
        &self,
        scope: Option<CommitScope>,
        events: Arc<[String]>,
        deadline: Duration,
        recorder: Option<Arc<Recorder>>,
    ) -> Result<Running<'_>, CallFailure> {
        let turn = self.context.quota.call().await.map_err(CallError::Exhausted)?;
        self.begin_in(Some(turn), scope, events, deadline, recorder).await
    }

    async fn begin_in<'a>(
        &'a self,
        turn: Option<CallTurn<'a>>,
        scope: Option<CommitScope>,
        events: Arc<[String]>,
        deadline: Duration,
        recorder: Option<Arc<Recorder>>,
    ) -> Result<Running<'a>, CallFailure> {
        let busy = Busy::new(&self.busy);
        let mut instance = match self.idle.take() {
            Some(instance) => instance,
            None => self.instantiate().await?,
        };
        let budget = Budget::new(&self.context.limits);
        let call = Call::new(Instant::now() + deadline, scope, events, budget);
        instance.store.data_mut().begin(call, recorder);
        instance.store.set_epoch_deadline(self.slice());
        Ok(Running { instance, deadline, _busy: busy, _turn: turn })
    }

    /// Ends a call. An instance whose call ended in any other way than well is dropped.
    fn end<T>(&self, running: Running<'_>, answer: Came<T>) -> Result<(T, FinishedCall), CallFailure> {
        let ended = self.close(running, answer);
        if let Some(limit) = ended.as_ref().err().and_then(|failure| failure.error.limit()) {
            self.context.quota.hit(limit);
        }
        ended
    }

    fn close<T>(&self, mut running: Running<'_>, answer: Came<T>) -> Result<(T, FinishedCall), CallFailure> {
        let ended = running.instance.store.data_mut().call().end();
        running.instance.store.data().end_output();
        match answer {
            Ok(Ok(Ok(answer))) => {
                self.give_back(running.instance);
                Ok((answer, ended))
            }
            Ok(Ok(Err(text))) => {
                self.give_back(running.instance);
                Err(CallFailure { error: CallError::Failed(text), store_failed: ended.store_failed })
            }
            Ok(Err(error)) => {
                let error = self.fault(&error, running.deadline, running.instance.store.data());
                Err(CallFailure { error, store_failed: ended.store_failed })
            }
            Err(_) => {
                let error = CallError::Deadline(running.deadline);
                Err(CallFailure { error, store_failed: ended.store_failed })
            }
        }
    }

    async fn instantiate(&self) -> Result<Instance, CallError> {
        let none = |error: wasmtime::Error| match error.downcast_ref::<Exhausted>() {
            Some(exhausted) => CallError::Exhausted(exhausted.clone()),
            None => CallError::NoInstance(format!("{error:#}")),
        };
        let place = self.context.quota.instance().map_err(CallError::Exhausted)?;
        let mut store = Store::new(self.version.pre.engine(), State::new(self.context.clone(), place));
        store.limiter(|state| state.growth());
        let hostcall = self.context.limits.value_bytes.as_u64().max(self.context.limits.effect_bytes.as_u64());
        let fuel = hostcall.saturating_add(HOSTCALL_SLACK_BYTES);
        store.set_hostcall_fuel(usize::try_from(fuel).unwrap_or(usize::MAX));
        let ticker = self.version.ticker.clone();
        store.epoch_deadline_callback(move |mut context| {
            let slice = || ticker.slice(Priority::current());
            Ok(if context.data_mut().interrupts() { UpdateDeadline::Interrupt } else { UpdateDeadline::Yield(slice()) })
        });
        store.set_epoch_deadline(self.slice());
        // What runs while a component is instantiated is bounded like a call.
        let deadline = self.context.limits.deadline;
        store.data_mut().call().deadline = Instant::now() + deadline;
        let meter = store.data().meter.clone();
        let making = self.run(&meter, self.version.pre.instantiate_async(&mut store));
        let instance = timeout(deadline + DEADLINE_SLACK, making)
            .await
            .map_err(|_| CallError::NoInstance(format!("its start took longer than {deadline:?}")))?
            .map_err(none)?;
        let exports = self.version.exports.load(&mut store, &instance).map_err(none)?;
        Ok(Instance { store, exports, meter, calls: 0 })
    }

    fn give_back(&self, mut instance: Instance) {
        instance.calls = instance.calls.saturating_add(1);
        if instance.calls < self.context.limits.calls_per_instance {
            self.idle.keep(instance);
        }
    }

    /// For how many ticks code keeps the thread that begins to run it here.
    fn slice(&self) -> u64 {
        self.version.ticker.slice(Priority::current())
    }

    /// Runs code of the plugin when its tenant's turn has come.
    async fn run<F: Future>(&self, meter: &Meter, code: F) -> F::Output {
        let quota = &self.context.quota;
        quota.share().run(meter, quota.cpu_ns(), code).await
    }

    /// What a trap was.
    fn fault(&self, error: &wasmtime::Error, deadline: Duration, state: &State) -> CallError {
        let limits = &self.context.limits;
        if let Some(exhausted) = error.downcast_ref::<Exhausted>() {
            return CallError::Exhausted(exhausted.clone());
        }
        if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
            let cpu = limits.cpu.filter(|_| state.interrupted() == Some(Interrupted::Cpu));
            return cpu.map_or(CallError::Deadline(deadline), CallError::Cpu);
        }
        let root = error.root_cause().to_string();
        if root.contains("growing memory") {
            return CallError::Memory(limits.memory.as_u64());
        }
        let place = error.to_string().lines().find_map(|line| line.trim().strip_prefix("0: ").map(str::to_owned));
        let mut text = root;
        if let Some(words) = state.last_words() {
            text = format!("{text} ({words})");
        }
        if let Some(place) = place {
            text = format!("{text} in {}", place.trim());
        }
        CallError::Trap(text)
    }
}

/// What a call came to: the plugin's own answer, within a trap, within the deadline.
type Came<T> = Result<wasmtime::Result<Result<T, String>>, Elapsed>;

/// A call that runs.
struct Running<'a> {
    instance: Instance,
    deadline: Duration,
    _busy: Busy<'a>,
    /// None where another call has one and waits for this one.
    _turn: Option<CallTurn<'a>>,
}

impl Running<'_> {
    /// What the call is made for, for its log lines.
    fn occasion(&self, kind: &'static str, subject: &str) {
        self.instance.store.data().occasion(Occasion { kind, subject });
    }

    /// What the call needs: the store, the exports, what measures its time, and how long it may take from outside.
    fn parts(&mut self) -> (&mut Store<State>, &Exported, &Meter, Duration) {
        let Instance { store, exports, meter, .. } = &mut self.instance;
        (store, exports, meter, self.deadline + DEADLINE_SLACK)
    }
}

/// An export that was found when the component was loaded.
fn export<T>(found: Option<&T>) -> wasmtime::Result<&T> {
    found.ok_or_else(|| wasmtime::Error::msg("the component does not export what is called"))
}

/// Checks that an answer has one part for each that was asked.
fn fits(answered: usize, asked: usize, ended: &FinishedCall) -> Result<(), CallFailure> {
    if answered == asked {
        return Ok(());
    }
    Err(CallFailure { error: CallError::Malformed { answered, asked }, store_failed: ended.store_failed })
}

/// Counts a call while it runs.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
