//! What every function checks of its arguments besides their names. Pure.

use crate::bindings::sandbar::plugin::types::Error;
use crate::tiered_cache::policy::TTL_MS_MAX;
use sandbar_core::grants::NAME_BYTES_MAX;

/// The most parts (keys, fields, members, values) of one call.
const PARTS_MAX: usize = 1000;

/// Checks the number of parts of a call.
pub(super) fn parts(key: &str, what: &str, count: usize) -> Result<(), Error> {
    if (1..=PARTS_MAX).contains(&count) {
        return Ok(());
    }
    Err(Error::Invalid(format!("{count} {what} for `{key}`; 1 to {PARTS_MAX} are allowed")))
}

/// Checks the name of a field or a member.
pub(super) fn member(key: &str, name: &str) -> Result<(), Error> {
    if name.len() > NAME_BYTES_MAX {
        let (has, max) = (name.len(), NAME_BYTES_MAX);
        return Err(Error::Invalid(format!("a field or member of `{key}` has {has} bytes; at most {max} are allowed")));
    }
    Ok(())
}

/// Checks members, and answers the sum of their bytes.
pub(super) fn members(key: &str, names: &[String]) -> Result<usize, Error> {
    parts(key, "members", names.len())?;
    names.iter().try_for_each(|name| member(key, name))?;
    Ok(names.iter().map(String::len).sum())
}

/// Checks a time to live.
pub(super) fn ttl_ms(key: &str, ttl_ms: u64) -> Result<u64, Error> {
    if (1..=TTL_MS_MAX).contains(&ttl_ms) {
        return Ok(ttl_ms);
    }
    Err(Error::Invalid(format!("a time to live of {ttl_ms} ms for `{key}`; 1 to {TTL_MS_MAX} are allowed")))
}

/// Checks how many answers are asked for.
pub(super) fn count(name: &str, count: u32, max: u32) -> Result<u32, Error> {
    if (1..=max).contains(&count) {
        return Ok(count);
    }
    Err(Error::Invalid(format!("a count of {count} for `{name}`; 1 to {max} are allowed")))
}
