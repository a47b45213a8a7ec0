//! What the calls of a batch read, for recordings and shadows.

use std::sync::Arc;

use super::settlement::PartSettlement;
use sandbar_runtime::bindings::exports::sandbar::plugin::handler;
use sandbar_runtime::replay::dry_run::{self, Side};
use sandbar_runtime::replay::{RecordedEvent, Recorder, Recording};
use sandbar_runtime::rollout::Chosen;
use sandbar_store::combine::Gathered;

/// What a call read, and what it committed by itself.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) recording: Recording,
    pub(crate) committed: Vec<Gathered>,
}

impl Recorded {
    /// What a call with these events has recorded.
    pub(crate) fn new(source: &str, events: &[handler::Event<'_>], recorder: &Arc<Recorder>) -> Self {
        let mut recording = Recording::blank(source, events.iter().map(RecordedEvent::from).collect());
        recorder.end(&mut recording);
        Self { recording, committed: recorder.committed() }
    }
}

/// Hands the shadow what this version did.
pub(super) fn lead(pool: &Chosen, recorded: Recorded, settlement: PartSettlement) {
    let effects = dry_run::combined(recorded.committed).chain(settlement.effects).collect();
    let outcomes = settlement.outcomes;
    pool.lead(recorded.recording, Side { outcomes, effects });
}
