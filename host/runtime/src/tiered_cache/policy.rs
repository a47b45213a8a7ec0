//! How a tiered read goes: what may be answered, and for how long it is kept.
//!
//! Pure: times come in as milliseconds, chance as a number.

use std::time::Duration;

use sandbar_store::Remaining;

/// The longest of all times of a policy, in milliseconds: 365 days.
pub const TTL_MS_MAX: u64 = 365 * 24 * 3600 * 1000;
/// The largest part of a time to live that may be taken off at random, in percent.
pub const JITTER_PERCENT_MAX: u8 = 50;

/// How a tiered read goes. All times are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long a loaded value stays in the store, 1 to [`TTL_MS_MAX`].
    pub ttl_ms: u64,
    /// The largest part of `ttl_ms` that is taken off at random, in percent, 0 to [`JITTER_PERCENT_MAX`].
    pub jitter_percent: u8,
    /// How long this host may answer from its memory; 0 never does.
    pub memory_ttl_ms: u64,
    /// How long it is remembered that the source has nothing; 0 does not.
    pub negative_ttl_ms: u64,
    /// For how long after its end a value is answered while a new one is loaded; 0 does not.
    pub stale_while_revalidate_ms: u64,
    /// For how long after its end a value is answered where the source fails; 0 does not.
    pub stale_on_error_ms: u64,
}

/// A policy is outside its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A time is too long or too short.
    #[error("`{field}` of the policy is {value}; {min} to {TTL_MS_MAX} are allowed")]
    Time {
        /// Which.
        field: &'static str,
        /// What it is.
        value: u64,
        /// The least that it may be.
        min: u64,
    },
    /// Too much is taken off at random.
    #[error("`jitter-percent` of the policy is {0}; 0 to {JITTER_PERCENT_MAX} are allowed")]
    Jitter(u8),
}

/// What a value that is over is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is answered at once.
    WhileLoading,
    /// It is answered where the source fails.
    OnError,
    /// It is not answered.
    Nothing,
}

impl Policy {
    /// A policy that keeps a value for so many milliseconds in the store, and nowhere else.
    pub fn new(ttl_ms: u64) -> Self {
        Self {
            ttl_ms,
            jitter_percent: 0,
            memory_ttl_ms: 0,
            negative_ttl_ms: 0,
            stale_while_revalidate_ms: 0,
            stale_on_error_ms: 0,
        }
    }

    /// Whether the policy is within its bounds.
    pub fn check(&self) -> Result<(), PolicyError> {
        let times = [
            ("ttl-ms", self.ttl_ms, 1),
            ("memory-ttl-ms", self.memory_ttl_ms, 0),
            ("negative-ttl-ms", self.negative_ttl_ms, 0),
            ("stale-while-revalidate-ms", self.stale_while_revalidate_ms, 0),
            ("stale-on-error-ms", self.stale_on_error_ms, 0),
        ];
        let outside = |(_, value, min): &(&str, u64, u64)| !(*min..=TTL_MS_MAX).contains(value);
        if let Some((field, value, min)) = times.into_iter().find(outside) {
            return Err(PolicyError::Time { field, value, min });
        }
        if self.jitter_percent > JITTER_PERCENT_MAX {
            return Err(PolicyError::Jitter(self.jitter_percent));
        }
        Ok(())
    }

