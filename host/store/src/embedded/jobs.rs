//! The jobs of one queue beside its list: prioritised, delayed and leased ones. Knows no keys and no clock.

use std::collections::{BTreeMap, HashMap};

use crate::queue::{DISSOLVED_MAX, PROMOTED_MAX, RATE_PARTS};
use crate::{Job, LeaseId, Rate};

/// So many deduplication ids that suppress nothing any more may be left over, beside as many as do.
const LEFT_OVER_MAX: usize = 64;

/// A lease.
#[derive(Debug)]
struct Leased {
    deadline_ms: u64,
    jobs: BTreeMap<(u8, u64), Job>,
}

/// The jobs of a queue that are not in its list.
#[derive(Debug, Default)]
pub(super) struct QueueJobs {
    /// Nothing is taken.
    pub(super) is_paused: bool,
    ready: BTreeMap<(u8, u64), Job>,
    /// By due time, then by number.
    delayed: BTreeMap<(u64, u64), Job>,
    leases: HashMap<LeaseId, Leased>,
    last_id: u64,
    /// Jobs taken, by part of the rate's time.
    taken: BTreeMap<u64, u64>,
    /// Until when ids suppress others.
    dedup: HashMap<String, u64>,
    prune_at: usize,
}

impl QueueJobs {
    /// A number for a new job.
    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Whether an id suppresses this job; if not, it suppresses others from now on.
    pub(super) fn suppresses(&mut self, id: &str, window_ms: u64, now_ms: u64) -> bool {
        if self.dedup.get(id).is_some_and(|until| *until > now_ms) {
            return true;
        }
        if self.dedup.len() >= self.prune_at {
            self.dedup.retain(|_, until| *until > now_ms);
            self.prune_at = 2 * self.dedup.len() + LEFT_OVER_MAX;
        }
        self.dedup.insert(id.to_owned(), now_ms.saturating_add(window_ms));
        false
    }

    /// Puts a job where it is taken before the list.
    pub(super) fn put(&mut self, job: Job) {
        self.ready.insert(job.rank(), job);
    }

    /// Has a job wait.
    pub(super) fn put_off(&mut self, job: Job, due_ms: u64) {
        self.delayed.insert((due_ms, job.id), job);
    }

    /// Dissolves leases that were abandoned, and makes ready what is due. Answers how many jobs came back.
    pub(super) fn advance(&mut self, now_ms: u64) -> u64 {
        let is_over = |(id, lease): (&LeaseId, &Leased)| (lease.deadline_ms <= now_ms).then_some(*id);
        let over: Vec<LeaseId> = self.leases.iter().filter_map(is_over).take(DISSOLVED_MAX).collect();
        let returned = over.into_iter().map(|id| self.dissolve(id, 1)).sum();
        for _ in 0..PROMOTED_MAX {
            let Some(earliest) = self.delayed.first_entry().filter(|earliest| earliest.key().0 <= now_ms) else {
                break;
            };
            let job = earliest.remove();
            self.put(job);
        }
        returned
    }

    /// The next job that goes before the list.
    pub(super) fn pop(&mut self) -> Option<Job> {
        self.ready.pop_first().map(|(_, job)| job)
    }

    /// How many jobs a rate allows now, and from when on it allows more.
    pub(super) fn room(&mut self, rate: Rate, now_ms: u64) -> (u64, u64) {
        let width = width(rate);
        self.taken = self.taken.split_off(&(now_ms.saturating_sub(rate.per_ms) / width));
        let taken: u64 = self.taken.values().sum();
        let first = self.taken.keys().next().copied().unwrap_or(now_ms / width);
        (u64::from(rate.jobs).saturating_sub(taken), (first + 1) * width + rate.per_ms)
    }

    /// Counts what was taken.
    pub(super) fn count(&mut self, rate: Rate, jobs: u64, now_ms: u64) {
        *self.taken.entry(now_ms / width(rate)).or_default() += jobs;
    }

    /// Puts jobs into a new lease.
    pub(super) fn lease(&mut self, id: LeaseId, jobs: &[Job], deadline_ms: u64) {
        let jobs = jobs.iter().map(|job| (job.rank(), job.clone())).collect();
        self.leases.insert(id, Leased { deadline_ms, jobs });
    }

