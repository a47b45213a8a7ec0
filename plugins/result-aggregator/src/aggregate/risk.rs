//! How dangerous a picture is.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

/// The risk of a picture as a whole.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Risk {
    /// The highest level among the groups.
    #[serde(alias = "max_risk_level")]
    pub max_risk_level: Level,
    /// Whether dangerous driving was detected.
    #[serde(alias = "has_dangerous_driving")]
    pub has_dangerous_driving: bool,
}

impl Risk {
    /// Whether an alert is to be sent.
    #[must_use]
    pub fn is_alert(self) -> bool {
        self.has_dangerous_driving || self.max_risk_level >= Level::High
    }
}

/// A level of risk, from the lowest to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing to report.
    None,
    /// As usual.
    Low,
    /// Worth a look.
    Medium,
    /// An alert.
    High,
    /// An alert.
    Critical,
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(LevelVisitor)
    }
}

/// Reads a level from its word.
struct LevelVisitor;

impl Visitor<'_> for LevelVisitor {
    type Value = Level;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("none, low, medium, high or critical")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Level, E> {
        match word {
            "none" => Ok(Level::None),
            "low" => Ok(Level::Low),
            "medium" => Ok(Level::Medium),
            "high" => Ok(Level::High),
            "critical" => Ok(Level::Critical),
            _ => Err(E::custom(format_args!("unknown level {word:?}, expected none, low, medium, high or critical"))),
        }
    }
}
