//! How much a tenant has used lately, and whether that is much. Pure: times are handed in, in nanoseconds.

/// The time over which use is counted.
const WINDOW_NS: u64 = 100_000_000;
/// What is much in one window, for a tenant of weight 1: a quarter of a core.
const MUCH_NS: u64 = WINDOW_NS / 4;

/// The time that a tenant has used in the window that runs and in the one before.
#[derive(Debug, Default)]
pub(super) struct Recent {
    window: u64,
    used: u64,
    before: u64,
}

impl Recent {
    /// Adds time that was used just now.
    pub(super) fn add(&mut self, used_ns: u64, now: u64) {
        self.turn(now);
        self.used = self.used.saturating_add(used_ns);
    }

    /// Whether a tenant of this weight uses much.
    pub(super) fn is_much(&mut self, weight: u32, now: u64) -> bool {
        self.turn(now);
        self.used.max(self.before) >= MUCH_NS.saturating_mul(u64::from(weight.max(1)))
    }

    fn turn(&mut self, now: u64) {
        let window = now / WINDOW_NS;
        // Times of several threads may come in another order; an older window is taken for the one that runs.
        let passed = window.saturating_sub(self.window);
        if passed > 0 {
            self.before = if passed == 1 { self.used } else { 0 };
            self.used = 0;
            self.window = window;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_is_a_quarter_of_a_core_and_is_forgotten_after_two_windows() {
        let mut recent = Recent::default();
        recent.add(MUCH_NS - 1, 0);
        assert!(!recent.is_much(1, 0));
        recent.add(1, 1);
        assert!(recent.is_much(1, 2));
        assert!(!recent.is_much(2, 2), "who weighs more may use more");
        assert!(recent.is_much(1, 2 * WINDOW_NS - 1), "in the window after it too");
        assert!(!recent.is_much(1, 2 * WINDOW_NS));
    }

    #[test]
    fn windows_in_which_nothing_was_used_count() {
        let mut recent = Recent::default();
        recent.add(WINDOW_NS, 0);
        assert!(!recent.is_much(1, 5 * WINDOW_NS));
        recent.add(MUCH_NS, 5 * WINDOW_NS);
        recent.add(1, 4 * WINDOW_NS);
        assert!(recent.is_much(1, 5 * WINDOW_NS), "a time that comes late does no harm");
    }
}
