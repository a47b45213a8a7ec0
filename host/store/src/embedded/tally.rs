//! How far a group is behind its stream, from counters alone, as Redis 7 tells it.
//!
//! Counting would take time in proportion to the lag. The counters cannot tell where an entry was removed between
//! those that a group has not read; the lag is unknown then.

use crate::EntryId;

/// The counters of a stream at one instant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    /// Number of entries.
    pub(super) length: u64,
    /// The oldest entry.
    pub(super) first_id: Option<EntryId>,
    /// The last id given out.
    pub(super) last_id: EntryId,
    /// How many entries were ever appended.
    pub(super) appended: u64,
    /// The newest entry removed other than by retention.
    pub(super) removed_max: EntryId,
}

impl Tally {
    /// How many entries a group has still to read that stands behind `last_delivered` and has counted `read` of
    /// all that were ever appended; none where the counters cannot tell.
    pub(super) fn lag(self, last_delivered: EntryId, read: Option<u64>) -> Option<u64> {
        let Some(first_id) = self.first_id else { return Some(0) };
        if !self.has_gaps_from(last_delivered) {
            if last_delivered < first_id {
                return Some(self.length);
            }
            if let Some(read) = read {
                return Some(self.appended.saturating_sub(read));
            }
        }
        Some(self.appended.saturating_sub(self.position(last_delivered)?))
    }

    /// What a group has counted after it has read the entry `id`, having counted `read` before.
    pub(super) fn read_after(self, id: EntryId, read: Option<u64>) -> Option<u64> {
        match read {
            Some(read) if !self.has_gaps_from(id) => Some(read + 1),
            _ => self.position(id),
        }
    }

    /// Whether an entry with this id or a newer one was removed other than by retention.
    fn has_gaps_from(self, id: EntryId) -> bool {
        self.length > 0 && self.removed_max != EntryId::ZERO && id <= self.removed_max
    }

    /// How many entries were ever appended up to this id, where that is certain.
    fn position(self, id: EntryId) -> Option<u64> {
        let Some(first_id) = self.first_id else { return Some(self.appended) };
        if id == self.last_id {
            return Some(self.appended);
        }
        let certain = id < self.last_id && self.removed_max < first_id;
        let before_first = self.appended.saturating_sub(self.length);
        if certain && id < first_id {
            Some(before_first)
        } else if certain && id == first_id {
            Some(before_first + 1)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    /// Entries 6 to 10 of 10.
    const TALLY: Tally =
        Tally { length: 5, first_id: Some(id(6)), last_id: id(10), appended: 10, removed_max: EntryId::ZERO };

    #[test]
    fn the_ends_need_no_count() {
        assert_eq!(TALLY.lag(id(10), None), Some(0));
        assert_eq!(TALLY.lag(EntryId::ZERO, None), Some(5));
        assert_eq!(TALLY.lag(id(3), Some(3)), Some(5));
        assert_eq!(TALLY.lag(id(6), None), Some(4));
        assert_eq!(Tally { length: 0, first_id: None, ..TALLY }.lag(id(3), Some(3)), Some(0));
    }

    #[test]
    fn between_them_the_count_tells() {
        assert_eq!(TALLY.lag(id(8), None), None);
        assert_eq!(TALLY.lag(id(8), Some(8)), Some(2));
        assert_eq!(TALLY.read_after(id(9), Some(8)), Some(9));
        assert_eq!(TALLY.read_after(id(6), None), Some(6));
        assert_eq!(TALLY.read_after(id(10), None), Some(10));
    }

    #[test]
    fn a_gap_ahead_hides_the_lag() {
        let tally = Tally { length: 4, removed_max: id(8), ..TALLY };
        assert_eq!(tally.lag(id(7), Some(7)), None);
        assert_eq!(tally.lag(id(9), Some(9)), Some(1));
        assert_eq!(tally.lag(id(10), None), Some(0));
    }
}
