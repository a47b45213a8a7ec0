//! The commit: a fenced transaction on a private connection.
//!
//! Two round trips. The first watches the consumer's fence key, the leases and the keys that the writer watches,
//! and reads them; if all are as they were, the second sends `MULTI`, the effects, the settlement and `EXEC` in one
//! write. The server drops the transaction if a watched key changed in between. Every reply of `EXEC` is looked at:
//! the server skips a command that meets a wrong type and makes the rest.
//!
//! Where a consumer commits again and again, and its commits depend on nothing but its fence, one round trip is
//! enough: behind `EXEC` the fence is watched and read again, for the next commit over the same connection.

use ::redis::aio::ConnectionLike;
use ::redis::{Pipeline, Value, cmd};

use super::super::{Commit, CommitError, Committed, Consumer, Effect, Epoch, Refusal, Settlement, StoreError};
use super::effects::Ids;
use super::private::Private;
use super::{Redis, dead_letters, delivery, effects, lease, reply};

/// How often a transaction is sent that the server dropped although nothing that it relies on has another value.
const EXECS_MAX: u32 = 8;

/// What a command of a transaction was for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Effect(usize),
    Settlement,
}

impl Redis {
    pub(super) async fn make_commit(&self, commit: Commit<'_>) -> Result<Committed, CommitError> {
        let fence = fence(&commit);
        let mut private = self.private.take(fence.map(|(key, _)| key)).await.map_err(CommitError::Refused)?;
        let depends = fence.is_some() || depends_on_others(&commit);
        let is_watched = !depends_on_others(&commit)
            && commit.settlement.dead.is_empty()
            && fence.is_some_and(|fence| private.watches(fence));
        if depends
            && !is_watched
            && let Some(reason) = check(&mut private, &commit).await.map_err(CommitError::Refused)?
        {
            unwatch(private).await;
            return Err(reason);
        }
        let unwatches = commit.atomic && !depends && private.is_watching();
        let again = fence.map(|(key, _)| key).filter(|key| private.was_for(key));
        let (pipeline, purposes) = encode(&commit, self.clock.now_ms(), unwatches, again);
        if purposes.is_empty() {
            unwatch(private).await;
            return Ok(Committed::default());
        }
        for _ in 0..EXECS_MAX {
            let skipped = usize::from(unwatches);
            let connection = private.connection();
            let mut answers = connection
                .req_packed_commands(&pipeline, skipped, pipeline.len().saturating_sub(skipped))
                .await
                .map_err(|error| CommitError::Unknown(reply::error(&error)))?;
            if !commit.atomic {
                private.give_back();
                return Ok(refusals(&commit, &purposes, answers));
            }
            private.used(fence.map(|(key, _)| key), again.map(|key| watched_again(key, &mut answers)));
            match judge(&commit, &purposes, answers) {
                Ok(Some(committed)) => {
                    private.give_back();
                    return Ok(committed);
                }
                // A watched key was touched after it was looked at: look again to tell which. Where all is as it was
                // (a lock was renewed, and nothing else), the transaction was surely not made and may be sent again.
                Ok(None) => {
                    if let Some(reason) = check(&mut private, &commit).await.map_err(CommitError::Refused)? {
                        unwatch(private).await;
                        return Err(reason);
                    }
                }
                Err(error) => {
                    if matches!(error, CommitError::Refused(_) | CommitError::Unacceptable(_)) {
                        private.give_back();
                    }
                    return Err(error);
                }
            }
        }
        unwatch(private).await;
        let changed = commit.watched.first().map(|(key, _)| key.clone());
        Err(changed.map_or(CommitError::Fenced, CommitError::Conflict))
    }
}

/// Whether the commit depends on anything beside its fence.
fn depends_on_others(commit: &Commit<'_>) -> bool {
    commit.atomic && (!commit.watched.is_empty() || lease::watched(commit.leases).next().is_some())
}

/// Takes the answers to `WATCH` and `GET` off the end, and answers what the fence holds: no epoch of a commit where
/// it holds none, or was not watched.
fn watched_again(fence: &str, answers: &mut Vec<Value>) -> Epoch {
    let held = delivery::epoch(answers.pop().unwrap_or_default(), fence);
    let is_watched = matches!(answers.pop(), Some(Value::Okay));
    held.ok().flatten().filter(|_| is_watched).unwrap_or(Epoch::UNCHECKED)
}

