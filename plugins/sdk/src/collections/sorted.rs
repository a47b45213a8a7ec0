//! Sorted sets: members with scores.

use super::texts;
use crate::bindings::sandbar::plugin::collections as host;
pub use crate::bindings::sandbar::plugin::collections::ScoredResult as Scored;
use crate::types::Error;

/// The score of a member of a sorted set.
///
/// # Errors
///
/// See [the module](super).
pub fn sorted_score(key: &str, member: &str) -> Result<Option<f64>, Error> {
    host::sorted_score(key, member)
}

/// Number of members of a sorted set.
///
/// # Errors
///
/// See [the module](super).
pub fn sorted_size(key: &str) -> Result<u64, Error> {
    host::sorted_size(key)
}

/// Members by rank from `start` to `stop`, both included; 0 is the lowest score, -1 the highest. `reverse` counts and
/// answers from the highest score down.
///
/// # Errors
///
/// See [the module](super).
pub fn sorted_range(key: &str, start: i64, stop: i64, reverse: bool) -> Result<Vec<Scored>, Error> {
    host::sorted_range(key, start, stop, reverse)
}

/// Up to `count` (1 to 10,000) members with scores from `min` to `max`, both included, lowest first.
///
/// # Errors
///
/// See [the module](super).
pub fn sorted_range_by_score(key: &str, min: f64, max: f64, count: u32) -> Result<Vec<Scored>, Error> {
    host::sorted_range_by_score(key, min, max, count)
}

/// Adds 1 to 1,000 members to a sorted set or gives them new scores, in the commit.
///
/// # Errors
///
/// `invalid` for a score that is not a number; see [the module](super).
pub fn sorted_add<M: AsRef<str>>(key: &str, members: &[(M, f64)]) -> Result<(), Error> {
    let members: Vec<_> =
        members.iter().map(|(member, score)| host::ScoredParam { member: member.as_ref(), score: *score }).collect();
    host::sorted_add(key, &members)
}

/// Removes 1 to 1,000 members from a sorted set, in the commit.
///
/// # Errors
///
/// See [the module](super).
pub fn sorted_remove<M: AsRef<str>>(key: &str, members: &[M]) -> Result<(), Error> {
    host::sorted_remove(key, &texts(members))
}

/// Removes all members with scores from `min` to `max`, both included, in the commit.
///
/// # Errors
///
/// See [the module](super).
pub fn sorted_remove_by_score(key: &str, min: f64, max: f64) -> Result<(), Error> {
    host::sorted_remove_by_score(key, min, max)
}
