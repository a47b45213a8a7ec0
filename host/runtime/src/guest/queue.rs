//! `sandbar:plugin/queue`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::check;
use super::state::State;
use crate::bindings::sandbar::plugin::queue::{Host, Job, Lengths, PushOptions};
use crate::bindings::sandbar::plugin::types::Error;
use crate::call::{CallLimit, TAKES_MAX};
use sandbar_store::dead_letter::{self, Circumstances};
use sandbar_store::{
    Commit, CommitError, DeadJob, Effect, JobQueue, Lease, LeaseSettlement, Loss, StoreError, TAKE_MAX, Want,
};

/// The longest delay of a job, in milliseconds: 365 days.
const DELAY_MS_MAX: u64 = 365 * 24 * 3600 * 1000;
/// The longest deduplication id, in bytes.
const DEDUPLICATE_BYTES_MAX: usize = 256;
/// The longest window of deduplication, in milliseconds: 7 days.
const WINDOW_MS_MAX: u64 = 7 * 24 * 3600 * 1000;
/// How much longer than its call a lease lasts: the commit comes after the call, and may have to wait for a connection.
const LEASE_SLACK: Duration = Duration::from_secs(10);
/// How often calls may give a job back before it is dead-lettered. A call fails for other reasons too: a
/// batch with one event at fault is run in halves, and each of those runs may take the same job.
const GIVEN_BACK_MAX: u32 = 100;

impl Host for State {
    async fn length(&mut self, name: String) -> Result<Lengths, Error> {
        self.readable(&name)?;
        let (store, queue) = (self.shared_store(&name)?, self.queue(&name));
        let answer = self.recorder_slot.ask(|| format!("queue.length {}", queue.list), store.lengths(&queue)).await;
        let sandbar_store::Lengths { ready, delayed, leased, dead } = self.answered(answer)?;
        Ok(Lengths { ready, delayed, leased, dead })
    }

    async fn peek(&mut self, name: String, count: u32) -> Result<Vec<Job>, Error> {
        self.readable(&name)?;
        let count = check::count(&name, count, TAKE_MAX)?;
        let (store, queue) = (self.shared_store(&name)?, self.queue(&name));
        let answer =
            self.recorder_slot.ask(|| format!("queue.peek {} {count}", queue.list), store.peek(&queue, count)).await;
        Ok(self.answered(answer)?.into_iter().map(shown).collect())
    }

    async fn take(&mut self, name: String, count: u32) -> Result<Vec<Job>, Error> {
        self.writable(&name)?;
        let count = check::count(&name, count, TAKE_MAX)?;
        if self.call.taken.len() >= TAKES_MAX {
            return Err(self.limited(&CallLimit::Takes));
        }
        let recorded = self
            .recorder_slot
            .recorder()
            .map(|recorder| (recorder, format!("queue.take {} {count}", self.prefixed(&name))));
        if let Some((recorder, question)) = recorded.as_ref().filter(|(recorder, _)| recorder.is_replaying()) {
            // What a recording does not know of is not there to be taken.
            let jobs: Result<Vec<sandbar_store::Job>, StoreError> =
                recorder.find_once(question).unwrap_or(Ok(Vec::new()));
            return Ok(jobs?.into_iter().map(shown).collect());
        }
        let (store, lease) = (self.shared_store(&name)?, Lease::new(self.queue(&name)));
        let rest = self.call.deadline.saturating_duration_since(Instant::now()) + LEASE_SLACK;
        let visibility_ms = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
        // Noted before it is asked for, so that what it may have taken is given back also where this call ends
        // meanwhile.
        self.call.taken.begin(&store, lease.clone(), self.call.current);
        let answer = store.take(&lease, Want { count, visibility_ms, rate: None }).await;
        if let (Some((recorder, question)), Err(error)) = (&recorded, &answer) {
            recorder.note::<Vec<sandbar_store::Job>, _>(question.clone(), Err(error));
        }
        let took = self.answered(answer)?;
        let (jobs, worn): (Vec<_>, Vec<_>) = took.jobs.into_iter().partition(|job| job.crashes <= GIVEN_BACK_MAX);
        if !worn.is_empty() {
            self.bury(&lease, &worn, jobs.is_empty()).await?;
        }
        if let Some((recorder, question)) = recorded {
            recorder.note::<_, StoreError>(question, Ok(&jobs));
        }
        self.call.taken.found(jobs.iter().map(|job| job.id).collect());
        Ok(jobs.into_iter().map(shown).collect())
    }