/// Watches and reads what the commit depends on. None where all is as it was. A fence that is watched for another
/// client still may have the transaction dropped, which is sent again then.
async fn check(private: &mut Private<'_>, commit: &Commit<'_>) -> Result<Option<CommitError>, StoreError> {
    let fence = fence(commit);
    let mut pipeline = Pipeline::with_capacity(2 + commit.watched.len() + commit.leases.len());
    pipeline.cmd("WATCH");
    fence.iter().for_each(|(key, _)| {
        pipeline.arg(*key);
    });
    commit.watched.iter().for_each(|(key, _)| {
        pipeline.arg(key);
    });
    lease::watched(commit.leases).for_each(|settlement| {
        pipeline.arg(settlement.lease.queue.lease_key(settlement.lease.id));
    });
    fence.iter().for_each(|(key, _)| {
        pipeline.cmd("GET").arg(*key);
    });
    commit.watched.iter().for_each(|(key, _)| {
        pipeline.cmd("GET").arg(key);
    });
    lease::watched(commit.leases).for_each(|settlement| lease::ask(settlement, &mut pipeline));
    let dead = commit.consumer.filter(|_| !commit.settlement.dead.is_empty());
    let dead_key = dead.map(|(consumer, _)| consumer.source.dead_key.as_str());
    let dying = lease::watched(commit.leases).filter(|settlement| !settlement.dead.is_empty());
    let dead_keys: Vec<&str> =
        dead_key.into_iter().chain(dying.map(|settlement| settlement.lease.queue.dead_key.as_str())).collect();
    dead_keys.iter().for_each(|key| {
        pipeline.cmd("XLEN").arg(*key);
    });
    let mut answers = private
        .connection()
        .req_packed_commands(&pipeline, 0, pipeline.len())
        .await
        .map_err(|error| reply::error(&error))?;
    // An event must not be given up where its dead letter cannot be kept. The key is not watched: hosts append to it
    // all the time.
    for key in dead_keys.into_iter().rev() {
        reply::count(answers.pop().unwrap_or_default(), key)?;
    }
    let mut answers = answers.into_iter();
    answers.next().unwrap_or_default().extract_error().map_err(|error| reply::error(&error))?;
    if let Some((key, epoch)) = fence {
        let now = reply::bytes(answers.next().unwrap_or_default(), key)?;
        if now.as_deref() != Some(epoch.0.to_string().as_bytes()) {
            return Ok(Some(CommitError::Fenced));
        }
    }
    for (key, before) in commit.watched {
        match reply::bytes(answers.next().unwrap_or_default(), key) {
            Ok(now) if now == *before => {}
            Ok(_) | Err(StoreError::WrongType(_)) => return Ok(Some(CommitError::Conflict(key.clone()))),
            Err(error) => return Err(error),
        }
    }
    for settlement in lease::watched(commit.leases) {
        if let Some(lost) = lease::lost(settlement, answers.next().unwrap_or_default())? {
            return Ok(Some(lost));
        }
    }
    Ok(None)
}

/// The fence key that the commit depends on, and the epoch that it must hold.
fn fence<'a>(commit: &Commit<'a>) -> Option<(&'a str, Epoch)> {
    let (consumer, epoch) = commit.consumer.filter(|_| commit.atomic)?;
    (epoch != Epoch::UNCHECKED).then_some((consumer.fence_key.as_str(), epoch))
}

/// Ends the watching and gives the connection back; where that fails it is closed.
async fn unwatch(mut private: Private<'_>) {
    if cmd("UNWATCH").query_async::<()>(private.connection()).await.is_ok() {
        private.used(None, None);
        private.give_back();
    }
}

/// The commands of a commit, and what each is for. What is watched still is forgotten first where the commit depends
/// on nothing, and the fence is watched `again` behind it.
fn encode(commit: &Commit<'_>, now_ms: u64, unwatches: bool, again: Option<&str>) -> (Pipeline, Vec<Purpose>) {
    let mut pipeline = Pipeline::with_capacity(commit.effects.len() * 2 + 8);
    let mut purposes = Vec::with_capacity(commit.effects.len() * 2 + 8);
    if unwatches {
        pipeline.cmd("UNWATCH");
    }
    if commit.atomic {
        pipeline.cmd("MULTI");
    }
    for (index, effect) in commit.effects.iter().enumerate() {
        for _ in 0..effects::encode(effect, &mut pipeline) {
            purposes.push(Purpose::Effect(index));
        }
    }
    let before = pipeline.len();
    if let Some((consumer, _)) = commit.consumer {
        settle(consumer, &commit.settlement, now_ms, &mut pipeline);
    }
    commit.leases.iter().for_each(|settlement| lease::settle(settlement, now_ms, &mut pipeline));
    purposes.resize(purposes.len() + pipeline.len() - before, Purpose::Settlement);
    if commit.atomic {
        pipeline.cmd("EXEC");
    }
    if let Some(fence) = again {
        pipeline.cmd("WATCH").arg(fence);
        pipeline.cmd("GET").arg(fence);
    }
    (pipeline, purposes)
}

