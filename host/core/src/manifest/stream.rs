//! `type = "stream"`.

use std::time::Duration;

use serde::Deserialize;

use super::{DAY_MS, ManifestError, millis, named, within};
use crate::entry_id::{EntryId, GroupStart};

/// How entries of a stream become batches, retries and dead letters.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StreamTrigger {
    /// The stream's key, without the tenant's prefix.
    pub stream: String,
    /// The consumer group; the plugin's name by default.
    #[serde(default)]
    pub group: Option<String>,
    /// Where a new group starts: `$` (default, what comes from now on), `0` (everything) or an entry id.
    #[serde(default = "StreamTrigger::default_start", deserialize_with = "group_start")]
    pub start: GroupStart,
    /// The most events in one call, 1 to 1,000; default 100.
    #[serde(default = "StreamTrigger::default_batch")]
    pub batch: u32,
    /// Batches handled at the same time on one host, 1 to 64; default 1, which keeps batches in the order of the
    /// stream.
    #[serde(default = "StreamTrigger::default_concurrency")]
    pub concurrency: u32,
    /// Batches read ahead of those being handled, 0 to 64; default 1.
    #[serde(default = "StreamTrigger::default_prefetch")]
    pub prefetch: u32,
    /// Failed attempts after which an event is dead-lettered, 1 to 1,000; default 5.
    #[serde(default = "StreamTrigger::default_max_attempts")]
    pub max_attempts: u32,
    /// How long a host may not be heard of before its entries are taken over, 100 ms to 1 day; default 30 s.
    #[serde(default = "StreamTrigger::default_claim_idle", with = "humantime_serde")]
    pub claim_idle: Duration,
    /// The first delay of the exponential back-off between attempts; default 100 ms.
    #[serde(default = "StreamTrigger::default_retry_min", with = "humantime_serde")]
    pub retry_min: Duration,
    /// The longest delay of that back-off; default 1 min, at most 1 day.
    #[serde(default = "StreamTrigger::default_retry_max", with = "humantime_serde")]
    pub retry_max: Duration,
    /// How many dead letters stay, 1 to 1,000,000; default 10,000.
    #[serde(default = "StreamTrigger::default_dead_max_len")]
    pub dead_max_len: u64,
    /// How long dead letters stay; default 7 days, at most 365.
    #[serde(default = "StreamTrigger::default_dead_max_age", with = "humantime_serde")]
    pub dead_max_age: Duration,
    /// Whether what each batch reads is kept beside it, so that it can be replayed; default no.
    #[serde(default)]
    pub record: bool,
    /// Whether effects and acknowledgement are one transaction; default `exactly-once`.
    #[serde(default)]
    pub delivery: Guarantee,
}

/// What is promised about a batch's effects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Effects and acknowledgement are committed in one fenced transaction.
    #[default]
    ExactlyOnce,
    /// The same commands without the transaction: an event's effects may be applied again after a fault.
    AtLeastOnce,
}

impl StreamTrigger {
    pub(super) fn check(&self) -> Result<(), ManifestError> {
        named("trigger.stream", &self.stream)?;
        self.group.as_ref().map_or(Ok(()), |group| named("trigger.group", group))?;
        within("trigger.batch", self.batch.into(), 1, 1000)?;
        within("trigger.concurrency", self.concurrency.into(), 1, 64)?;
        within("trigger.prefetch", self.prefetch.into(), 0, 64)?;
        within("trigger.max-attempts", self.max_attempts.into(), 1, 1000)?;
        within("trigger.claim-idle (ms)", millis(self.claim_idle), 100, DAY_MS)?;
        within("trigger.retry-max (ms)", millis(self.retry_max), 1, DAY_MS)?;
        within("trigger.retry-min (ms)", millis(self.retry_min), 1, millis(self.retry_max))?;
        within("trigger.dead-max-len", self.dead_max_len, 1, 1_000_000)?;
        within("trigger.dead-max-age (ms)", millis(self.dead_max_age), 1, 365 * DAY_MS)
    }
}

impl StreamTrigger {
    fn default_start() -> GroupStart {
        GroupStart::New
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
    fn default_claim_idle() -> Duration {
        Duration::from_secs(30)
    }
    fn default_retry_min() -> Duration {
        Duration::from_millis(100)
    }
    fn default_retry_max() -> Duration {
        Duration::from_secs(60)
    }
    fn default_dead_max_len() -> u64 {
        10_000
    }
    fn default_dead_max_age() -> Duration {
        Duration::from_secs(7 * 24 * 3600)
    }
}

fn group_start<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<GroupStart, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "$" => Ok(GroupStart::New),
        id => id.parse::<EntryId>().map(GroupStart::After).map_err(|_| {
            serde::de::Error::custom(format!("`{id}` is neither `$` nor `0` nor an entry id such as `1700000000000-0`"))
        }),
    }
}
