//! One batch: handled, judged, committed; in halves where it fails.
//!
//! What a batch's events are and how they are settled is known to its [`Origin`]; everything else is the same for all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tokio::sync::Semaphore;

use super::backoff::Backoff;
use super::pacing;
use sandbar_runtime::bindings::exports::sandbar::plugin::handler;
use sandbar_runtime::bindings::sandbar::plugin::types::FieldParam;
use sandbar_runtime::call::{CommitScope, FinishedCall};
use sandbar_runtime::pool::{CallError, CallFailure};
use sandbar_runtime::protocol::Protocol;
use sandbar_runtime::replay::Recorder;
use sandbar_runtime::rollout::{Chosen, Rollout};
use sandbar_runtime::telemetry::PluginMetrics;
use sandbar_store::{CommitError, Consumer, Effect, Epoch, Field, LeaseSettlement, Settlement, Store};

pub mod recording;

mod commit;
mod part;
mod recorded;
mod settlement;

use commit::{commit, count, dead_letter_refused, report_health};
pub(super) use part::Part;
use part::split;
pub(super) use recorded::Recorded;
use recorded::lead;
pub(super) use recording::RecordingWriter;
use sandbar_runtime::outcome::EventOutcome;
use settlement::PartSettlement;

/// How often a batch is run again at once because a key that it watched had changed, before it goes back to
/// pending.
const CONFLICTS_MAX: u32 = 50;
/// How often it is run again because the store failed while the plugin used it, before that counts as a failed attempt.
const RERUNS_MAX: u32 = 10;
/// How long a plugin whose store failed, or that got no instance, waits before it is run again.
const STORE_PAUSE: Duration = Duration::from_millis(100);

/// What the batches of a worker share.
#[derive(Debug)]
pub(super) struct Common {
    /// Where the events live.
    pub(super) store: Arc<dyn Store>,
    /// The versions of the plugin; replaced while events flow.
    pub(super) rollout: Arc<Rollout>,
    /// The plugin's numbers.
    pub(super) metrics: PluginMetrics,
    /// See [`Protocol`].
    pub(super) protocol: Protocol,
    /// What the events come from, as the manifest names it.
    pub(super) source: String,
    /// The consumer group, where there is one.
    pub(super) group: Option<String>,
    /// Who takes them, for logs.
    pub(super) worker: String,
    /// Failed attempts after which an event is dead-lettered.
    pub(super) max_attempts: u32,
    /// When it is tried again before that.
    pub(super) backoff: Backoff,
    /// Keeps what batches read; none where the manifest does not ask for it.
    pub(super) recording: Option<RecordingWriter>,
    /// Bounds how many batches are handled at the same time.
    pub(super) handling: Semaphore,
}

/// What becomes of one event, in its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is handled.
    Done,
    /// It comes back after so many milliseconds.
    Retry(u64),
    /// It is given up, and these are the fields of its dead letter.
    Dead(Vec<Field>),
}

/// What becomes of the events of a part, as a commit takes it.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// For a consumer of a stream.
    pub(super) settlement: Settlement,
    /// For a lease of a queue.
    pub(super) lease: Option<LeaseSettlement>,
}

/// The fields of an event, as the plugin is given them: few, for most.
pub(super) type Fields<'a> = SmallVec<[FieldParam<'a>; 4]>;

/// Where the events of one batch come from, and how they are settled there.
pub(super) trait Origin: Send + Sync {
    /// An event.
    type Event: std::fmt::Debug + Send + Sync;

    /// What all batches share.
    fn common(&self) -> &Common;

    /// On whose scope the plugin commits by itself.
    fn scope(&self) -> CommitScope;

    /// The consumer that the commit is fenced by, where it is one.
    fn consumer(&self) -> Option<(&Consumer, Epoch)>;

    /// Whether effects and acknowledgement are one transaction.
    fn is_atomic(&self) -> bool;

