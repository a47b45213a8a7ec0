//! Lists of values, cut to a length where that is asked for.

use crate::bindings::sandbar::plugin::collections as host;
pub use crate::bindings::sandbar::plugin::collections::End;
use crate::types::Error;

/// Values of a list by index from `start` to `stop`, both included; 0 is the front, -1 the back.
///
/// # Errors
///
/// See [the module](super).
pub fn list_range(key: &str, start: i64, stop: i64) -> Result<Vec<Vec<u8>>, Error> {
    host::list_range(key, start, stop)
}

/// Number of values of a list.
///
/// # Errors
///
/// See [the module](super).
pub fn list_length(key: &str) -> Result<u64, Error> {
    host::list_length(key)
}

/// Pushes 1 to 1,000 values to an end of a list one after the other, in the commit. With `keep` the list is then cut
/// to so many values counted from that end: pushed to the front, the newest are kept.
///
/// # Errors
///
/// See [the module](super).
pub fn list_push<V: AsRef<[u8]>>(key: &str, end: End, values: &[V], keep: Option<u64>) -> Result<(), Error> {
    host::list_push(key, end, &values.iter().map(AsRef::as_ref).collect::<Vec<_>>(), keep)
}

/// Removes all values equal to this one from a list, in the commit.
///
/// # Errors
///
/// See [the module](super).
pub fn list_remove(key: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
    host::list_remove(key, value.as_ref())
}
