//! Hashes: named values under one key.

use super::texts;
use crate::bindings::sandbar::plugin::collections as host;
use crate::types::{Error, Field, FieldRef};

/// The value of a field of a hash.
///
/// # Errors
///
/// See [the module](super).
pub fn hash_get(key: &str, name: &str) -> Result<Option<Vec<u8>>, Error> {
    host::hash_get(key, name)
}

/// The values of 1 to 1,000 fields of a hash, in their order.
///
/// # Errors
///
/// See [the module](super).
pub fn hash_get_many<N: AsRef<str>>(key: &str, names: &[N]) -> Result<Vec<Option<Vec<u8>>>, Error> {
    host::hash_get_many(key, &texts(names))
}

/// All fields of a hash, in no order.
///
/// # Errors
///
/// See [the module](super).
pub fn hash_get_all(key: &str) -> Result<Vec<Field>, Error> {
    host::hash_get_all(key)
}

/// Number of fields of a hash.
///
/// # Errors
///
/// See [the module](super).
pub fn hash_length(key: &str) -> Result<u64, Error> {
    host::hash_length(key)
}

/// Sets 1 to 1,000 fields of a hash, in the commit.
///
/// # Errors
///
/// See [the module](super).
pub fn hash_set<V: AsRef<[u8]>>(key: &str, fields: &[(&str, V)]) -> Result<(), Error> {
    host::hash_set(key, &FieldRef::list(fields))
}

/// Deletes 1 to 1,000 fields of a hash, in the commit.
///
/// # Errors
///
/// See [the module](super).
pub fn hash_delete<N: AsRef<str>>(key: &str, names: &[N]) -> Result<(), Error> {
    host::hash_delete(key, &texts(names))
}

/// Adds to the integer in a field of a hash, in the commit. A missing field counts as 0.
///
/// # Errors
///
/// See [the module](super).
pub fn hash_add(key: &str, name: &str, by: i64) -> Result<(), Error> {
    host::hash_add(key, name, by)
}
