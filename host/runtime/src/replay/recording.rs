//! What a call of a plugin read, kept so that the call can be run again without a store.
//!
//! A [`Recording`] has the events of one call and the answer of everything that the plugin asked: reads, calls that
//! act at once, requests, clocks, and the seed of what was random. While it is made it is a
//! [`Recorder`](super::Recorder); a recorder that replays answers from a recording, and has no effect: what the
//! recording does not know is read live where reading is all that it does, and computed or refused otherwise. Knows
//! neither plugins nor triggers.
//!
//! Reads are answered by what was asked, not by their order: a version that asks in another order gets the same
//! answers. The same question asked several times is answered in the order of the recording, and from its end on as
//! it was answered last.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{RecordedError, answer, recorder};
use crate::bindings::exports::sandbar::plugin::handler;
use crate::bindings::sandbar::plugin::types::FieldParam;

/// The most bytes of one recording, as far as they are counted: excess is dropped, and the recording says so.
pub const RECORDING_BYTES_MAX: usize = 1 << 20;

/// One call: what it was given, and what it read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Recording {
    /// The stream or queue, without the tenant's prefix.
    pub source: String,
    /// The events of the call.
    pub events: Vec<RecordedEvent>,
    /// What was asked, and what the answer was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<RecordedRead>,
    /// Readings of the wall clock, in nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wall: Vec<u64>,
    /// Readings of the monotonic clock, in nanoseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub monotonic: Vec<u64>,
    /// What randomness began with.
    #[serde(default)]
    pub seed: [u8; 32],
    /// Something was dropped because it did not fit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_truncated: bool,
}

/// One event of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RecordedEvent {
    /// Its id, unique within its source.
    pub id: String,
    /// Which attempt to handle it that was, from 1.
    pub attempt: u32,
    /// When it was produced, in milliseconds since 1970.
    pub time_ms: u64,
    /// What the plugin was given.
    pub content: RecordedContent,
}

/// What an event carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordedContent {
    /// The fields of a stream's entry.
    Fields(#[serde(with = "answer::pairs")] Vec<(String, Bytes)>),
    /// The payload of a job or a message.
    Payload(#[serde(with = "answer::blob")] Bytes),
}

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedRead {
    /// What was asked, such as `cache.get total:a`.
    pub ask: String,
    /// What the answer was, or why there was none.
    #[serde(flatten)]
    pub answer: RecordedAnswer,
}

/// What a question was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordedAnswer {
    /// This.
    Answer(serde_json::Value),
    /// An error.
    Error(RecordedError),
}

impl Recording {
    /// A recording of events that nothing was recorded of.
    pub fn blank(source: &str, events: Vec<RecordedEvent>) -> Self {
        Self { source: source.to_owned(), events, ..Self::default() }
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let content = |event: &RecordedEvent| match &event.content {
            RecordedContent::Fields(fields) => fields.iter().map(|(name, value)| name.len() + value.len()).sum(),
            RecordedContent::Payload(payload) => payload.len(),
        };
        let size = |read: &RecordedRead| match &read.answer {
            RecordedAnswer::Answer(value) => recorder::size(value),
            RecordedAnswer::Error(fault) => fault.text.len(),
        };
        let events: usize = self.events.iter().map(|event| event.id.len() + content(event)).sum();
        events + self.reads.iter().map(|read| read.ask.len() + size(read)).sum::<usize>()
    }
}

impl From<&handler::Event<'_>> for RecordedEvent {
    fn from(event: &handler::Event<'_>) -> Self {
        let pair = |field: &FieldParam<'_>| (field.name.to_owned(), Bytes::copy_from_slice(field.value));
        let content = match event.content {
            handler::Content::Fields(fields) => RecordedContent::Fields(fields.iter().map(pair).collect()),
            handler::Content::Payload(payload) => RecordedContent::Payload(Bytes::copy_from_slice(payload)),
        };
        Self { id: event.id.to_owned(), attempt: event.attempt, time_ms: event.time_ms, content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As hosts of version 0.1.0 wrote it, into Redis and files.
    const WRITTEN: &str = concat!(
        r#"{"source":"s","events":[{"id":"1-0","attempt":1,"time-ms":5,"#,
        r#""content":{"fields":[["a",{"hex":"ff"}]]}}],"#,
        r#""reads":[{"ask":"cache.get a","answer":"x"},"#,
        r#"{"ask":"cache.get b","error":{"kind":"wrong-type","text":"t"}}],"#,
        r#""seed":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}"#,
    );

    #[test]
    fn recordings_of_older_hosts_are_read_and_written_alike() {
        let recording: Recording = serde_json::from_str(WRITTEN).unwrap();
        assert_eq!(serde_json::to_string(&recording).unwrap(), WRITTEN);
    }
}
