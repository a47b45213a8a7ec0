//! Ids of stream entries, and where a consumer group starts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The id of a stream entry: milliseconds since 1970 and a sequence number within them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct EntryId {
    /// Milliseconds since 1970-01-01 UTC, by the store's clock.
    pub ms: u64,
    /// Counts entries within one millisecond.
    pub seq: u64,
}

impl EntryId {
    /// Before every entry.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };
    /// After every entry.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// The next larger id; none after [`EntryId::MAX`].
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { ms: self.ms, seq }),
            None => self.ms.checked_add(1).map(|ms| Self { ms, seq: 0 }),
        }
    }

    /// The next smaller id; none before [`EntryId::ZERO`].
    pub fn previous(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Self { ms: self.ms, seq }),
            None => self.ms.checked_sub(1).map(|ms| Self { ms, seq: u64::MAX }),
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl From<EntryId> for String {
    fn from(id: EntryId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for EntryId {
    type Error = InvalidEntryId;

    fn try_from(text: String) -> Result<Self, InvalidEntryId> {
        text.parse()
    }
}

impl FromStr for EntryId {
    type Err = InvalidEntryId;

    /// Reads `ms-seq`, or `ms` alone with 0 for the sequence.
    fn from_str(text: &str) -> Result<Self, InvalidEntryId> {
        let invalid = || InvalidEntryId(text.to_owned());
        let digits = |part: &str| {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(invalid());
            }
            part.parse::<u64>().map_err(|_| invalid())
        };
        match text.split_once('-') {
            Some((ms, seq)) => Ok(Self { ms: digits(ms)?, seq: digits(seq)? }),
            None => Ok(Self { ms: digits(text)?, seq: 0 }),
        }
    }
}

/// A text is not an entry id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an entry id (milliseconds-sequence)")]
pub struct InvalidEntryId(pub String);

/// Where a new consumer group starts to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupStart {
    /// Behind the newest entry: only what is appended from now on (`$`).
    New,
    /// Behind this entry; [`EntryId::ZERO`] for all that the stream has.
    After(EntryId),
}