    fn push(&mut self, name: String, payload: Vec<u8>, options: PushOptions) -> Result<(), Error> {
        self.writable(&name)?;
        let payload = self.value(&name, payload)?;
        let options = checked(&name, options)?;
        let bytes = payload.len() + options.deduplicate.as_ref().map_or(0, |(id, _)| id.len());
        let queue = self.queue(&name);
        self.write(Effect::Push { queue, payloads: vec![payload], options }, bytes)
    }
}

impl State {
    fn queue(&self, name: &str) -> Arc<JobQueue> {
        Arc::new(JobQueue::new(self.prefix(), name))
    }

    /// Sends jobs to the dead letters that every call which took them has given back.
    async fn bury(&mut self, lease: &Lease, worn: &[sandbar_store::Job], is_last: bool) -> Result<(), Error> {
        let (context, store) = (self.context.clone(), self.context.store.clone());
        let dead = worn.iter().map(|job| {
            let id = job.id.to_string();
            let reason = format!("calls that took it failed {} times", job.crashes);
            tracing::warn!(plugin = context.plugin, event = id, reason, "a job goes to the dead letters");
            let circumstances = Circumstances {
                reason: &reason,
                attempt: job.attempt,
                plugin: &context.plugin,
                version: &context.version,
                group: None,
                time_ms: store.now_ms(),
                id: &id,
            };
            DeadJob { id: job.id, fields: dead_letter::fields(circumstances, dead_letter::remains(job)) }
        });
        let settlement =
            LeaseSettlement { dead: dead.collect(), is_last, ..LeaseSettlement::new(lease.clone(), Loss::Conflict) };
        let commit = Commit { leases: &[settlement], ..Commit::plain(&[], &[]) };
        let _turn = context.quota.commit(0).await;
        store.commit(commit).await.map(drop).map_err(|error| match error {
            CommitError::Fenced | CommitError::Conflict(_) => Error::Conflict(error.to_string()),
            CommitError::Unacceptable(error) => error.into(),
            CommitError::Refused(_) | CommitError::Unknown(_) => {
                self.call.store_failed = true;
                Error::Unavailable(error.to_string())
            }
        })
    }
}

/// A job as the plugin sees it.
fn shown(job: sandbar_store::Job) -> Job {
    Job {
        // One in the list has no number yet.
        id: if job.id == 0 { String::new() } else { job.id.to_string() },
        attempt: job.attempt,
        priority: job.priority,
        payload: job.payload.into(),
    }
}

fn checked(name: &str, options: PushOptions) -> Result<sandbar_store::PushOptions, Error> {
    let PushOptions { delay_ms, priority, deduplicate } = options;
    if delay_ms > DELAY_MS_MAX {
        return Err(Error::Invalid(format!(
            "a delay of {delay_ms} ms for `{name}`; at most {DELAY_MS_MAX} are allowed"
        )));
    }
    let Some(deduplicate) = deduplicate else {
        return Ok(sandbar_store::PushOptions { delay_ms, priority, deduplicate: None });
    };
    let (bytes, window_ms) = (deduplicate.id.len(), deduplicate.window_ms);
    if !(1..=DEDUPLICATE_BYTES_MAX).contains(&bytes) {
        return Err(Error::Invalid(format!(
            "a deduplication id of {bytes} bytes for `{name}`; 1 to {DEDUPLICATE_BYTES_MAX} are allowed"
        )));
    }
    if !(1..=WINDOW_MS_MAX).contains(&window_ms) {
        return Err(Error::Invalid(format!(
            "a window of {window_ms} ms for `{name}`; 1 to {WINDOW_MS_MAX} are allowed"
        )));
    }
    Ok(sandbar_store::PushOptions { delay_ms, priority, deduplicate: Some((deduplicate.id, window_ms)) })
}
