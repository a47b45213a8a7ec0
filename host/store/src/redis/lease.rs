//! What a commit does about jobs that are leased: the lease is watched, and what becomes of its jobs is part of the
//! transaction.

use ::redis::{Pipeline, Value};

use super::super::{CommitError, LeaseSettlement, Loss, StoreError};
use super::{dead_letters, reply};

/// Those leases of a commit that it depends on.
pub(super) fn watched(leases: &[LeaseSettlement]) -> impl Iterator<Item = &LeaseSettlement> {
    leases.iter().filter(|settlement| settlement.loss != Loss::Unchecked)
}

/// Asks whether the lease is there.
pub(super) fn ask(settlement: &LeaseSettlement, pipeline: &mut Pipeline) {
    pipeline.cmd("EXISTS").arg(settlement.lease.queue.lease_key(settlement.lease.id));
}

/// What the answer to that means for the commit. None where the lease is there.
pub(super) fn lost(settlement: &LeaseSettlement, answer: Value) -> Result<Option<CommitError>, StoreError> {
    let queue = &settlement.lease.queue;
    if reply::integer(answer, &queue.list)? != 0 {
        return Ok(None);
    }
    Ok(match settlement.loss {
        Loss::Fenced => Some(CommitError::Fenced),
        Loss::Conflict => Some(CommitError::Conflict(queue.list.clone())),
        Loss::Unchecked => None,
    })
}

/// The commands that settle jobs.
pub(super) fn settle(settlement: &LeaseSettlement, now_ms: u64, pipeline: &mut Pipeline) {
    let LeaseSettlement { lease, done, retry, dead, is_last, .. } = settlement;
    let queue = &lease.queue;
    if !retry.is_empty() {
        pipeline.cmd("ZADD").arg(queue.delayed_key());
        for (job, delay_ms) in retry {
            pipeline.arg(now_ms.saturating_add(*delay_ms)).arg(job.to_record());
        }
    }
    dead_letters::append(
        &queue.dead_key,
        (queue.dead_max_len, queue.dead_max_age_ms),
        dead.iter().map(|job| &job.fields),
        now_ms,
        pipeline,
    );
    if *is_last {
        pipeline.cmd("DEL").arg(queue.lease_key(lease.id));
        pipeline.cmd("ZREM").arg(queue.leases_key()).arg(lease.id.to_string());
    } else if !(done.is_empty() && retry.is_empty() && dead.is_empty()) {
        pipeline.cmd("HDEL").arg(queue.lease_key(lease.id)).arg(done);
        retry.iter().for_each(|(job, _)| _ = pipeline.arg(job.id));
        dead.iter().for_each(|job| _ = pipeline.arg(job.id));
    }
}
