//! The epochs of consumers.

use std::collections::HashMap;

use crate::Epoch;

/// Epochs by fence key. They stay until their consumer is removed.
#[derive(Debug, Default)]
pub(super) struct Fences(HashMap<String, u64>);

impl Fences {
    /// The epoch of a fence.
    pub(super) fn epoch(&self, fence_key: &str) -> Option<Epoch> {
        self.0.get(fence_key).copied().map(Epoch)
    }

    /// Advances a fence, or begins a new one where it is missing.
    pub(super) fn advance_own(&mut self, fence_key: &str) -> Epoch {
        // Random, so that a fence that is made anew does not repeat an epoch; 48 bits leave room to grow.
        let epoch = self.0.entry(fence_key.to_owned()).or_insert_with(|| rand::random::<u64>() >> 16);
        *epoch += 1;
        Epoch(*epoch)
    }

    /// Advances a fence where it is there; without one its consumer cannot commit anyway.
    pub(super) fn advance(&mut self, fence_key: &str) {
        if let Some(epoch) = self.0.get_mut(fence_key) {
            *epoch += 1;
        }
    }

    /// Removes a fence.
    pub(super) fn remove(&mut self, fence_key: &str) {
        self.0.remove(fence_key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_never_repeated() {
        let mut fences = Fences::default();
        let first = fences.advance_own("f");
        assert_eq!(fences.epoch("f"), Some(first));
        fences.advance("f");
        let third = fences.advance_own("f");
        assert_eq!(third.0, first.0 + 2);
        fences.remove("f");
        fences.advance("f");
        assert_eq!(fences.epoch("f"), None);
        assert!(![first, third].contains(&fences.advance_own("f")));
    }
}
