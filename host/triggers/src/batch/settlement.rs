//! From outcomes to a commit: what is acknowledged, retried, given up, and which writes count.
//!
//! No I/O.

use std::time::Duration;

use bytes::Bytes;

use super::{Common, Decision, Effect, Origin, Settled};
use sandbar_core::manifest::DAY_MS;
use sandbar_runtime::call::{FinishedCall, Takes};
use sandbar_runtime::commit::CallCommitted;
use sandbar_runtime::outcome::EventOutcome;
use sandbar_runtime::pool::Pool;
use sandbar_store::Loss;
use sandbar_store::combine::{Owners, combine};
use sandbar_store::dead_letter::{self, Circumstances};
use sandbar_store::held_lock::HeldLock;

/// Whether every event is done.
pub(super) fn all_done(outcomes: &[EventOutcome]) -> bool {
    outcomes.iter().all(|outcome| *outcome == EventOutcome::Done)
}

/// What is to be committed.
#[derive(Debug)]
pub(super) struct PartSettlement {
    /// The writes that count, combined.
    pub(super) effects: Vec<Effect>,
    /// For each of them, the events that it belongs to.
    pub(super) owners: Vec<Owners>,
    /// Watched keys with the values that the plugin read.
    pub(super) watched: Vec<(String, Option<Bytes>)>,
    /// What becomes of the events.
    pub(super) settled: Settled,
    /// Jobs that the plugin took on its way.
    pub(super) taken: Takes,
    /// What has become of the events.
    pub(super) outcomes: Vec<EventOutcome>,
    /// How many events are done.
    pub(super) done: usize,
    /// How many come back.
    pub(super) retried: usize,
    /// How many are given up.
    pub(super) dead: usize,
    /// The locks of the call, to be given back after the commit.
    pub(super) locks: Vec<HeldLock>,
    /// When the earliest retry is due.
    pub(super) retry_in: Option<Duration>,
}

/// Settles a part: what its commit contains.
pub(super) fn settle<O: Origin>(
    origin: &O,
    pool: &Pool,
    part: &[O::Event],
    outcomes: Vec<EventOutcome>,
    ended: FinishedCall,
) -> PartSettlement {
    let any_done = outcomes.contains(&EventOutcome::Done);
    let counts = |event: Option<u32>| match event {
        None => any_done,
        Some(event) => {
            let outcome = usize::try_from(event).ok().and_then(|event| outcomes.get(event));
            outcome == Some(&EventOutcome::Done)
        }
    };
    let (mut writes, mut taken) = (ended.writes, ended.taken);
    if !all_done(&outcomes) {
        writes.retain(|write| counts(write.event));
        taken.retain(counts);
    }
    let (effects, owners) = combine(writes).into_iter().map(|combined| (combined.effect, combined.events)).unzip();
    let (mut done, mut retried, mut dead, mut retry_in) = (0, 0, 0, None);
    let decided = part.iter().zip(outcomes.iter().cloned()).map(|(event, outcome)| {
        let decision = decide::<O>(origin.common(), pool, event, outcome);
        match &decision {
            Decision::Done => done += 1,
            Decision::Retry(delay_ms) => {
                retried += 1;
                retry_in = retry_in.into_iter().chain([Duration::from_millis(*delay_ms)]).min();
            }
            Decision::Dead(_) => dead += 1,
        }
        (event, decision)
    });
    let settled = origin.settle(decided);
    let (watched, locks) = (ended.watched, ended.locks);
    PartSettlement { effects, owners, watched, settled, taken, outcomes, done, retried, dead, retry_in, locks }
}

fn decide<O: Origin>(common: &Common, pool: &Pool, event: &O::Event, outcome: EventOutcome) -> Decision {
    let attempt = O::attempt(event);
    let is_last = attempt >= common.max_attempts;
    let delay_ms = |asked: Option<u64>| {
        let own = || u64::try_from(common.backoff.after(attempt).as_millis()).unwrap_or(u64::MAX);
        asked.unwrap_or_else(own).min(DAY_MS)
    };
    let reason = match outcome {
        EventOutcome::Done => return Decision::Done,
        EventOutcome::Retry(asked) if !is_last => return Decision::Retry(delay_ms(asked)),
        EventOutcome::Failed(reason) if !is_last => {
            tracing::warn!(
                plugin = pool.context().plugin,
                event = O::id(event),
                attempt,
                reason,
                "an event failed and is tried again"
            );
            return Decision::Retry(delay_ms(None));
        }
        EventOutcome::Retry(_) => format!("the plugin asked for a retry at attempt {attempt}, the last"),
        EventOutcome::Reject(reason) => reason,
        EventOutcome::Failed(reason) => format!("{reason} (attempt {attempt}, the last)"),
    };
    bury::<O>(common, pool, event, &reason)
}

fn bury<O: Origin>(common: &Common, pool: &Pool, event: &O::Event, reason: &str) -> Decision {
    let (context, id) = (pool.context(), O::id(event));
    tracing::warn!(plugin = context.plugin, event = id, reason, "an event goes to the dead letters");
    let circumstances = Circumstances {
        reason,
        attempt: O::attempt(event),
        plugin: &context.plugin,
        version: &context.version,
        group: common.group.as_deref(),
        time_ms: common.store.now_ms(),
        id: &id,
    };
    Decision::Dead(dead_letter::fields(circumstances, O::remains(event)))
}

/// The dead letters for writes that the store refused, and how many. A write of the batch as a whole counts against
/// its first event.
pub(super) fn refused<O: Origin>(
    origin: &O,
    pool: &Pool,
    part: &[O::Event],
    settlement: &PartSettlement,
    committed: &CallCommitted,
) -> (Settled, usize) {
    let mut reasons: Vec<Option<String>> = vec![None; part.len()];
    for refusal in &committed.refused {
        let owners = settlement.owners.get(refusal.effect).map(Owners::as_slice).unwrap_or_default();
        for owner in owners {
            let at = owner.and_then(|event| usize::try_from(event).ok()).unwrap_or(0);
            if let Some(reason) = reasons.get_mut(at) {
                let text = refusal.to_string();
                *reason = Some(reason.take().map_or(text.clone(), |before| format!("{before}; {text}")));
            }
        }
    }
    let dead_letters = reasons.iter().flatten().count();
    let decided = part.iter().zip(&reasons).filter_map(|(event, reason)| {
        let reason = reason.as_deref()?;
        Some((event, bury::<O>(origin.common(), pool, event, reason)))
    });
    let mut settled = origin.settle(decided);
    if let Some(lease) = &mut settled.lease {
        lease.loss = Loss::Unchecked;
        // The jobs are settled already; others of the lease may not be.
        lease.is_last = false;
    }
    (settled, dead_letters)
}
