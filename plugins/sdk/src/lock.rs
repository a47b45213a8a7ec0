//! Locks that all hosts, and plain clients of Redis, respect.
//!
//! ```
//! use sandbar_sdk::prelude::*;
//!
//! fn notify(event: &Event) -> Result<(), Failure> {
//!     let alert = event.text("fingerprint")?;
//!     // One host at a time; given back once what follows is committed.
//!     let _guard = lock::acquire(&format!("lock:alert:{alert}"), Duration::from_secs(10), Duration::from_secs(2))?;
//!     if cache::get(&format!("sent:{alert}"))?.is_none() {
//!         cache::set(&format!("sent:{alert}"), "1", Duration::from_secs(3600))?;
//!         pubsub::publish("notifications", alert)?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The host renews a lock while its call runs. A commit of what was written while a [`Guard`] was held is made only
//! if the lock is still held then, else nothing is written and the batch is run again.

use std::time::Duration;

use crate::bindings::sandbar::plugin::lock as host;
use crate::failure::milliseconds;
use crate::types::Error;

/// A lock that this call holds. It is given back when it is dropped, or with the end of the call.
#[derive(Debug)]
pub struct Guard(host::Guard);

/// Takes the lock under a key for `ttl` (100 ms to 1 h) at a time, which the host renews. Waits for up to `wait` (at
/// most 1 h, and never longer than the call's deadline) while another client holds it, in the order of arrival. A key
/// that this call gave back but has not committed under yet is taken again at once, with the same token.
///
/// # Errors
///
/// `timed-out` where it was not free in time, which asks for a retry with `?`; `limit` for more than 16 locks;
/// `invalid` where this call holds it already.
pub fn acquire(key: &str, ttl: Duration, wait: Duration) -> Result<Guard, Error> {
    host::acquire(key, milliseconds(ttl), milliseconds(wait)).map(Guard)
}

/// The same without waiting; none where another client holds it.
///
/// # Errors
///
/// Those of [`acquire`] but for `timed-out`.
pub fn try_acquire(key: &str, ttl: Duration) -> Result<Option<Guard>, Error> {
    match host::acquire(key, milliseconds(ttl), 0) {
        Ok(guard) => Ok(Some(Guard(guard))),
        Err(Error::TimedOut(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Guard {
    /// The fencing token: larger than that of every earlier holder of this lock. Hand it to systems outside of the
    /// store, so that they can refuse a holder that was overtaken.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.0.token()
    }

    /// Gives the lock a time to live of 100 ms to 1 h from now, which the host renews from then on.
    ///
    /// # Errors
    ///
    /// `conflict` where the lock was lost.
    pub fn extend(&self, ttl: Duration) -> Result<(), Error> {
        self.0.extend(milliseconds(ttl))
    }

    /// Gives the lock back: at once, or, where this call has writes that were made under it, right after their commit.
    ///
    /// # Errors
    ///
    /// `conflict` where the lock was lost; another holder's lock is never touched.
    pub fn release(self) -> Result<(), Error> {
        self.0.release()
    }
}
