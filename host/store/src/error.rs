//! What a store answers when it cannot do what was asked.

/// Why a call to a store failed. Each text names the key or the server's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The key holds another kind of value than the call works on, or a value that is no integer.
    #[error("{0}")]
    WrongType(String),
    /// An argument is outside what the call documents.
    #[error("{0}")]
    Invalid(String),
    /// An answer would be larger than its bound.
    #[error("{0}")]
    Limit(String),
    /// The store cannot be reached; a write may or may not have happened.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// The store did not answer in time; a write may or may not have happened.
    #[error("the store did not answer in time: {0}")]
    TimedOut(String),
    /// The store answered with an error that says nothing about the arguments (out of memory, read-only, loading);
    /// nothing was changed.
    #[error("the store refused: {0}")]
    Refused(String),
    /// The store's own access control does not allow it; nothing was changed.
    #[error("the store does not allow it: {0}")]
    Denied(String),
    /// The consumer group that a delivery call works on is not there (deleted, or the stream was).
    #[error("{0}")]
    NoGroup(String),
}

impl StoreError {
    /// Whether the call may succeed if it is made again later, unchanged.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::TimedOut(_) | Self::Refused(_))
    }
}

impl From<sandbar_core::entry_id::InvalidEntryId> for StoreError {
    fn from(error: sandbar_core::entry_id::InvalidEntryId) -> Self {
        Self::Invalid(error.to_string())
    }
}
