//! The events that are replayed: those of a stream or a queue, with their tapes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use clap::Args;

use super::{Exit, Failure};
use sandbar_core::grants::check_name;
use sandbar_store::{Entry, EntryId, Field, Store};
use sandbar_runtime::replay::{Tape, TapedContent, TapedEvent, fields};
use sandbar_store::dead_letter;
use sandbar_triggers::recording::{TAPE_FIELD, TAPES_MAX, tapes_key};

/// Entries that are read at once.
const PAGE: u32 = 100;
/// The most tapes that are looked at: as many as are kept, and those that a store keeps beyond that.
const TAPES_READ_MAX: u64 = 2 * TAPES_MAX;

/// Where the events come from.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct Place {
    /// The stream, without the tenant's prefix
    #[arg(long, value_name = "STREAM", required_unless_present_any = ["queue", "from_file"])]
    pub(super) stream: Option<String>,
    /// The queue, without the tenant's prefix; of jobs that are done only those with a tape are known
    #[arg(long, value_name = "QUEUE")]
    pub(super) queue: Option<String>,
}

/// The order of an id: the two numbers of an entry, or the number of a job.
pub(super) fn order(id: &str) -> Option<(u64, u64)> {
    let (first, second) = id.split_once('-').unwrap_or((id, "0"));
    Some((first.parse().ok()?, second.parse().ok()?))
}

/// A stream or a queue.
pub(super) struct Source<'a> {
    store: &'a Arc<dyn Store>,
    prefix: &'a str,
    name: String,
    tapes: String,
    is_stream: bool,
}

impl<'a> Source<'a> {
    pub(super) fn new(
        store: &'a Arc<dyn Store>,
        prefix: &'a str,
        plugin: &str,
        place: &Place,
    ) -> Result<Self, Failure> {
        let is_stream = place.queue.is_none();
        let name = place.queue.as_ref().or(place.stream.as_ref()).cloned().unwrap_or_default();
        check_name("stream's name", &name).map_err(|error| Failure::new(Exit::Usage, error))?;
        Ok(Self { store, prefix, tapes: tapes_key(prefix, plugin, &name), name, is_stream })
    }

    /// The calls that handled so many events from one on, the newest call of each, and those events that nothing was recorded of, each
    /// alone.
    pub(super) async fn events(&self, from: (u64, u64), count: usize) -> Result<Vec<Tape>, Failure> {
        let mut found: BTreeMap<(u64, u64), Tape> = BTreeMap::new();
        if self.is_stream {
            let start = EntryId { ms: from.0, seq: from.1 };
            let key = format!("{}{}", self.prefix, self.name);
            for entry in self.entries(&key, start, u64::try_from(count).unwrap_or(u64::MAX)).await? {
                found.insert((entry.id.ms, entry.id.seq), Tape::blank(&self.name, vec![event(&entry)]));
            }
        }
        let mut by_event: HashMap<(u64, u64), Arc<Tape>> = HashMap::new();
        for tape in self.tapes().await? {
            let tape = Arc::new(tape);
            for at in tape.events.iter().filter_map(|event| order(&event.id)).filter(|at| *at >= from) {
                by_event.insert(at, tape.clone());
                found.entry(at).or_default();
            }
        }
        let mut calls: Vec<Tape> = Vec::new();
        let mut last: Option<Arc<Tape>> = None;
        let mut told: Vec<Arc<Tape>> = Vec::new();
        for (at, blank) in found.into_iter().take(count) {
            match by_event.remove(&at) {
                None => calls.push(blank),
                Some(tape) => {
                    let is_last = last.as_ref().is_some_and(|last| Arc::ptr_eq(last, &tape));
                    if !is_last && !told.iter().rev().take(64).any(|other| Arc::ptr_eq(other, &tape)) {
                        calls.push(Tape::clone(&tape));
                        told.push(tape.clone());
                    }
                    last = Some(tape);
                }
            }
        }
        Ok(calls)
    }

    /// The calls after which events became dead letters, so many letters from one on. Who was rejected was not alone in its call.
    pub(super) async fn dead(&self, from: (u64, u64), count: usize) -> Result<Vec<Tape>, Failure> {
        let key = format!("{}{}:dead", self.prefix, self.name);
        let start = EntryId { ms: from.0, seq: from.1 };
        let letters = self.entries(&key, start, u64::try_from(count).unwrap_or(u64::MAX)).await?;
        let mut last: HashMap<String, Arc<Tape>> = HashMap::new();
        for tape in self.tapes().await? {
            let tape = Arc::new(tape);
            last.extend(tape.events.iter().map(|event| (event.id.clone(), tape.clone())));
        }
        let (mut calls, mut told) = (Vec::new(), HashSet::new());
        for letter in &letters {
            let event = Self::original(letter);
            match last.get(&event.id) {
                None => calls.push(Tape::blank(&self.name, vec![event])),
                Some(tape) if told.insert(Arc::as_ptr(tape)) => calls.push(Tape::clone(tape)),
                Some(_) => {}
            }
        }
        Ok(calls)
    }

    /// The event of a dead letter, as far as it is in the letter.
    fn original(letter: &Entry) -> TapedEvent {
        let text = |name: &str| {
            dead_letter::value(&letter.fields, name).map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let id = text("id").unwrap_or_else(|| letter.id.to_string());
        let attempt = text("attempt").and_then(|attempt| attempt.parse().ok()).unwrap_or(1);
        let time_ms = order(&id).map_or(0, |(ms, _)| ms);
        let content = match dead_letter::value(&letter.fields, dead_letter::PAYLOAD) {
            Some(payload) => TapedContent::Payload(payload.clone()),
            None => TapedContent::Fields(fields(&dead_letter::original(&letter.fields))),
        };
        TapedEvent { id, attempt, time_ms, content }
    }

    /// All tapes, the oldest first.
    async fn tapes(&self) -> Result<Vec<Tape>, Failure> {
        let entries = self.entries(&self.tapes, EntryId::ZERO, TAPES_READ_MAX).await?;
        let tape = |entry: &Entry| {
            let Field { value, .. } = entry.fields.iter().find(|field| field.name == TAPE_FIELD)?;
            serde_json::from_slice(value).ok()
        };
        Ok(entries.iter().filter_map(tape).collect())
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
fn event(entry: &Entry) -> TapedEvent {
    let content = TapedContent::Fields(fields(&entry.fields));
    TapedEvent { id: entry.id.to_string(), attempt: 1, time_ms: entry.id.ms, content }
}
