//! What is kept of a schedule in the store: where it stands, and what became of its last runs.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use sandbar_store::LockKey;

/// The longest error that is kept of a run, in bytes.
const ERROR_BYTES_MAX: usize = 4096;

/// The keys of one schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Its holder runs ticks.
    pub lock: LockKey,
    /// The last tick that is settled, in milliseconds since 1970: it was run, or skipped on purpose.
    pub last: String,
    /// List of [`Run`]s, the newest first.
    pub history: String,
}

impl Keys {
    /// The keys of a plugin's schedule; `prefix` is the tenant's.
    pub fn new(prefix: &str, plugin: &str, name: &str) -> Self {
        let own = format!("sandbar:schedule:{plugin}:{name}");
        Self {
            lock: LockKey::new(prefix, &format!("{own}:lock")),
            last: format!("{prefix}{own}:last"),
            history: format!("{prefix}{own}:history"),
        }
    }
}

/// One run of a tick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Run {
    /// When the tick was due, in milliseconds since 1970 as all times here.
    pub tick: u64,
    /// When it began.
    pub started: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// The host that ran it.
    pub host: String,
    /// The digest of the version that ran it.
    pub version: String,
    /// What came of it.
    pub outcome: TickOutcome,
    /// Why it failed, cut to 4,096 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many ticks before it were skipped, counted up to 10,000.
    #[serde(default)]
    #[serde(rename = "left_out")]
    pub skipped: u64,
}

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TickOutcome {
    /// Its writes are committed.
    Done,
    /// Its writes are dropped.
    Failed,
    /// The store refused some of its writes; the others are committed.
    Refused,
}

impl TickOutcome {
    /// One word for metrics and lists.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

impl Run {
    /// As it stands in the history.
    pub fn line(&self) -> Bytes {
        let mut run = self.clone();
        if let Some(error) = &mut run.error {
            let end = (0..=ERROR_BYTES_MAX.min(error.len())).rev().find(|end| error.is_char_boundary(*end));
            error.truncate(end.unwrap_or(0));
        }
        // A struct of numbers and texts can always be written.
        serde_json::to_vec(&run).unwrap_or_default().into()
    }

    /// A line of the history; none where it is not understood.
    pub fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

/// Reads the last tick.
pub fn parse_last(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_back() {
        let (host, version) = ("0f".to_owned(), "ab".to_owned());
        let error = Some("é".repeat(4096));
        let run =
            Run { tick: 1, started: 2, duration_ms: 3, host, version, outcome: TickOutcome::Failed, error, skipped: 4 };
        let read = Run::parse(&run.line()).unwrap();
        assert_eq!(read.error.as_ref().map(String::len), Some(4096));
        assert_eq!(Run { error: None, ..read }, Run { error: None, ..run });
        assert_eq!(Run::parse(b"x"), None);
    }
}
