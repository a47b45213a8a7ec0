//! How long a failed event waits before its next attempt.

use std::time::Duration;

use rand::RngExt;

/// Exponential back-off with jitter: the delay doubles with each attempt from `min` up to `max`, and a random part of
/// up to half of it is taken off, so that events that failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The delay after the first attempt.
    pub min: Duration,
    /// The longest delay.
    pub max: Duration,
}

impl Backoff {
    /// The delay after the attempt with this number, counted from 1.
    pub fn after(self, attempt: u32) -> Duration {
        let part = rand::rng().random_range(0.5..=1.0);
        self.full(attempt).mul_f64(part)
    }

    fn full(self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.min.saturating_mul(1 << doublings).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn delays_lie_within_half_of_the_doubled_one(attempt in 0u32..1000, min in 1u64..10_000, more in 0u64..1_000_000) {
            let backoff = Backoff { min: Duration::from_millis(min), max: Duration::from_millis(min + more) };
            let (delay, full) = (backoff.after(attempt), backoff.full(attempt));
            prop_assert!(delay <= full && delay >= full / 2 - Duration::from_nanos(1));
            prop_assert!(full >= backoff.min && full <= backoff.max);
            prop_assert!(backoff.full(attempt + 1) >= full);
        }
    }
}
