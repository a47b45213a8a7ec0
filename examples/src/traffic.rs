//! The traffic system: entries of the stream `risk-assessment-results`, each with the fate that it must meet.
//!
//! Knows nothing of plugins or stores. An [`Entry`] is a few kilobytes; entries come one by one from iterators.

mod assessment;
pub mod convert;
pub mod expected;
pub mod generate;
mod random;

use serde_json::{Map, Value};

pub use convert::Converter;
pub use expected::{CameraCounts, Expected};
pub use generate::Generator;

/// The field that holds the assessment.
pub const FIELD: &str = "data";

/// Pictures begin at this time: 2026-11-21 08:00:00 UTC, in milliseconds since 1970-01-01 UTC.
const START_MS: u64 = 1_795_248_000_000;

/// An entry of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name and value of its only field.
    pub field: (&'static str, String),
    /// What must become of it.
    pub fate: Fate,
}

/// What must become of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is a result of this camera.
    Result {
        /// The camera's id.
        camera: String,
        /// Whether it is remembered as an alert.
        is_alert: bool,
    },
    /// It is rejected to the dead letters.
    DeadLetter {
        /// What the reason begins with.
        reason: &'static str,
    },
}

impl Entry {
    /// The entry as `sandbar feed` takes it: a JSON object of fields, without a line break at its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        let (name, value) = &self.field;
        Value::from(Map::from_iter([((*name).to_owned(), Value::from(value.as_str()))])).to_string()
    }
}

#[cfg(test)]
mod tests;
