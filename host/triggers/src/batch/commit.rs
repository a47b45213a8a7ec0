//! The commit of a part, and what follows from it: counts, the version's health, dead letters of refused writes.

use std::time::Duration;

use sandbar_runtime::commit::{CallCommit, CallCommitted, Delivery};
use sandbar_runtime::outcome::EventOutcome;
use sandbar_runtime::pool::Pool;
use sandbar_runtime::rollout::Chosen;
use sandbar_store::{Commit, CommitError, Epoch, LeaseSettlement, Loss};

use super::recorded::Recorded;
use super::settlement::{self, PartSettlement};
use super::{Common, Origin, Part};

/// Commits what came of a part, with its recording where that is kept.
pub(super) async fn commit<O: Origin>(
    origin: &O,
    pool: &Pool,
    settlement: &mut PartSettlement,
    recorded: Option<&Recorded>,
) -> Result<CallCommitted, CommitError> {
    let common = origin.common();
    let plugin_effects = settlement.effects.len();
    if let (Some(recording), Some(recorded)) = (&common.recording, recorded) {
        settlement.effects.extend(recording.keep(pool.context(), &recorded.recording));
    }
    let unfenced = |(consumer, epoch)| (consumer, if common.protocol.fenced() { epoch } else { Epoch::UNCHECKED });
    let own = settlement.settled.lease.clone().map(|lease| match common.protocol.fenced() {
        true => lease,
        false => LeaseSettlement { loss: Loss::Unchecked, ..lease },
    });
    let commit = CallCommit {
        effects: &settlement.effects,
        own_effects: settlement.effects.len().saturating_sub(plugin_effects),
        watched: &settlement.watched,
        taken: &mut settlement.taken,
        locks: &settlement.locks,
        delivery: Delivery::Batch {
            consumer: origin.consumer().map(unfenced),
            settlement: settlement.settled.settlement.clone(),
            lease: own,
            atomic: origin.is_atomic(),
        },
    };
    let committed = commit.make(pool.context()).await;
    settlement.effects.truncate(plugin_effects);
    if let Ok(committed) = &committed {
        common.metrics.committed(settlement.done, committed.took);
    }
    committed
}

/// Counts what was committed.
pub(super) fn count<O: Origin>(common: &Common, part: &[O::Event], settlement: &PartSettlement) {
    let now_ms = common.store.now_ms();
    let age = |event| Duration::from_millis(now_ms.saturating_sub(O::time_ms(event)));
    common.metrics.latencies(part.iter().map(age));
    if settlement.retried > 0 {
        common.metrics.retried(settlement.retried);
    }
    if settlement.dead > 0 {
        common.metrics.dead(settlement.dead);
    }
}

/// Reports the outcomes to the version. Each event counts once, however often it is tried.
pub(super) fn report_health<O: Origin>(
    common: &Common,
    pool: &Chosen,
    part: &Part<O::Event>,
    settlement: &PartSettlement,
) {
    if let Some(EventOutcome::Reject(_)) = part.outcome {
        // It was never handed to the plugin.
        return;
    }
    let is_first = |event: &&O::Event| O::attempt(event) <= 1;
    let pairs = part.events.iter().zip(&settlement.outcomes);
    let not_done = pairs.filter(|(_, outcome)| **outcome != EventOutcome::Done).map(|(event, _)| event);
    let name = |event: &O::Event| format!("{} {}", common.source, O::id(event));
    pool.settled(part.events.iter().filter(is_first).count(), not_done.filter(is_first).map(name));
}

/// Sends the events whose writes the store refused to the dead letters. Their other writes and their acknowledgement
/// stand, so this is a commit of its own; if the host dies before it, only the note is lost.
pub(super) async fn dead_letter_refused<O: Origin>(
    origin: &O,
    pool: &Pool,
    part: &[O::Event],
    settlement: &PartSettlement,
    committed: CallCommitted,
) {
    let common = origin.common();
    let (settled, dead_letters) = settlement::refused(origin, pool, part, settlement, &committed);
    let leases: Vec<LeaseSettlement> = settled.lease.into_iter().collect();
    let (consumer, settlement) = (origin.consumer(), settled.settlement);
    let commit = Commit { consumer, watched: &[], effects: &[], settlement, leases: &leases, atomic: false };
    match common.store.commit(commit).await {
        Ok(_) => common.metrics.dead(dead_letters),
        Err(error) => tracing::error!(
            source = common.source,
            %error,
            "the dead letters of refused writes could not be written"
        ),
    }
}
