//! A small generator of random numbers (SplitMix64) whose sequence never changes: the same seed gives the same lines
//! with every version of every library.

/// The state of the sequence.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from 0 to below 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number from `min` to below `max`, with six decimals, as detectors write them.
    pub(super) fn decimal(&mut self, min: f64, max: f64) -> f64 {
        ((min + self.unit() * (max - min)) * 1e6).round() / 1e6
    }

    /// A number from 0 to below `end`, or 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.unit() * end as f64) as usize
    }

    /// True in this share of cases, 0 to 1.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// One of several values.
    pub(super) fn pick<T: Copy, const N: usize>(&mut self, values: [T; N]) -> Option<T> {
        values.get(self.below(N)).copied()
    }
}
