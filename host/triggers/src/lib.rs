//! What makes a plugin run.
//!
//! A trigger takes events from their source, has the plugin handle them, and commits what comes of it. It knows stores
//! and pools of instances; it does not know how either works.

pub mod backoff;
pub mod channel;
pub mod http;
pub mod queue;
pub mod schedule;
pub mod stream;

mod batch;
mod batch_order;
mod pacing;
mod pump;

pub use batch::recording;

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerEnd {
    /// All its batches were finished.
    Drained,
    /// So many batches were dropped; their events will be redelivered.
    Dropped(usize),
}
