//! What became of one event: the outcome that a plugin answers, or its failure.

use serde::{Deserialize, Serialize};

use crate::bindings::exports::sandbar::plugin::handler;

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventOutcome {
    /// The plugin is done with it.
    Done,
    /// The plugin wants it again, after so many milliseconds where it says so.
    Retry(Option<u64>),
    /// The plugin can never handle it.
    Reject(String),
    /// The plugin failed over it.
    Failed(String),
}

impl From<handler::Outcome> for EventOutcome {
    fn from(outcome: handler::Outcome) -> Self {
        match outcome {
            handler::Outcome::Done => Self::Done,
            handler::Outcome::Retry(delay_ms) => Self::Retry(delay_ms),
            handler::Outcome::Reject(reason) => Self::Reject(reason),
        }
    }
}
