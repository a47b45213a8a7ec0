//! Queues of a server. Everything that moves a job from one place to another is one script, or part of a commit.

use ::redis::{Pipeline, Value, cmd};
use async_trait::async_trait;
use bytes::Bytes;

use super::scripts::Script;
use super::{Redis, reply};
use crate::queue::{DISSOLVED_MAX, PROMOTED_MAX, RATE_PARTS};
use crate::{Job, JobQueue, Lease, LeaseId, Lengths, Queue, StoreError, Took, Wake, Want};

#[async_trait]
impl Queue for Redis {
    async fn take(&self, lease: &Lease, want: Want) -> Result<Took, StoreError> {
        let queue = &*lease.queue;
        let (ready, delayed, sequence) = (queue.ready_key(), queue.delayed_key(), queue.sequence_key());
        let (leases, own, paused, rate) =
            (queue.leases_key(), queue.lease_key(lease.id), queue.paused_key(), queue.rate_key());
        let keys = [queue.list.as_str(), &ready, &delayed, &sequence, &leases, &own, &paused, &rate];
        let (limit, span_ms) = want.rate.map_or((0, 1), |rate| (rate.jobs, rate.per_ms));
        let arguments = [
            lease.id.to_string(),
            want.count.to_string(),
            want.visibility_ms.to_string(),
            queue.lease_prefix(),
            DISSOLVED_MAX.to_string(),
            PROMOTED_MAX.to_string(),
            limit.to_string(),
            span_ms.to_string(),
            RATE_PARTS.to_string(),
        ];
        let arguments = arguments.each_ref().map(String::as_bytes);
        let answer = self.eval(Script::QueueTake, &keys, &arguments).await.map_err(named(queue))?;
        let mut parts = reply::list(answer, &queue.list)?.into_iter();
        let mut next = || parts.next().unwrap_or_default();
        let (is_paused, next_in, returned, records) = (next(), next(), next(), next());
        Ok(Took {
            jobs: jobs(records, queue)?,
            is_paused: reply::integer(is_paused, &queue.list)? == 1,
            next_in_ms: if next_in == Value::Nil { None } else { Some(reply::count(next_in, &queue.list)?) },
            returned: reply::count(returned, &queue.list)?,
        })
    }

    async fn recover(&self, lease: &Lease, to: LeaseId, visibility_ms: u64) -> Result<Vec<Job>, StoreError> {
        let queue = &*lease.queue;
        let (leases, from, new) = (queue.leases_key(), queue.lease_key(lease.id), queue.lease_key(to));
        let (from_id, to_id, visibility) = (lease.id.to_string(), to.to_string(), visibility_ms.to_string());
        let arguments = [from_id.as_bytes(), to_id.as_bytes(), visibility.as_bytes()];
        let answer = self.eval_fresh(Script::QueueRecover, &[&leases, &from, &new], &arguments).await?;
        let mut found = jobs(answer, queue)?;
        found.sort_unstable_by_key(Job::rank);
        Ok(found)
    }

    async fn give_back(&self, lease: &Lease, counts_as_crash: bool) -> Result<u64, StoreError> {
        let queue = &*lease.queue;
        let (ready, leases, own) = (queue.ready_key(), queue.leases_key(), queue.lease_key(lease.id));
        let id = lease.id.to_string();
        let crash: &[u8] = if counts_as_crash { b"1" } else { b"0" };
        let answer = self.eval(Script::QueueGiveBack, &[&ready, &leases, &own], &[id.as_bytes(), crash]).await?;
        reply::count(answer, &queue.list)
    }

    async fn extend(&self, queue: &JobQueue, leases: &[LeaseId], visibility_ms: u64) -> Result<u64, StoreError> {
        let arguments: Vec<String> =
            [visibility_ms.to_string()].into_iter().chain(leases.iter().map(LeaseId::to_string)).collect();
        let arguments: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
        let answer = self.eval(Script::QueueExtend, &[&queue.leases_key()], &arguments).await?;
        reply::count(answer, &queue.list)
    }

