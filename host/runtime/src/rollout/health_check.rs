//! Whether a version is good enough. Pure.

use std::time::Duration;

use sandbar_core::manifest::HealthSection;

/// Events after which a version is judged that has failed over each of them.
const ALL_FAILED_EVENTS: u64 = 20;
/// Slow calls up to this are never too slow: a scheduler's whim is of that size.
const LATENCY_FLOOR: Duration = Duration::from_millis(20);
/// By how many standard deviations a share of failures must exceed its limit: what chance alone does once in a
/// thousand looks is no fault.
const DEVIATIONS: f64 = 3.0;

/// What has become of the events of one version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Events that it was given for the first time.
    pub(super) events: u64,
    /// Those of them that it did not handle: it failed over them, rejected them or asked for them again.
    pub(super) failed: u64,
    /// Calls that it answered.
    pub(super) calls: u64,
    /// The time for each event of a call, of all but the slowest hundredth of its calls.
    pub(super) p99: Option<Duration>,
}

impl Tally {
    /// The share of its events that failed.
    pub(super) fn failure_rate(&self) -> f64 {
        if self.events == 0 { 0.0 } else { self.failed as f64 / self.events as f64 }
    }
}

/// Why a version is not good enough. The texts name the limit and what was measured.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum Fault {
    /// It fails over more events than the version before it.
    #[error(
        "{failed} of {events} events failed ({:.1} %); the version before failed over {:.1} %, and `health.max-failure-rate` allows {:.1} % more",
        100.0 * *failed as f64 / *events as f64, 100.0 * before, 100.0 * limit
    )]
    FailureRate {
        /// Events that failed.
        failed: u64,
        /// Of so many.
        events: u64,
        /// The share of the version before.
        before: f64,
        /// How much more is allowed.
        limit: f64,
    },
    /// It takes longer than the version before it.
    #[error(
        "its calls take {now:?} an event (p99 of {calls}); those of the version before took {before:?}, and `health.max-latency-ratio` allows {limit} times that"
    )]
    Latency {
        /// How long its slow calls take.
        now: Duration,
        /// Of so many calls.
        calls: u64,
        /// How long those of the version before took.
        before: Duration,
        /// How many times that is allowed.
        limit: f64,
    },
}

impl Fault {
    /// One word for metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::FailureRate { .. } => "failure-rate",
            Self::Latency { .. } => "latency",
        }
    }
}

/// Compares a version with the one before it.
pub(super) fn judge(limits: &HealthSection, before: &Tally, now: &Tally) -> Result<(), Fault> {
    let all_failed = now.failed == now.events && now.events >= ALL_FAILED_EVENTS;
    if (now.events >= limits.min_events || all_failed) && fails_more(limits.max_failure_rate, before, now) {
        return Err(Fault::FailureRate {
            failed: now.failed,
            events: now.events,
            before: before.failure_rate(),
            limit: limits.max_failure_rate,
        });
    }
    if let (Some(then), Some(p99)) = (before.p99, now.p99)
        && now.calls >= limits.min_events
        && before.calls >= limits.min_events
        && p99 > then.mul_f64(limits.max_latency_ratio).max(LATENCY_FLOOR)
    {
        return Err(Fault::Latency { now: p99, calls: now.calls, before: then, limit: limits.max_latency_ratio });
    }
    Ok(())
}

/// Whether its share of failures is larger than that of the version before by more than the limit and by more than
/// chance explains.
fn fails_more(limit: f64, before: &Tally, now: &Tally) -> bool {
    let allowed = before.failure_rate() + limit;
    if allowed >= 1.0 || now.failed == 0 {
        return false;
    }
    let variance = |share: f64, events: u64| share * (1.0 - share) / events.max(1) as f64;
    let chance = variance(allowed, now.events) + variance(before.failure_rate(), before.events);
    now.failure_rate() > allowed + DEVIATIONS * chance.sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(events: u64, failed: u64, p99_ms: u64) -> Tally {
        Tally { events, failed, calls: events, p99: (events > 0).then(|| Duration::from_millis(p99_ms)) }
    }

    fn judged(before: Tally, now: Tally) -> Result<(), Fault> {
        judge(&HealthSection::default(), &before, &now)
    }

    #[test]
    fn one_in_twenty_is_too_much_where_none_failed_before() {
        assert_eq!(judged(tally(1000, 0, 1), tally(99, 99 / 20, 1)), Ok(()), "too few events");
        let fault = judged(tally(1000, 0, 1), tally(100, 5, 1)).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "5 of 100 events failed (5.0 %); the version before failed over 0.0 %, and `health.max-failure-rate` allows 1.0 % more"
        );
        assert_eq!(judged(tally(1000, 50, 1), tally(1000, 55, 1)), Ok(()), "it was not better before");
        assert_eq!(judged(tally(1000, 0, 1), tally(1000, 10, 1)), Ok(()), "as many as are allowed");
    }

    #[test]
    fn a_version_that_fails_always_is_judged_earlier() {
        assert_eq!(judged(tally(1000, 0, 1), tally(19, 19, 1)), Ok(()));
        assert!(judged(tally(1000, 0, 1), tally(20, 20, 1)).is_err());
        assert_eq!(judged(tally(1000, 1000, 1), tally(500, 500, 1)), Ok(()), "so did the one before");
        assert!(judged(tally(0, 0, 0), tally(20, 20, 1)).is_err(), "nothing is known of the one before");
    }

    #[test]
    fn five_times_as_slow_is_too_slow() {
        assert_eq!(judged(tally(1000, 0, 10), tally(1000, 0, 50)), Ok(()));
        let fault = judged(tally(1000, 0, 10), tally(1000, 0, 51)).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "its calls take 51ms an event (p99 of 1000); those of the version before took 10ms, and `health.max-latency-ratio` allows 5 times that"
        );
        assert_eq!(judged(tally(1000, 0, 0), tally(1000, 0, 20)), Ok(()), "small times do not count");
        assert_eq!(judged(tally(50, 0, 1), tally(1000, 0, 500)), Ok(()), "little is known of the one before");
    }

    proptest! {
        /// A version is never failed_probation for being as the one before it, and more failures never make it better.
        #[test]
        fn the_gate_is_fair(
            events in 0_u64..20_000, failed in 0.0..=1.0_f64, p99 in 0_u64..10_000,
            limit in 0.0..=1.0_f64, ratio in 1.0..1000.0_f64, min_events in 1_u64..10_000,
            now_events in 1_u64..20_000, now_failed in 0.0..=1.0_f64, more in 0.0..=1.0_f64,
        ) {
            let limits = HealthSection { max_failure_rate: limit, max_latency_ratio: ratio, min_events, ..HealthSection::default() };
            let share = |events: u64, share: f64| (events as f64 * share) as u64;
            let before = tally(events, share(events, failed), p99);
            prop_assert_eq!(judge(&limits, &before, &before), Ok(()));
            let now = tally(now_events, share(now_events, now_failed), p99);
            let worse = tally(now_events, now.failed + share(now_events - now.failed, more), p99);
            if judge(&limits, &before, &now).is_err() {
                prop_assert!(judge(&limits, &before, &worse).is_err());
            }
            if judge(&limits, &before, &worse).is_err() {
                prop_assert!(worse.failure_rate() > before.failure_rate() + limit);
            }
        }
    }
}
