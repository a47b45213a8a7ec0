//! The state of one instance: the `T` of its `Store<T>`.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::answering::Answering;
use super::check;
use super::growth::Growth;
use super::http::Outgoing;
use super::output::{Occasion, Output};
use super::weight::Weight;
use crate::bindings::sandbar::plugin::types::{self, Error, FieldResult};
use crate::call::{Budget, Call, CallLimit, Interrupted};
use crate::context::PluginContext;
use crate::outage::Outage;
use crate::replay::{RecordedMonotonicClock, RecordedRandom, RecordedWallClock, Recorder, RecorderSlot};
use crate::scheduling::fair::Meter;
use crate::scheduling::quota::InstancePlace;
use sandbar_core::grants::{NameError, Policy};
use sandbar_store::{Effect, Field, Store, StoreError};

/// Tables of functions that one instance may have; each may have [`TABLE_ELEMENTS_MAX`] elements.
const TABLES_MAX: usize = 64;
/// Elements of one table.
const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Core instances within one component instance.
const CORE_INSTANCES_MAX: usize = 64;
/// Linear memories of one instance; each may be as large as the plugin's `memory`.
const MEMORIES_MAX: usize = 1;

/// The state of one instance.
pub struct State {
    pub(super) context: Arc<PluginContext>,
    pub(super) call: Call,
    pub(super) output: Output,
    pub(super) config: WasiConfigVariables,
    pub(super) http: Outgoing,
    /// Where the recording of the call lies, if there is one.
    pub(super) recorder_slot: RecorderSlot,
    /// The request that the call answers; none where it is another call.
    pub(crate) answering: Option<Arc<Answering>>,
    wasi: WasiCtx,
    pub(super) table: ResourceTable,
    /// Counts the guards of locks.
    pub(super) guards: u64,
    growth: Growth,
    /// For how long the call has held threads.
    pub(crate) meter: Arc<Meter>,
    _place: InstancePlace,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("plugin", &self.context.plugin).field("call", &self.call).finish_non_exhaustive()
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.http.view(&mut self.table)
    }
}

impl types::Host for State {}

impl State {
    /// The state of a new instance: no files, no environment, no arguments, no sockets.
    pub fn new(context: Arc<PluginContext>, place: InstancePlace) -> Self {
        let growth = context.quota.memory();
        let output = Output::new(context.clone());
        let recorder_slot = RecorderSlot::default();
        let mut wasi = WasiCtx::builder();
        wasi.stdout(output.clone()).stderr(output.clone());
        wasi.wall_clock(RecordedWallClock(recorder_slot.clone()))
            .monotonic_clock(RecordedMonotonicClock::new(recorder_slot.clone()));
        wasi.secure_random(RecordedRandom(recorder_slot.clone()))
            .insecure_random(RecordedRandom(recorder_slot.clone()));
        if let Some(seed) = context.seed {
            wasi.insecure_random_seed(seed);
        }
        let wasi = wasi.build();
        let memory = usize::try_from(context.limits.memory.as_u64()).unwrap_or(usize::MAX);
        let limits = StoreLimitsBuilder::new()
            .memory_size(memory)
            .memories(MEMORIES_MAX)
            .tables(TABLES_MAX)
            .table_elements(TABLE_ELEMENTS_MAX)
            .instances(CORE_INSTANCES_MAX)
            .trap_on_grow_failure(true)
            .build();
        Self {
            config: context.config.iter().map(|(key, value)| (key.clone(), value.expose().to_owned())).collect(),
            http: Outgoing::new(context.clone(), recorder_slot.clone()),
            recorder_slot,
            answering: None,
            call: Call::new(Instant::now(), None, Arc::default(), Budget::none()),
            context,
            output,
            wasi,
            table: ResourceTable::new(),
            guards: 0,
            growth: Growth { own: limits, tenants: growth },
            meter: Arc::default(),
            _place: place,
        }
    }

    /// Begins a call, which records what it reads, or replays what was recorded, where there is a recorder.
    pub fn begin(&mut self, mut call: Call, recorder: Option<Arc<Recorder>>) {
        let replaying = recorder.as_ref().filter(|recorder| recorder.is_replaying());
        let limits = &self.context.limits;
        self.output.begin(limits.log_lines, limits.log_bytes.as_u64(), call.events.clone(), replaying.is_some());
        self.meter.reset();
        if let Some(recorder) = replaying {
            call.go_on_from(recorder.before());
        }
        self.recorder_slot.put(recorder);
        self.http.begin(call.deadline);
        self.answering = None;
        self.call = call;
    }

    /// The call that is running, or ran last.
    pub fn call(&mut self) -> &mut Call {
        &mut self.call
    }

    /// What the call is made for, for its log lines.
    pub(crate) fn occasion(&self, occasion: Occasion<'_>) {
        self.output.occasion(occasion);
    }

    /// Ends a call's output.
    pub(crate) fn end_output(&self) {
        self.output.end();
    }

    /// The last thing that the plugin wrote to its standard output, such as the message of a panic.
    pub fn last_words(&self) -> Option<String> {
        self.output.last_words()
    }

    /// What bounds the instance's growth.
    pub fn growth(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.growth
    }

    /// Why the call was interrupted; none where it was not.
    pub(crate) fn interrupted(&self) -> Option<Interrupted> {
        self.call.interrupted
    }

    /// Whether the call is to be interrupted now, as it remembers then.
    pub(crate) fn interrupts(&mut self) -> bool {
        let limits = &self.context.limits;
        self.call.interrupted = if Instant::now() >= self.call.deadline {
            Some(Interrupted::Deadline)
        } else if limits.cpu.is_some_and(|cpu| self.meter.used() >= cpu) {
            Some(Interrupted::Cpu)
        } else {
            None
        };
        self.call.interrupted.is_some()
    }

