//! A stream: its entries, its retention, and how far its groups are.
//!
//! `About` is kept exactly: there are no nodes of entries that would have to be removed as a whole.

use std::collections::BTreeMap;

use super::group::{Entries, Group};
use super::tally::Tally;
use crate::{Entry, EntryId, Field, Retention, StoreError, StreamInfo, stream};

/// What an entry takes beside its fields, in bytes, about.
const ENTRY_OVERHEAD_BYTES: u64 = 64;
/// What a field takes beside its name and value, in bytes, about.
const FIELD_OVERHEAD_BYTES: u64 = 56;
/// What a pending entry takes, in bytes, about.
const PENDING_BYTES: u64 = 96;

/// A stream. Empty, it stays, with its groups and its last id.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Log {
    /// What it holds.
    pub(super) entries: Entries,
    /// Its consumer groups.
    pub(super) groups: BTreeMap<String, Group>,
    /// The last id given out; ids only grow, even if the clock does not.
    pub(super) last_id: EntryId,
    /// How many entries were ever appended.
    appended: u64,
    /// The newest entry that was removed other than by retention.
    removed_max: EntryId,
    /// About what the entries take in memory.
    bytes: u64,
}

impl Log {
    /// Appends an entry and applies the retention; its id is the clock's time or what follows the last id.
    /// [`StoreError::Invalid`] where there are no more ids.
    pub(super) fn append(
        &mut self,
        now_ms: u64,
        fields: Vec<Field>,
        retention: Retention,
    ) -> Result<EntryId, StoreError> {
        let id = if now_ms > self.last_id.ms {
            EntryId { ms: now_ms, seq: 0 }
        } else {
            self.last_id.next().ok_or_else(|| StoreError::Invalid("the stream has no more ids".to_owned()))?
        };
        self.bytes += size(&fields);
        self.entries.insert(id, fields);
        self.last_id = id;
        self.appended += 1;
        self.retain(retention, EntryId::MAX);
        Ok(id)
    }

    /// Removes the oldest entries that the retention does not keep, as far as they are older than `floor`. Answers
    /// how many.
    pub(super) fn retain(&mut self, retention: Retention, floor: EntryId) -> u64 {
        let (keep, min_id) = match retention {
            Retention::Unlimited => return 0,
            Retention::About(keep) | Retention::Exactly(keep) => (keep, EntryId::MAX),
            Retention::MinId(min_id) => (0, min_id),
        };
        let below = floor.min(min_id);
        let mut removed = 0;
        while self.len() > keep
            && let Some(oldest) = self.entries.first_entry()
            && (*oldest.key() < below || below == EntryId::MAX)
        {
            self.bytes = self.bytes.saturating_sub(size(oldest.get()));
            oldest.remove();
            removed += 1;
        }
        removed
    }

    /// The oldest entry that some group has not read or not acknowledged; [`EntryId::MAX`] where there is none.
    pub(super) fn unread_from(&self) -> EntryId {
        self.groups.values().map(Group::unread_from).min().unwrap_or(EntryId::MAX)
    }

    /// Removes entries wherever they are. They stay pending where they are.
    pub(super) fn remove(&mut self, ids: &[EntryId]) {
        for id in ids {
            if let Some(fields) = self.entries.remove(id) {
                self.bytes = self.bytes.saturating_sub(size(&fields));
                self.removed_max = self.removed_max.max(*id);
            }
        }
    }

    /// Number of entries.
    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Up to `count` entries between two ids, both included.
    pub(super) fn range(&self, start: EntryId, end: EntryId, count: usize, reverse: bool) -> Vec<Entry> {
        if start > end {
            return Vec::new();
        }
        let entry = |(&id, fields): (&EntryId, &Vec<Field>)| Entry { id, fields: fields.clone() };
        let range = self.entries.range(start..=end);
        if reverse { range.rev().take(count).map(entry).collect() } else { range.take(count).map(entry).collect() }
    }

    /// What the lag of groups is computed from.
    pub(super) fn tally(&self) -> Tally {
        Tally {
            length: self.len(),
            first_id: self.entries.keys().next().copied(),
            last_id: self.last_id,
            appended: self.appended,
            removed_max: self.removed_max,
        }
    }

    /// The state of the stream.
    pub(super) fn info(&self) -> StreamInfo {
        let tally = self.tally();
        let pending: u64 = self.groups.values().map(Group::pending_count).sum();
        let group = |(name, group): (&String, &Group)| stream::Group {
            name: name.clone(),
            consumers: group.consumer_count(),
            pending: group.pending_count(),
            lag: group.lag(tally),
            last_delivered: group.last_delivered,
        };
        StreamInfo {
            length: self.len(),
            first_id: tally.first_id,
            last_id: self.entries.keys().next_back().copied(),
            memory_bytes: self.bytes + pending * PENDING_BYTES,
            groups: self.groups.iter().map(group).collect(),
        }
    }
}

fn size(fields: &[Field]) -> u64 {
    let field = |field: &Field| FIELD_OVERHEAD_BYTES + (field.name.len() + field.value.len()) as u64;
    ENTRY_OVERHEAD_BYTES + fields.iter().map(field).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(ms: u64, seq: u64) -> EntryId {
        EntryId { ms, seq }
    }

    fn log(times: &[u64]) -> Log {
        let mut log = Log::default();
        for &now_ms in times {
            log.append(now_ms, vec![Field::new("a", "1")], Retention::Unlimited).unwrap();
        }
        log
    }

    #[test]
    fn ids_grow_although_the_clock_goes_back() {
        let log = log(&[5, 5, 3, 7]);
        assert_eq!(log.entries.keys().copied().collect::<Vec<_>>(), [id(5, 0), id(5, 1), id(5, 2), id(7, 0)]);
    }

    #[test]
    fn ids_end_with_the_largest() {
        let mut log = Log { last_id: EntryId::MAX, ..Log::default() };
        assert!(matches!(log.append(1, Vec::new(), Retention::Unlimited), Err(StoreError::Invalid(_))));
        assert_eq!(log.len(), 0);
    }

    #[test]
    fn retention_removes_the_oldest_below_the_floor() {
        let mut log = log(&[1, 2, 3, 4, 5]);
        assert_eq!(log.retain(Retention::Exactly(1), id(3, 0)), 2);
        assert_eq!(log.retain(Retention::MinId(id(5, 0)), id(4, 0)), 1);
        assert_eq!(log.retain(Retention::About(1), EntryId::MAX), 1);
        assert_eq!(log.tally().first_id, Some(id(5, 0)));
        assert_eq!(log.retain(Retention::Exactly(0), EntryId::MAX), 1);
        assert_eq!(log.bytes, 0);
        assert_eq!(log.last_id, id(5, 0));
    }

    #[test]
    fn an_entry_may_be_trimmed_by_its_own_append() {
        let mut log = Log::default();
        log.append(1, vec![Field::new("a", "1")], Retention::Exactly(0)).unwrap();
        assert_eq!((log.len(), log.last_id), (0, id(1, 0)));
    }

    proptest! {
        #[test]
        fn a_range_is_a_filter(start in 0_u64..8, end in 0_u64..8, count in 0_usize..6, reverse: bool) {
            let log = log(&[1, 2, 4, 4, 6]);
            let mut expected: Vec<EntryId> = log.entries.keys().copied().filter(|entry| id(start, 0) <= *entry && *entry <= id(end, 0)).collect();
            if reverse {
                expected.reverse();
            }
            expected.truncate(count);
            let found: Vec<EntryId> = log.range(id(start, 0), id(end, 0), count, reverse).iter().map(|entry| entry.id).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
