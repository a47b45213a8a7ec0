//! The commit that the writes of a call become part of.

use crate::bindings::sandbar::plugin::transaction as host;
use crate::types::Error;

/// From here on, writes belong to the event with this id. They are dropped from the commit when the event's outcome is
/// a retry or a rejection. `handler!` calls this for each event; a batch handler calls it itself.
///
/// # Errors
///
/// `invalid` where the batch has no such event.
pub fn for_event(id: &str) -> Result<(), Error> {
    host::for_event(id)
}

/// Commits at once what has been written so far, without acknowledging any event. If the call fails later, its events
/// come back although these writes stand.
///
/// # Errors
///
/// `conflict` where a value read with `get_for_update` has changed, or where another worker has taken the batch over
/// (nothing was written); `wrong-type` where the store refused a write (the others stand).
pub fn commit() -> Result<(), Error> {
    host::commit()
}

/// Forgets what has been written since the call began or last committed, with the watched keys.
///
/// # Errors
///
/// Only those that all functions have.
pub fn discard() -> Result<(), Error> {
    host::discard()
}
