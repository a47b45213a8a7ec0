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

/// What the exactly-once protocol does. Only tests of that protocol ever change it, to see what would happen.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    /// Commits are transactions that watch the consumer's fence, or the lease.
    pub fenced: bool,
    /// After a lost reply the consumer advances its own fence first, or moves its lease to a new name.
    pub fence_after_lost_reply: bool,
    /// Names that plugins use are checked and prefixed. Without that only the store could keep a tenant below its prefix.
    pub names_checked: bool,
}

impl Default for Protocol {
    fn default() -> Self {
        Self { fenced: true, fence_after_lost_reply: true, names_checked: true }
    }
}

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerEnd {
    /// All its batches were finished.
    Drained,
    /// So many batches were dropped; their events will be redelivered.
    Dropped(usize),
}
