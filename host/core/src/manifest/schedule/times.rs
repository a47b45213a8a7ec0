//! When the ticks of a schedule are due.
//!
//! Pure. All times are milliseconds since 1970-01-01 UTC. Cron expressions are of a time zone: a time of day that a
//! change of clocks skips is due right after the gap, and one that comes twice is due once where the expression names
//! it, and both times where it is one of an interval (`*/5`).

use std::collections::VecDeque;

use croner::Cron;
use croner::parser::{CronParser, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The first span that is looked at for the newest ticks of a cron expression: a minute.
const SPAN_MS: u64 = 60_000;

/// When ticks are due.
#[derive(Debug, Clone)]
pub struct Times(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// At whole multiples of so many milliseconds since 1970.
    Every(u64),
    /// At the times of an expression, in a time zone.
    Cron(Box<Cron>, TimeZone),
}

impl Times {
    /// At whole multiples of so many milliseconds, at least 1, since 1970.
    pub fn every(ms: u64) -> Self {
        Self(Kind::Every(ms.max(1)))
    }

    /// At the times of a cron expression of five fields, or six with seconds first.
    pub fn cron(expression: &str, time_zone: &str) -> Result<Self, String> {
        let parser = CronParser::builder().year(Year::Disallowed).build();
        let cron =
            parser.parse(expression).map_err(|error| format!("`{expression}` is no cron expression: {error}"))?;
        let zone = jiff::tz::db().get(time_zone).map_err(|_| {
            format!("`{time_zone}` is no time zone; its name is one of the IANA database, such as `Europe/Berlin`")
        })?;
        let times = Self(Kind::Cron(Box::new(cron), zone));
        // An expression that never comes true, such as the 30th of February.
        times.after(0).ok_or_else(|| format!("`{expression}` is never due"))?;
        Ok(times)
    }

    /// The first tick after an instant; none where there is none within thousands of years.
    pub fn after(&self, ms: u64) -> Option<u64> {
        match &self.0 {
            Kind::Every(every) => (ms / every).checked_add(1)?.checked_mul(*every),
            Kind::Cron(cron, zone) => {
                // What falls within the second that has begun is after it, so whole seconds are enough.
                let second = Timestamp::from_second(i64::try_from(ms / 1000).ok()?).ok()?;
                let next = cron.find_next_occurrence(&Zoned::new(second, zone.clone()), false).ok()?;
                u64::try_from(next.timestamp().as_millisecond()).ok().filter(|next| *next > ms)
            }
        }
    }

    /// The newest ticks after one instant and up to another, at most `max` of them (at least 1), oldest first.
    pub fn newest(&self, after: u64, until: u64, max: usize) -> Vec<u64> {
        let most = u64::try_from(max).unwrap_or(u64::MAX);
        let mut span = match &self.0 {
            Kind::Every(every) => every.saturating_mul(most),
            Kind::Cron(..) => SPAN_MS,
        };
        loop {
            let from = until.saturating_sub(span).max(after);
            let mut found = VecDeque::new();
            let mut at = from;
            while let Some(tick) = self.after(at).filter(|tick| *tick <= until) {
                if found.len() >= max.max(1) {
                    found.pop_front();
                }
                found.push_back(tick);
                at = tick;
            }
            if from == after || found.len() >= max {
                return found.into();
            }
            span = span.saturating_mul(4);
        }
    }

    /// How many ticks there are after one instant and before another, counted up to `max`.
    pub fn count(&self, after: u64, before: u64, max: u64) -> u64 {
        let mut at = after;
        (0..max)
            .find(|_| match self.after(at).filter(|tick| *tick < before) {
                Some(tick) => {
                    at = tick;
                    false
                }
                None => true,
            })
            .unwrap_or(max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(text: &str) -> u64 {
        u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    fn texts(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let times = Times::cron(expression, zone).unwrap();
        let first = times.after(ms(after));
        let ticks = std::iter::successors(first, |tick| times.after(*tick)).take(count);
        ticks.map(|tick| Timestamp::from_millisecond(i64::try_from(tick).unwrap()).unwrap().to_string()).collect()
    }

    #[test]
    fn intervals_are_counted_from_1970() {
        let times = Times::every(250);
        assert_eq!((times.after(0), times.after(249), times.after(250)), (Some(250), Some(250), Some(500)));
        assert_eq!(times.newest(0, 1_000_000_100, 2), [999_999_750, 1_000_000_000]);
        assert_eq!(times.newest(1_000_000_000, 1_000_000_100, 2), [] as [u64; 0]);
        assert_eq!((times.count(0, 1001, 100), times.count(0, 1000, 100), times.count(0, 1_000_000, 7)), (4, 3, 7));
        assert_eq!(Times::every(10).after(u64::MAX), None);
    }

    #[test]
    fn expressions_are_of_a_time_zone() {
        assert_eq!(
            texts("30 3 * * *", "Asia/Shanghai", "2026-11-22T00:00:00Z", 2),
            ["2026-11-22T19:30:00Z", "2026-11-23T19:30:00Z"]
        );
        assert_eq!(
            texts("*/20 * * * * *", "UTC", "2026-11-22T00:00:00.5Z", 3),
            ["2026-11-22T00:00:20Z", "2026-11-22T00:00:40Z", "2026-11-22T00:01:00Z"]
        );
        assert_eq!(texts("0 12 29 2 *", "UTC", "2026-01-01T00:00:00Z", 1), ["2028-02-29T12:00:00Z"]);
    }

    #[test]
    fn a_time_that_is_skipped_is_due_after_the_gap() {
        // In Berlin 2026-03-29 02:00 becomes 03:00, which is 01:00 UTC.
        assert_eq!(
            texts("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
    }

    #[test]
    fn a_time_that_comes_twice_is_due_once_but_intervals_go_on() {
        // In Berlin 2026-10-25 03:00 becomes 02:00, at 01:00 UTC: 02:30 is at 00:30 and at 01:30 UTC.
        assert_eq!(
            texts("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        assert_eq!(
            texts("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:59:00Z", 4),
            ["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |expression: &str, zone: &str| Times::cron(expression, zone).unwrap_err();
        assert!(error("* * *", "UTC").contains("`* * *` is no cron expression"));
        assert!(error("61 * * * *", "UTC").contains("no cron expression"));
        assert!(error("* * * * *", "Berlin").contains("`Berlin` is no time zone"));
        assert!(error("0 0 30 2 *", "UTC").contains("never due"));
    }

    proptest! {
        #[test]
        fn ticks_follow_each_other(at in 0u64..4_000_000_000_000, every in 10u64..100_000_000, cron in 0usize..5) {
            let expression = ["*/7 * * * * *", "*/5 * * * *", "30 2 * * *", "0 0 1 * *", "15,45 1-3 * * 7"][cron];
            for times in [Times::every(every), Times::cron(expression, "America/New_York").unwrap()] {
                let next = times.after(at).unwrap();
                prop_assert!(next > at);
                prop_assert_eq!(times.after(next - 1), Some(next), "nothing lies between");
                let third = times.after(times.after(next).unwrap()).unwrap();
                let newest = times.newest(at, third, 2);
                prop_assert_eq!(newest, vec![times.after(next).unwrap(), third]);
                prop_assert_eq!(times.newest(at, third - 1, 9).len(), 2);
                prop_assert_eq!(times.count(at, third, 100), 2);
            }
        }
    }
}
