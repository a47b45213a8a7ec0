//! The WebAssembly engine: how components are compiled, bounded and interrupted.
//!
//! Knows nothing of Redis, triggers or manifests. Memory of instances comes from a pool of fixed size; running code is
//! interrupted after a slice of time (`engine/ticker.rs`), so that no plugin keeps a thread for longer than that.

mod cache;
mod compiler;
mod ticker;

use std::path::PathBuf;

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, PoolingAllocationConfig};

use crate::bindings::Host_;
use crate::guest::State;
use cache::CodeCache;
use compiler::Compiler;
use sandbar_core::config::EngineConfig;
pub(crate) use ticker::Ticker;

/// Linear memories, core instances and tables in the pool for each component instance.
const MEMORIES_PER_INSTANCE: u32 = 1;
const CORE_INSTANCES_PER_INSTANCE: u32 = 4;
const TABLES_PER_INSTANCE: u32 = 4;
/// Bytes of memory that a free place in the pool keeps, so that it is quickly used again.
const KEEP_RESIDENT_BYTES: usize = 256 << 10;
/// Free places that stay warm before they are used for other components. Each keeps memory although its component may
/// be gone, so that many of them would be what is left of versions that were replaced.
const WARM_SLOTS: u32 = 8;

/// Compiles components and runs their instances; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<State>,
    cache: CodeCache,
    compiler: Compiler,
    ticker: Ticker,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// The engine could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The pool of instances could not be reserved.
    #[error("cannot reserve memory for {instances} instances (`engine.instances`): {reason}")]
    Pool {
        /// How many were asked for.
        instances: u32,
        /// What the system said.
        reason: String,
    },
    /// The host's functions could not be linked: a fault of the host.
    #[error("cannot link the host's functions: {0}")]
    Link(String),
}

impl Engine {
    /// Sets the engine up. `cache_dir` is where compiled components are kept; nothing is kept where it is none.
    pub fn new(config: &EngineConfig, cache_dir: Option<PathBuf>) -> Result<Self, EngineError> {
        let engine = wasmtime::Engine::new(&settings(config.instances))
            .map_err(|error| EngineError::Pool { instances: config.instances, reason: format!("{error:#}") })?;
        let ticker = Ticker::start(&engine);
        let linker = link(&engine).map_err(|error| EngineError::Link(format!("{error:#}")))?;
        let cache = CodeCache::new(cache_dir);
        Ok(Self { engine, linker, cache, compiler: Compiler::start(), ticker })
    }

    /// Compiles a component, or takes the compiled code from disk. Takes CPU time: call it where blocking is allowed.
    /// `digest` is the SHA-256 of the bytes.
    pub fn compile(&self, bytes: &[u8], digest: &str) -> wasmtime::Result<Component> {
        self.compiler.run(|| self.cache.load_or_compile(&self.engine, bytes, digest))
    }

    /// What interrupts running code.
    pub(crate) fn ticker(&self) -> &Ticker {
        &self.ticker
    }

    /// The functions that the host offers.
    pub fn linker(&self) -> &Linker<State> {
        &self.linker
    }

    /// The engine underneath.
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }
}

fn settings(instances: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_stacks(instances)
        .total_memories(instances.saturating_mul(MEMORIES_PER_INSTANCE))
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_PER_INSTANCE))
        .total_tables(instances.saturating_mul(TABLES_PER_INSTANCE))
        .max_unused_warm_slots(WARM_SLOTS)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES);
    let mut config = Config::new();
    config.allocation_strategy(pool);
    config.memory_init_cow(true);
    config.epoch_interruption(true);
    // An instance serves one call at a time, and what several at once would need costs each call of the host about a
    // microsecond. An asynchronous tier beside the plain functions would turn it on.
    config.concurrency_support(false);
    config.cranelift_opt_level(wasmtime::OptLevel::Speed);
    // Inlining by wasmtime is off: compiling takes four times as long and six times the memory, and a batch that is
    // parsed, joined and committed gains 3 % of its time.
    config
}

fn link(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    crate::guest::add_to_linker(&mut linker)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, State::config)?;
    Host_::add_to_linker::<State, wasmtime::component::HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}
