//! Queues: jobs in plain lists, taken under leases.
//!
//! A producer needs only `LPUSH`; the oldest job of the list is taken first. A job that has a priority, was due
//! later, or has come back lies in a sorted set beside the list and goes before it. Taking moves jobs into a lease: a
//! hash under a random name that nobody ever uses again, with a deadline. The lease is the fence. A commit that
//! settles jobs of a lease is only made while the lease is there; a worker that takes its jobs away deletes it in the
//! same step, and a worker that does not know whether its last commit was made moves its own lease to a new name
//! before it looks at what is left. So of two commits for one job at most one is ever made, whatever is killed,
//! stopped or delayed.
//!
//! A lease whose deadline is over is dissolved by the next take from that queue: they go back to where they were,
//! with one more crash each.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::wake::Wake;
use super::{Field, StoreError};

/// The most jobs of one take.
pub const TAKE_MAX: u32 = 1000;
/// How many abandoned leases one take dissolves at most.
pub(super) const DISSOLVED_MAX: usize = 16;
/// How many jobs that are due one take puts among those that are ready at most.
pub(super) const PROMOTED_MAX: usize = 1000;
/// In so many parts the time of a [`Rate`] is cut: what was taken counts until its whole part is over.
pub(super) const RATE_PARTS: u64 = 100;
/// Jobs are numbered below this, so that a score, as the scripts compute it, holds priority and number exactly.
#[cfg(test)]
const SEQUENCE_MAX: u64 = 1 << 44;

/// One queue, and the keys that Sandbar keeps beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobQueue {
    /// The list's key, with the tenant's prefix.
    pub list: String,
    /// The dead-letter stream.
    pub dead_key: String,
    /// How many dead letters stay, the newest.
    pub dead_max_len: u64,
    /// How long dead letters stay, in milliseconds.
    pub dead_max_age_ms: u64,
    /// Where the other keys begin.
    base: String,
}

impl JobQueue {
    /// How many dead letters a queue keeps that no trigger says otherwise of.
    pub const DEAD_MAX_LEN: u64 = 10_000;
    /// How long it keeps them, in milliseconds: 7 days.
    pub const DEAD_MAX_AGE_MS: u64 = 7 * 24 * 3600 * 1000;

    /// A queue with its keys. `prefix` is the tenant's; `name` comes without it.
    pub fn new(prefix: &str, name: &str) -> Self {
        Self {
            list: format!("{prefix}{name}"),
            dead_key: format!("{prefix}{name}:dead"),
            dead_max_len: Self::DEAD_MAX_LEN,
            dead_max_age_ms: Self::DEAD_MAX_AGE_MS,
            base: format!("{prefix}{}{name}:", Self::INFIX),
        }
    }

    /// The same queue with other bounds for its dead letters: how many stay, and for how many milliseconds.
    #[must_use]
    pub fn with_dead_bounds(self, max_len: u64, max_age_ms: u64) -> Self {
        Self { dead_max_len: max_len, dead_max_age_ms: max_age_ms, ..self }
    }

    /// What stands between the tenant's prefix and a queue's name in the keys beside its list.
    pub const INFIX: &'static str = "sandbar:queue:";

    /// Sorted set of records that go before the list, by priority and number.
    pub fn ready_key(&self) -> String {
        format!("{}ready", self.base)
    }
    /// Sorted set of records that wait for their time, by that time in milliseconds.
    pub fn delayed_key(&self) -> String {
        format!("{}delayed", self.base)
    }
    /// The counter that numbers jobs.
    pub fn sequence_key(&self) -> String {
        format!("{}seq", self.base)
    }
    /// Sorted set of leases by their deadline in milliseconds.
    pub fn leases_key(&self) -> String {
        format!("{}leases", self.base)
    }
    /// Where the keys of leases begin; the lease's id follows.
    pub fn lease_prefix(&self) -> String {
        format!("{}lease:", self.base)
    }
    /// Hash: records by the number of the job.
    pub fn lease_key(&self, lease: LeaseId) -> String {
        format!("{}lease:{lease}", self.base)
    }
    /// There while the queue is paused.
    pub fn paused_key(&self) -> String {
        format!("{}paused", self.base)
    }
    /// Hash: how many jobs were taken, by part of the rate's time.
    pub fn rate_key(&self) -> String {
        format!("{}rate", self.base)
    }
    /// Sorted set: deduplication ids by the time until which they suppress others.
    pub fn dedup_key(&self) -> String {
        format!("{}dedup", self.base)
    }
}