    /// The event's id, unique within its source.
    fn id(event: &Self::Event) -> String;

    /// Which attempt to handle it this is, from 1.
    fn attempt(event: &Self::Event) -> u32;

    /// When it was produced, in milliseconds since 1970 by the store's clock.
    fn time_ms(event: &Self::Event) -> u64;

    /// The fields that the plugin is given, where the event has any.
    fn fields(event: &Self::Event) -> Fields<'_>;

    /// What the plugin is given; `fields` are those of [`Origin::fields`].
    fn content<'a>(event: &'a Self::Event, fields: &'a [FieldParam<'a>]) -> handler::Content<'a>;

    /// What a dead letter says of the event's own.
    fn remains(event: &Self::Event) -> Vec<Field>;

    /// What a commit does with decisions about events.
    fn settle<'a>(&self, decided: impl Iterator<Item = (&'a Self::Event, Decision)>) -> Settled
    where
        Self::Event: 'a;

    /// These events are settled: they need not be kept alive.
    fn settled(&self, events: &[Self::Event]);
}

/// How a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchEnd {
    /// Every event is acknowledged, dead or waiting for a retry; the earliest after so long.
    Settled {
        /// When the earliest retry is due.
        retry_in: Option<Duration>,
    },
    /// It is not known what the store has of it, or it was taken over: the worker has to look at what is left of it.
    Lost,
}

/// Why a part cannot be judged.
#[derive(Debug, thiserror::Error)]
enum Unhandled {
    /// The store failed while the plugin used it: it is to be run again.
    #[error("{0}")]
    StoreFailed(String),
    /// The host has no instance for it now: it is to be run again.
    #[error("{0}")]
    NoInstance(String),
    /// The plugin failed over some event of it.
    #[error("{0}")]
    Fault(CallError),
}

/// Runs the parts of a batch to their end, the last of the list first.
pub(super) async fn run<O: Origin>(origin: O, mut parts: Vec<Part<O::Event>>) -> BatchEnd {
    let common = origin.common();
    let mut retry_in: Option<Duration> = None;
    let (mut conflicts, mut reruns) = (0, 0);
    // One version handles a batch from beginning to end, in halves as well, and its name stands in what comes of it.
    let mut pool = common.rollout.choose();
    while let Some(mut part) = parts.pop() {
        let mut settlement = match handle(&origin, &pool, &mut part).await {
            Ok(settlement) => settlement,
            Err(Unhandled::StoreFailed(reason)) if reruns >= RERUNS_MAX && common.store.is_available() => {
                // What always fails while the store is there is the event's doing. If it was the store's after all, the
                // commit that counts the attempt cannot be made either.
                common.metrics.failed("store");
                split(part, reason, &mut parts);
                continue;
            }
            Err(fault @ (Unhandled::StoreFailed(_) | Unhandled::NoInstance(_))) => {
                tracing::debug!(plugin = pool.context().plugin, %fault, "a batch is run again");
                wait_for_store().await;
                reruns += 1;
                parts.push(part);
                if matches!(fault, Unhandled::NoInstance(_)) {
                    // It has not handled the part yet; another version may be in place meanwhile that can.
                    pool = common.rollout.choose();
                }
                continue;
            }
            Err(Unhandled::Fault(error)) => {
                common.metrics.failed(error.kind());
                split(part, error.to_string(), &mut parts);
                continue;
            }
        };
        match commit(&origin, &pool, &mut settlement, part.recorded.as_ref()).await {
            Ok(committed) => {
                origin.settled(&part.events);
                retry_in = retry_in.into_iter().chain(settlement.retry_in).min();
                count::<O>(common, &part.events, &settlement);
                report_health::<O>(common, &pool, &part, &settlement);
                if !committed.refused.is_empty() {
                    dead_letter_refused(&origin, &pool, &part.events, &settlement, committed).await;
                }
                if let Some(recorded) = part.recorded.filter(|_| pool.is_followed()) {
                    lead(&pool, recorded, settlement);
                }
            }
            Err(CommitError::Conflict(key)) if conflicts < CONFLICTS_MAX => {
                conflicts += 1;
                common.metrics.commit_lost("conflict");
                tracing::debug!(%key, "a key that the batch watched has changed: it is run again");
                settlement.taken.give_back().await;
                parts.push(part);
            }
            Err(CommitError::Unacceptable(error)) if part.outcome.is_none() => {
                common.metrics.failed("unacceptable");
                split(part, format!("a write was not accepted: {error}"), &mut parts);
            }
            Err(error) => {
                common.metrics.commit_lost(error.kind());
                tracing::debug!(consumer = common.worker, %error, "a commit was not made");
                settlement.taken.give_back().await;
                if matches!(error, CommitError::Refused(_) | CommitError::Unacceptable(_)) {
                    wait_for_store().await;
                }
                return BatchEnd::Lost;
            }
        }
    }
    BatchEnd::Settled { retry_in }
}

