//! The server's clock, as far as this process knows it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The difference between the server's clock and this machine's, from the last answer to `TIME`. Hosts with clocks of
/// their own agree on when a retry is due through it.
#[derive(Debug, Default)]
pub(super) struct Clock {
    ahead_ms: AtomicI64,
}

impl Clock {
    /// Milliseconds since 1970 by the server's clock.
    pub(super) fn now_ms(&self) -> u64 {
        local_ms().saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed))
    }

    /// Notes what the server's clock showed a moment ago.
    pub(super) fn set(&self, server_ms: u64) {
        let ahead = i64::try_from(server_ms).unwrap_or(i64::MAX) - i64::try_from(local_ms()).unwrap_or(i64::MAX);
        self.ahead_ms.store(ahead, Ordering::Relaxed);
    }
}

fn local_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
