//! The server's clock, as far as this process knows it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The difference between the server's clock and this machine's, from the answers to `TIME`. Hosts with clocks of
/// their own agree on when a retry or a tick is due through it. An answer bounds the difference on both sides, by
/// when it was asked for and when it came; what is known is changed only where it lies outside. So an answer that was
/// late on its way does not set the clock back.
#[derive(Debug, Default)]
pub(super) struct Clock {
    ahead_ms: AtomicI64,
}

impl Clock {
    /// Milliseconds since 1970 by the server's clock.
    pub(super) fn now_ms(&self) -> u64 {
        local_ms().saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed))
    }

    /// Notes what the server's clock showed at some time between `asked_ms` of [`local_ms`] and now.
    pub(super) fn set(&self, asked_ms: u64, server_ms: u64) {
        let known = self.ahead_ms.load(Ordering::Relaxed);
        self.ahead_ms.store(ahead(known, asked_ms, server_ms, local_ms()), Ordering::Relaxed);
    }
}

/// How far the server is ahead, by what was known and an answer.
fn ahead(known_ms: i64, asked_ms: u64, server_ms: u64, answered_ms: u64) -> i64 {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    let least = signed(server_ms).saturating_sub(signed(answered_ms));
    // A clock that was set back in between would turn the bounds around.
    let most = signed(server_ms).saturating_sub(signed(asked_ms)).max(least);
    known_ms.clamp(least, most)
}

/// Milliseconds since 1970 by this machine's clock.
pub(super) fn local_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_does_not_set_the_clock_back() {
        assert_eq!(ahead(0, 1000, 6000, 1002), 4998);
        assert_eq!(ahead(4998, 2000, 7001, 2150), 4998, "it was on its way for 150 ms");
        assert_eq!(ahead(4998, 3000, 9000, 3001), 5999, "the server's clock was set");
        assert_eq!(ahead(0, 9000, 9000, 1000), 8000, "this machine's clock was set back");
    }
}
