//! Delivery of entries to consumers.

use async_trait::async_trait;

use super::group::Entries;
use super::group::{Group, Walk};
use super::keyspace::Keyspace;
use super::log::Log;
use super::tally::Tally;
use super::{Embedded, State};
use crate::{
    Backlog, Batch, Commit, CommitError, Committed, Consumer, Delivery, Due, EntryId, Epoch, GroupStart, Source,
    StoreError, Taken, Wake,
};

#[async_trait]
impl Delivery for Embedded {
    fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    fn is_available(&self) -> bool {
        true
    }

    async fn open(&self, source: &Source, start: GroupStart) -> Result<(), StoreError> {
        self.state().keys.update(&source.stream, |log: &mut Log| {
            let after = match start {
                GroupStart::New => log.last_id,
                GroupStart::After(id) => id,
            };
            log.groups.entry(source.group.clone()).or_insert_with(|| Group::starting_after(after));
            Ok(())
        })
    }

    async fn join(&self, consumer: &Consumer) -> Result<(), StoreError> {
        let mut state = self.state();
        let now_ms = state.keys.now_ms();
        with_group(&mut state.keys, &consumer.source, |group, _, _| group.see(&consumer.name, now_ms))?;
        state.fences.advance_own(&consumer.fence_key);
        Ok(())
    }

    async fn leave(&self, consumer: &Consumer) -> Result<(), StoreError> {
        let mut state = self.state();
        let gone =
            with_group(&mut state.keys, &consumer.source, |group, _, _| group.remove_idle_member(&consumer.name));
        if gone != Ok(false) {
            state.fences.remove(&consumer.fence_key);
        }
        gone.map(|_| ())
    }

    async fn read(&self, consumer: &Consumer, count: u32) -> Result<Batch, StoreError> {
        let mut state = self.state();
        let now_ms = state.keys.now_ms();
        let events = with_group(&mut state.keys, &consumer.source, |group, entries, tally| {
            group.read(entries, tally, &consumer.name, count as usize, now_ms)
        })?;
        Ok(Batch { epoch: state.fences.epoch(&consumer.fence_key), events })
    }

    async fn fence(&self, consumer: &Consumer) -> Result<Epoch, StoreError> {
        Ok(self.state().fences.advance_own(&consumer.fence_key))
    }

    async fn pending(&self, consumer: &Consumer, after: EntryId, count: u32) -> Result<Taken, StoreError> {
        let mut state = self.state();
        let now_ms = state.keys.now_ms();
        let walk = with_group(&mut state.keys, &consumer.source, |group, entries, _| {
            group.own(entries, &consumer.name, after, count as usize, now_ms)
        })?;
        Ok(state.taken(consumer, walk))
    }

    async fn take_over(
        &self,
        consumer: &Consumer,
        idle_ms: u64,
        after: EntryId,
        count: u32,
    ) -> Result<Taken, StoreError> {
        let mut state = self.state();
        let now_ms = state.keys.now_ms();
        let source = consumer.source.as_ref();
        let (walk, removed) = with_group(&mut state.keys, source, |group, entries, _| {
            let walk = group.take_over(entries, &consumer.name, idle_ms, after, count as usize, now_ms);
            let removed = if after == EntryId::ZERO { group.remove_silent(idle_ms, now_ms) } else { Vec::new() };
            (walk, removed)
        })?;
        walk.victims.iter().for_each(|victim| state.fences.advance(&source.fence_key(victim)));
        removed.iter().for_each(|name| state.fences.remove(&source.fence_key(name)));
        Ok(state.taken(consumer, walk))
    }

    async fn due(&self, consumer: &Consumer, count: u32) -> Result<Due, StoreError> {
        let mut state = self.state();
        let now_ms = state.keys.now_ms();
        let (walk, next_ms) = with_group(&mut state.keys, &consumer.source, |group, entries, _| {
            group.take_due(entries, &consumer.name, count as usize, now_ms)
        })?;
        let Taken { batch, vanished, .. } = state.taken(consumer, walk);
        Ok(Due { batch, next_ms, vanished })
    }

    async fn keep_alive(&self, consumer: &Consumer, epoch: Epoch, ids: &[EntryId]) -> Result<bool, StoreError> {
        let mut state = self.state();
        if state.fences.epoch(&consumer.fence_key) != Some(epoch) {
            return Ok(false);
        }
        let now_ms = state.keys.now_ms();
        with_group(&mut state.keys, &consumer.source, |group, _, _| group.touch(&consumer.name, ids, now_ms))?;
        Ok(true)
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<Committed, CommitError> {
        self.commit_now(&commit)
    }

    async fn backlog(&self, source: &Source) -> Result<Backlog, StoreError> {
        let mut state = self.state();
        let (pending, lag) =
            with_group(&mut state.keys, source, |group, _, tally| (group.pending_count(), group.lag(tally)))?;
        let dead = state.keys.get::<Log>(&source.dead_key)?.map_or(0, Log::len);
        Ok(Backlog { pending, lag, dead })
    }

    fn watch(&self, stream: &str) -> Wake {
        self.wakes.watch(stream)
    }
}

impl State {
    fn taken(&self, consumer: &Consumer, walk: Walk) -> Taken {
        let epoch = self.fences.epoch(&consumer.fence_key);
        Taken { batch: Batch { epoch, events: walk.events }, next: walk.next, vanished: walk.vanished }
    }
}

/// Works on a group, beside the entries and the counters of its stream. [`StoreError::NoGroup`] where the group or
/// the stream is missing.
fn with_group<R>(
    keys: &mut Keyspace,
    source: &Source,
    work: impl FnOnce(&mut Group, &Entries, Tally) -> R,
) -> Result<R, StoreError> {
    let answer = keys.update_existing(&source.stream, |log: &mut Log| {
        let tally = log.tally();
        Ok(log.groups.get_mut(&source.group).map(|group| work(group, &log.entries, tally)))
    })?;
    let missing = || StoreError::NoGroup(format!("`{}` has no consumer group `{}`", source.stream, source.group));
    answer.flatten().ok_or_else(missing)
}
