//! The metrics of a host: totals, gauges and distributions of times, per plugin and tenant.
//!
//! Counters and gauges go through the `metrics` facade to one Prometheus recorder per process; distributions are kept
//! here, as counts in fixed buckets, so that an event costs two additions and memory does not grow with the rate.
//! Knows no plugin, no store and no server: other modules call in. Bounded by the number of plugins.

mod cache;
mod cpu;
mod export;
mod histogram;
mod names;
mod outage;
mod plugin;
mod store;

pub use cache::{CacheMetrics, Tier};
pub use cpu::CpuTime;
pub use export::Exporter;
pub use histogram::{Histogram, Spread};
pub use outage::OutageMetrics;
pub use plugin::{PluginMetrics, Snapshot};
pub use store::StoreMetrics;