    async fn lengths(&self, queue: &JobQueue) -> Result<Lengths, StoreError> {
        let (ready, delayed, leases) = (queue.ready_key(), queue.delayed_key(), queue.leases_key());
        let keys = [queue.list.as_str(), &ready, &delayed, &leases, &queue.dead_key];
        let answer = self.eval(Script::QueueLengths, &keys, &[queue.lease_prefix().as_bytes()]).await;
        let answer = answer.map_err(named(queue))?;
        let mut parts = reply::list(answer, &queue.list)?.into_iter();
        let mut next = || reply::count(parts.next().unwrap_or_default(), &queue.list);
        Ok(Lengths { ready: next()?, delayed: next()?, leased: next()?, dead: next()? })
    }

    async fn peek(&self, queue: &JobQueue, count: u32) -> Result<Vec<Job>, StoreError> {
        let mut pipeline = Pipeline::with_capacity(5);
        // A transaction, so that a job which is taken meanwhile is not seen in two places.
        pipeline.cmd("MULTI");
        pipeline.cmd("ZRANGE").arg(queue.ready_key()).arg(0).arg(count.saturating_sub(1));
        pipeline.cmd("ZRANGEBYSCORE").arg(queue.delayed_key()).arg("-inf").arg(self.clock.now_ms());
        pipeline.arg("LIMIT").arg(0).arg(count);
        pipeline.cmd("LRANGE").arg(&queue.list).arg(-i64::from(count)).arg(-1);
        pipeline.cmd("EXEC");
        let answer = self.query_all(&pipeline).await?.pop().unwrap_or_default();
        let mut parts = reply::list(answer, &queue.list)?.into_iter();
        let mut next = || parts.next().unwrap_or_default();
        let (ready, due, plain) = (next(), next(), next());
        let mut found = jobs(ready, queue)?;
        found.extend(jobs(due, queue)?);
        found.sort_by_key(Job::rank);
        for payload in reply::list(plain, &queue.list)?.into_iter().rev() {
            let payload = reply::bytes(payload, &queue.list)?.unwrap_or_default();
            found.push(Job { id: 0, attempt: 1, crashes: 0, priority: 0, time_ms: 0, payload });
        }
        found.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(found)
    }

    async fn set_paused(&self, queue: &JobQueue, paused: bool) -> Result<bool, StoreError> {
        let key = queue.paused_key();
        if paused {
            let answer = self.query(cmd("SET").arg(&key).arg(1).arg("NX")).await?;
            return Ok(reply::bytes(answer, &key)?.is_some());
        }
        Ok(reply::integer(self.query(cmd("DEL").arg(&key)).await?, &key)? == 1)
    }

    async fn is_paused(&self, queue: &JobQueue) -> Result<bool, StoreError> {
        let key = queue.paused_key();
        Ok(reply::integer(self.query(cmd("EXISTS").arg(&key)).await?, &key)? == 1)
    }

    fn watch_queue(&self, queue: &JobQueue) -> Wake {
        let keys = vec![queue.list.clone(), queue.ready_key(), queue.delayed_key(), queue.paused_key()];
        let wake = self.wakes.watch_all(keys);
        self.tracking.changed();
        wake
    }
}

/// A script's error does not say which key it met; of those here only the list is anybody else's.
fn named(queue: &JobQueue) -> impl Fn(StoreError) -> StoreError {
    |error| match error {
        StoreError::WrongType(_) => StoreError::WrongType(format!("`{}` holds another kind of value", queue.list)),
        error => error,
    }
}

/// Reads records; what is none, because another client wrote under Sandbar's own keys, is an error that names the
/// queue.
fn jobs(answer: Value, queue: &JobQueue) -> Result<Vec<Job>, StoreError> {
    let foreign = || StoreError::WrongType(format!("something beside the queue `{}` is no job", queue.list));
    let job = |value| {
        let record: Bytes = reply::bytes(value, &queue.list)?.unwrap_or_default();
        Job::from_record(&record).ok_or_else(foreign)
    };
    reply::list(answer, &queue.list)?.into_iter().map(job).collect()
}
