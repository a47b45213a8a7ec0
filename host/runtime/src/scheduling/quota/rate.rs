//! So much in a second: a bucket that may run dry below its bottom. Pure: times are handed in, in nanoseconds.
//!
//! How many events a read brings is known only afterwards, so what was taken is charged in any case, and who comes
//! next waits until the debt is paid.

/// So much may be taken at once after a rest, in parts of a second.
const BURST_DIVISOR: u64 = 10;
const SECOND_NS: u64 = 1_000_000_000;

/// A rate.
#[derive(Debug)]
pub(super) struct Rate {
    /// What one costs.
    each_ns: u64,
    /// How far `paid_until` may lie behind.
    burst_ns: u64,
    /// Until when what was taken is paid for.
    paid_until: u64,
}

impl Rate {
    /// So many in a second, a tenth of them at once.
    pub(super) fn new(per_second: u32) -> Self {
        let each_ns = SECOND_NS / u64::from(per_second.max(1));
        // One at least may be taken at once.
        Self { each_ns, burst_ns: (SECOND_NS / BURST_DIVISOR).max(each_ns), paid_until: 0 }
    }

    /// How long until something may be taken; 0 where it may be now.
    pub(super) fn wait_ns(&self, now: u64) -> u64 {
        self.paid_until.saturating_sub(now)
    }

    /// Takes so many, which may be more than there are.
    pub(super) fn charge(&mut self, count: u64, now: u64) {
        let cost = self.each_ns.saturating_mul(count);
        self.paid_until = self.paid_until.max(now.saturating_sub(self.burst_ns)).saturating_add(cost);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_debt_is_paid_before_more_is_taken() {
        let (mut rate, start) = (Rate::new(100), 10 * SECOND_NS);
        assert_eq!(rate.wait_ns(start), 0);
        rate.charge(50, start);
        assert_eq!(rate.wait_ns(start), 4 * SECOND_NS / 10, "ten at once, forty to come");
        assert_eq!(rate.wait_ns(start + SECOND_NS), 0);
        let mut slow = Rate::new(1);
        slow.charge(1, start);
        assert_eq!(slow.wait_ns(start), 0);
        slow.charge(1, start);
        assert_eq!(slow.wait_ns(start), SECOND_NS);
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_the_last_taken(
            per_second in 1u32..10_000,
            steps in prop::collection::vec((1u64..100, 0u64..SECOND_NS / 10), 1..100),
        ) {
            let (mut rate, start) = (Rate::new(per_second), 100 * SECOND_NS);
            let (mut now, mut taken, mut last) = (start, 0, 0);
            for (count, pause) in steps {
                now += pause;
                if rate.wait_ns(now) == 0 {
                    rate.charge(count, now);
                    taken += count;
                    last = count;
                }
            }
            let allowed = (now - start) as f64 / 1e9 * f64::from(per_second) * 1.01 + f64::from(per_second) / 10.0 + 2.0;
            prop_assert!((taken - last) as f64 <= allowed, "{taken} taken, {allowed} allowed");
        }
    }
}
