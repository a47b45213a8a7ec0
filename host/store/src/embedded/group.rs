//! A consumer group: who has which entry, since when, and which entries wait for a retry.
//!
//! It does not know fences: A consumer that takes entries away advances those.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use super::tally::Tally;
use crate::{Delivered, EntryId, Field};

/// The entries of a stream, by id.
pub(super) type Entries = BTreeMap<EntryId, Vec<Field>>;

/// A consumer that has nothing pending is removed when it was silent for so many times the idle time of a takeover,
/// but not before [`SILENCE_MIN_MS`].
const SILENCE_FACTOR: u64 = 10;
/// See [`SILENCE_FACTOR`].
const SILENCE_MIN_MS: u64 = 60_000;

/// An entry that was delivered and not acknowledged.
#[derive(Debug, Clone, PartialEq)]
struct Pending {
    /// The consumer that has it.
    consumer: Arc<str>,
    /// When it was delivered, or said to be still handled.
    delivered_ms: u64,
    /// Failed attempts.
    failures: u32,
    /// When it is to be handled again, where it waits for that. Then it is not being handled.
    due_ms: Option<u64>,
}

/// A consumer of the group.
#[derive(Debug, Clone, Default, PartialEq)]
struct Member {
    /// When it last made a call.
    seen_ms: u64,
    /// What it has.
    pending: BTreeSet<EntryId>,
}

/// What a walk over pending entries came to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Walk {
    /// Entries handed out, oldest first.
    pub(super) events: Vec<Delivered>,
    /// Where the walk goes on; none at the end.
    pub(super) next: Option<EntryId>,
    /// Entries acknowledged because they are gone.
    pub(super) vanished: u64,
    /// Consumers that entries were taken from.
    pub(super) victims: BTreeSet<Arc<str>>,
}

/// A consumer group.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Group {
    /// The newest entry delivered.
    pub(super) last_delivered: EntryId,
    /// How many of all entries ever appended it has read, where that is certain.
    read: Option<u64>,
    pending: BTreeMap<EntryId, Pending>,
    members: BTreeMap<Arc<str>, Member>,
    /// Entries that wait for a retry: when they are due, and their ids.
    due: BTreeSet<(u64, EntryId)>,
}

impl Group {
    /// A group that starts behind an entry.
    pub(super) fn starting_after(last_delivered: EntryId) -> Self {
        Self { last_delivered, ..Self::default() }
    }

    /// Number of consumers.
    pub(super) fn consumer_count(&self) -> u64 {
        self.members.len() as u64
    }

    /// Number of entries delivered and not acknowledged.
    pub(super) fn pending_count(&self) -> u64 {
        self.pending.len() as u64
    }

    /// Number of entries not yet delivered, where that is known.
    pub(super) fn lag(&self, tally: Tally) -> Option<u64> {
        tally.lag(self.last_delivered, self.read)
    }

    /// The oldest id that is not read or not acknowledged.
    pub(super) fn unread_from(&self) -> EntryId {
        let unread = self.last_delivered.next().unwrap_or(EntryId::MAX);
        self.pending.keys().next().map_or(unread, |oldest| unread.min(*oldest))
    }

