//! How far the memory of one instance may grow: as its own limits and what its tenant may still use allow.

use wasmtime::{ResourceLimiter, StoreLimits};

use crate::scheduling::quota::MemoryCharge;

/// What bounds the growth of one instance.
#[derive(Debug)]
pub(super) struct Growth {
    /// Its own limits.
    pub(super) own: StoreLimits,
    /// What its tenant may still use.
    pub(super) tenants: MemoryCharge,
}

impl ResourceLimiter for Growth {
    fn memory_growing(&mut self, current: usize, desired: usize, max: Option<usize>) -> wasmtime::Result<bool> {
        if !self.own.memory_growing(current, desired, max)? {
            return Ok(false);
        }
        let more = u64::try_from(desired.saturating_sub(current)).unwrap_or(u64::MAX);
        self.tenants.grow(more).map_err(wasmtime::Error::new)?;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.own.memory_grow_failed(error)
    }

    fn table_growing(&mut self, current: usize, desired: usize, max: Option<usize>) -> wasmtime::Result<bool> {
        self.own.table_growing(current, desired, max)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.own.table_grow_failed(error)
    }

    fn instances(&self) -> usize {
        self.own.instances()
    }

    fn tables(&self) -> usize {
        self.own.tables()
    }

    fn memories(&self) -> usize {
        self.own.memories()
    }
}
