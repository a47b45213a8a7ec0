//! Stream entries and their ids.

use bytes::Bytes;

use sandbar_core::entry_id::EntryId;

use super::StoreError;

/// One end of a range of ids, as a plugin writes it: `-`, `+`, an id, or `(` and an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound;

impl Bound {
    /// The first id of a range. `ms` without a sequence means its first entry.
    ///
    /// None where the range is empty, because nothing comes after the excluded id.
    pub fn start(text: &str) -> Result<Option<EntryId>, StoreError> {
        match (text, text.strip_prefix('(')) {
            ("-", _) => Ok(Some(EntryId::ZERO)),
            ("+", _) => Ok(Some(EntryId::MAX)),
            (_, Some(id)) => Ok(id.parse::<EntryId>()?.next()),
            (id, None) => Ok(Some(id.parse()?)),
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
