//! The duty cycle of background threads: when a thread pauses, and for how long. Pure: the caller says how long each
//! poll took.
//!
//! The kernel moves waiting work to an idle core at once, but to a core that runs a background thread only every few
//! milliseconds. So a background thread leaves its core for as long as it used it while foreground code runs.

use std::time::Duration;

/// How long a thread runs before it pauses.
const REST_AFTER: Duration = Duration::from_micros(250);
/// The longest pause.
const REST_MAX: Duration = Duration::from_millis(5);
/// What a poll counts for at least: the store and its connection, which have normal priority, work for the call that
/// waits for them.
const POLL_MIN: Duration = Duration::from_micros(50);

/// How long a thread has run since its last pause.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DutyCycle(Duration);

impl DutyCycle {
    pub(super) const NONE: Self = Self(Duration::ZERO);

    /// Counts a poll, and answers the rest that is due now: as long as the thread has run.
    pub(super) fn add(&mut self, used: Duration) -> Option<Duration> {
        self.0 = self.0.saturating_add(used.max(POLL_MIN));
        (self.0 >= REST_AFTER).then(|| std::mem::take(&mut self.0).min(REST_MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_rest_is_bounded() {
        let mut duty_cycle = DutyCycle::NONE;
        assert_eq!(duty_cycle.add(Duration::from_secs(1)), Some(REST_MAX));
        assert_eq!(duty_cycle.add(REST_AFTER), Some(REST_AFTER), "the rest is over");
    }

    proptest! {
        #[test]
        fn rests_are_as_long_as_what_was_run(polls in prop::collection::vec(0u64..4_000, 1..200)) {
            let (mut duty_cycle, mut run, mut rested) = (DutyCycle::NONE, Duration::ZERO, Duration::ZERO);
            for used in polls.into_iter().map(Duration::from_micros) {
                run += used.max(POLL_MIN);
                rested += duty_cycle.add(used).unwrap_or_default();
                prop_assert!(rested <= run && run - rested < REST_AFTER);
            }
        }
    }
}
