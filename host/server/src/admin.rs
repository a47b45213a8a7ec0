//! What operators do: dead letters, queues, locks and schedules of a tenant.
//!
//! The command line and the HTTP API both work here, on a [`Store`](sandbar_store::Store) and a tenant's prefix;
//! neither is known. Every search is bounded by what a tenant has, every change is one commit of bounded size or one
//! call.

pub mod dead;
pub mod dead_letter;
pub mod locks;
pub mod queues;
pub mod schedules;

use sandbar_core::grants::NameError;
use sandbar_store::{CommitError, EntryId, StoreError};

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// That is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The store failed while something was being done.
    #[error("cannot {doing}: {error}")]
    Store {
        /// What.
        doing: String,
        /// Why.
        error: StoreError,
    },
    /// There is no such dead letter.
    #[error("there is no dead letter {id} in `{dead}`; nothing was done")]
    NoDeadLetter {
        /// The dead letter.
        id: EntryId,
        /// Where it should be.
        dead: String,
    },
    /// Dead letters were settled in part.
    #[error("stopped after {dead_letters} dead letters: {error}")]
    Stopped {
        /// How many were settled.
        dead_letters: u64,
        /// Why no more.
        error: CommitError,
    },
    /// The stream or the queue refused the events.
    #[error("`{key}` refused {events} events: {reason}")]
    Refused {
        /// The stream or the queue.
        key: String,
        /// How many events.
        events: usize,
        /// Why.
        reason: String,
    },
    /// The lock is not held.
    #[error("nobody holds the lock `{0}`; nothing was done")]
    NotHeld(String),
}

impl AdminError {
    /// A call to the store that failed while `doing` something.
    pub fn store(doing: impl Into<String>, error: StoreError) -> Self {
        Self::Store { doing: doing.into(), error }
    }
}
