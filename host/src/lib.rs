//! Runs business logic as sandboxed WebAssembly components beside Redis.

pub mod config;
pub mod grants;
pub mod manifest;
pub mod pattern;
pub mod store;
pub mod telemetry;
