//! Runs a version over events without any effect: for shadows and replays.
//!
//! Reads come from a recording, and live where it does not know; nothing is written, sent, taken, locked or logged. A
//! batch over which the version fails is run in halves, as a trigger does, where the second half sees what the first
//! has written.

use std::ops::Range;
use std::sync::Arc;

use crate::bindings::exports::sandbar::plugin::handler;
use crate::bindings::sandbar::plugin::types::FieldParam;
use crate::call::FinishedCall;
use crate::outcome::EventOutcome;
use crate::pool::{CallError, Pool};
use crate::replay::{RecordedContent, RecordedEvent, Recorder, Recording};
use sandbar_store::Effect;
use sandbar_store::combine::{Gathered, combine};

pub use super::difference::{Difference, DifferenceKind, Side, compare};

/// What a version did without effect.
#[derive(Debug, Clone, PartialEq)]
pub struct DryRun {
    /// What it would have done.
    pub side: Side,
    /// How often it asked something that the recording does not know.
    pub unknown: u64,
    /// The first of these questions.
    pub questions: Vec<String>,
}

/// Has a version handle the events of a recording. An error means that the host had no room for a call.
pub async fn dry_run(pool: &Pool, recording: &Recording) -> Result<DryRun, CallError> {
    let mut outcomes: Vec<EventOutcome> = vec![EventOutcome::Done; recording.events.len()];
    let (mut committed, mut writes) = (Vec::new(), Vec::<Gathered>::new());
    let (mut unknown, mut questions) = (0, Vec::new());
    let mut parts: Vec<Range<usize>> = std::iter::once(0..recording.events.len()).collect();
    while let Some(part) = parts.pop() {
        let before = writes.len();
        let recorder = Recorder::replay(recording, writes.clone());
        let answer = call(pool, recording, part.clone(), &recorder).await;
        let (count, first) = recorder.unknown();
        unknown += count;
        questions.extend(first);
        match answer {
            Ok((answered, ended)) => {
                let done: Vec<bool> =
                    answered.iter().map(|outcome| matches!(outcome, handler::Outcome::Done)).collect();
                let mut all = recorder.committed();
                let by_itself = all.len();
                all.extend(ended.writes);
                for (at, write) in all.into_iter().enumerate().skip(before) {
                    let counts = counts(&done, write.event);
                    let event = write.event.map(|event| event.saturating_add(u32::try_from(part.start).unwrap_or(0)));
                    let write = Gathered { event, ..write };
                    if at < by_itself {
                        committed.push(write);
                    } else if counts {
                        writes.push(write);
                    }
                }
                outcomes.splice(part, answered.into_iter().map(EventOutcome::from));
            }
            Err(error) if error.is_busy() => return Err(error),
            Err(_) if part.len() > 1 => {
                let middle = part.start + part.len() / 2;
                parts.push(middle..part.end);
                parts.push(part.start..middle);
            }
            Err(error) => {
                outcomes.splice(part, [EventOutcome::Failed(error.to_string())]);
            }
        }
    }
    let effects = combined(committed).chain(combined(writes)).collect();
    Ok(DryRun { side: Side { outcomes, effects }, unknown, questions })
}

/// Writes as a commit would make them.
pub fn combined(writes: Vec<Gathered>) -> impl Iterator<Item = Effect> {
    combine(writes).into_iter().map(|combined| combined.effect)
}

/// Whether a write counts, by which events are done. What belongs to the batch as a whole counts where any is.
pub fn counts(done: &[bool], event: Option<u32>) -> bool {
    match event {
        None => done.contains(&true),
        Some(event) => usize::try_from(event).ok().and_then(|event| done.get(event)) == Some(&true),
    }
}

/// Has the version handle some of the events.
async fn call(
    pool: &Pool,
    recording: &Recording,
    part: Range<usize>,
    recorder: &Arc<Recorder>,
) -> Result<(Vec<handler::Outcome>, FinishedCall), CallError> {
    let events = recording.events.get(part).unwrap_or_default();
    let ids: Arc<[String]> = events.iter().map(|event| event.id.clone()).collect();
    let fields: Vec<Vec<FieldParam<'_>>> = events.iter().map(fields).collect();
    let events: Vec<handler::Event<'_>> = events
        .iter()
        .zip(&fields)
        .map(|(event, fields)| handler::Event {
            id: &event.id,
            source: &recording.source,
            attempt: event.attempt,
            time_ms: event.time_ms,
            content: match &event.content {
                RecordedContent::Fields(_) => handler::Content::Fields(fields),
                RecordedContent::Payload(payload) => handler::Content::Payload(payload),
            },
        })
        .collect();
    pool.handle(None, ids, &events, Some(recorder.clone())).await.map_err(|failure| failure.error)
}

fn fields(event: &RecordedEvent) -> Vec<FieldParam<'_>> {
    match &event.content {
        RecordedContent::Fields(fields) => fields.iter().map(|(name, value)| FieldParam { name, value }).collect(),
        RecordedContent::Payload(_) => Vec::new(),
    }
}
