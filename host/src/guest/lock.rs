//! `sandbar:plugin/lock`.

use wasmtime::component::Resource;

use super::state::State;
use crate::bindings::sandbar::plugin::lock::{Host, HostGuard};
use crate::bindings::sandbar::plugin::types::Error;

/// A lock that a call holds.
#[derive(Debug)]
pub struct Guard;

impl Host for State {
    async fn acquire(&mut self, key: String, _ttl_ms: u64, _wait_ms: u64) -> Result<Resource<Guard>, Error> {
        self.writable(&key)?;
        Err(Error::Internal("there are no locks yet".to_owned()))
    }
}

impl HostGuard for State {
    fn token(&mut self, _guard: Resource<Guard>) -> u64 {
        0
    }

    async fn extend(&mut self, _guard: Resource<Guard>, _ttl_ms: u64) -> Result<(), Error> {
        Err(Error::Internal("there are no locks yet".to_owned()))
    }

    async fn release(&mut self, _guard: Resource<Guard>) -> Result<(), Error> {
        Err(Error::Internal("there are no locks yet".to_owned()))
    }

    fn drop(&mut self, guard: Resource<Guard>) -> wasmtime::Result<()> {
        self.table.delete(guard)?;
        Ok(())
    }
}