    /// How long a value that is loaded now stays; `chance` is 0 to 1.
    pub fn jittered_ttl_ms(&self, chance: f64) -> u64 {
        let most = u128::from(self.ttl_ms) * u128::from(self.jitter_percent) / 100;
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        #[expect(
            clippy::cast_precision_loss,
            reason = "at most 365 days in milliseconds, which a double holds exactly"
        )]
        let off = most as f64 * chance.clamp(0.0, 1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and `most`")]
        let off = off as u64;
        self.ttl_ms.saturating_sub(off).max(1)
    }

    /// For how long a copy of a value outlives it.
    pub fn stale_ms(&self) -> u64 {
        self.stale_while_revalidate_ms.max(self.stale_on_error_ms)
    }

    /// What a value is good for that has been over for so many milliseconds.
    pub fn stale_use(&self, age_ms: u64) -> Use {
        let within = |window: u64| window > 0 && age_ms <= window;
        if within(self.stale_while_revalidate_ms) {
            Use::WhileLoading
        } else if within(self.stale_on_error_ms) {
            Use::OnError
        } else {
            Use::Nothing
        }
    }

    /// How long this host may keep in memory what the store keeps for so long; none where it may not.
    pub fn memory_ttl(&self, remaining: Remaining) -> Option<Duration> {
        let ms = match remaining {
            Remaining::Missing => 0,
            Remaining::Never => self.memory_ttl_ms,
            Remaining::Ms(left) => left.min(self.memory_ttl_ms),
        };
        (ms > 0).then(|| Duration::from_millis(ms))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policies() -> impl Strategy<Value = Policy> {
        let time = || prop_oneof![Just(0), 1..100_000_u64, Just(TTL_MS_MAX)];
        (1..=TTL_MS_MAX, 0..=JITTER_PERCENT_MAX, time(), time(), time(), time()).prop_map(
            |(ttl_ms, jitter_percent, memory_ttl_ms, negative_ttl_ms, while_loading, on_error)| Policy {
                ttl_ms,
                jitter_percent,
                memory_ttl_ms,
                negative_ttl_ms,
                stale_while_revalidate_ms: while_loading,
                stale_on_error_ms: on_error,
            },
        )
    }

    proptest! {
        #[test]
        fn the_jitter_stays_within_its_part(policy in policies(), chance in 0.0..=1.0_f64) {
            prop_assert_eq!(policy.check(), Ok(()));
            let ttl_ms = policy.jittered_ttl_ms(chance);
            prop_assert!((1..=policy.ttl_ms).contains(&ttl_ms));
            let least = policy.ttl_ms - policy.ttl_ms / 100 * u64::from(policy.jitter_percent);
            prop_assert!(ttl_ms + u64::from(policy.jitter_percent) >= least, "{ttl_ms} is below {least}");
        }

        #[test]
        fn memory_never_outlives_the_store(policy in policies(), left in any::<u64>()) {
            for remaining in [Remaining::Ms(left), Remaining::Never, Remaining::Missing] {
                let Some(ttl) = policy.memory_ttl(remaining) else { continue };
                prop_assert!(ttl <= Duration::from_millis(policy.memory_ttl_ms));
                prop_assert!(remaining != Remaining::Missing);
                prop_assert!(remaining == Remaining::Never || ttl <= Duration::from_millis(left));
            }
        }

        #[test]
        fn a_stale_value_is_good_for_less_and_less(policy in policies(), age_ms in 0..200_000_u64, later in 0..200_000_u64) {
            let rank = |age_ms| match policy.stale_use(age_ms) {
                Use::WhileLoading => 2,
                Use::OnError => 1,
                Use::Nothing => 0,
            };
            prop_assert!(rank(age_ms) >= rank(age_ms + later));
            prop_assert!(rank(age_ms) == 0 || age_ms <= policy.stale_ms(), "what is used is kept");
            prop_assert_eq!(rank(policy.stale_ms() + 1), 0);
        }
    }

    #[test]
    fn without_jitter_nothing_is_taken_off() {
        assert_eq!(Policy::new(1_000).jittered_ttl_ms(0.99), 1_000);
        let half = Policy { jitter_percent: 50, ..Policy::new(1_000) };
        assert_eq!(
            (half.jittered_ttl_ms(0.0), half.jittered_ttl_ms(0.5), half.jittered_ttl_ms(1.0)),
            (1_000, 750, 500)
        );
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let says = |policy: Policy, words: &str| {
            let text = policy.check().unwrap_err().to_string();
            assert!(text.contains(words), "{text}");
        };
        says(Policy::new(0), "`ttl-ms` of the policy is 0; 1 to 31536000000");
        says(Policy { jitter_percent: 51, ..Policy::new(1) }, "jitter-percent");
        says(Policy { stale_on_error_ms: TTL_MS_MAX + 1, ..Policy::new(1) }, "stale-on-error-ms");
    }

    #[test]
    fn no_window_answers_nothing_stale() {
        assert_eq!(Policy::new(1).stale_use(0), Use::Nothing);
        let both = Policy { stale_while_revalidate_ms: 10, stale_on_error_ms: 20, ..Policy::new(1) };
        assert_eq!(
            [0, 10, 11, 20, 21].map(|age| both.stale_use(age)),
            [Use::WhileLoading, Use::WhileLoading, Use::OnError, Use::OnError, Use::Nothing]
        );
    }
}