/// Names one lease, at random: no two leases ever have the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(u64);

impl LeaseId {
    /// A new name.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A lease of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The queue.
    pub queue: Arc<JobQueue>,
    /// The lease's name.
    pub id: LeaseId,
}

impl Lease {
    /// A lease with a new name.
    pub fn new(queue: Arc<JobQueue>) -> Self {
        Self { queue, id: LeaseId::random() }
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its number, unique within the queue; 0 for one in the list, which gets a number when it is taken.
    pub id: u64,
    /// Which attempt to handle it this is, from 1.
    pub attempt: u32,
    /// How often a lease over it was abandoned, or given back by a call that failed.
    pub crashes: u32,
    /// Higher ones are taken first.
    pub priority: u8,
    /// When it was pushed, or, if by a plain client, first taken: milliseconds since 1970 by the store's clock.
    pub time_ms: u64,
    /// What it carries.
    pub payload: Bytes,
}

impl Job {
    /// As it is kept outside of the list: a line of text, then the payload.
    pub fn to_record(&self) -> Vec<u8> {
        let Self { id, attempt, crashes, priority, time_ms, payload } = self;
        let mut record = format!("{id} {attempt} {crashes} {priority} {time_ms}\n").into_bytes();
        record.extend_from_slice(payload);
        record
    }

    /// Reads a record; the payload is not copied. None where it is no record.
    pub fn from_record(record: &Bytes) -> Option<Self> {
        // Five numbers of at most twenty digits.
        let end = record.iter().take(128).position(|byte| *byte == b'\n')?;
        let head = std::str::from_utf8(record.get(..end)?).ok()?;
        let mut parts = head.split(' ');
        let mut next = || parts.next();
        let job = Self {
            id: next()?.parse().ok()?,
            attempt: next()?.parse().ok()?,
            crashes: next()?.parse().ok()?,
            priority: next()?.parse().ok()?,
            time_ms: next()?.parse().ok()?,
            payload: record.slice(end + 1..),
        };
        parts.next().is_none().then_some(job)
    }

    /// Jobs are taken in the order of these, lowest first.
    pub fn rank(&self) -> (u8, u64) {
        (u8::MAX - self.priority, self.id)
    }
}

/// At most so many jobs in each span of time, counted over all who take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many jobs.
    pub jobs: u32,
    /// The span, in milliseconds, at least 1.
    pub per_ms: u64,
}

/// What is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// The most jobs, 1 to [`TAKE_MAX`].
    pub count: u32,
    /// How long the lease lasts unless it is extended.
    pub visibility_ms: u64,
    /// The limit that this take obeys and counts for.
    pub rate: Option<Rate>,
}

/// What was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Took {
    /// The jobs, in their order. None: there is no such lease.
    pub jobs: Vec<Job>,
    /// Nothing is taken from a queue that is paused.
    pub is_paused: bool,
    /// When there may be something to take of which no wake-up tells, as time from now in milliseconds: a job is due,
    /// a lease ends, or the rate allows more.
    pub next_in_ms: Option<u64>,
    /// Jobs that came back from abandoned leases in this step.
    pub returned: u64,
}

/// Numbers of jobs by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lengths {
    /// Waiting to be taken.
    pub ready: u64,
    /// Waiting for their time.
    pub delayed: u64,
    /// In leases.
    pub leased: u64,
    /// Dead letters.
    pub dead: u64,
}

/// How a job is pushed, where it is not by a plain `LPUSH`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// Milliseconds before it can be taken.
    pub delay_ms: u64,
    /// Higher ones are taken first.
    pub priority: u8,
    /// An id, and for how many milliseconds it suppresses jobs with the same one.
    pub deduplicate: Option<(String, u64)>,
}

