//! From outcomes to a commit: what is acknowledged, retried, given up, and which writes count.
//!
//! No I/O.

use std::time::Duration;

use bytes::Bytes;

use super::{Context, Effect};
use crate::bindings::exports::sandbar::plugin::handler;
use crate::call::Ended;
use crate::lock::HeldLock;
use crate::manifest::DAY_MS;
use crate::pool::Pool;
use crate::store::combine::{Gathered, combine};
use crate::store::{Committed, DeadLetter, Delivered, Settlement};
use crate::trigger::backoff::Backoff;
use crate::trigger::dead_letter::{self, Circumstances};

/// What has become of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The plugin is done with it.
    Done,
    /// The plugin wants it again, after so many milliseconds where it says so.
    Retry(Option<u64>),
    /// The plugin can never handle it.
    Reject(String),
    /// The plugin failed over it.
    Failed(String),
}

impl From<handler::Outcome> for Verdict {
    fn from(outcome: handler::Outcome) -> Self {
        match outcome {
            handler::Outcome::Done => Self::Done,
            handler::Outcome::Retry(delay_ms) => Self::Retry(delay_ms),
            handler::Outcome::Reject(reason) => Self::Reject(reason),
        }
    }
}

/// Whether every event is done.
pub(super) fn all_done(verdicts: &[Verdict]) -> bool {
    verdicts.iter().all(|verdict| *verdict == Verdict::Done)
}

/// What is to be committed.
#[derive(Debug)]
pub(super) struct Judgement {
    /// The writes that count, combined.
    pub(super) effects: Vec<Effect>,
    /// For each of them, the events that it belongs to.
    pub(super) owners: Vec<Vec<Option<u32>>>,
    /// Keys with the values that the plugin relied on.
    pub(super) relied_on: Vec<(String, Option<Bytes>)>,
    /// What becomes of the events.
    pub(super) settlement: Settlement,
    /// The locks of the call, to be given back after the commit.
    pub(super) locks: Vec<HeldLock>,
}

impl Judgement {
    /// When the earliest retry is due.
    pub(super) fn retry_in(&self) -> Option<Duration> {
        self.settlement.retry.iter().map(|(_, delay_ms)| Duration::from_millis(*delay_ms)).min()
    }
}

/// Judges a part.
pub(super) fn judge(
    context: &Context,
    pool: &Pool,
    part: &[Delivered],
    verdicts: Vec<Verdict>,
    ended: Ended,
) -> Judgement {
    let any_done = verdicts.contains(&Verdict::Done);
    let counts = |write: &Gathered| match write.event {
        None => any_done,
        Some(event) => {
            let verdict = usize::try_from(event).ok().and_then(|event| verdicts.get(event));
            verdict == Some(&Verdict::Done)
        }
    };
    let mut writes = ended.writes;
    if !all_done(&verdicts) {
        writes.retain(counts);
    }
    let (effects, owners) = combine(writes).into_iter().map(|combined| (combined.effect, combined.events)).unzip();
    let mut settlement = Settlement::default();
    for (event, verdict) in part.iter().zip(verdicts) {
        settle(context, pool, event, verdict, &mut settlement);
    }
    Judgement { effects, owners, relied_on: ended.relied_on, settlement, locks: ended.locks }
}

fn settle(context: &Context, pool: &Pool, event: &Delivered, verdict: Verdict, settlement: &mut Settlement) {
    let trigger = &context.trigger;
    let is_last = event.attempt >= trigger.max_attempts;
    let backoff = Backoff { min: trigger.retry_min, max: trigger.retry_max };
    let delay_ms = |asked: Option<u64>| {
        let own = || u64::try_from(backoff.after(event.attempt).as_millis()).unwrap_or(u64::MAX);
        asked.unwrap_or_else(own).min(DAY_MS)
    };
    let reason = match verdict {
        Verdict::Done => {
            settlement.done.push(event.id);
            if event.attempt > 1 {
                settlement.forget.push(event.id);
            }
            return;
        }
        Verdict::Retry(asked) if !is_last => return settlement.retry.push((event.id, delay_ms(asked))),
        Verdict::Failed(reason) if !is_last => {
            tracing::warn!(
                plugin = pool.identity().plugin,
                event = %event.id,
                attempt = event.attempt,
                reason,
                "an event failed and is tried again"
            );
            return settlement.retry.push((event.id, delay_ms(None)));
        }
        Verdict::Retry(_) => format!("the plugin asked for a retry at attempt {}, the last", event.attempt),
        Verdict::Reject(reason) => reason,
        Verdict::Failed(reason) => format!("{reason} (attempt {}, the last)", event.attempt),
    };
    bury(context, pool, event, &reason, settlement);
}

fn bury(context: &Context, pool: &Pool, event: &Delivered, reason: &str, settlement: &mut Settlement) {
    let identity = pool.identity();
    let circumstances = Circumstances {
        reason,
        plugin: &identity.plugin,
        version: &identity.version,
        group: &context.consumer.source.group,
        time_ms: context.store.now_ms(),
    };
    tracing::warn!(plugin = identity.plugin, event = %event.id, reason, "an event goes to the dead letters");
    settlement.dead.push(DeadLetter { id: event.id, fields: dead_letter::fields(event, circumstances) });
    if event.attempt > 1 {
        settlement.forget.push(event.id);
    }
}

/// The dead letters for writes that the store refused. A write of the batch as a whole counts against its first event.
pub(super) fn refused(
    context: &Context,
    pool: &Pool,
    part: &[Delivered],
    judgement: &Judgement,
    committed: &Committed,
) -> Settlement {
    let mut reasons: Vec<Option<String>> = vec![None; part.len()];
    for refusal in &committed.refused {
        let name = judgement.effects.get(refusal.effect).map_or("a write", Effect::name);
        let owners = judgement.owners.get(refusal.effect).map(Vec::as_slice).unwrap_or_default();
        for owner in owners {
            let at = owner.and_then(|event| usize::try_from(event).ok()).unwrap_or(0);
            if let Some(reason) = reasons.get_mut(at) {
                let text = format!("the store refused {name}: {}", refusal.error);
                *reason = Some(reason.take().map_or(text.clone(), |before| format!("{before}; {text}")));
            }
        }
    }
    let mut settlement = Settlement::default();
    for (event, reason) in part.iter().zip(reasons) {
        if let Some(reason) = reason {
            bury(context, pool, event, &reason, &mut settlement);
        }
    }
    settlement
}
