//! Stream entries and their ids.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use super::StoreError;

/// The id of a stream entry: milliseconds since 1970 and a sequence number within them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
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

impl FromStr for EntryId {
    type Err = StoreError;

    /// Reads `ms-seq`, or `ms` alone with 0 for the sequence.
    fn from_str(text: &str) -> Result<Self, StoreError> {
        let invalid = || StoreError::Invalid(format!("`{text}` is not an entry id (milliseconds-sequence)"));
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

/// One end of a range of ids, as a plugin writes it: `-`, `+`, an id, or `(` and an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound;

impl Bound {
    /// The first id of a range. `ms` without a sequence means its first entry.
    ///
    /// None where the range is empty, because nothing comes after the id that was left out.
    pub fn start(text: &str) -> Result<Option<EntryId>, StoreError> {
        match (text, text.strip_prefix('(')) {
            ("-", _) => Ok(Some(EntryId::ZERO)),
            ("+", _) => Ok(Some(EntryId::MAX)),
            (_, Some(id)) => Ok(id.parse::<EntryId>()?.next()),
            (id, None) => id.parse().map(Some),
        }
    }

    /// The last id of a range. `ms` without a sequence means its last entry.
    pub fn end(text: &str) -> Result<Option<EntryId>, StoreError> {
        let last = |id: &str| -> Result<EntryId, StoreError> {
            let parsed = id.parse::<EntryId>()?;
            Ok(if id.contains('-') { parsed } else { EntryId { seq: u64::MAX, ..parsed } })
        };
        match (text, text.strip_prefix('(')) {
            ("-", _) => Ok(Some(EntryId::ZERO)),
            ("+", _) => Ok(Some(EntryId::MAX)),
            (_, Some(id)) => Ok(id.parse::<EntryId>()?.previous()),
            (id, None) => last(id).map(Some),
        }
    }
}

/// A named value of an entry or of a hash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Field {
    /// The name.
    pub name: String,
    /// The value.
    pub value: Bytes,
}

impl Field {
    /// A field from its two parts.
    pub fn new(name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// A stream entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: EntryId,
    /// Its fields in the order in which they were appended. Field names that are not UTF-8 are read lossily.
    pub fields: Vec<Field>,
}
