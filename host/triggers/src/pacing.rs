//! When a worker tries again, when it looks again, and when it measures. Pure but for chance and the clock.

use std::sync::LazyLock;
use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use sandbar_store::Backlog;

/// The first pause after a fault of the store.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// The step of the moments at which the workers of one host look by themselves. Questions of one moment go out in one
/// write and are answered in one read, which costs an idle host a fraction of what as many single ones cost.
const MOMENT: Duration = Duration::from_secs(1);
/// The shortest wait that is moved to such a moment.
const MOMENT_WAIT_MIN: Duration = Duration::from_secs(3);
/// How often the backlog is measured while there is some, or was when it was measured last.
const BACKLOG_INTERVAL: Duration = Duration::from_secs(2);
/// How often it is measured while there is none.
const BACKLOG_IDLE_INTERVAL: Duration = Duration::from_secs(15);

/// From when moments are counted: by chance, so that hosts that started together do not act together.
static MOMENTS: LazyLock<Instant> =
    LazyLock::new(|| Instant::now() + MOMENT.mul_f64(rand::rng().random_range(0.0..=1.0)));

/// Pauses after faults: doubling up to a cap, with jitter, from the start again after a success.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    faults: u32,
}

impl Pause {
    /// Whether there was no fault since the last success.
    pub(crate) fn is_first(&self) -> bool {
        self.faults == 0
    }

    /// The pause after one more fault.
    pub(crate) fn next(&mut self) -> Duration {
        let full = PAUSE_MIN.saturating_mul(1 << self.faults.min(16)).min(PAUSE_MAX);
        self.faults = self.faults.saturating_add(1);
        jittered(full)
    }

    /// Something went well. Answers whether there were faults before it.
    pub(crate) fn reset(&mut self) -> bool {
        std::mem::take(&mut self.faults) > 0
    }
}

/// Between half of a duration and all of it, so that hosts that started together do not act together.
pub(crate) fn jittered(full: Duration) -> Duration {
    full.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// When to look again: after `full` at the latest, and not much sooner. Short waits have jitter, long ones end
/// together with those of others.
pub(crate) fn look_after(full: Duration) -> Instant {
    let now = Instant::now();
    if full < MOMENT_WAIT_MIN {
        return now + jittered(full);
    }
    let at = now + full;
    at - past_moment(at.saturating_duration_since(*MOMENTS))
}

/// How long the last common moment is over, `since` all of them began.
fn past_moment(since: Duration) -> Duration {
    Duration::from_nanos(u64::try_from(since.as_nanos() % MOMENT.as_nanos()).unwrap_or_default())
}

/// When the backlog is measured: often while something happens, rarely otherwise.
#[derive(Debug)]
pub(crate) struct Measuring {
    at: Instant,
    /// Something came since it was measured last.
    is_touched: bool,
}

impl Measuring {
    /// To be measured at once.
    pub(crate) fn new() -> Self {
        Self { at: Instant::now(), is_touched: true }
    }

    /// When it is to be measured.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// Something came: it is measured soon.
    pub(crate) fn touch(&mut self) {
        if !self.is_touched {
            self.is_touched = true;
            self.at = self.at.min(Instant::now() + BACKLOG_INTERVAL);
        }
    }

    /// It is being measured, and may fail.
    pub(crate) fn begin(&mut self) {
        self.at = Instant::now() + BACKLOG_INTERVAL;
    }

    /// It was measured.
    pub(crate) fn end(&mut self, backlog: &Backlog) {
        let is_idle = backlog.pending == 0 && backlog.lag.is_none_or(|lag| lag == 0);
        if is_idle && !std::mem::take(&mut self.is_touched) {
            self.at = look_after(BACKLOG_IDLE_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backlog(pending: u64) -> Backlog {
        Backlog { pending, lag: Some(0), dead: 7 }
    }

    proptest! {
        #[test]
        fn looks_are_never_late_and_seldom_early(ms in 1_u64..60_000) {
            let full = Duration::from_millis(ms);
            let before = Instant::now();
            let waits = look_after(full).saturating_duration_since(before);
            let least = if full < MOMENT_WAIT_MIN { full / 2 } else { full - MOMENT };
            prop_assert!(waits >= least && look_after(full) <= Instant::now() + full);
        }

        #[test]
        fn long_waits_end_together(first in 3_000_u64..60_000, second in 3_000_u64..60_000) {
            let [first, second] = [first, second].map(|ms| look_after(Duration::from_millis(ms)));
            let apart = first.max(second) - first.min(second);
            prop_assert_eq!(past_moment(apart), Duration::ZERO);
        }
    }

    #[test]
    fn what_is_idle_is_measured_rarely_until_something_comes() {
        let mut measuring = Measuring::new();
        let is_soon = |measuring: &Measuring| measuring.at() <= Instant::now() + BACKLOG_INTERVAL;
        let measure = |measuring: &mut Measuring, pending| {
            measuring.begin();
            measuring.end(&backlog(pending));
        };
        assert!(measuring.at() <= Instant::now());
        measure(&mut measuring, 0);
        assert!(is_soon(&measuring), "something may just have come");
        measure(&mut measuring, 1);
        assert!(is_soon(&measuring), "something is there");
        measure(&mut measuring, 0);
        assert!(measuring.at() > Instant::now() + BACKLOG_IDLE_INTERVAL - 2 * MOMENT);
        measuring.touch();
        assert!(is_soon(&measuring));
        measure(&mut measuring, 0);
        assert!(is_soon(&measuring), "what came may have ended since");
    }
}
