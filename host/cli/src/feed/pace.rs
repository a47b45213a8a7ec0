//! When the next events are due.
//!
//! Pure: the time is an argument.

use std::time::{Duration, Instant};

/// The most entries of one commit.
pub(super) const BATCH_MAX: usize = 1000;
/// Commits a second where a rate is given, so that events come evenly.
const STEPS_PER_SECOND: u32 = 100;
/// What was missed by more than this is not made up for.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// Spreads events evenly over time.
#[derive(Debug)]
pub(super) struct Pace {
    /// Events per second; none for as fast as possible.
    rate: Option<u32>,
    /// When event number 0 would have been due.
    origin: Instant,
    sent: u64,
}

impl Pace {
    /// So many events per second from now on; none for as fast as possible.
    pub(super) fn new(rate: Option<u32>, now: Instant) -> Self {
        Self { rate: rate.filter(|rate| *rate > 0), origin: now, sent: 0 }
    }

    /// How many events to send at once: a step's, or more where a slow store has let them pile up.
    pub(super) fn batch(&self, now: Instant) -> usize {
        let Some(rate) = self.rate else { return BATCH_MAX };
        let due = now.duration_since(self.origin).as_secs_f64() * f64::from(rate);
        let overdue = (due as u64).saturating_sub(self.sent);
        let events = u64::from(rate / STEPS_PER_SECOND).max(overdue).max(1);
        usize::try_from(events).unwrap_or(BATCH_MAX).min(BATCH_MAX)
    }

    /// When the next events are due, and that they are being sent then.
    pub(super) fn next(&mut self, events: usize, now: Instant) -> Instant {
        let Some(rate) = self.rate else { return now };
        let due = self.origin + Duration::from_secs_f64(self.sent as f64 / f64::from(rate));
        self.sent += events as u64;
        match now.checked_duration_since(due + BEHIND_MAX) {
            None => due,
            Some(late) => {
                self.origin += late + BEHIND_MAX;
                now
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_spread_evenly() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(1000), start);
        assert_eq!(pace.batch(start), 10);
        let due = [(); 4].map(|()| (pace.next(10, start) - start).as_millis());
        assert_eq!(due, [0, 10, 20, 30]);
    }

    #[test]
    fn slow_rates_send_single_events() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(2), start);
        assert_eq!(pace.batch(start), 1);
        let due = [(); 3].map(|()| (pace.next(1, start) - start).as_millis());
        assert_eq!(due, [0, 500, 1000]);
    }

    #[test]
    fn a_short_delay_is_made_up_for_and_a_long_one_is_not() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(100), start);
        pace.next(1, start);
        let late = start + Duration::from_millis(500);
        assert_eq!(pace.next(1, late) - start, Duration::from_millis(10), "made up for");
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.next(1, later), later);
        assert_eq!(pace.next(1, later) - later, Duration::from_millis(10), "evenly from here on");
    }

    #[test]
    fn what_has_piled_up_is_sent_at_once() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(1000), start);
        pace.next(10, start);
        let late = start + Duration::from_millis(150);
        assert_eq!(pace.batch(late), 140);
        pace.next(140, late);
        assert_eq!(pace.batch(late), 10);
        assert_eq!(pace.batch(start + Duration::from_secs(3600)), BATCH_MAX);
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let start = Instant::now();
        let mut pace = Pace::new(None, start);
        assert_eq!((pace.batch(start), pace.next(BATCH_MAX, start)), (BATCH_MAX, start));
    }
}
