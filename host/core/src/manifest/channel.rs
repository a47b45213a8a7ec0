//! `type = "channel"`.

use serde::Deserialize;

use super::{ManifestError, named, refuse, within};

/// Which messages make a plugin run. At most once by nature: a message that comes without a subscriber, while the
/// buffer is full, or that the plugin fails over, is gone.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ChannelTrigger {
    /// One channel, without the tenant's prefix. Either this, `pattern` or `sharded`.
    #[serde(default)]
    pub channel: Option<String>,
    /// All channels that match a glob pattern (`PSUBSCRIBE`).
    #[serde(default)]
    pub pattern: Option<String>,
    /// One sharded channel (`SSUBSCRIBE`, Redis 7).
    #[serde(default)]
    pub sharded: Option<String>,
    /// The most messages in one call, 1 to 1,000; default 100.
    #[serde(default = "ChannelTrigger::default_batch")]
    pub batch: u32,
    /// Messages that wait for the plugin, 1 to 1,000,000; default 10,000.
    #[serde(default = "ChannelTrigger::default_buffer")]
    pub buffer: u32,
    /// Which message is dropped, and counted, where the buffer is full; default the oldest.
    #[serde(default)]
    pub drop: Drop,
}

/// Which message is dropped where the buffer is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drop {
    /// The one that waits longest.
    #[default]
    Oldest,
    /// The one that has just come.
    Newest,
}

impl ChannelTrigger {
    /// The channel or the pattern.
    pub fn subject(&self) -> &str {
        let named = self.channel.as_ref().or(self.pattern.as_ref()).or(self.sharded.as_ref());
        named.map(String::as_str).unwrap_or_default()
    }

    pub(super) fn check(&self) -> Result<(), ManifestError> {
        let names = [&self.channel, &self.pattern, &self.sharded];
        if names.into_iter().flatten().count() != 1 {
            return refuse("trigger.channel", "a trigger needs one of `channel`, `pattern` and `sharded`".to_owned());
        }
        named("trigger.channel", self.subject())?;
        within("trigger.batch", self.batch.into(), 1, 1000)?;
        within("trigger.buffer", self.buffer.into(), 1, 1_000_000)
    }

    fn default_batch() -> u32 {
        100
    }
    fn default_buffer() -> u32 {
        10_000
    }
}
