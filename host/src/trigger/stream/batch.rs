//! One batch: handled, judged, committed; in halves where it fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::Context;
use super::gauge::Ticket;
use crate::bindings::exports::sandbar::plugin::handler;
use crate::bindings::sandbar::plugin::types::FieldParam;
use crate::call::{Behalf, Ended};
use crate::lock::release_all;
use crate::manifest::Guarantee;
use crate::pool::{CallError, Pool};
use crate::store::{Commit, CommitError, Committed, Delivered, Effect, Epoch};

mod verdict;

use verdict::{Judgement, Verdict};

/// How often a batch is run again at once because a value that it relied on had changed, before it goes back to pending.
const CONFLICTS_MAX: u32 = 50;
/// How often it is run again because the store failed while the plugin used it, before that counts as a failed attempt.
const RERUNS_MAX: u32 = 10;
/// How long a plugin whose store failed, or that got no instance, waits before it is run again.
const STORE_PAUSE: Duration = Duration::from_millis(100);

/// How a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every event is acknowledged, dead or waiting for a retry; the earliest after so long.
    Settled {
        /// When the earliest retry is due.
        retry_in: Option<Duration>,
    },
    /// It is not known what the store has of it, or it was taken over: the worker has to read its pending entries.
    Lost,
}

/// The batches of a worker.
#[derive(Debug)]
pub(super) struct Batches(pub(super) JoinSet<Outcome>);

impl Batches {
    /// The next one that ends; none where there are none. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Outcome> {
        // A task of ours that panicked or was aborted has settled nothing that is known here.
        self.0.join_next().await.map(|joined| joined.unwrap_or(Outcome::Lost))
    }

    /// One that has ended already.
    pub(super) fn try_next(&mut self) -> Option<Outcome> {
        self.0.try_join_next().map(|joined| joined.unwrap_or(Outcome::Lost))
    }
}

/// A part of a batch that is still to be handled.
#[derive(Debug)]
struct Part {
    events: Vec<Delivered>,
    /// Why the plugin failed over it. It is a single event then, and is not handled again in this delivery.
    fault: Option<String>,
}

/// Why a part cannot be judged.
#[derive(Debug)]
enum Unhandled {
    /// The store failed while the plugin used it: it is to be run again.
    StoreFailed(String),
    /// The host has no instance for it now: it is to be run again.
    NoInstance(String),
    /// The plugin failed over some event of it.
    Fault(CallError),
}

/// Runs a batch to its end.
pub(super) async fn run(context: Arc<Context>, epoch: Epoch, events: Vec<Delivered>, ticket: Ticket) -> Outcome {
    let mut retry_in: Option<Duration> = None;
    let (mut conflicts, mut reruns) = (0, 0);
    // The first part is the last of the list.
    let mut parts = vec![Part { events, fault: None }];
    while let Some(part) = parts.pop() {
        // One version handles a part from beginning to end, and its name stands in what comes of it.
        let pool = context.pool.load_full();
        let judgement = match handle(&context, &pool, epoch, &part).await {
            Ok(judgement) => judgement,
            Err(Unhandled::StoreFailed(reason)) if reruns >= RERUNS_MAX && context.store.is_available() => {
                // What always fails while the store is there is the event's doing. If it was the store's after all, the
                // commit that counts the attempt cannot be made either.
                context.metrics.failed("store");
                split(part, reason, &mut parts);
                continue;
            }
            Err(Unhandled::StoreFailed(reason) | Unhandled::NoInstance(reason)) => {
                tracing::debug!(plugin = pool.identity().plugin, reason, "a batch is run again");
                wait_for_store().await;
                reruns += 1;
                parts.push(part);
                continue;
            }
            Err(Unhandled::Fault(error)) => {
                context.metrics.failed(error.kind());
                split(part, error.to_string(), &mut parts);
                continue;
            }
        };
        match commit(&context, epoch, &judgement).await {
            Ok(committed) => {
                let ids: Vec<_> = part.events.iter().map(|event| event.id).collect();
                ticket.settled(&ids);
                retry_in = retry_in.into_iter().chain(judgement.retry_in()).min();
                count(&context, &part.events, &judgement);
                if !committed.refused.is_empty() {
                    bury_refused(&context, &pool, epoch, &part.events, &judgement, committed).await;
                }
            }
            Err(CommitError::Conflict(key)) if conflicts < CONFLICTS_MAX => {
                conflicts += 1;
                context.metrics.commit_lost("conflict");
                tracing::debug!(%key, "a value that the batch relied on has changed: it is run again");
                parts.push(part);
            }
            Err(CommitError::Unacceptable(error)) if part.fault.is_none() => {
                context.metrics.failed("unacceptable");
                split(part, format!("a write was not accepted: {error}"), &mut parts);
            }
            Err(error) => {
                context.metrics.commit_lost(reason(&error));
                tracing::debug!(consumer = context.consumer.name, %error, "a commit was not made");
                if matches!(error, CommitError::Refused(_) | CommitError::Unacceptable(_)) {
                    wait_for_store().await;
                }
                return Outcome::Lost;
            }
        }
    }
    Outcome::Settled { retry_in }
}

