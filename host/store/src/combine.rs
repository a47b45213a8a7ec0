//! Combines the writes of one batch that overwrite or continue each other, before they are committed.
//!
//! It is pure, and takes time in proportion to the writes: each is compared with at most [`LOOK_BACK_MAX`] writes
//! before it on the same key. Nobody outside can see the difference, since a commit is atomic: in the end the keys
//! hold the same values, and no write that a store may refuse (an addition to what is no integer, a push to what is
//! no list) is dropped. A refused write counts against all events that contributed to it. Only at the edge of 64 bits
//! can a sum differ: of two additions, one alone may overflow where both together do not.
//!
//! Appends and messages are never combined and stay in their order.

mod join;

use std::collections::HashMap;

use smallvec::{SmallVec, smallvec};

use self::join::{Joined, join, trim};
use super::Effect;

pub use self::join::MEMBERS_MAX;

/// How many earlier writes on its key a write is compared with. Only what leaves its predecessors without meaning, and
/// additions to one of several fields of a hash, look further back than one.
pub const LOOK_BACK_MAX: usize = 8;

/// A write that a batch has made.
#[derive(Debug, Clone, PartialEq)]
pub struct Gathered {
    /// The write.
    pub effect: Effect,
    /// The index in the batch of the event that it belongs to; none for the batch as a whole.
    pub event: Option<u32>,
}

/// A write to be committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Combined {
    /// The write.
    pub effect: Effect,
    /// Whose writes are in it, each once, in rising order; none stands for the batch as a whole and comes first.
    pub events: Owners,
}

/// The events that a write belongs to: one, for most.
pub type Owners = SmallVec<[Option<u32>; 2]>;

/// A write in the making.
struct CombinedWrite {
    combined: Combined,
    /// The write before it on the same key.
    previous: Option<usize>,
}

/// Combines the writes of a batch, given in their order.
pub fn combine(gathered: Vec<Gathered>) -> Vec<Combined> {
    let (keys, key_count) = number_keys(&gathered);
    let mut slots = Slots(Vec::with_capacity(gathered.len()));
    // The last write of each key.
    let mut last: Vec<Option<usize>> = vec![None; key_count];
    for (Gathered { effect, event }, key) in gathered.into_iter().zip(keys) {
        let combined = Combined { effect, events: smallvec![event] };
        match key.and_then(|key| last.get_mut(key)) {
            Some(last) => slots.place(last, combined),
            None => slots.0.push(Some(CombinedWrite { combined, previous: None })),
        }
    }
    slots.0.into_iter().flatten().map(|slot| finish(slot.combined)).collect()
}

/// Numbers the keys in the order in which they come. Answers each write's number, none for messages (a channel is
/// no key), and how many keys there are.
fn number_keys(gathered: &[Gathered]) -> (Vec<Option<usize>>, usize) {
    let mut numbers: HashMap<&str, usize> = HashMap::with_capacity(gathered.len());
    let mut number = |effect| match effect {
        &Effect::Publish { .. } => None,
        effect => {
            let next = numbers.len();
            Some(*numbers.entry(effect.key()).or_insert(next))
        }
    };
    let keys = gathered.iter().map(|write| number(&write.effect)).collect();
    (keys, numbers.len())
}

fn finish(mut combined: Combined) -> Combined {
    trim(&mut combined.effect);
    combined.events.sort_unstable();
    combined.events.dedup();
    combined
}

/// All writes; empty where one was dropped.
struct Slots(Vec<Option<CombinedWrite>>);

impl Slots {
    /// Adds a write to what is there of its key. `last` is the key's last write.
    fn place(&mut self, last: &mut Option<usize>, combined: Combined) {
        let Combined { mut effect, events } = combined;
        let mut at = *last;
        let mut free = None;
        for _ in 0..LOOK_BACK_MAX {
            let Some(place) = at.and_then(|index| self.0.get_mut(index)) else { break };
            let Some(slot) = place.as_mut() else { break };
            let previous = slot.previous;
            effect = match join(&mut slot.combined.effect, effect) {
                Joined::Whole => {
                    slot.combined.events.extend(events);
                    return;
                }
                Joined::Replaces(next) => {
                    *place = None;
                    free = at;
                    *last = previous;
                    next
                }
                Joined::Beside(next) => next,
                Joined::Apart(next) => {
                    effect = next;
                    break;
                }
            };
            at = previous;
        }
        let slot = CombinedWrite { combined: Combined { effect, events }, previous: *last };
        // In the place of what it replaces, so that it still comes before a message that tells of it.
        match free.and_then(|index| Some((index, self.0.get_mut(index)?))) {
            Some((index, place)) => {
                *place = Some(slot);
                *last = Some(index);
            }
            None => {
                *last = Some(self.0.len());
                self.0.push(Some(slot));
            }
        }
    }
}

#[cfg(test)]
mod tests;
