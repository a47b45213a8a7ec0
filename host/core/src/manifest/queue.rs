//! `type = "queue"`.

use std::time::Duration;

use serde::Deserialize;

use super::{DAY_MS, ManifestError, millis, named, within};

/// How jobs of a queue become batches, retries and dead letters.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct QueueTrigger {
    /// The list's key, without the tenant's prefix.
    pub queue: String,
    /// The most jobs in one call, 1 to 1,000; default 100.
    #[serde(default = "QueueTrigger::default_batch")]
    pub batch: u32,
    /// Batches handled at the same time on one host, 1 to 64; default 1.
    #[serde(default = "QueueTrigger::default_concurrency")]
    pub concurrency: u32,
    /// Batches taken ahead of those being handled, 0 to 64; default 1.
    #[serde(default = "QueueTrigger::default_prefetch")]
    pub prefetch: u32,
    /// Failed attempts after which a job is dead-lettered, 1 to 1,000; default 5.
    #[serde(default = "QueueTrigger::default_max_attempts")]
    pub max_attempts: u32,
    /// Times that a job's host may die or stall over it before the job is dead-lettered, 1 to 1,000; default
    /// 10.
    #[serde(default = "QueueTrigger::default_max_crashes")]
    pub max_crashes: u32,
    /// How long a host may not be heard of before its jobs come back, 100 ms to 1 day; default 30 s.
    #[serde(default = "QueueTrigger::default_visibility_timeout", with = "humantime_serde")]
    pub visibility_timeout: Duration,
    /// The first delay of the exponential back-off between attempts; default 100 ms.
    #[serde(default = "QueueTrigger::default_retry_min", with = "humantime_serde")]
    pub retry_min: Duration,
    /// The longest delay of that back-off; default 1 min, at most 1 day.
    #[serde(default = "QueueTrigger::default_retry_max", with = "humantime_serde")]
    pub retry_max: Duration,
    /// Jobs that the whole fleet takes from the queue in each `rate-per`, 1 to 1,000,000; default no limit.
    #[serde(default)]
    pub rate: Option<u32>,
    /// See `rate`: 1 ms to 1 day; default 1 s.
    #[serde(default = "QueueTrigger::default_rate_per", with = "humantime_serde")]
    pub rate_per: Duration,
    /// How many dead letters stay, 1 to 1,000,000; default 10,000.
    #[serde(default = "QueueTrigger::default_dead_max_len")]
    pub dead_max_len: u64,
    /// How long dead letters stay; default 7 days, at most 365.
    #[serde(default = "QueueTrigger::default_dead_max_age", with = "humantime_serde")]
    pub dead_max_age: Duration,
    /// Whether what each batch reads is kept beside it, so that it can be replayed; default no.
    #[serde(default)]
    pub record: bool,
}

impl QueueTrigger {
    pub(super) fn check(&self) -> Result<(), ManifestError> {
        named("trigger.queue", &self.queue)?;
        within("trigger.batch", self.batch.into(), 1, 1000)?;
        within("trigger.concurrency", self.concurrency.into(), 1, 64)?;
        within("trigger.prefetch", self.prefetch.into(), 0, 64)?;
        within("trigger.max-attempts", self.max_attempts.into(), 1, 1000)?;
        within("trigger.max-crashes", self.max_crashes.into(), 1, 1000)?;
        within("trigger.visibility-timeout (ms)", millis(self.visibility_timeout), 100, DAY_MS)?;
        within("trigger.retry-max (ms)", millis(self.retry_max), 1, DAY_MS)?;
        within("trigger.retry-min (ms)", millis(self.retry_min), 1, millis(self.retry_max))?;
        self.rate.map_or(Ok(()), |rate| within("trigger.rate", rate.into(), 1, 1_000_000))?;
        within("trigger.rate-per (ms)", millis(self.rate_per), 1, DAY_MS)?;
        within("trigger.dead-max-len", self.dead_max_len, 1, 1_000_000)?;
        within("trigger.dead-max-age (ms)", millis(self.dead_max_age), 1, 365 * DAY_MS)
    }

    fn default_batch() -> u32 {
        100
    }
    fn default_concurrency() -> u32 {
        1
    }
    fn default_prefetch() -> u32 {
        1
    }
    fn default_max_attempts() -> u32 {
        5
    }
    fn default_max_crashes() -> u32 {
        10
    }
    fn default_visibility_timeout() -> Duration {
        Duration::from_secs(30)
    }
    fn default_retry_min() -> Duration {
        Duration::from_millis(100)
    }
    fn default_retry_max() -> Duration {
        Duration::from_secs(60)
    }
    fn default_rate_per() -> Duration {
        Duration::from_secs(1)
    }
    fn default_dead_max_len() -> u64 {
        10_000
    }
    fn default_dead_max_age() -> Duration {
        Duration::from_secs(7 * 24 * 3600)
    }
}
