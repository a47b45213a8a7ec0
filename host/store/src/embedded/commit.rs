//! The commit: its checks, its effects, and what becomes of its events.

use super::apply::apply;
use super::log::Log;
use super::value::Plain;
use super::{Embedded, State};
use crate::{
    Commit, CommitError, Committed, Consumer, Effect, EntryId, Epoch, Field, LeaseSettlement, Loss, Refusal, Retention,
    Settlement, StoreError,
};

impl Embedded {
    /// Makes a commit in one instant, then wakes the waiters of the streams that have grown.
    pub(super) fn commit_now(&self, commit: &Commit<'_>) -> Result<Committed, CommitError> {
        let mut grown: Vec<&str> = Vec::new();
        let refused = {
            let mut state = self.state();
            state.check(commit)?;
            let refused = state.apply_all(commit.effects, &mut grown);
            if let Some((consumer, _)) = commit.consumer {
                state.settle(consumer, &commit.settlement, &mut grown);
            }
            commit.leases.iter().for_each(|settlement| state.settle_lease(settlement, &mut grown));
            refused
        };
        self.changes.made(commit.effects);
        grown.sort_unstable();
        grown.dedup();
        grown.iter().for_each(|stream| self.wakes.wake(stream));
        Ok(Committed { refused })
    }
}

impl State {
    /// Whether the commit may be made.
    fn check(&self, commit: &Commit<'_>) -> Result<(), CommitError> {
        if let Some((consumer, epoch)) = commit.consumer {
            let is_fenced = commit.atomic && epoch != Epoch::UNCHECKED;
            if is_fenced && self.fences.epoch(&consumer.fence_key) != Some(epoch) {
                return Err(CommitError::Fenced);
            }
            // An event must not be given up where its dead letter cannot be kept.
            if !commit.settlement.dead.is_empty() {
                self.keys.get::<Log>(&consumer.source.dead_key).map_err(CommitError::Refused)?;
            }
        }
        let watched = if commit.atomic { commit.watched } else { &[] };
        if let Some((key, _)) = watched.iter().find(|(key, value)| self.keys.get::<Plain>(key) != Ok(value.as_ref())) {
            return Err(CommitError::Conflict(key.clone()));
        }
        let leases = if commit.atomic { commit.leases } else { &[] };
        leases.iter().try_for_each(|settlement| self.check_lease(settlement))
    }

    fn check_lease(&self, settlement: &LeaseSettlement) -> Result<(), CommitError> {
        let queue = &settlement.lease.queue;
        if settlement.loss == Loss::Unchecked {
            return Ok(());
        }
        if !settlement.dead.is_empty() {
            self.keys.get::<Log>(&queue.dead_key).map_err(CommitError::Refused)?;
        }
        let is_there = self.lines.get(&queue.list).is_some_and(|line| line.has(settlement.lease.id));
        match settlement.loss {
            _ if is_there => Ok(()),
            Loss::Conflict => Err(CommitError::Conflict(queue.list.clone())),
            Loss::Fenced | Loss::Unchecked => Err(CommitError::Fenced),
        }
    }

    fn apply_all<'a>(&mut self, effects: &'a [Effect], grown: &mut Vec<&'a str>) -> Vec<Refusal> {
        let mut refused = Vec::new();
        for (index, effect) in effects.iter().enumerate() {
            match apply(self, effect) {
                Ok(()) => {
                    // A list may be a queue.
                    match effect {
                        Effect::Append { stream, fields, .. } if !fields.is_empty() => grown.push(stream),
                        Effect::Push { .. } | Effect::ListPush { .. } => grown.push(effect.key()),
                        _ => {}
                    }
                }
                Err(error) => refused.push(Refusal { effect: index, error: error.to_string() }),
            }
        }
        refused
    }

    fn settle<'a>(&mut self, consumer: &'a Consumer, settlement: &Settlement, grown: &mut Vec<&'a str>) {
        let source = consumer.source.as_ref();
        let mut acknowledged = settlement.done.clone();
        for dead_letter in &settlement.dead {
            // Only where an effect of this very commit has put something else under its key can it not be kept; the
            // event stays pending then.
            let bounds = (source.dead_max_len, source.dead_max_age_ms);
            if self.bury(&source.dead_key, bounds, &dead_letter.fields).is_ok() {
                acknowledged.push(dead_letter.id);
                grown.push(&source.dead_key);
            }
        }
        let now_ms = self.keys.now_ms();
        // A stream or a group that was deleted has nothing pending; the effects stand all the same.
        let _settled = self.keys.update_existing(&source.stream, |log: &mut Log| {
            let Some(group) = log.groups.get_mut(&source.group) else { return Ok(()) };
            acknowledged.iter().for_each(|id| group.acknowledge(&consumer.name, *id));
            for (id, delay_ms) in &settlement.retry {
                group.retry(&consumer.name, *id, now_ms.saturating_add(*delay_ms));
            }
            Ok(())
        });
    }

    fn settle_lease<'a>(&mut self, settlement: &'a LeaseSettlement, grown: &mut Vec<&'a str>) {
        let queue = &*settlement.lease.queue;
        let bounds = (queue.dead_max_len, queue.dead_max_age_ms);
        let mut buried = Vec::new();
        for job in &settlement.dead {
            if self.bury(&queue.dead_key, bounds, &job.fields).is_ok() {
                buried.push(job.id);
                grown.push(&queue.dead_key);
            }
        }
        self.settle_jobs(settlement, &buried);
        if !settlement.retry.is_empty() {
            grown.push(&queue.list);
        }
    }

    /// Appends a dead letter and drops those that are too many or too old.
    fn bury(&mut self, dead_key: &str, (max_len, max_age_ms): (u64, u64), fields: &[Field]) -> Result<(), StoreError> {
        let now_ms = self.keys.now_ms();
        let oldest = EntryId { ms: now_ms.saturating_sub(max_age_ms), seq: 0 };
        self.keys.update(dead_key, |log: &mut Log| {
            log.append(now_ms, fields.to_vec(), Retention::Exactly(max_len))?;
            log.retain(Retention::MinId(oldest), EntryId::MAX);
            Ok(())
        })
    }
}
