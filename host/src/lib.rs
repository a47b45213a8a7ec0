//! Runs business logic as sandboxed WebAssembly components beside Redis.

pub mod bindings;
pub mod builder;
pub mod call;
pub mod cli;
pub mod config;
pub mod engine;
pub mod grants;
pub mod guest;
pub mod host;
pub mod http;
pub mod manifest;
pub mod overlay;
pub mod pattern;
pub mod plugin;
pub mod pool;
pub mod store;
pub mod telemetry;
pub mod trigger;