/// The commands that settle what becomes of the events.
fn settle(consumer: &Consumer, settlement: &Settlement, now_ms: u64, pipeline: &mut Pipeline) {
    let source = &consumer.source;
    for (id, delay_ms) in &settlement.retry {
        pipeline.cmd("HINCRBY").arg(&source.attempts_key).arg(Ids::one(id)).arg(1);
        pipeline.cmd("ZADD").arg(&source.retry_key).arg(now_ms.saturating_add(*delay_ms)).arg(Ids::one(id));
    }
    let bounds = (source.dead_max_len, source.dead_max_age_ms);
    dead_letters::append(
        &source.dead_key,
        bounds,
        settlement.dead.iter().map(|dead_letter| &dead_letter.fields),
        now_ms,
        pipeline,
    );
    if !(settlement.done.is_empty() && settlement.dead.is_empty()) {
        pipeline.cmd("XACK").arg(&source.stream).arg(&source.group).arg(Ids(&settlement.done));
        settlement.dead.iter().for_each(|dead_letter| {
            pipeline.arg(Ids::one(&dead_letter.id));
        });
    }
    if !settlement.forget.is_empty() {
        pipeline.cmd("HDEL").arg(&source.attempts_key).arg(Ids(&settlement.forget));
    }
}

/// What the answers to `MULTI … EXEC` mean; none where a watched key had changed.
fn judge(commit: &Commit<'_>, purposes: &[Purpose], mut answers: Vec<Value>) -> Result<Option<Committed>, CommitError> {
    // Without a MULTI that was accepted the commands behind it were no transaction.
    if !matches!(answers.first(), Some(Value::Okay)) {
        return Err(CommitError::Unknown(StoreError::Refused("MULTI was not accepted".to_owned())));
    }
    match answers.pop() {
        Some(Value::Nil) => Ok(None),
        Some(Value::Array(answers)) => Ok(Some(refusals(commit, purposes, answers))),
        Some(Value::ServerError(abort)) => {
            // The command that was refused while it was queued says more than EXECABORT. The first answer is MULTI's.
            let cause = answers.into_iter().skip(1).zip(purposes).find_map(|(answer, purpose)| match answer {
                Value::ServerError(error) => Some((error, *purpose)),
                _ => None,
            });
            let (error, purpose) = cause.unwrap_or((abort, Purpose::Settlement));
            let error = reply::server_error(&error, key_of(commit, purpose));
            Err(if error.is_transient() { CommitError::Refused(error) } else { CommitError::Unacceptable(error) })
        }
        _ => Err(CommitError::Unknown(StoreError::Unavailable("EXEC was answered in an unknown shape".to_owned()))),
    }
}

/// The effects that were refused, each once.
fn refusals(commit: &Commit<'_>, purposes: &[Purpose], answers: Vec<Value>) -> Committed {
    let mut refused: Vec<Refusal> = Vec::new();
    for (purpose, answer) in purposes.iter().copied().zip(answers) {
        let Value::ServerError(error) = answer else { continue };
        match purpose {
            Purpose::Effect(effect) if refused.last().is_some_and(|last| last.effect == effect) => {}
            Purpose::Effect(effect) => {
                let key = key_of(commit, purpose);
                refused.push(Refusal { effect, error: reply::server_error(&error, key).to_string() });
            }
            // A foreign value under one of Sandbar's own keys; the acknowledgement stands on its own.
            Purpose::Settlement => {
                tracing::error!(stream = key_of(commit, purpose), %error, "the store refused to settle an event");
            }
        }
    }
    Committed { refused }
}

/// What a command of a commit was about.
fn key_of<'a>(commit: &Commit<'a>, purpose: Purpose) -> &'a str {
    match purpose {
        Purpose::Effect(effect) => commit.effects.get(effect).map_or("", Effect::key),
        Purpose::Settlement => match (commit.consumer, commit.leases.first()) {
            (Some((consumer, _)), _) => &consumer.source.stream,
            (None, Some(settlement)) => &settlement.lease.queue.list,
            (None, None) => "",
        },
    }
}
