//! The events that are replayed: those of a stream or a queue, with their recordings.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use clap::Args;

use super::{Exit, Failure};
use sandbar_core::grants::check_name;
use sandbar_runtime::replay::{RecordedContent, RecordedEvent, Recording, fields};
use sandbar_store::dead_letter;
use sandbar_store::{Entry, EntryId, Field, Store};
use sandbar_triggers::recording::{RECORDING_FIELD, RECORDINGS_MAX, recordings_key};

/// Entries that are read at once.
const PAGE: u32 = 100;
/// The most recordings that are looked at: as many as are kept, and those that a store keeps beyond that.
const RECORDINGS_READ_MAX: u64 = 2 * RECORDINGS_MAX;

/// Where the events come from.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct ReplayOptions {
    /// The stream, without the tenant's prefix
    #[arg(long, value_name = "STREAM", required_unless_present_any = ["queue", "from_file"])]
    pub(super) stream: Option<String>,
    /// The queue, without the tenant's prefix; of jobs that are done only those with a recording are known
    #[arg(long, value_name = "QUEUE")]
    pub(super) queue: Option<String>,
}

/// The order of an id: the two numbers of an entry, or the number of a job.
pub(super) fn order(id: &str) -> Option<(u64, u64)> {
    let (first, second) = id.split_once('-').unwrap_or((id, "0"));
    Some((first.parse().ok()?, second.parse().ok()?))
}

/// A stream or a queue.
pub(super) struct RecordingSource<'a> {
    store: &'a Arc<dyn Store>,
    prefix: &'a str,
    name: String,
    recordings: String,
    is_stream: bool,
}

impl<'a> RecordingSource<'a> {
    pub(super) fn new(
        store: &'a Arc<dyn Store>,
        prefix: &'a str,
        plugin: &str,
        place: &ReplayOptions,
    ) -> Result<Self, Failure> {
        let is_stream = place.queue.is_none();
        let name = place.queue.as_ref().or(place.stream.as_ref()).cloned().unwrap_or_default();
        check_name("stream's name", &name).map_err(|error| Failure::new(Exit::Usage, error))?;
        Ok(Self { store, prefix, recordings: recordings_key(prefix, plugin, &name), name, is_stream })
    }

    /// The calls that handled so many events from one on, the newest call of each, and those events that nothing was
    /// recorded of, each alone.
    pub(super) async fn events(&self, from: (u64, u64), count: usize) -> Result<Vec<Recording>, Failure> {
        let mut found: BTreeMap<(u64, u64), Recording> = BTreeMap::new();
        if self.is_stream {
            let start = EntryId { ms: from.0, seq: from.1 };
            let key = format!("{}{}", self.prefix, self.name);
            for entry in self.entries(&key, start, u64::try_from(count).unwrap_or(u64::MAX)).await? {
                found.insert((entry.id.ms, entry.id.seq), Recording::blank(&self.name, vec![event(&entry)]));
            }
        }
        let mut by_event: HashMap<(u64, u64), Arc<Recording>> = HashMap::new();
        for recording in self.recordings().await? {
            let recording = Arc::new(recording);
            for at in recording.events.iter().filter_map(|event| order(&event.id)).filter(|at| *at >= from) {
                by_event.insert(at, recording.clone());
                found.entry(at).or_default();
            }
        }
        let mut calls: Vec<Recording> = Vec::new();
        let mut last: Option<Arc<Recording>> = None;
        let mut seen: Vec<Arc<Recording>> = Vec::new();
        for (at, blank) in found.into_iter().take(count) {
            match by_event.remove(&at) {
                None => calls.push(blank),
                Some(recording) => {
                    let is_last = last.as_ref().is_some_and(|last| Arc::ptr_eq(last, &recording));
                    if !is_last && !seen.iter().rev().take(64).any(|other| Arc::ptr_eq(other, &recording)) {
                        calls.push(Recording::clone(&recording));
                        seen.push(recording.clone());
                    }
                    last = Some(recording);
                }
            }
        }
        Ok(calls)
    }

    /// The calls after which events became dead letters, so many dead letters from one on. An event that was
    /// rejected was not alone in its call.
    pub(super) async fn dead(&self, from: (u64, u64), count: usize) -> Result<Vec<Recording>, Failure> {
        let key = format!("{}{}:dead", self.prefix, self.name);
        let start = EntryId { ms: from.0, seq: from.1 };
        let dead_letters = self.entries(&key, start, u64::try_from(count).unwrap_or(u64::MAX)).await?;
        let mut last: HashMap<String, Arc<Recording>> = HashMap::new();
        for recording in self.recordings().await? {
            let recording = Arc::new(recording);
            last.extend(recording.events.iter().map(|event| (event.id.clone(), recording.clone())));
        }
        let (mut calls, mut seen) = (Vec::new(), HashSet::new());
        for dead_letter in &dead_letters {
            let event = Self::original(dead_letter);
            match last.get(&event.id) {
                None => calls.push(Recording::blank(&self.name, vec![event])),
                Some(recording) if seen.insert(Arc::as_ptr(recording)) => calls.push(Recording::clone(recording)),
                Some(_) => {}
            }
        }
        Ok(calls)
    }

    /// The event of a dead letter, as far as it is in the dead letter.
    fn original(dead_letter: &Entry) -> RecordedEvent {
        let text = |name: &str| {
            dead_letter::value(&dead_letter.fields, name).map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let id = text("id").unwrap_or_else(|| dead_letter.id.to_string());
        let attempt = text("attempt").and_then(|attempt| attempt.parse().ok()).unwrap_or(1);
        let time_ms = order(&id).map_or(0, |(ms, _)| ms);
        let content = match dead_letter::value(&dead_letter.fields, dead_letter::PAYLOAD) {
            Some(payload) => RecordedContent::Payload(payload.clone()),
            None => RecordedContent::Fields(fields(&dead_letter::original(&dead_letter.fields))),
        };
        RecordedEvent { id, attempt, time_ms, content }
    }

    /// All recordings, the oldest first.
    async fn recordings(&self) -> Result<Vec<Recording>, Failure> {
        let entries = self.entries(&self.recordings, EntryId::ZERO, RECORDINGS_READ_MAX).await?;
        let recording = |entry: &Entry| {
            let Field { value, .. } = entry.fields.iter().find(|field| field.name == RECORDING_FIELD)?;
            serde_json::from_slice(value).ok()
        };
        Ok(entries.iter().filter_map(recording).collect())
    }

    async fn entries(&self, key: &str, start: EntryId, count: u64) -> Result<Vec<Entry>, Failure> {
        let (mut entries, mut next) = (Vec::new(), Some(start));
        while let Some(start) = next {
            let left = count.saturating_sub(entries.len() as u64).min(PAGE.into());
            let page = u32::try_from(left).unwrap_or(PAGE);
            if page == 0 {
                break;
            }
            let found = self.store.range(key, start, EntryId::MAX, page, false).await;
            let found = found.map_err(|error| Failure::store(&format!("read `{key}`"), &error))?;
            next = found.last().and_then(|entry| entry.id.next()).filter(|_| found.len() as u64 >= left);
            entries.extend(found);
        }
        Ok(entries)
    }
}

/// An entry as it is delivered for the first time.
fn event(entry: &Entry) -> RecordedEvent {
    let content = RecordedContent::Fields(fields(&entry.fields));
    RecordedEvent { id: entry.id.to_string(), attempt: 1, time_ms: entry.id.ms, content }
}
