//! Why a call of a plugin did not end well.

use std::time::Duration;

use crate::scheduling::quota::Exhausted;

/// Why a call did not answer outcomes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The plugin trapped.
    #[error("the plugin trapped: {0}")]
    Trap(String),
    /// The call took longer than `limits.deadline`.
    #[error("the call took longer than `limits.deadline` ({0:?})")]
    Deadline(Duration),
    /// The call held a thread for longer than `limits.cpu`.
    #[error("the call used more CPU time than `limits.cpu` ({0:?})")]
    Cpu(Duration),
    /// The instance grew beyond `limits.memory`.
    #[error("the instance grew beyond `limits.memory` ({0} bytes)")]
    Memory(u64),
    /// The plugin answered an error.
    #[error("the plugin answered an error: {0}")]
    Failed(String),
    /// The plugin answered a list that does not fit what it was asked.
    #[error("the plugin answered {answered} outcomes for {asked} events")]
    Malformed {
        /// How many it answered.
        answered: usize,
        /// How many events or keys there were.
        asked: usize,
    },
    /// No instance could be made; says nothing about the events.
    #[error("no instance could be made: {0}")]
    NoInstance(String),
    /// The plugin or its tenant has no more of something; says nothing about the events.
    #[error(transparent)]
    Exhausted(Exhausted),
}

/// A call that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct CallFailure {
    /// Why.
    pub error: CallError,
    /// The store failed during the call: it may not be the event's fault.
    pub store_failed: bool,
}

impl From<CallError> for CallFailure {
    /// A call that ended before the store was used.
    fn from(error: CallError) -> Self {
        Self { error, store_failed: false }
    }
}

impl CallError {
    /// One word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Deadline(_) => "deadline",
            Self::Memory(_) => "memory",
            Self::Failed(_) => "error",
            Self::Malformed { .. } => "malformed",
            Self::NoInstance(_) => "no-instance",
            Self::Cpu(_) => "cpu",
            Self::Exhausted(_) => "exhausted",
        }
    }

    /// Whether it says nothing about the events: the call may be made again.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::NoInstance(_) | Self::Exhausted(_))
    }

    /// The limit of the call that it met.
    pub(super) fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Deadline(_) => Some("limits.deadline"),
            Self::Cpu(_) => Some("limits.cpu"),
            Self::Memory(_) => Some("limits.memory"),
            _ => None,
        }
    }
}
