//! Sets of texts.

use super::texts;
use crate::bindings::sandbar::plugin::collections as host;
use crate::types::Error;

/// Whether a set has the member.
///
/// # Errors
///
/// See [the module](super).
pub fn set_contains(key: &str, member: &str) -> Result<bool, Error> {
    host::set_contains(key, member)
}

/// All members of a set, in no order.
///
/// # Errors
///
/// `invalid` for members that are not UTF-8; see [the module](super).
pub fn set_members(key: &str) -> Result<Vec<String>, Error> {
    host::set_members(key)
}

/// Number of members of a set.
///
/// # Errors
///
/// See [the module](super).
pub fn set_size(key: &str) -> Result<u64, Error> {
    host::set_size(key)
}

/// Adds 1 to 1,000 members to a set, in the commit.
///
/// # Errors
///
/// See [the module](super).
pub fn set_add<M: AsRef<str>>(key: &str, members: &[M]) -> Result<(), Error> {
    host::set_add(key, &texts(members))
}

/// Removes 1 to 1,000 members from a set, in the commit.
///
/// # Errors
///
/// See [the module](super).
pub fn set_remove<M: AsRef<str>>(key: &str, members: &[M]) -> Result<(), Error> {
    host::set_remove(key, &texts(members))
}
