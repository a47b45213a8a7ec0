//! What a new version of a plugin must keep to.

use std::time::Duration;

use serde::Deserialize;

use super::{DAY_MS, ManifestError, millis, refuse, within};

/// The probation of a version that takes another one's place, or is tried as a canary: it is compared with the
/// version before it, on this host. The first version of a plugin is not judged.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct HealthSection {
    /// How long it lasts, up to 1 day; default 60 s; 0 s for none. A canary is on probation as long as it is tried.
    #[serde(with = "humantime_serde")]
    pub probation: Duration,
    /// How much larger than the version before it its share of failed events may be, 0 to 1; default 0.01.
    pub max_failure_rate: f64,
    /// How many times the version before its slow calls (p99) may take, 1 to 1,000; default 5. Times below 20 ms an
    /// event are never too long.
    pub max_latency_ratio: f64,
    /// Events before it is judged, 1 to 10,000; default 100. One that has failed over each of 20 is judged then.
    pub min_events: u64,
}

impl Default for HealthSection {
    fn default() -> Self {
        Self { probation: Duration::from_secs(60), max_failure_rate: 0.01, max_latency_ratio: 5.0, min_events: 100 }
    }
}

impl HealthSection {
    pub(super) fn check(&self) -> Result<(), ManifestError> {
        within("health.probation (ms)", millis(self.probation), 0, DAY_MS)?;
        within("health.min-events", self.min_events, 1, 10_000)?;
        between("health.max-failure-rate", self.max_failure_rate, 0.0, 1.0)?;
        between("health.max-latency-ratio", self.max_latency_ratio, 1.0, 1000.0)
    }
}

fn between(field: &str, value: f64, min: f64, max: f64) -> Result<(), ManifestError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    refuse(field, format!("{value} is not within {min} to {max}"))
}
