//! `type = "schedule"`.

mod times;

use std::time::Duration;

use serde::Deserialize;

use super::{DAY_MS, ManifestError, millis, named, within};
pub use times::Times;

/// When a plugin's `tick` runs, on one host of the fleet at a time.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScheduleTrigger {
    /// Its name within the plugin; default `schedule`.
    #[serde(default = "ScheduleTrigger::default_name")]
    pub name: String,
    /// A cron expression of five fields, or six with seconds first. Either this or `every`.
    #[serde(default)]
    pub cron: Option<String>,
    /// The time zone of the cron expression, such as `Europe/Berlin`; default UTC.
    #[serde(default = "ScheduleTrigger::default_time_zone")]
    pub time_zone: String,
    /// The time between two ticks, 10 ms to 365 days; ticks are at whole multiples of it since 1970.
    #[serde(default, with = "humantime_serde")]
    pub every: Option<Duration>,
    /// What becomes of ticks that no host could run in time; default `skip`.
    #[serde(default)]
    pub missed: Missed,
    /// How many missed ticks are caught up at most, the newest, 1 to 10,000; default 100.
    #[serde(default = "ScheduleTrigger::default_catch_up_max")]
    pub catch_up_max: u32,
    /// A tick begins up to so much later, at random but on all hosts alike, and before the next one is due; at most 1
    /// h, default 0.
    #[serde(default, with = "humantime_serde")]
    pub jitter: Duration,
    /// What becomes of a tick that is due while the one before still runs; default `skip`.
    #[serde(default)]
    pub overlap: Overlap,
    /// How long a tick may take, 1 ms to 1 h; default `limits.deadline`.
    #[serde(default, with = "humantime_serde")]
    pub deadline: Option<Duration>,
    /// How many runs the history keeps, 0 to 10,000; default 100.
    #[serde(default = "ScheduleTrigger::default_history")]
    pub history: u32,
}

/// What becomes of ticks that no host could run in time: all hosts were down, or the store was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// They are skipped, except the newest if it is at most 30 s late: such as one whose host was killed.
    #[default]
    Skip,
    /// They are run one after the other, the oldest first.
    CatchUp,
}

/// What becomes of a tick that is due while the one before still runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// It is skipped.
    #[default]
    Skip,
    /// It runs as soon as the other has ended. Where there are several, it is for `missed` to say: the newest
    /// (`skip`), or all of them, one after the other (`catch-up`).
    Wait,
}

impl ScheduleTrigger {
    /// When its ticks are due.
    pub fn times(&self) -> Result<Times, ManifestError> {
        let times = match (&self.cron, self.every) {
            (Some(cron), None) => Times::cron(cron, &self.time_zone),
            (None, Some(every)) => Ok(Times::every(millis(every))),
            _ => Err("a schedule needs either `cron` or `every`".to_owned()),
        };
        times.map_err(|reason| ManifestError::Value { field: "trigger.cron".to_owned(), reason })
    }

    pub(super) fn check(&self) -> Result<(), ManifestError> {
        named("trigger.name", &self.name)?;
        self.times()?;
        let every_ms = self.every.map_or(10, millis);
        within("trigger.every (ms)", every_ms, 10, 365 * DAY_MS)?;
        within("trigger.catch-up-max", self.catch_up_max.into(), 1, 10_000)?;
        within("trigger.jitter (ms)", millis(self.jitter), 0, 3_600_000)?;
        within("trigger.deadline (ms)", self.deadline.map_or(1, millis), 1, 3_600_000)?;
        within("trigger.history", self.history.into(), 0, 10_000)
    }

    fn default_name() -> String {
        "schedule".to_owned()
    }
    fn default_time_zone() -> String {
        "UTC".to_owned()
    }
    fn default_catch_up_max() -> u32 {
        100
    }
    fn default_history() -> u32 {
        100
    }
}