    /// The error of a call that reached a limit.
    pub(super) fn limited(&self, limit: &CallLimit) -> Error {
        self.context.quota.hit(limit.name());
        Error::Limit(limit.to_string())
    }

    /// Counts a name that the call uses.
    fn named(&mut self, name: &str) -> Result<(), Error> {
        self.call.budget.name(name).map_err(|limit| self.limited(&limit))
    }

    /// Counts a call to the host that names nothing new.
    pub(super) fn counted(&mut self) -> Result<(), Error> {
        self.call.budget.call_host().map_err(|limit| self.limited(&limit))
    }

    /// What `wasi:config/store` answers.
    pub fn config(&mut self) -> wasmtime_wasi_config::WasiConfig<'_> {
        wasmtime_wasi_config::WasiConfig::from(&self.config)
    }

    /// A key to read, with its prefix.
    pub(super) fn readable(&mut self, key: &str) -> Result<String, Error> {
        self.named(key)?;
        self.allowed(|policy| policy.read(key))?;
        Ok(self.prefixed(key))
    }

    /// A key to write, with its prefix.
    pub(super) fn writable(&mut self, key: &str) -> Result<String, Error> {
        self.may_write(key)?;
        Ok(self.prefixed(key))
    }

    /// Checks a key that is to be written.
    pub(super) fn may_write(&mut self, key: &str) -> Result<(), Error> {
        self.named(key)?;
        self.allowed(|policy| policy.write(key))
    }

    /// Checks a channel that is to be published to.
    pub(super) fn may_publish(&mut self, channel: &str) -> Result<(), Error> {
        self.named(channel)?;
        self.allowed(|policy| policy.publish(channel))
    }

    /// A pattern of keys that may be read.
    pub(super) fn scannable(&mut self, glob: &str) -> Result<(), Error> {
        self.named(glob)?;
        self.allowed(|policy| policy.scan(glob))
    }

    pub(super) fn allowed(&self, check: impl FnOnce(&Policy) -> Result<(), NameError>) -> Result<(), Error> {
        if self.context.protocol.names_checked() { Ok(check(&self.context.policy)?) } else { Ok(()) }
    }

    /// What stands before the names that the plugin uses.
    pub(super) fn prefix(&self) -> &str {
        if self.context.protocol.names_checked() { &self.context.prefix } else { "" }
    }

    pub(super) fn prefixed(&self, name: &str) -> String {
        [self.prefix(), name].concat()
    }

    /// The same with a name that is not needed any more: where there is no prefix, it is the name itself.
    pub(super) fn full(&self, name: String) -> String {
        if self.prefix().is_empty() { name } else { self.prefixed(&name) }
    }

    /// What stands in for the store while it is away, where this call may use it.
    pub(super) fn outage(&self) -> Option<&Arc<Outage>> {
        self.context.outage.as_ref().filter(|_| self.call.falls_back)
    }

    /// Where to read.
    pub(super) fn store(&self) -> Arc<dyn Store> {
        self.outage().map_or_else(|| self.context.store.clone(), |outage| outage.store())
    }

    /// Where to do what must be seen by the whole fleet at once, and so is not done in memory while the store is away.
    pub(super) fn shared_store(&self, key: &str) -> Result<Arc<dyn Store>, Error> {
        if self.outage().is_some_and(|outage| outage.is_degraded()) {
            return Err(Error::Unavailable(format!("the store of `{key}` is away, and this is not done in memory")));
        }
        Ok(self.context.store.clone())
    }

    /// Passes a store's answer on, and remembers when it was the store that failed.
    pub(super) fn answered<T: Weight>(&mut self, answer: Result<T, StoreError>) -> Result<T, Error> {
        let answer = answer.map_err(|error| {
            if error.is_transient() {
                self.call.store_failed = true;
                if let Some(outage) = self.outage() {
                    outage.failed();
                }
            }
            Error::from(error)
        })?;
        self.read(&answer)?;
        Ok(answer)
    }

    /// Counts what was read.
    pub(super) fn read(&mut self, answer: &impl Weight) -> Result<(), Error> {
        self.call.budget.read(answer.weight()).map_err(|limit| self.limited(&limit))
    }

    /// Gathers a write whose values have so many bytes.
    pub(super) fn write(&mut self, effect: Effect, value_bytes: usize) -> Result<(), Error> {
        let bytes = effect.key().len().saturating_add(value_bytes);
        self.call.write(effect, bytes).map_err(|limit| self.limited(&limit))
    }

    /// Checks the size of a value.
    pub(super) fn value(&mut self, key: &str, value: Vec<u8>) -> Result<Bytes, Error> {
        let max = self.context.limits.value_bytes.as_u64();
        if u64::try_from(value.len()).unwrap_or(u64::MAX) > max {
            return Err(self.limited(&CallLimit::ValueBytes { key: key.to_owned(), bytes: value.len(), max }));
        }
        Ok(self.call.value(value))
    }

    /// Checks fields, and answers them with the sum of their bytes.
    pub(super) fn fields(&mut self, key: &str, fields: Vec<FieldResult>) -> Result<(Vec<Field>, usize), Error> {
        check::parts(key, "fields", fields.len())?;
        let mut bytes = 0usize;
        let mut checked = Vec::with_capacity(fields.len());
        for field in fields {
            check::member(key, &field.name)?;
            bytes = bytes.saturating_add(field.name.len()).saturating_add(field.value.len());
            checked.push(Field { name: field.name, value: self.value(key, field.value)? });
        }
        Ok((checked, bytes))
    }
}