    /// Whether a lease is there.
    pub(super) fn has(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    /// Sets the deadline of a lease. Answers whether it is there.
    pub(super) fn extend(&mut self, id: LeaseId, deadline_ms: u64) -> bool {
        self.leases.get_mut(&id).map(|lease| lease.deadline_ms = deadline_ms).is_some()
    }

    /// Moves a lease to a new name, and answers what is in it.
    pub(super) fn rename(&mut self, from: LeaseId, to: LeaseId, deadline_ms: u64) -> Vec<Job> {
        if let Some(lease) = self.leases.remove(&from) {
            self.leases.insert(to, lease);
        }
        self.extend(to, deadline_ms);
        self.leases.get(&to).map(|lease| lease.jobs.values().cloned().collect()).unwrap_or_default()
    }

    /// Puts the jobs of a lease back, with so many more crashes. Answers how many.
    pub(super) fn dissolve(&mut self, id: LeaseId, crashes: u32) -> u64 {
        let jobs = self.leases.remove(&id).map(|lease| lease.jobs).unwrap_or_default();
        let count = jobs.len() as u64;
        for (_, job) in jobs {
            self.put(Job { crashes: job.crashes.saturating_add(crashes), ..job });
        }
        count
    }

    /// Takes a job out of its lease, which goes with the last one.
    pub(super) fn settle(&mut self, lease: LeaseId, job: u64) {
        if let Some(leased) = self.leases.get_mut(&lease) {
            leased.jobs.retain(|(_, id), _| *id != job);
            if leased.jobs.is_empty() {
                self.leases.remove(&lease);
            }
        }
    }

    /// When the next job is due or the next lease ends.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let due = self.delayed.keys().next().map(|(due_ms, _)| *due_ms);
        self.leases.values().map(|lease| lease.deadline_ms).chain(due).min()
    }

    /// Numbers of jobs that go before the list or are due, that wait, and that are leased.
    pub(super) fn lengths(&self, now_ms: u64) -> (u64, u64, u64) {
        let due = self.delayed.range(..=(now_ms, u64::MAX)).count();
        let leased: usize = self.leases.values().map(|lease| lease.jobs.len()).sum();
        ((self.ready.len() + due) as u64, (self.delayed.len() - due) as u64, leased as u64)
    }

    /// Up to `count` jobs that go before the list.
    pub(super) fn peek(&self, count: usize, now_ms: u64) -> Vec<Job> {
        let due = self.delayed.range(..=(now_ms, u64::MAX)).map(|(_, job)| job).take(count);
        let mut jobs: Vec<Job> = self.ready.values().take(count).chain(due).cloned().collect();
        jobs.sort_by_key(Job::rank);
        jobs.truncate(count);
        jobs
    }
}

fn width(rate: Rate) -> u64 {
    (rate.per_ms / RATE_PARTS).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_span_has_more_than_the_rate(
            jobs_max in 1_u32..20, per_ms in 1_u64..500, steps in prop::collection::vec((0_u64..80, 1_u64..10), 1..200),
        ) {
            let (rate, mut jobs) = (Rate { jobs: jobs_max, per_ms }, QueueJobs::default());
            let (mut now_ms, mut taken) = (1_000_000, Vec::new());
            for (step, want) in steps {
                now_ms += step;
                let (room, more_at) = jobs.room(rate, now_ms);
                prop_assert!(room > 0 || (more_at > now_ms && more_at <= now_ms + per_ms + width(rate)));
                let count = want.min(room);
                jobs.count(rate, count, now_ms);
                taken.push((now_ms, count));
                let within: u64 = taken.iter().filter(|(at, _)| at + per_ms > now_ms).map(|(_, count)| count).sum();
                prop_assert!(within <= u64::from(jobs_max));
            }
        }
    }

    #[test]
    fn ids_that_suppress_nothing_do_not_pile_up() {
        let mut jobs = QueueJobs::default();
        for now_ms in 0..10_000 {
            assert!(!jobs.suppresses(&now_ms.to_string(), 10, now_ms));
        }
        assert!(jobs.dedup.len() <= 2 * 10 + LEFT_OVER_MAX + 1, "{}", jobs.dedup.len());
        assert!(jobs.suppresses("9999", 10, 10_008) && !jobs.suppresses("9999", 10, 10_009));
    }
}
