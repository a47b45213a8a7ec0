//! Instances that rest: those that are kept although they are idle, of all tenants of a host together.

use std::collections::BTreeMap;
use std::sync::Weak;

use parking_lot::Mutex;

use super::Spare;

/// Which instances rest. Never more than a bound: where it is met, a plugin that has none idle_lru takes the place of
/// the one that has rested longest, whosoever it is, so plugins that are called find one, however many there are. A
/// plugin never has a second one at the cost of others.
#[derive(Debug)]
pub(super) struct IdleLru {
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Whose each is, by its number: the first has rested longest.
    owners: BTreeMap<u64, Weak<dyn Spare>>,
}

/// An instance that has to go. Not to be looked at while the own ones are locked.
#[derive(Debug)]
pub struct Displaced {
    number: u64,
    owner: Weak<dyn Spare>,
}

impl IdleLru {
    pub(super) fn new(max: usize) -> Self {
        Self { max, state: Mutex::default() }
    }

    /// Gives an instance a number by which it rests, and answers which one has to go for it; none where it may not
    /// rest itself. `is_first` says that its owner has no other one.
    pub(super) fn rest(&self, owner: Weak<dyn Spare>, is_first: bool) -> Option<(u64, Option<Displaced>)> {
        let mut state = self.state.lock();
        let is_full = state.owners.len() >= self.max;
        if self.max == 0 || (is_full && !is_first) {
            return None;
        }
        let displaced = is_full.then(|| state.owners.pop_first()).flatten();
        let number = state.next;
        state.next += 1;
        state.owners.insert(number, owner);
        Some((number, displaced.map(|(number, owner)| Displaced { number, owner })))
    }

    /// These rest no more.
    pub(super) fn wake(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut state = self.state.lock();
        for number in numbers {
            state.owners.remove(&number);
        }
    }
}

impl Displaced {
    /// Has its owner give it up, unless it is in use again.
    pub fn give_up(self) {
        if let Some(owner) = self.owner.upgrade() {
            owner.give_up(self.number);
        }
    }
}
