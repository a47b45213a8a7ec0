//! What a component sees of the host: the implementation of the imports of `wit/`.
//!
//! One file per interface. Every function goes the same way: check the name against the plugin's policy, put the
//! tenant's prefix before it, then either gather a write or ask the store. Nothing here traps: what a plugin does wrong
//! it gets back as an `error` with a sentence.

mod answering;
mod cache;
mod check;
mod collections;
mod growth;
mod http;
mod incoming;
mod large;
mod lock;
mod logging;
mod output;
mod pubsub;
mod queue;
mod recorded;
mod state;
mod stream;
mod transaction;
mod weight;

pub use answering::{AnswerRefusal, Answering};
pub(crate) use incoming::add_to_linker;
pub use incoming::commit;
pub(crate) use output::Occasion;
pub use state::State;

use crate::bindings::sandbar::plugin::types::Error;
use sandbar_core::grants::NameError;
use sandbar_store::StoreError;

impl From<NameError> for Error {
    fn from(error: NameError) -> Self {
        match error {
            NameError::Invalid(text) => Self::Invalid(text),
            NameError::Denied(text) => Self::Denied(text),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::WrongType(_) => Self::WrongType(text),
            StoreError::Invalid(_) => Self::Invalid(text),
            StoreError::Limit(_) => Self::Limit(text),
            StoreError::Unavailable(_) | StoreError::Refused(_) => Self::Unavailable(text),
            StoreError::TimedOut(_) => Self::TimedOut(text),
            StoreError::Denied(_) => Self::Denied(text),
            StoreError::NoGroup(_) => Self::Internal(text),
        }
    }
}