/// Has the plugin handle a part, and judges what it answers.
async fn handle<O: Origin>(origin: &O, pool: &Chosen, part: &mut Part<O::Event>) -> Result<PartSettlement, Unhandled> {
    let events = &part.events;
    if let Some(outcome) = &part.outcome {
        let outcomes = vec![outcome.clone(); events.len()];
        return Ok(settlement::settle(origin, pool, events, outcomes, FinishedCall::default()));
    }
    let answer = {
        let permit = origin.common().handling.acquire().await;
        let _permit = permit.map_err(|closed| Unhandled::NoInstance(closed.to_string()))?;
        pool.admit(events.len()).await;
        let (answer, recorded) = call(origin, pool, events).await;
        part.recorded = recorded;
        answer
    };
    match answer {
        Ok((outcomes, ended)) => {
            let outcomes: Vec<_> = outcomes.into_iter().map(EventOutcome::from).collect();
            if ended.store_failed && !settlement::all_done(&outcomes) {
                return Err(Unhandled::StoreFailed("the store failed while the plugin used it".to_owned()));
            }
            Ok(settlement::settle(origin, pool, events, outcomes, ended))
        }
        Err(failure) if failure.error.is_busy() => Err(Unhandled::NoInstance(failure.to_string())),
        Err(failure) if failure.store_failed => Err(Unhandled::StoreFailed(failure.to_string())),
        Err(failure) => Err(Unhandled::Fault(failure.error)),
    }
}

async fn wait_for_store() {
    tokio::time::sleep(pacing::jittered(STORE_PAUSE)).await;
}

/// Has the plugin handle events.
async fn call<O: Origin>(
    origin: &O,
    pool: &Chosen,
    part: &[O::Event],
) -> (Result<(Vec<handler::Outcome>, FinishedCall), CallFailure>, Option<Recorded>) {
    let common = origin.common();
    let ids: Arc<[String]> = part.iter().map(O::id).collect();
    let fields: Vec<Fields<'_>> = part.iter().map(O::fields).collect();
    let events: Vec<handler::Event<'_>> = part
        .iter()
        .zip(ids.iter())
        .zip(&fields)
        .map(|((event, id), fields)| handler::Event {
            id,
            source: &common.source,
            attempt: O::attempt(event),
            time_ms: O::time_ms(event),
            content: O::content(event, fields),
        })
        .collect();
    let recorder = (common.recording.is_some() || pool.is_followed()).then(Recorder::record);
    let begun = Instant::now();
    let answer = pool.handle(Some(origin.scope()), ids.clone(), &events, recorder.clone()).await;
    if answer.is_ok() {
        let took = begun.elapsed();
        common.metrics.handled(events.len(), took);
        pool.answered(events.len(), took);
    }
    let recorded = recorder.map(|recorder| Recorded::new(&common.source, &events, &recorder));
    (answer, recorded)
}
