//! How a tiered read goes.

use std::time::Duration;

use crate::bindings::sandbar::plugin::cache::FetchPolicy;
use crate::failure::milliseconds;

/// How [`fetch`](super::fetch) goes: how long what it loads stays where, and what may be answered in its place.
///
/// Times are rounded up to milliseconds; the longest is 365 days.
///
/// ```
/// use std::time::Duration;
///
/// use sandbar_sdk::cache::Policy;
///
/// let policy = Policy::new(Duration::from_secs(5))
///     .jitter(10)
///     .memory(Duration::from_secs(1))
///     .negative(Duration::from_secs(30))
///     .stale_while_revalidate(Duration::from_secs(10))
///     .stale_on_error(Duration::from_secs(3600));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Policy(pub(super) FetchPolicy);

impl Policy {
    /// What is loaded stays in the store for this time, and is kept nowhere else.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self(FetchPolicy {
            ttl_ms: milliseconds(ttl),
            jitter_percent: 0,
            memory_ttl_ms: 0,
            negative_ttl_ms: 0,
            stale_while_revalidate_ms: 0,
            stale_on_error_ms: 0,
        })
    }

    /// Takes up to so many percent (at most 50) off the time at random, so that keys loaded together do not expire
    /// together.
    #[must_use]
    pub fn jitter(mut self, percent: u8) -> Self {
        self.0.jitter_percent = percent;
        self
    }

    /// This host may answer from its memory for so long; never longer than the store keeps the value.
    #[must_use]
    pub fn memory(mut self, ttl: Duration) -> Self {
        self.0.memory_ttl_ms = milliseconds(ttl);
        self
    }

    /// It is remembered for so long that the source has nothing.
    #[must_use]
    pub fn negative(mut self, ttl: Duration) -> Self {
        self.0.negative_ttl_ms = milliseconds(ttl);
        self
    }

    /// For so long after its end the old value is answered at once, while one caller loads the new one.
    #[must_use]
    pub fn stale_while_revalidate(mut self, time: Duration) -> Self {
        self.0.stale_while_revalidate_ms = milliseconds(time);
        self
    }

    /// For so long after its end the old value is answered where the source fails.
    #[must_use]
    pub fn stale_on_error(mut self, time: Duration) -> Self {
        self.0.stale_on_error_ms = milliseconds(time);
        self
    }
}
