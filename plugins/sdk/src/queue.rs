//! Queues of jobs in plain lists: `LPUSH` by anybody is enough to add one, the oldest is taken first.
//!
//! A plugin with a queue trigger is given jobs as events ([`Event::payload`](crate::Event::payload),
//! [`Event::payload_json`](crate::Event::payload_json)); [`take`] is for handlers that need jobs on their way.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bindings::sandbar::plugin::queue as host;
pub use crate::bindings::sandbar::plugin::queue::{Job, Lengths};
use crate::failure::{Failure, milliseconds};
use crate::types::Error;

/// How a job is pushed. The default is a plain `LPUSH`.
///
/// ```
/// # use std::time::Duration;
/// use sandbar_sdk::queue::Push;
///
/// let minute = Duration::from_secs(60);
/// let options = Push::new().delay(minute).priority(9).deduplicate("order:7", 5 * minute);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Push<'a> {
    delay_ms: u64,
    priority: u8,
    deduplicate: Option<(&'a str, u64)>,
}

impl<'a> Push<'a> {
    /// A plain push.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The job cannot be taken before this time has passed, at most 365 days.
    #[must_use]
    pub fn delay(self, time: Duration) -> Self {
        Self { delay_ms: milliseconds(time), ..self }
    }

    /// Higher ones are taken first, equal ones in the order in which they were pushed; 0 is that of plain `LPUSH`.
    #[must_use]
    pub fn priority(self, priority: u8) -> Self {
        Self { priority, ..self }
    }

    /// A job with the same id (1 to 256 bytes), pushed within the window (1 ms to 7 days) before this one, suppresses
    /// this one.
    #[must_use]
    pub fn deduplicate(self, id: &'a str, window: Duration) -> Self {
        Self { deduplicate: Some((id, milliseconds(window))), ..self }
    }
}

/// Adds a job in the commit.
///
/// # Errors
///
/// `limit` for a payload that is too large.
pub fn push(name: &str, payload: impl AsRef<[u8]>) -> Result<(), Error> {
    push_with(name, payload, Push::new())
}

/// The same with a delay, a priority or a deduplication id.
///
/// # Errors
///
/// Those of [`push`], and `invalid` for options out of bounds.
pub fn push_with(name: &str, payload: impl AsRef<[u8]>, options: Push<'_>) -> Result<(), Error> {
    let Push { delay_ms, priority, deduplicate } = options;
    let deduplicate = deduplicate.map(|(id, window_ms)| host::Deduplication { id, window_ms });
    host::push(name, payload.as_ref(), host::PushOptions { delay_ms, priority, deduplicate })
}

/// The same with a value as JSON.
///
/// # Errors
///
/// Those of [`push_with`], and a rejection where the value cannot be written as JSON.
pub fn push_json(name: &str, payload: &impl Serialize, options: Push<'_>) -> Result<(), Failure> {
    let payload = serde_json::to_vec(payload)?;
    Ok(push_with(name, payload, options)?)
}

/// Takes up to `count` (1 to 1,000) jobs at once; none where the queue is empty or paused. They are acknowledged by
/// the commit of this call, and given back where it fails.
///
/// # Errors
///
/// `invalid` for a count out of bounds, `wrong-type` where the key holds something other than a list.
pub fn take(name: &str, count: u32) -> Result<Vec<Job>, Error> {
    host::take(name, count)
}

/// Up to `count` (1 to 1,000) jobs in the order in which they would be taken, without taking them.
///
/// # Errors
///
/// Those of [`take`].
pub fn peek(name: &str, count: u32) -> Result<Vec<Job>, Error> {
    host::peek(name, count)
}

/// Numbers of jobs by state, all 0 for a missing queue.
///
/// # Errors
///
/// `wrong-type` where the key holds something other than a list.
pub fn length(name: &str) -> Result<Lengths, Error> {
    host::length(name)
}

impl Job {
    /// The payload as a JSON document. `T` may borrow from the job (`&str`, `&RawValue`).
    ///
    /// # Errors
    ///
    /// Rejects, naming the place within the document, where it is not what `T` asks for.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        crate::json::parse(&self.payload).map_err(|reason| Failure::Reject(format!("job {}: {reason}", self.id)))
    }
}
