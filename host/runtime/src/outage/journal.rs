//! The commits of an outage, in their order.
//!
//! Bounded by number and by bytes; knows no store.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use sandbar_store::{Effect, Field, Refusal};

/// The most commits that wait to be replayed.
pub const JOURNAL_ENTRIES_MAX: usize = 100_000;
/// The most bytes of commits that wait to be replayed: 256 MiB.
pub const JOURNAL_BYTES_MAX: usize = 256 << 20;
/// What an effect takes beside its values, roughly.
const EFFECT_BYTES: usize = 128;

/// One commit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// Its writes, in order.
    pub(super) effects: Vec<Effect>,
    /// Watched keys with the values that the writer read.
    pub(super) watched: Vec<(String, Option<Bytes>)>,
    bytes: usize,
}

/// The journal is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store is away, and the journal of its outage is full: {entries} commits, {bytes} bytes")]
pub(super) struct Full {
    entries: usize,
    bytes: usize,
}

impl Entry {
    pub(super) fn new(effects: Vec<Effect>, watched: Vec<(String, Option<Bytes>)>) -> Self {
        let bytes = effects.iter().map(bytes_of).sum::<usize>()
            + watched.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len)).sum::<usize>();
        Self { effects, watched, bytes }
    }

    /// Without the effects that were refused.
    pub(super) fn without(mut self, refused: &[Refusal]) -> Self {
        let mut index = 0;
        self.effects.retain(|_| {
            index += 1;
            !refused.iter().any(|refusal| refusal.effect + 1 == index)
        });
        self
    }
}

/// The journal. Its entries are numbered from 1; those that were replayed are gone.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    /// How many were replayed since the process began.
    replayed: u64,
}

impl Journal {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many entries were replayed since the process began.
    pub(super) fn replayed(&self) -> u64 {
        self.replayed
    }

    pub(super) fn check_room(&self, entry: &Entry) -> Result<(), Full> {
        let fits =
            self.entries.len() < JOURNAL_ENTRIES_MAX && self.bytes.saturating_add(entry.bytes) <= JOURNAL_BYTES_MAX;
        if fits { Ok(()) } else { Err(Full { entries: self.entries.len(), bytes: self.bytes }) }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes = self.bytes.saturating_add(entry.bytes);
        self.entries.push_back(Arc::new(entry));
    }

    /// The oldest entries that can be replayed in one commit: up to so many and about so many bytes; one that relies
    /// on values is alone.
    pub(super) fn head(&self, entries_max: usize, bytes_max: usize) -> Vec<Arc<Entry>> {
        let mut head: Vec<Arc<Entry>> = Vec::new();
        let mut bytes = 0usize;
        for entry in self.entries.iter().take(entries_max) {
            bytes = bytes.saturating_add(entry.bytes);
            let is_alone = !entry.watched.is_empty();
            if !head.is_empty() && (is_alone || bytes > bytes_max) {
                break;
            }
            head.push(entry.clone());
            if is_alone {
                break;
            }
        }
        head
    }

    /// The oldest entries were replayed, up to this number.
    pub(super) fn replayed_to(&mut self, number: u64) {
        while self.replayed < number
            && let Some(entry) = self.entries.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
            self.replayed += 1;
        }
    }
}

/// About how much memory an effect takes.
fn bytes_of(effect: &Effect) -> usize {
    let fields = |fields: &[Field]| fields.iter().map(|field| field.name.len() + field.value.len()).sum::<usize>();
    let names = |names: &[String]| names.iter().map(String::len).sum::<usize>();
    let values = match effect {
        Effect::Set { value, .. } | Effect::ListRemove { value, .. } => value.len(),
        Effect::Publish { payload, .. } => payload.len(),
        Effect::Append { fields: all, .. } | Effect::HashSet { fields: all, .. } => fields(all),
        Effect::HashDelete { names: all, .. } => names(all),
        Effect::SetAdd { members, .. } | Effect::SetRemove { members, .. } | Effect::SortedRemove { members, .. } => {
            names(members)
        }
        Effect::SortedAdd { members, .. } => members.iter().map(|scored| scored.member.len() + 8).sum(),
        Effect::Push { payloads: values, .. } | Effect::ListPush { values, .. } => values.iter().map(Bytes::len).sum(),
        Effect::HashAdd { name, .. } => name.len(),
        Effect::Remove { ids, .. } => ids.len() * 16,
        Effect::Delete { .. } | Effect::Expire { .. } | Effect::Add { .. } | Effect::SortedRemoveByScore { .. } => 0,
    };
    EFFECT_BYTES + effect.key().len() + values
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(key: usize, relies: bool) -> Entry {
        let watched = if relies { vec![("r".to_owned(), None)] } else { Vec::new() };
        Entry::new(vec![Effect::Add { key: key.to_string(), by: 1 }], watched)
    }

    proptest! {
        #[test]
        fn replaying_heads_passes_every_entry_once_and_in_order(
            relies in prop::collection::vec(any::<bool>(), 0..60),
            at_once in 1usize..10,
            bytes in 1usize..2000,
        ) {
            let mut journal = Journal::default();
            relies.iter().enumerate().for_each(|(at, relies)| journal.push(entry(at, *relies)));
            let mut seen = Vec::new();
            while journal.len() > 0 {
                let head = journal.head(at_once, bytes);
                prop_assert!(!head.is_empty() && head.len() <= at_once);
                prop_assert!(head.len() == 1 || head.iter().all(|entry| entry.watched.is_empty()));
                seen.extend(head.iter().map(|entry| entry.effects[0].key().to_owned()));
                journal.replayed_to(journal.replayed() + head.len() as u64);
            }
            prop_assert_eq!(seen, (0..relies.len()).map(|at| at.to_string()).collect::<Vec<_>>());
            prop_assert_eq!(journal.bytes, 0);
        }
    }

    #[test]
    fn what_the_fallback_refused_is_not_replayed() {
        let mut both = entry(1, false);
        both.effects.push(Effect::Add { key: "2".to_owned(), by: 1 });
        let left = both.without(&[Refusal { effect: 0, error: String::new() }]);
        assert_eq!(left.effects, entry(2, false).effects);
    }

    #[test]
    fn a_full_journal_says_so() {
        let journal = Journal { bytes: JOURNAL_BYTES_MAX, ..Journal::default() };
        assert!(journal.check_room(&entry(1, false)).unwrap_err().to_string().contains("is full"));
    }
}
