//! Runs plugins: from the bytes of a component to a call whose writes are committed.
//!
//! Knows the store by its contract, and neither triggers nor hosts.

pub mod bindings;
mod body;
pub mod call;
pub mod commit;
pub mod context;
pub mod engine;
pub mod guest;
pub mod outage;
pub mod outcome;
pub mod outgoing;
pub mod plugin;
pub mod plugin_loader;
pub mod pool;
pub mod protocol;
pub mod replay;
pub mod rollout;
pub mod scheduling;
pub mod telemetry;
pub mod tiered_cache;
