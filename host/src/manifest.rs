//! `plugin.toml`: what a plugin is, when it runs, what it asks for.
//!
//! Pure: text in, a checked [`Manifest`] out. Every default is written at its field.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use crate::grants::{Grants, check_name};
use crate::store::{EntryId, GroupStart};

/// A plugin's manifest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// Its name: 1 to 64 lower-case letters, digits and dashes.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// The component, relative to the manifest. By default what `sandbar build` makes of the folder.
    #[serde(default)]
    pub component: Option<PathBuf>,
    /// What makes it run.
    #[serde(default, rename = "trigger")]
    pub triggers: Vec<Trigger>,
    /// What it asks to touch.
    #[serde(default)]
    pub grants: Grants,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// What it reads through `wasi:config/store`.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
}

/// What makes a plugin run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Trigger {
    /// Entries of a stream.
    Stream(StreamTrigger),
}

/// How entries become dead letters, retries and batches.
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
    /// Batches handled at the same time on one host, 1 to 64; default 1, which keeps batches in the order of the stream.
    #[serde(default = "StreamTrigger::default_concurrency")]
    pub concurrency: u32,
    /// Batches read ahead of those being handled, 0 to 64; default 1.
    #[serde(default = "StreamTrigger::default_prefetch")]
    pub prefetch: u32,
    /// Failed attempts after which an event goes to the dead letters, 1 to 1,000; default 5.
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

/// What a plugin may use. Each limit binds on every trigger.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Limits {
    /// Linear memory of one instance, 64 KiB to 4 GiB; default 64 MiB.
    pub memory: ByteSize,
    /// Wall-clock time of one call, waiting for the store included, 1 ms to 1 h; default 5 s.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// Bytes of one value, 1 B to 512 MiB; default 1 MiB.
    pub value_bytes: ByteSize,
    /// Writes gathered by one call, 1 to 1,000,000; default 10,000.
    pub effects: u32,
    /// Bytes of all writes gathered by one call, up to 1 GiB; default 64 MiB.
    pub effect_bytes: ByteSize,
    /// Calls after which an instance is replaced by a new one, from 1; default 10,000.
    pub calls_per_instance: u32,
    /// Log lines of one call, from 0; default 100. What comes after that is counted and left out.
    pub log_lines: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: ByteSize::mib(64),
            deadline: Duration::from_secs(5),
            value_bytes: ByteSize::mib(1),
            effects: 10_000,
            effect_bytes: ByteSize::mib(64),
            calls_per_instance: 10_000,
            log_lines: 100,
        }
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

/// Why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is not the TOML that is expected; the text shows the place.
    #[error("{0}")]
    Syntax(String),
    /// A value is outside its bounds.
    #[error("`{field}`: {reason}")]
    Value {
        /// Which value.
        field: String,
        /// What is wrong with it and what would be right.
        reason: String,
    },
}

impl Manifest {
    /// Reads and checks a manifest.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text).map_err(|error| ManifestError::Syntax(error.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let name_is_plain = self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !(1..=64).contains(&self.name.len()) || !name_is_plain {
            return refuse("name", format!("`{}` is not 1 to 64 lower-case letters, digits and dashes", self.name));
        }
        for Trigger::Stream(trigger) in &self.triggers {
            trigger.check()?;
        }
        let limits = &self.limits;
        within("limits.memory (bytes)", limits.memory.as_u64(), 64 << 10, 4 << 30)?;
        within("limits.deadline (ms)", millis(limits.deadline), 1, 3_600_000)?;
        within("limits.value-bytes", limits.value_bytes.as_u64(), 1, 512 << 20)?;
        within("limits.effects", limits.effects.into(), 1, 1_000_000)?;
        within("limits.effect-bytes", limits.effect_bytes.as_u64(), 1, 1 << 30)?;
        within("limits.calls-per-instance", limits.calls_per_instance.into(), 1, u32::MAX.into())
    }
}

impl StreamTrigger {
    fn check(&self) -> Result<(), ManifestError> {
        for (field, name) in [("trigger.stream", Some(&self.stream)), ("trigger.group", self.group.as_ref())] {
            if let Some(Err(error)) = name.map(|name| check_name("name", name)) {
                return refuse(field, error.to_string());
            }
        }
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

/// The longest delay of a retry, and the longest `claim-idle`.
pub const DAY_MS: u64 = 24 * 3600 * 1000;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn within(field: &str, value: u64, min: u64, max: u64) -> Result<(), ManifestError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    refuse(field, format!("{value} is not within {min} to {max}"))
}

fn refuse(field: &str, reason: String) -> Result<(), ManifestError> {
    Err(ManifestError::Value { field: field.to_owned(), reason })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_documented_ones() {
        let manifest = Manifest::parse("name = \"a\"\n[[trigger]]\ntype = \"stream\"\nstream = \"s\"\n").unwrap();
        let Trigger::Stream(trigger) = &manifest.triggers[0];
        assert_eq!((trigger.batch, trigger.concurrency, trigger.prefetch, trigger.max_attempts), (100, 1, 1, 5));
        assert_eq!(trigger.start, GroupStart::New);
        assert_eq!(trigger.delivery, Guarantee::ExactlyOnce);
        assert_eq!(manifest.limits.memory, ByteSize::mib(64));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| Manifest::parse(text).unwrap_err().to_string();
        assert!(error("name = \"A b\"").contains("`name`"));
        assert!(error("name = \"a\"\nnmae = 1").contains("nmae"));
        let trigger = "name = \"a\"\n[[trigger]]\ntype = \"stream\"\nstream = \"s\"\n";
        assert!(error(&format!("{trigger}batch = 0")).contains("trigger.batch"));
        assert!(error(&format!("{trigger}start = \"now\"")).contains("neither `$`"));
        assert!(error(&format!("{trigger}retry-min = \"2m\"")).contains("retry-min"));
        assert!(error("name = \"a\"\n[limits]\nmemory = \"1KiB\"").contains("limits.memory"));
    }
}