impl PushOptions {
    /// Whether a plain `LPUSH` does the same.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// The error of a commit where a lease is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// That it is fenced: it was made on scope of the lease.
    Fenced,
    /// That it is in conflict: the jobs were taken by the way.
    Conflict,
    /// Nothing; the lease is not looked at. Only for notes about jobs that are settled already, and for tests of the
    /// protocol, which show that it loses exactness so.
    Unchecked,
}

/// What becomes of jobs of a lease, in a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseSettlement {
    /// The lease.
    pub lease: Lease,
    /// What its loss means.
    pub loss: Loss,
    /// Handled: gone.
    pub done: Vec<u64>,
    /// Failed: they come back after so many milliseconds, as they are given here, their attempts counted.
    pub retry: Vec<(Job, u64)>,
    /// Given up.
    pub dead: Vec<DeadJob>,
    /// Nothing of the lease is left then.
    pub is_last: bool,
}

impl LeaseSettlement {
    /// Settles nothing, but depends on the lease.
    pub fn new(lease: Lease, loss: Loss) -> Self {
        Self { lease, loss, done: Vec::new(), retry: Vec::new(), dead: Vec::new(), is_last: false }
    }
}

/// A job that is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadJob {
    /// The job.
    pub id: u64,
    /// What the dead-letter stream gets.
    pub fields: Vec<Field>,
}

/// Queues. All answer [`StoreError::WrongType`] where the list's key holds no list.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Takes jobs into a lease of this name, and dissolves leases that were abandoned. A take that finds nothing
    /// changes nothing. Where the answer is lost, the jobs are in the lease or the take was not made.
    async fn take(&self, lease: &Lease, want: Want) -> Result<Took, StoreError>;

    /// Moves what is left of a lease to a new name, so that a commit that is still on its way cannot be made any
    /// more, and answers it in its order. No crash is counted. It may be asked again with the same names where its
    /// answer was lost.
    async fn recover(&self, lease: &Lease, to: LeaseId, visibility_ms: u64) -> Result<Vec<Job>, StoreError>;

    /// Puts what is left of a lease back among those that are ready, and deletes the lease. Answers how many jobs.
    async fn give_back(&self, lease: &Lease, counts_as_crash: bool) -> Result<u64, StoreError>;

    /// Sets the deadlines of those leases that are there to so many milliseconds from now. Answers how many are there.
    async fn extend(&self, queue: &JobQueue, leases: &[LeaseId], visibility_ms: u64) -> Result<u64, StoreError>;

    /// Numbers of jobs by state; all 0 where there is no such queue.
    async fn lengths(&self, queue: &JobQueue) -> Result<Lengths, StoreError>;

    /// Up to `count` jobs as they would be taken now, without those of abandoned leases.
    async fn peek(&self, queue: &JobQueue, count: u32) -> Result<Vec<Job>, StoreError>;

    /// Pauses a queue, or lets it go on. Answers whether that was a change.
    async fn set_paused(&self, queue: &JobQueue, paused: bool) -> Result<bool, StoreError>;

    /// Whether a queue is paused.
    async fn is_paused(&self, queue: &JobQueue) -> Result<bool, StoreError>;

    /// Tells when there may be more to take, except by the passing of time. It may tell without cause, and always
    /// does after a connection was lost.
    fn watch_queue(&self, queue: &JobQueue) -> Wake;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(
            id in 0..SEQUENCE_MAX, attempt: u32, crashes: u32, priority: u8, time_ms: u64,
            payload in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let job = Job { id, attempt, crashes, priority, time_ms, payload: payload.into() };
            prop_assert_eq!(Job::from_record(&job.to_record().into()), Some(job));
        }

        #[test]
        fn what_is_no_record_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(job) = Job::from_record(&bytes.clone().into()) {
                prop_assert!(job.payload.len() < bytes.len());
            }
        }
    }

    #[test]
    fn keys_are_below_the_tenants_prefix() {
        let queue = JobQueue::new("t:", "mail");
        assert_eq!((queue.list.as_str(), queue.dead_key.as_str()), ("t:mail", "t:mail:dead"));
        assert_eq!(queue.ready_key(), "t:sandbar:queue:mail:ready");
        assert_eq!(queue.lease_key(LeaseId(255)), "t:sandbar:queue:mail:lease:00000000000000ff");
    }
}
