//! How much a tenant has used lately, and whether that is much. Pure: times are handed in, in nanoseconds.

/// The time over which use is counted.
const WINDOW_NS: u64 = 40_000_000;
/// What is much in one window, for a tenant of weight 1: a quarter of a core.
const MUCH_NS: u64 = WINDOW_NS / 4;

/// How long a tenant that has used much must use little until that is forgotten.
const REST_NS: u64 = 1_000_000_000;

/// The time that a tenant has used in the window that runs, and until when what it has used before counts as much.
#[derive(Debug, Default)]
pub(super) struct Recent {
    window: u64,
    used: u64,
    much_until: u64,
}

impl Recent {
    /// Adds time that a tenant of this weight used just now.
    pub(super) fn add(&mut self, used_ns: u64, weight: u32, now: u64) {
        // Times of several threads may come in another order; an older window is taken for the one that runs.
        let window = now / WINDOW_NS;
        if window > self.window {
            (self.window, self.used) = (window, 0);
        }
        self.used = self.used.saturating_add(used_ns);
        if self.used >= MUCH_NS.saturating_mul(u64::from(weight.max(1))) {
            self.much_until = self.much_until.max(now.saturating_add(REST_NS));
        }
    }

    /// Whether it uses much.
    pub(super) fn is_much(&self, now: u64) -> bool {
        now < self.much_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_is_a_quarter_of_a_core_and_is_forgotten_after_a_rest() {
        let mut recent = Recent::default();
        recent.add(MUCH_NS - 1, 1, 0);
        assert!(!recent.is_much(0));
        recent.add(1, 2, 1);
        assert!(!recent.is_much(1), "who weighs more may use more");
        recent.add(0, 1, 2);
        assert!(recent.is_much(2) && recent.is_much(REST_NS + 1));
        assert!(!recent.is_much(REST_NS + 2));
    }

    #[test]
    fn each_window_counts_for_itself() {
        let mut recent = Recent::default();
        recent.add(MUCH_NS - 1, 1, WINDOW_NS - 1);
        recent.add(MUCH_NS - 1, 1, WINDOW_NS);
        assert!(!recent.is_much(WINDOW_NS));
        recent.add(1, 1, WINDOW_NS - 1);
        assert!(recent.is_much(WINDOW_NS), "a time that comes late counts too");
    }
}
