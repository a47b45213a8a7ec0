//! When a worker tries again, and when it looks again. Pure but for chance.

use std::time::Duration;

use rand::RngExt;

/// The first pause after a fault of the store.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Pauses after faults: doubling up to a cap, with jitter, from the start again after a success.
#[derive(Debug, Default)]
pub(in crate::trigger) struct Pause {
    faults: u32,
}

impl Pause {
    /// Whether there was no fault since the last success.
    pub(in crate::trigger) fn is_first(&self) -> bool {
        self.faults == 0
    }

    /// The pause after one more fault.
    pub(in crate::trigger) fn next(&mut self) -> Duration {
        let full = PAUSE_MIN.saturating_mul(1 << self.faults.min(16)).min(PAUSE_MAX);
        self.faults = self.faults.saturating_add(1);
        jittered(full)
    }

    /// Something went well. Answers whether there were faults before it.
    pub(in crate::trigger) fn reset(&mut self) -> bool {
        std::mem::take(&mut self.faults) > 0
    }
}

/// Between half of a duration and all of it, so that hosts that started together do not act together.
pub(in crate::trigger) fn jittered(full: Duration) -> Duration {
    full.mul_f64(rand::rng().random_range(0.5..=1.0))
}
