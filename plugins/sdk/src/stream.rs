//! Append-only logs with consumer groups.

use crate::bindings::sandbar::plugin::stream as host;
pub use crate::bindings::sandbar::plugin::stream::{Entry, Group, Retention, StreamInfo};
use crate::types::{Error, FieldRef};

/// Up to `count` (1 to 10,000) entries from id `start` to id `end`, oldest first. `-` and `+` are the ends of the
/// stream, `(` before an id leaves that id out. A missing stream is empty.
///
/// # Errors
///
/// `invalid` for what is not an id or a count.
pub fn range(name: &str, start: &str, end: &str, count: u32) -> Result<Vec<Entry>, Error> {
    host::range(name, start, end, count)
}

/// The same from `end` back to `start`, newest first.
///
/// # Errors
///
/// Those of [`range`].
pub fn rev_range(name: &str, end: &str, start: &str, count: u32) -> Result<Vec<Entry>, Error> {
    host::rev_range(name, end, start, count)
}

/// Number of entries; 0 for a missing stream.
///
/// # Errors
///
/// `wrong-type` where the key holds something other than a stream.
pub fn length(name: &str) -> Result<u64, Error> {
    host::length(name)
}

/// The state of a stream with its groups; none where there is no such stream.
///
/// # Errors
///
/// Those of [`length`].
pub fn info(name: &str) -> Result<Option<StreamInfo>, Error> {
    host::info(name)
}

/// Removes the oldest entries at once and answers how many were removed, which may be none with [`Retention::About`].
/// With `keep_unread` no entry is removed that some group has not read or not acknowledged.
///
/// # Errors
///
/// `invalid` for [`Retention::Unlimited`], which would remove nothing.
pub fn trim(name: &str, retention: Retention<'_>, keep_unread: bool) -> Result<u64, Error> {
    host::trim(name, retention, keep_unread)
}

/// Appends an entry of 1 to 1,000 fields in the commit; its id is given there. A missing stream is made.
///
/// # Errors
///
/// `invalid` for no fields or too many.
pub fn append<V: AsRef<[u8]>>(name: &str, fields: &[(&str, V)], retention: Retention<'_>) -> Result<(), Error> {
    host::append(name, &FieldRef::list(fields), retention)
}
