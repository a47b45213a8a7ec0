//! A distribution of times: counts in fixed buckets, readable while it is written.
//!
//! Eight buckets for each doubling, from 1 µs to about 12 days, so a quantile is at most an eighth too high.
//! Recording is two relaxed additions; nothing is allocated after the start.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bits of a value that choose the bucket within its doubling.
const FINE_BITS: u32 = 3;
/// Buckets for each doubling.
const FINE: usize = 1 << FINE_BITS;
/// Values from 2 to the power of this many microseconds on share the last bucket.
const BITS_MAX: u32 = 40;
/// All buckets.
const BUCKETS: usize = (BITS_MAX - FINE_BITS + 1) as usize * FINE;

/// A distribution of times that is being written.
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BUCKETS], sum_us: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one time.
    pub fn record(&self, time: Duration) {
        let us = micros(time);
        self.count(us);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Counts many times.
    pub fn record_all(&self, times: impl IntoIterator<Item = Duration>) {
        let mut sum_us = 0_u64;
        for time in times {
            let us = micros(time);
            self.count(us);
            sum_us = sum_us.wrapping_add(us);
        }
        self.sum_us.fetch_add(sum_us, Ordering::Relaxed);
    }

    /// What has been counted so far. Not one instant: what is recorded meanwhile may be in it or not.
    pub fn spread(&self) -> Spread {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Spread { counts, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }

    fn count(&self, us: u64) {
        if let Some(count) = self.counts.get(bucket(us)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The counts of a distribution at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    counts: Vec<u64>,
    sum_us: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], sum_us: 0 }
    }
}

impl Spread {
    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all times.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// The time below which this share (0 to 1) of all lies, rounded up to its bucket's end; none where nothing was
    /// counted.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = ((total as f64 * share).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        let reached = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        reached.map(|index| Duration::from_micros(upper_us(index)))
    }

    /// How many times are at most this many microseconds; exact where the bound is a power of two from 8 on.
    pub fn at_most_us(&self, bound_us: u64) -> u64 {
        self.counts.iter().take(bucket(bound_us) + 1).sum()
    }

    /// What was counted after an earlier state of the same distribution.
    pub fn since(&self, earlier: &Self) -> Self {
        let counts = self.counts.iter().zip(&earlier.counts).map(|(now, then)| now.saturating_sub(*then)).collect();
        Self { counts, sum_us: self.sum_us.wrapping_sub(earlier.sum_us) }
    }

    /// Both distributions in one.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.sum_us = self.sum_us.wrapping_add(other.sum_us);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The bucket of a time. A bucket includes its upper end, as Prometheus counts; so the value before decides.
fn bucket(us: u64) -> usize {
    let before = us.saturating_sub(1);
    if before < FINE as u64 {
        return before as usize;
    }
    let doubling = before.ilog2();
    let fine = (before >> (doubling - FINE_BITS)) as usize & (FINE - 1);
    ((doubling - FINE_BITS + 1) as usize * FINE + fine).min(BUCKETS - 1)
}

/// The upper end of a bucket, included.
fn upper_us(index: usize) -> u64 {
    let (row, fine) = (index / FINE, (index % FINE) as u64);
    match row.checked_sub(1) {
        None => fine + 1,
        Some(shift) => (FINE as u64 + fine + 1) << shift,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_holds_its_times_and_is_narrow(us in 1_u64..(1 << 39)) {
            let upper = upper_us(bucket(us));
            prop_assert!(us <= upper, "{us} lies above {upper}");
            prop_assert!(bucket(us) == 0 || upper_us(bucket(us) - 1) < us, "{us} belongs to an earlier bucket");
            prop_assert!(upper - us <= us / 8 + 1, "{us} is counted as {upper}");
        }
    }

    #[test]
    fn quantiles_and_bounds() {
        let histogram = Histogram::default();
        assert_eq!(histogram.spread().quantile(0.5), None);
        histogram.record_all((1..=100).map(Duration::from_millis));
        let spread = histogram.spread();
        assert_eq!(spread.count(), 100);
        assert_eq!(spread.sum(), Duration::from_millis(5050));
        let within = |share, low, high| {
            let ms = spread.quantile(share).unwrap().as_millis();
            assert!((low..=high).contains(&ms), "{share}: {ms}");
        };
        within(0.5, 50, 57);
        within(0.99, 99, 112);
        assert_eq!(spread.at_most_us(1 << 16), 65, "65.536 ms");
    }

    #[test]
    fn a_power_of_two_belongs_to_its_own_bound() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(64));
        histogram.record(Duration::from_micros(65));
        assert_eq!(histogram.spread().at_most_us(64), 1);
        assert_eq!(histogram.spread().at_most_us(32), 0);
    }

    #[test]
    fn extremes_have_buckets() {
        let histogram = Histogram::default();
        histogram.record(Duration::ZERO);
        histogram.record(Duration::MAX);
        assert_eq!(histogram.spread().count(), 2);
    }

    #[test]
    fn differences_and_sums() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_millis(1));
        let earlier = histogram.spread();
        histogram.record(Duration::from_millis(8));
        let mut later = histogram.spread().since(&earlier);
        assert_eq!((later.count(), later.sum()), (1, Duration::from_millis(8)));
        later.merge(&earlier);
        assert_eq!(later, histogram.spread());
    }
}
