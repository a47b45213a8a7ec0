//! Plain values under keys, with expiry.
//!
//! Functions that answer nothing are part of the commit; functions that answer something happen at once. [`get`],
//! [`get_many`], [`ttl`], [`get_for_update`] and [`fetch`] see the writes that the same call of the handler made
//! before them.

mod policy;

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::bindings::sandbar::plugin::cache as host;
pub use crate::bindings::sandbar::plugin::cache::{Condition, Expiry, Page, Remaining};
use crate::failure::{Failure, milliseconds};
use crate::types::Error;

pub use policy::Policy;

impl From<Duration> for Expiry {
    /// The key expires after this time, rounded up to a millisecond; at most 365 days.
    fn from(time: Duration) -> Self {
        Self::TtlMs(milliseconds(time))
    }
}

/// The value of a key; none where there is no such key.
///
/// # Errors
///
/// `wrong-type` where the key holds something other than a plain value.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    host::get(key)
}

/// The value of a key as a JSON document; none where there is no such key.
///
/// # Errors
///
/// Those of [`get`]; rejects, naming the key and the place within the document, where it is not what `T` asks for.
pub fn get_json<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Failure> {
    let Some(value) = host::get(key)? else { return Ok(None) };
    crate::json::parse(&value).map(Some).map_err(|reason| Failure::Reject(format!("{key}: {reason}")))
}

/// The values of 1 to 1,000 keys, in their order, read at one instant: one round trip to the store.
/// A key that holds something other than a plain value answers none.
///
/// # Errors
///
/// `invalid` for no keys or too many.
pub fn get_many<K: AsRef<str>>(keys: &[K]) -> Result<Vec<Option<Vec<u8>>>, Error> {
    host::get_many(&keys.iter().map(AsRef::as_ref).collect::<Vec<_>>())
}

/// How long a key of any kind has left.
///
/// # Errors
///
/// Only those that all functions have: `denied`, `unavailable` and their like.
pub fn ttl(key: &str) -> Result<Remaining, Error> {
    host::ttl(key)
}

/// One step of a walk over the keys that match a glob pattern. `cursor` is 0 at first, then what [`Page::next`] says;
/// `count` (1 to 1,000) is a hint of how many keys a step looks at. Writes of this call are not seen.
///
/// # Errors
///
/// `denied` where the pattern reaches beyond the granted keys.
pub fn scan(pattern: &str, cursor: u64, count: u32) -> Result<Page, Error> {
    host::scan(pattern, cursor, count)
}

/// Reads a key and relies on it: if its value has changed by the time of the commit, nothing is committed and the batch
/// is run again, which is not a failed attempt. At most 256 keys a call.
///
/// # Errors
///
/// `wrong-type` where the key holds something other than a plain value.
pub fn get_for_update(key: &str) -> Result<Option<Vec<u8>>, Error> {
    host::get_for_update(key)
}

/// Reads a key through the tiered cache: this host's memory, the store, then the loader that the manifest names. One
/// caller of the whole fleet loads a missing key, the others wait for it. None where the source has nothing.
///
/// # Errors
///
/// `unavailable` where the source failed and no value may be answered in its place; `timed-out` where it took too long;
/// `invalid` for a policy outside its bounds, or where the call itself is what loads the key.
pub fn fetch(key: &str, policy: &Policy) -> Result<Option<Vec<u8>>, Error> {
    host::fetch(key, policy.0)
}

/// The same as a JSON document.
///
/// # Errors
///
/// Those of [`fetch`]; rejects, naming the key and the place within the document, where it is not what `T` asks for.
pub fn fetch_json<T: DeserializeOwned>(key: &str, policy: &Policy) -> Result<Option<T>, Failure> {
    let Some(value) = fetch(key, policy)? else { return Ok(None) };
    crate::json::parse(&value).map(Some).map_err(|reason| Failure::Reject(format!("{key}: {reason}")))
}

/// Adds to the integer under a key at once and answers the sum: outside the commit, so a batch that is run again adds
/// again. [`add`] is the one that counts exactly.
///
/// # Errors
///
/// `wrong-type` where the value is not an integer of 64 bits; `invalid` where the sum would overflow, or where this
/// call has written to the key before.
pub fn increment(key: &str, by: i64) -> Result<i64, Error> {
    host::increment(key, by)
}

/// Sets a key, replacing a value of any kind. The expiry is an [`Expiry`] or a [`Duration`].
///
/// # Errors
///
/// `invalid` for a time to live of zero or more than 365 days, `limit` for too large a value.
pub fn set(key: &str, value: impl AsRef<[u8]>, expiry: impl Into<Expiry>) -> Result<(), Error> {
    host::set(key, value.as_ref(), expiry.into(), Condition::Always)
}

/// Sets a key only if it is there, or only if it is not, at the time of the commit.
///
/// # Errors
///
/// Those of [`set`].
pub fn set_if(
    key: &str,
    value: impl AsRef<[u8]>,
    expiry: impl Into<Expiry>,
    condition: Condition,
) -> Result<(), Error> {
    host::set(key, value.as_ref(), expiry.into(), condition)
}

/// Deletes a key of any kind, with all that [`fetch`] remembers of it; a missing key is no error.
///
/// # Errors
///
/// Only those that all functions have.
pub fn delete(key: &str) -> Result<(), Error> {
    host::delete(key)
}

/// Gives a key of any kind a time to live, rounded up to a millisecond; a missing key is no error.
///
/// # Errors
///
/// `invalid` for zero or more than 365 days.
pub fn expire(key: &str, time: Duration) -> Result<(), Error> {
    host::expire(key, milliseconds(time))
}

/// Adds to the integer under a key in the commit. A missing key counts as 0; an existing time to live is kept.
/// Where the value is not an integer or would overflow, the event is dead-lettered.
///
/// # Errors
///
/// Only those that all functions have.
pub fn add(key: &str, by: i64) -> Result<(), Error> {
    host::add(key, by)
}