/// Halves a part that failed, until the event at fault is alone.
fn split(mut part: Part, fault: String, parts: &mut Vec<Part>) {
    if part.events.len() > 1 {
        let second = part.events.split_off(part.events.len() / 2);
        parts.push(Part { events: second, fault: None });
        parts.push(part);
    } else {
        parts.push(Part { fault: Some(fault), ..part });
    }
}

/// Has the plugin handle a part, and judges what it answers.
async fn handle(context: &Context, pool: &Pool, epoch: Epoch, part: &Part) -> Result<Judgement, Unhandled> {
    let events = &part.events;
    if let Some(fault) = &part.fault {
        let verdicts = vec![Verdict::Failed(fault.clone()); events.len()];
        return Ok(verdict::judge(context, pool, events, verdicts, Ended::default()));
    }
    let answer = {
        let permit = context.handling.acquire().await;
        let _permit = permit.map_err(|closed| Unhandled::NoInstance(closed.to_string()))?;
        call(context, pool, epoch, events).await
    };
    match answer {
        Ok((outcomes, ended)) => {
            let verdicts: Vec<_> = outcomes.into_iter().map(Verdict::from).collect();
            if ended.store_failed && !verdict::all_done(&verdicts) {
                return Err(Unhandled::StoreFailed("the store failed while the plugin used it".to_owned()));
            }
            Ok(verdict::judge(context, pool, events, verdicts, ended))
        }
        Err((CallError::NoInstance(reason), _)) => Err(Unhandled::NoInstance(reason)),
        Err((error, true)) => Err(Unhandled::StoreFailed(error.to_string())),
        Err((error, false)) => Err(Unhandled::Fault(error)),
    }
}

/// One word for metrics.
fn reason(error: &CommitError) -> &'static str {
    match error {
        CommitError::Fenced => "fenced",
        CommitError::Conflict(_) => "conflict",
        CommitError::Refused(_) => "refused",
        CommitError::Unacceptable(_) => "unacceptable",
        CommitError::Unknown(_) => "unknown",
    }
}

async fn wait_for_store() {
    tokio::time::sleep(super::plan::jittered(STORE_PAUSE)).await;
}

/// Has the plugin handle events.
async fn call(
    context: &Context,
    pool: &Pool,
    epoch: Epoch,
    part: &[Delivered],
) -> Result<(Vec<handler::Outcome>, Ended), (CallError, bool)> {
    let ids: Arc<[String]> = part.iter().map(|event| event.id.to_string()).collect();
    let fields: Vec<Vec<FieldParam<'_>>> = part
        .iter()
        .map(|event| event.fields.iter().map(|field| FieldParam { name: &field.name, value: &field.value }).collect())
        .collect();
    let events: Vec<handler::Event<'_>> = part
        .iter()
        .zip(ids.iter())
        .zip(&fields)
        .map(|((event, id), fields)| handler::Event {
            id,
            source: &context.trigger.stream,
            attempt: event.attempt,
            time_ms: event.id.ms,
            content: handler::Content::Fields(fields),
        })
        .collect();
    let behalf = Behalf { consumer: context.consumer.clone(), epoch };
    let begun = Instant::now();
    let answer = pool.handle(Some(behalf), ids.clone(), &events).await;
    if answer.is_ok() {
        context.metrics.handled(events.len(), begun.elapsed());
    }
    answer
}

/// Commits what came of a part.
async fn commit(context: &Context, epoch: Epoch, judgement: &Judgement) -> Result<Committed, CommitError> {
    let begun = Instant::now();
    let epoch = if context.protocol.fenced { epoch } else { Epoch::UNCHECKED };
    let commit = Commit {
        consumer: Some((&context.consumer, epoch)),
        relied_on: &judgement.relied_on,
        effects: &judgement.effects,
        settlement: judgement.settlement.clone(),
        atomic: context.trigger.delivery == Guarantee::ExactlyOnce,
    };
    let committed = context.store.commit(commit).await;
    release_all(&judgement.locks).await;
    if committed.is_ok() {
        context.metrics.committed(judgement.settlement.done.len(), begun.elapsed());
    }
    committed
}

/// Counts what was committed.
fn count(context: &Context, part: &[Delivered], judgement: &Judgement) {
    let now_ms = context.store.now_ms();
    let age = |event: &Delivered| Duration::from_millis(now_ms.saturating_sub(event.id.ms));
    context.metrics.latencies(part.iter().map(age));
    if !judgement.settlement.retry.is_empty() {
        context.metrics.retried(judgement.settlement.retry.len());
    }
    if !judgement.settlement.dead.is_empty() {
        context.metrics.dead(judgement.settlement.dead.len());
    }
}

/// Sends the events whose writes the store refused to the dead letters. Their other writes and their acknowledgement stand, so this
/// is a commit of its own; if the host dies before it, only the note is lost.
async fn bury_refused(
    context: &Context,
    pool: &Pool,
    epoch: Epoch,
    part: &[Delivered],
    judgement: &Judgement,
    committed: Committed,
) {
    let settlement = verdict::refused(context, pool, part, judgement, &committed);
    let letters = settlement.dead.len();
    let commit =
        Commit { consumer: Some((&context.consumer, epoch)), relied_on: &[], effects: &[], settlement, atomic: false };
    match context.store.commit(commit).await {
        Ok(_) => context.metrics.dead(letters),
        Err(error) => tracing::error!(
            stream = context.consumer.source.stream,
            %error,
            "the dead letters of refused writes could not be written"
        ),
    }
}
