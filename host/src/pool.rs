//! Warm instances of one plugin.
//!
//! An instance serves one call at a time and is used again, until it has served `calls-per-instance` calls, or until a call
//! ends in any other way than well: then its store is thrown away, because nothing in it can be relied on. How many calls run at
//! the same time is the caller's bound; idle instances are never more than have run at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wasmtime::{Store, Trap, UpdateDeadline};

use crate::bindings::exports::sandbar::plugin::handler::{Event, Guest, Outcome};
use crate::call::{Behalf, Call, Ended};
use crate::engine::EPOCH_TICK;
use crate::guest::{Identity, State};
use crate::plugin::Version;

/// How much longer than its deadline a call may take before it is dropped from outside: it waits for the host then, where
/// epochs do not reach it.
const DEADLINE_SLACK: Duration = EPOCH_TICK.saturating_mul(3);
/// What one call to the host may carry beside the largest value: names, and the lists around them.
const HOSTCALL_SLACK_BYTES: u64 = 4 << 20;

/// The instances of one version of a plugin.
#[derive(Debug)]
pub struct Pool {
    identity: Arc<Identity>,
    version: Version,
    idle: Mutex<Vec<Instance>>,
    busy: AtomicUsize,
}

struct Instance {
    store: Store<State>,
    handler: Guest,
    calls: u32,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("calls", &self.calls).finish_non_exhaustive()
    }
}

/// Why a call did not answer outcomes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The plugin trapped.
    #[error("the plugin trapped: {0}")]
    Trap(String),
    /// The call took longer than `limits.deadline`.
    #[error("the call took longer than `limits.deadline` ({0:?})")]
    Deadline(Duration),
    /// The instance grew beyond `limits.memory`.
    #[error("the instance grew beyond `limits.memory` ({0} bytes)")]
    Memory(u64),
    /// The plugin answered an error.
    #[error("the plugin answered an error: {0}")]
    Failed(String),
    /// The plugin answered a list of outcomes that does not fit the batch.
    #[error("the plugin answered {answered} outcomes for {events} events")]
    Malformed {
        /// How many it answered.
        answered: usize,
        /// How many events there were.
        events: usize,
    },
    /// No instance could be made; says nothing about the events.
    #[error("no instance could be made: {0}")]
    NoInstance(String),
}

impl CallError {
    /// One word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Deadline(_) => "deadline",
            Self::Memory(_) => "memory",
            Self::Failed(_) => "error",
            Self::Malformed { .. } => "malformed",
            Self::NoInstance(_) => "no-instance",
        }
    }
}

impl Pool {
    /// A pool without instances.
    pub fn new(identity: Arc<Identity>, version: Version) -> Self {
        Self { identity, version, idle: Mutex::default(), busy: AtomicUsize::new(0) }
    }

    /// Who the plugin is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How many instances are idle, and how many are serving a call.
    pub fn counts(&self) -> (usize, usize) {
        (self.idle.lock().len(), self.busy.load(Ordering::Relaxed))
    }

    /// Makes one instance, so that a plugin that cannot even start is found before it gets events.
    pub async fn warm(&self) -> Result<(), CallError> {
        let instance = self.instantiate().await?;
        self.idle.lock().push(instance);
        Ok(())
    }

    /// Hands a batch, whose events have these ids, to the plugin. What the call has gathered counts only where it answered outcomes.
    pub async fn handle(
        &self,
        behalf: Behalf,
        ids: Arc<[String]>,
        events: &[Event<'_>],
    ) -> Result<(Vec<Outcome>, Ended), (CallError, bool)> {
        let _busy = Busy::new(&self.busy);
        let idle = self.idle.lock().pop();
        let mut instance = match idle {
            Some(instance) => instance,
            None => self.instantiate().await.map_err(|error| (error, false))?,
        };
        let limits = &self.identity.limits;
        let deadline = Instant::now() + limits.deadline;
        let call = Call::new(deadline, Some(behalf), ids, limits.effects, limits.effect_bytes.as_u64());
        instance.store.data_mut().begin(call);
        instance.store.set_epoch_deadline(1);
        let answer = {
            let running = instance.handler.call_handle(&mut instance.store, events);
            tokio::time::timeout(limits.deadline + DEADLINE_SLACK, running).await
        };
        let ended = instance.store.data_mut().call().take();
        let outcomes = match answer {
            Ok(Ok(Ok(outcomes))) => outcomes,
            Ok(Ok(Err(text))) => {
                let failed = ended.store_failed;
                self.give_back(instance);
                return Err((CallError::Failed(text), failed));
            }
            Ok(Err(error)) => return Err((self.fault(&error, instance.store.data()), ended.store_failed)),
            Err(_) => return Err((CallError::Deadline(limits.deadline), ended.store_failed)),
        };
        self.give_back(instance);
        if outcomes.len() != events.len() {
            let error = CallError::Malformed { answered: outcomes.len(), events: events.len() };
            return Err((error, ended.store_failed));
        }
        Ok((outcomes, ended))
    }

    async fn instantiate(&self) -> Result<Instance, CallError> {
        let none = |error: wasmtime::Error| CallError::NoInstance(format!("{error:#}"));
        let Some(handler) = &self.version.handler else {
            return Err(CallError::NoInstance("the component exports no handler".to_owned()));
        };
        let mut store = Store::new(self.version.pre.engine(), State::new(self.identity.clone()));
        store.limiter(|state| state.limits());
        let hostcall = self.identity.limits.value_bytes.as_u64().max(self.identity.limits.effect_bytes.as_u64());
        let fuel = hostcall.saturating_add(HOSTCALL_SLACK_BYTES);
        store.set_hostcall_fuel(usize::try_from(fuel).unwrap_or(usize::MAX));
        store.epoch_deadline_callback(|mut context| {
            let late = Instant::now() >= context.data_mut().call().deadline;
            Ok(if late { UpdateDeadline::Interrupt } else { UpdateDeadline::Yield(1) })
        });
        store.set_epoch_deadline(1);
        // What runs while a component is instantiated is bounded like a call.
        let deadline = self.identity.limits.deadline;
        store.data_mut().call().deadline = Instant::now() + deadline;
        let making = self.version.pre.instantiate_async(&mut store);
        let instance = tokio::time::timeout(deadline + DEADLINE_SLACK, making)
            .await
            .map_err(|_| CallError::NoInstance(format!("its start took longer than {deadline:?}")))?
            .map_err(none)?;
        let handler = handler.load(&mut store, &instance).map_err(none)?;
        Ok(Instance { store, handler, calls: 0 })
    }

    fn give_back(&self, mut instance: Instance) {
        instance.calls = instance.calls.saturating_add(1);
        if instance.calls < self.identity.limits.calls_per_instance {
            self.idle.lock().push(instance);
        }
    }

    /// What a trap was.
    fn fault(&self, error: &wasmtime::Error, state: &State) -> CallError {
        let limits = &self.identity.limits;
        if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
            return CallError::Deadline(limits.deadline);
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
