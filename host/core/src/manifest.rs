//! `plugin.toml`: what a plugin is, when it runs, what it asks for.
//!
//! Pure: text in, a checked [`Manifest`] out. Every default is written at its field.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use crate::grants::{Grants, check_name};
use crate::secret::Setting;

mod cache;
mod channel;
mod health;
mod http;
mod queue;
mod schedule;
mod stream;
mod trigger;

pub use cache::CacheSection;
pub use channel::{ChannelTrigger, Drop};
pub use health::HealthSection;
pub use http::HttpTrigger;
pub use queue::QueueTrigger;
pub use schedule::{Missed, Overlap, ScheduleTrigger, Times};
pub use stream::{Guarantee, StreamTrigger};
pub use trigger::{HANDLER, INCOMING, SCHEDULE, Trigger};

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
    /// What becomes of its calls while the store is away; default `fail`.
    #[serde(default)]
    pub on_outage: OnOutage,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// How its tiered reads go.
    #[serde(default)]
    pub cache: CacheSection,
    /// What a new version of it must keep to.
    #[serde(default)]
    pub health: HealthSection,
    /// What it reads through `wasi:config/store`: texts, or where they stand.
    #[serde(default)]
    pub config: BTreeMap<String, Setting>,
}

/// What becomes of a plugin's calls while the store is away. Deliveries of streams and queues wait for the store in
/// any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnOutage {
    /// Its calls answer `unavailable`.
    #[default]
    Fail,
    /// Its reads and writes go to memory, and its commits to a journal that is replayed when the store is back.
    Fallback,
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
    /// Bytes of one value, 1 B to 512 MiB; default 1 MiB. A function that reads many values asks the store for as
    /// many at once as `read_bytes` holds of this size.
    pub value_bytes: ByteSize,
    /// Writes gathered by one call, 1 to 1,000,000; default 10,000.
    pub effects: u32,
    /// Bytes of all writes gathered by one call, up to 1 GiB; default 64 MiB.
    pub effect_bytes: ByteSize,
    /// Calls after which an instance is replaced by a new one, from 1; default 10,000.
    pub calls_per_instance: u32,
    /// Log lines of one call, from 0; default 100. Excess is dropped and counted.
    pub log_lines: u32,
    /// Bytes of the body of an outgoing request, up to 1 GiB; default 16 MiB.
    pub http_request_bytes: ByteSize,
    /// Bytes of the body that answers it, up to 1 GiB; default 16 MiB.
    pub http_response_bytes: ByteSize,
    /// CPU time of one call, 1 ms to 1 h; by default as long as its deadline.
    #[serde(with = "humantime_serde")]
    pub cpu: Option<Duration>,
    /// Calls of one call to the host, 1 to 100,000,000; default 100,000. Each key of a call that names many counts as
    /// one.
    pub host_calls: u32,
    /// Keys and channels that one call names, each counted once, 1 to 1,000,000; default 10,000.
    pub keys: u32,
    /// Bytes that the store answers to one call, up to 4 GiB; default 64 MiB.
    pub read_bytes: ByteSize,
    /// Calls in flight on one host, 1 to 10,000; default 64.
    pub calls: u32,
    /// Events that the plugin is called for in a second on one host, 1 to 10,000,000; default no limit. Streams,
    /// queues and schedules wait, requests are answered 429, messages of channels are dropped.
    pub events_per_second: Option<u32>,
    /// Bytes of the log lines of one call; default 256 KiB. A line is cut to 4 KiB, and excess is dropped.
    pub log_bytes: ByteSize,
    /// Outgoing requests that one instance has under way at a time, 1 to 1,000; default 16.
    pub http_requests: u32,
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
            cpu: None,
            host_calls: 100_000,
            keys: 10_000,
            read_bytes: ByteSize::mib(64),
            calls: 64,
            events_per_second: None,
            log_bytes: ByteSize::kib(256),
            http_request_bytes: ByteSize::mib(16),
            http_response_bytes: ByteSize::mib(16),
            http_requests: 16,
        }
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

    /// The routes of its HTTP triggers.
    pub fn routes(&self) -> impl Iterator<Item = &str> {
        self.triggers.iter().filter_map(|trigger| match trigger {
            Trigger::Http(trigger) => Some(trigger.route.as_str()),
            Trigger::Stream(_) | Trigger::Queue(_) | Trigger::Channel(_) | Trigger::Schedule(_) => None,
        })
    }

    fn check(&self) -> Result<(), ManifestError> {
        let name_is_plain = self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !(1..=64).contains(&self.name.len()) || !name_is_plain {
            return refuse("name", format!("`{}` is not 1 to 64 lower-case letters, digits and dashes", self.name));
        }
        self.triggers.iter().try_for_each(Trigger::check)?;
        let mut schedules = BTreeSet::new();
        for trigger in &self.triggers {
            if let Trigger::Schedule(schedule) = trigger
                && !schedules.insert(&schedule.name)
            {
                return refuse("trigger.name", format!("there are two schedules `{}`: name them apart", schedule.name));
            }
        }
        let mut routes: Vec<&str> = self.routes().map(|route| route.trim_end_matches('/')).collect();
        routes.sort_unstable();
        if let Some([route, _]) = routes.windows(2).find(|pair| pair.first() == pair.last()) {
            return refuse("trigger.route", format!("two triggers have the route `{route}`"));
        }
        self.health.check()?;
        let limits = &self.limits;
        within("limits.memory (bytes)", limits.memory.as_u64(), 64 << 10, 4 << 30)?;
        within("limits.deadline (ms)", millis(limits.deadline), 1, 3_600_000)?;
        within("limits.value-bytes", limits.value_bytes.as_u64(), 1, 512 << 20)?;
        within("limits.effects", limits.effects.into(), 1, 1_000_000)?;
        within("limits.effect-bytes", limits.effect_bytes.as_u64(), 1, 1 << 30)?;
        within("limits.calls-per-instance", limits.calls_per_instance.into(), 1, u32::MAX.into())?;
        limits.cpu.map_or(Ok(()), |cpu| within("limits.cpu (ms)", millis(cpu), 1, 3_600_000))?;
        within("limits.host-calls", limits.host_calls.into(), 1, 100_000_000)?;
        within("limits.keys", limits.keys.into(), 1, 1_000_000)?;
        within("limits.read-bytes", limits.read_bytes.as_u64(), 1, 4 << 30)?;
        within("limits.calls", limits.calls.into(), 1, 10_000)?;
        limits
            .events_per_second
            .map_or(Ok(()), |rate| within("limits.events-per-second", rate.into(), 1, 10_000_000))?;
        within("limits.log-bytes", limits.log_bytes.as_u64(), 0, 1 << 30)?;
        within("limits.http-request-bytes", limits.http_request_bytes.as_u64(), 0, 1 << 30)?;
        within("limits.http-response-bytes", limits.http_response_bytes.as_u64(), 0, 1 << 30)?;
        within("limits.http-requests", limits.http_requests.into(), 1, 1000)
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

/// Checks a name that a trigger has.
fn named(field: &str, name: &str) -> Result<(), ManifestError> {
    check_name("name", name).or_else(|error| refuse(field, error.to_string()))
}

fn refuse(field: &str, reason: String) -> Result<(), ManifestError> {
    Err(ManifestError::Value { field: field.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry_id::GroupStart;

    #[test]
    fn defaults_are_the_documented_ones() {
        let manifest = Manifest::parse("name = \"a\"\n[[trigger]]\ntype = \"stream\"\nstream = \"s\"\n").unwrap();
        let Trigger::Stream(trigger) = &manifest.triggers[0] else { panic!("a stream trigger") };
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
