//! Queues: the lists are keys like others, all else is beside them.

use async_trait::async_trait;
use bytes::Bytes;

use super::jobs::QueueJobs;
use super::log::Log;
use super::value::List;
use super::{Embedded, State};
use crate::{
    Job, JobQueue, Lease, LeaseId, LeaseSettlement, Lengths, PushOptions, Queue, StoreError, Took, Wake, Want,
};

#[async_trait]
impl Queue for Embedded {
    async fn take(&self, lease: &Lease, want: Want) -> Result<Took, StoreError> {
        self.state().take(lease, want)
    }

    async fn recover(&self, lease: &Lease, to: LeaseId, visibility_ms: u64) -> Result<Vec<Job>, StoreError> {
        let mut state = self.state();
        let deadline_ms = state.keys.now_ms().saturating_add(visibility_ms);
        Ok(state.line(&lease.queue).rename(lease.id, to, deadline_ms))
    }

    async fn give_back(&self, lease: &Lease, counts_as_crash: bool) -> Result<u64, StoreError> {
        let count = self.state().line(&lease.queue).dissolve(lease.id, u32::from(counts_as_crash));
        if count > 0 {
            self.wakes.wake(&lease.queue.list);
        }
        Ok(count)
    }

    async fn extend(&self, queue: &JobQueue, leases: &[LeaseId], visibility_ms: u64) -> Result<u64, StoreError> {
        let mut state = self.state();
        let deadline_ms = state.keys.now_ms().saturating_add(visibility_ms);
        let line = state.line(queue);
        Ok(leases.iter().filter(|lease| line.extend(**lease, deadline_ms)).count() as u64)
    }

    async fn lengths(&self, queue: &JobQueue) -> Result<Lengths, StoreError> {
        let mut state = self.state();
        let now_ms = state.keys.now_ms();
        let listed = state.keys.get::<List>(&queue.list)?.map_or(0, |list| list.len() as u64);
        let dead = state.keys.get::<Log>(&queue.dead_key)?.map_or(0, Log::len);
        let (before, delayed, leased) = state.line(queue).lengths(now_ms);
        Ok(Lengths { ready: listed + before, delayed, leased, dead })
    }

    async fn peek(&self, queue: &JobQueue, count: u32) -> Result<Vec<Job>, StoreError> {
        let mut state = self.state();
        let now_ms = state.keys.now_ms();
        let mut jobs = state.line(queue).peek(count as usize, now_ms);
        if let Some(list) = state.keys.get::<List>(&queue.list)? {
            let room = (count as usize).saturating_sub(jobs.len());
            let plain = |payload: &Bytes| Job {
                id: 0,
                attempt: 1,
                crashes: 0,
                priority: 0,
                time_ms: 0,
                payload: payload.clone(),
            };
            jobs.extend(list.iter().rev().take(room).map(plain));
        }
        Ok(jobs)
    }

    async fn set_paused(&self, queue: &JobQueue, paused: bool) -> Result<bool, StoreError> {
        let before = std::mem::replace(&mut self.state().line(queue).is_paused, paused);
        if before && !paused {
            self.wakes.wake(&queue.list);
        }
        Ok(before != paused)
    }

    async fn is_paused(&self, queue: &JobQueue) -> Result<bool, StoreError> {
        Ok(self.state().line(queue).is_paused)
    }

    fn watch_queue(&self, queue: &JobQueue) -> Wake {
        self.wakes.watch(&queue.list)
    }
}

impl State {
    /// What is beside a queue's list.
    pub(super) fn line(&mut self, queue: &JobQueue) -> &mut QueueJobs {
        self.lines.entry(queue.list.clone()).or_default()
    }

    fn take(&mut self, lease: &Lease, want: Want) -> Result<Took, StoreError> {
        let (now_ms, queue) = (self.keys.now_ms(), &*lease.queue);
        let line = self.lines.entry(queue.list.clone()).or_default();
        if line.is_paused {
            return Ok(Took { is_paused: true, ..Took::default() });
        }
        let returned = line.advance(now_ms);
        let room = want.rate.map(|rate| line.room(rate, now_ms).0).unwrap_or(u64::MAX);
        let count = usize::try_from(room.min(want.count.into())).unwrap_or(usize::MAX);
        let mut jobs: Vec<Job> = std::iter::from_fn(|| line.pop()).take(count).collect();
        let listed = self.keys.update_existing(&queue.list, |list: &mut List| {
            let from = list.len().saturating_sub(count - jobs.len());
            Ok(list.drain(from..).rev().collect::<Vec<_>>())
        });
        // Where the key holds no list, what goes before it is taken all the same.
        let listed = match listed {
            Err(error) if jobs.is_empty() => return Err(error),
            listed => listed.ok().flatten().unwrap_or_default(),
        };
        let number =
            |payload| Job { id: line.next_id(), attempt: 1, crashes: 0, priority: 0, time_ms: now_ms, payload };
        jobs.extend(listed.into_iter().map(number));
        if !jobs.is_empty() {
            line.lease(lease.id, &jobs, now_ms.saturating_add(want.visibility_ms));
        }
        let mut next_ms = if jobs.len() < count { line.next_ms() } else { None };
        if let Some(rate) = want.rate {
            line.count(rate, jobs.len() as u64, now_ms);
            let (room, more_at) = line.room(rate, now_ms);
            next_ms = if room == 0 { Some(more_at) } else { next_ms };
        }
        let next_in_ms = next_ms.map(|next_ms| next_ms.saturating_sub(now_ms));
        Ok(Took { jobs, is_paused: false, next_in_ms, returned })
    }

    /// Pushes jobs one after the other.
    pub(super) fn push(
        &mut self,
        queue: &JobQueue,
        payloads: &[Bytes],
        options: &PushOptions,
    ) -> Result<(), StoreError> {
        let now_ms = self.keys.now_ms();
        self.keys.get::<List>(&queue.list)?;
        for payload in payloads {
            let line = self.line(queue);
            if let Some((id, window_ms)) = &options.deduplicate
                && line.suppresses(id, *window_ms, now_ms)
            {
                continue;
            }
            let PushOptions { delay_ms, priority, .. } = *options;
            if delay_ms == 0 && priority == 0 {
                self.keys.update(&queue.list, |list: &mut List| {
                    list.push_front(payload.clone());
                    Ok(())
                })?;
                continue;
            }
            let id = line.next_id();
            let job = Job { id, attempt: 1, crashes: 0, priority, time_ms: now_ms, payload: payload.clone() };
            if delay_ms == 0 {
                line.put(job);
            } else {
                line.put_off(job, now_ms.saturating_add(delay_ms));
            }
        }
        Ok(())
    }

    /// Settles jobs of a lease, of which `buried` have become dead letters.
    pub(super) fn settle_jobs(&mut self, settlement: &LeaseSettlement, buried: &[u64]) {
        let now_ms = self.keys.now_ms();
        let line = self.line(&settlement.lease.queue);
        let lease = settlement.lease.id;
        let retry = settlement.retry.iter().map(|(job, _)| &job.id);
        settlement.done.iter().chain(retry).chain(buried).for_each(|id| line.settle(lease, *id));
        for (job, delay_ms) in &settlement.retry {
            line.put_off(job.clone(), now_ms.saturating_add(*delay_ms));
        }
    }
}
