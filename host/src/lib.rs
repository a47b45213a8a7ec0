//! Runs business logic as sandboxed WebAssembly components beside Redis.

pub mod store;