    /// Notes that a consumer made a call; it joins where it is new.
    pub(super) fn see(&mut self, consumer: &str, now_ms: u64) -> Arc<str> {
        let name = match self.members.get_key_value(consumer) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(consumer),
        };
        self.members.entry(Arc::clone(&name)).or_default().seen_ms = now_ms;
        name
    }

    /// Removes a consumer that has nothing pending; whether it is gone now.
    pub(super) fn remove_idle_member(&mut self, consumer: &str) -> bool {
        let is_idle = self.members.get(consumer).is_none_or(|member| member.pending.is_empty());
        if is_idle {
            self.members.remove(consumer);
        }
        is_idle
    }

    /// Delivers up to `count` entries that no consumer has had.
    pub(super) fn read(
        &mut self,
        entries: &Entries,
        tally: Tally,
        consumer: &str,
        count: usize,
        now_ms: u64,
    ) -> Vec<Delivered> {
        let consumer = self.see(consumer, now_ms);
        let mut events = Vec::new();
        for (&id, fields) in entries.range((Excluded(self.last_delivered), Unbounded)).take(count) {
            self.read = tally.read_after(id, self.read);
            self.last_delivered = id;
            let pending = Pending { consumer: Arc::clone(&consumer), delivered_ms: now_ms, failures: 0, due_ms: None };
            self.pending.insert(id, pending);
            events.push(Delivered { id, fields: fields.clone(), attempt: 1 });
        }
        if let Some(member) = self.members.get_mut(&consumer) {
            member.pending.extend(events.iter().map(|event| event.id));
        }
        events
    }

    /// Hands a consumer's own entries behind `after` out to it again, looking at up to `count`; not those that wait
    /// for a retry.
    pub(super) fn own(&mut self, entries: &Entries, consumer: &str, after: EntryId, count: usize, now_ms: u64) -> Walk {
        let consumer = self.see(consumer, now_ms);
        let (mut walk, mut candidates) = (Walk::default(), Vec::new());
        if let Some(member) = self.members.get(&consumer) {
            let mut own = member.pending.range((Excluded(after), Unbounded)).copied();
            candidates.extend(own.by_ref().take(count));
            walk.next = own.next().map(|_| candidates.last().copied().unwrap_or(after));
        }
        candidates.retain(|id| self.pending.get(id).is_some_and(|pending| pending.due_ms.is_none()));
        self.hand_out(entries, &candidates, &consumer, now_ms, &mut walk);
        walk.victims.clear();
        walk
    }

    /// Hands out entries of other consumers behind `after` that nobody has touched for `idle_ms`, looking at up to
    /// `count`; not those that wait for a retry.
    pub(super) fn take_over(
        &mut self,
        entries: &Entries,
        consumer: &str,
        idle_ms: u64,
        after: EntryId,
        count: usize,
        now_ms: u64,
    ) -> Walk {
        let consumer = self.see(consumer, now_ms);
        let (mut walk, mut candidates) = (Walk::default(), Vec::new());
        let mut all = self.pending.range((Excluded(after), Unbounded));
        let mut last = after;
        for (&id, pending) in all.by_ref().take(count) {
            last = id;
            let is_idle = now_ms.saturating_sub(pending.delivered_ms) >= idle_ms;
            if is_idle && pending.due_ms.is_none() && pending.consumer != consumer {
                candidates.push(id);
            }
        }
        walk.next = all.next().map(|_| last);
        self.hand_out(entries, &candidates, &consumer, now_ms, &mut walk);
        walk
    }

    /// Hands out up to `count` entries whose time for a retry has come, and tells when the next one is due. The
    /// consumers that they are taken from were not handling them, so they are no victims.
    pub(super) fn take_due(
        &mut self,
        entries: &Entries,
        consumer: &str,
        count: usize,
        now_ms: u64,
    ) -> (Walk, Option<u64>) {
        let consumer = self.see(consumer, now_ms);
        let mut candidates = Vec::new();
        while candidates.len() < count
            && let Some(&(due_ms, id)) = self.due.first()
            && due_ms <= now_ms
        {
            self.due.pop_first();
            if let Some(pending) = self.pending.get_mut(&id) {
                pending.due_ms = None;
            }
            candidates.push(id);
        }
        let mut walk = Walk::default();
        self.hand_out(entries, &candidates, &consumer, now_ms, &mut walk);
        walk.victims.clear();
        (walk, self.due.first().map(|&(due_ms, _)| due_ms))
    }

    /// Notes that a consumer is still handling those of the entries that it has.
    pub(super) fn touch(&mut self, consumer: &str, ids: &[EntryId], now_ms: u64) {
        self.see(consumer, now_ms);
        for id in ids {
            if let Some(pending) = self.pending.get_mut(id)
                && pending.consumer.as_ref() == consumer
            {
                pending.delivered_ms = now_ms;
            }
        }
    }

    /// Acknowledges an entry; nothing happens where the consumer does not have it.
    pub(super) fn acknowledge(&mut self, consumer: &str, id: EntryId) {
        if self.pending.get(&id).is_some_and(|pending| pending.consumer.as_ref() == consumer) {
            self.forget(id);
        }
    }

    /// Counts a failed attempt and lets the entry wait until `due_ms`; nothing happens where the consumer does not
    /// have it.
    pub(super) fn retry(&mut self, consumer: &str, id: EntryId, due_ms: u64) {
        if let Some(pending) = self.pending.get_mut(&id)
            && pending.consumer.as_ref() == consumer
        {
            pending.failures = pending.failures.saturating_add(1);
            if let Some(old) = pending.due_ms.replace(due_ms) {
                self.due.remove(&(old, id));
            }
            self.due.insert((due_ms, id));
        }
    }

    /// Removes the consumers that have nothing pending and were silent for long, and names them.
    pub(super) fn remove_silent(&mut self, idle_ms: u64, now_ms: u64) -> Vec<Arc<str>> {
        let silence_ms = idle_ms.saturating_mul(SILENCE_FACTOR).max(SILENCE_MIN_MS);
        let is_silent =
            |member: &Member| member.pending.is_empty() && now_ms.saturating_sub(member.seen_ms) > silence_ms;
        self.members.extract_if(.., |_, member| is_silent(member)).map(|(name, _)| name).collect()
    }

    /// Gives pending entries to a consumer; those that are gone from the stream are acknowledged instead.
    fn hand_out(&mut self, entries: &Entries, ids: &[EntryId], consumer: &Arc<str>, now_ms: u64, walk: &mut Walk) {
        for &id in ids {
            let Some(fields) = entries.get(&id) else {
                walk.vanished += 1;
                self.forget(id);
                continue;
            };
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            pending.delivered_ms = now_ms;
            let attempt = pending.failures.saturating_add(1);
            let victim = std::mem::replace(&mut pending.consumer, Arc::clone(consumer));
            if let Some(member) = self.members.get_mut(&victim) {
                member.pending.remove(&id);
            }
            if let Some(member) = self.members.get_mut(consumer) {
                member.pending.insert(id);
            }
            walk.victims.insert(victim);
            walk.events.push(Delivered { id, fields: fields.clone(), attempt });
        }
    }

    fn forget(&mut self, id: EntryId) {
        let Some(pending) = self.pending.remove(&id) else { return };
        if let Some(due_ms) = pending.due_ms {
            self.due.remove(&(due_ms, id));
        }
        if let Some(member) = self.members.get_mut(&pending.consumer) {
            member.pending.remove(&id);
        }
    }
}
