//! What the calls of a batch read, for those who keep it or follow it.

use std::sync::Arc;

use bytes::Bytes;

use super::verdict::Judgement;
use crate::bindings::exports::sandbar::plugin::handler;
use crate::bindings::sandbar::plugin::types::FieldParam;
use crate::lineup::Chosen;
use crate::rehearsal::{self, Side};
use crate::store::combine::Gathered;
use crate::tape::{self, Reel, Tape, TapedContent, TapedEvent};

/// What a call read, and what it committed by itself.
#[derive(Debug)]
pub(in crate::trigger) struct Taped {
    pub(in crate::trigger) tape: Tape,
    pub(in crate::trigger) committed: Vec<Gathered>,
}

impl Taped {
    /// What a call with these events has recorded.
    pub(in crate::trigger) fn new(source: &str, events: &[handler::Event<'_>], reel: &Arc<Reel>) -> Self {
        let mut tape = Tape::blank(source, events.iter().map(TapedEvent::from).collect());
        reel.end(&mut tape);
        Self { tape, committed: reel.committed() }
    }
}

impl From<&handler::Event<'_>> for TapedEvent {
    fn from(event: &handler::Event<'_>) -> Self {
        let pair = |field: &FieldParam<'_>| (field.name.to_owned(), Bytes::copy_from_slice(field.value));
        let content = match event.content {
            handler::Content::Fields(fields) => TapedContent::Fields(fields.iter().map(pair).collect()),
            handler::Content::Payload(payload) => TapedContent::Payload(Bytes::copy_from_slice(payload)),
        };
        Self { id: event.id.to_owned(), attempt: event.attempt, time_ms: event.time_ms, content }
    }
}

/// Tells the version that follows this one what this one did.
pub(super) fn lead(pool: &Chosen, taped: Taped, judgement: Judgement) {
    let effects = rehearsal::combined(taped.committed).chain(judgement.effects).collect();
    let outcomes = judgement.verdicts.into_iter().map(tape::Outcome::from).collect();
    pool.lead(taped.tape, Side { outcomes, effects });
}
