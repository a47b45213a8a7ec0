//! What the calls of a batch read, for those who keep it or follow it.

use std::sync::Arc;

use super::verdict::Judgement;
use sandbar_runtime::bindings::exports::sandbar::plugin::handler;
use sandbar_runtime::rollout::Chosen;
use sandbar_runtime::replay::dry_run::{self, Side};
use sandbar_store::combine::Gathered;
use sandbar_runtime::replay::{self, Reel, Tape, TapedEvent};

/// What a call read, and what it committed by itself.
#[derive(Debug)]
pub(crate) struct Taped {
    pub(crate) tape: Tape,
    pub(crate) committed: Vec<Gathered>,
}

impl Taped {
    /// What a call with these events has recorded.
    pub(crate) fn new(source: &str, events: &[handler::Event<'_>], reel: &Arc<Reel>) -> Self {
        let mut tape = Tape::blank(source, events.iter().map(TapedEvent::from).collect());
        reel.end(&mut tape);
        Self { tape, committed: reel.committed() }
    }
}

/// Tells the version that follows this one what this one did.
pub(super) fn lead(pool: &Chosen, taped: Taped, judgement: Judgement) {
    let effects = dry_run::combined(taped.committed).chain(judgement.effects).collect();
    let outcomes = judgement.verdicts.into_iter().map(replay::Outcome::from).collect();
    pool.lead(taped.tape, Side { outcomes, effects });
}
