//! The dead letters of a stream or a queue.
//!
//! Works on the stream `<name>:dead`, in commits of at most [`BATCH_MAX`] letters.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::DeskError;
use super::dead_letter::Letter;
use sandbar_core::grants::check_foreign;
use sandbar_store::{
    Commit, CommitError, Effect, EntryId, Field, JobQueue, PushOptions, Refusal, Retention, Source, Store,
};

/// The most letters that are read or moved at once.
pub const BATCH_MAX: u32 = 100;

/// Where events came from before they were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// A stream, without the tenant's prefix.
    Stream(&'a str),
    /// A queue, without the tenant's prefix.
    Queue(&'a str),
}

/// Which letters are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Those with these ids. All of them must be there.
    Ids(Vec<EntryId>),
    /// Up to so many that are there now, the oldest first.
    Oldest(u64),
}

/// What becomes of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Its event goes back to where it came from.
    Retry,
    /// It is removed for good.
    Drop,
}

/// What became of letters.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Letters that were sent back or removed.
    pub letters: u64,
    /// Letters that were left because they have no event in them.
    pub left: Vec<String>,
}

/// The dead letters of one stream or queue.
#[derive(Debug)]
pub struct DeadLetters {
    store: Arc<dyn Store>,
    /// The stream's key.
    stream: String,
    /// The queue of that name.
    queue: Arc<JobQueue>,
    /// The key of the dead-letter stream.
    dead: String,
}

impl DeadLetters {
    /// Those of a place of a tenant.
    pub fn of(store: Arc<dyn Store>, prefix: &str, place: Place<'_>) -> Result<Self, DeskError> {
        let (Place::Stream(name) | Place::Queue(name)) = place;
        check_foreign("stream's name", name)?;
        // Only the keys matter here, not the group or the bounds.
        let Source { stream, dead_key: dead, .. } = Source::new(prefix, name, "", 1, 1);
        Ok(Self { store, stream, queue: Arc::new(JobQueue::new(prefix, name)), dead })
    }

    /// The key that events go back to.
    pub fn source(&self) -> &str {
        &self.stream
    }

    /// The key of the dead-letter stream.
    pub fn key(&self) -> &str {
        &self.dead
    }

    /// The letters before an id, the newest first, up to [`BATCH_MAX`] of them and up to `count`.
    pub async fn before(&self, id: EntryId, count: u32) -> Result<Vec<Letter>, DeskError> {
        self.range(EntryId::ZERO, id, count.min(BATCH_MAX), true).await
    }

    /// The letters with these ids. All of them must be there.
    pub async fn find(&self, ids: &[EntryId]) -> Result<Vec<Letter>, DeskError> {
        let mut letters = Vec::new();
        for id in ids {
            let found = self.range(*id, *id, 1, false).await?.into_iter().next();
            letters.push(found.ok_or_else(|| DeskError::NoLetter { id: *id, dead: self.dead.clone() })?);
        }
        Ok(letters)
    }

    /// Sends letters back or removes them.
    pub async fn settle(&self, which: Which, fate: Fate) -> Result<Report, DeskError> {
        let mut report = Report::default();
        match which {
            Which::Oldest(max) => {
                // Those that die again meanwhile come behind this one, so this ends.
                let newest = self.range(EntryId::ZERO, EntryId::MAX, 1, true).await?;
                let last = newest.first().map_or(EntryId::ZERO, |letter| letter.id);
                let (mut start, mut looked_at) = (Some(EntryId::ZERO), 0u64);
                while let Some(from) = start.filter(|from| *from <= last && looked_at < max) {
                    let count = u32::try_from(max - looked_at).unwrap_or(u32::MAX).min(BATCH_MAX);
                    let letters = self.range(from, last, count, false).await?;
                    start = letters.last().and_then(|letter| letter.id.next());
                    looked_at += letters.len() as u64;
                    self.settle_batch(letters, fate, &mut report).await?;
                }
            }
            Which::Ids(mut ids) => {
                ids.sort_unstable();
                ids.dedup();
                let mut letters = self.find(&ids).await?;
                while !letters.is_empty() {
                    let rest = letters.split_off(letters.len().min(BATCH_MAX as usize));
                    self.settle_batch(letters, fate, &mut report).await?;
                    letters = rest;
                }
            }
        }
        Ok(report)
    }

    /// Settles letters in one commit.
    async fn settle_batch(&self, letters: Vec<Letter>, fate: Fate, report: &mut Report) -> Result<(), DeskError> {
        let (letters, empty): (Vec<_>, Vec<_>) =
            letters.into_iter().partition(|letter| fate == Fate::Drop || letter.has_event());
        report.left.extend(empty.iter().map(|letter| letter.id.to_string()));
        if letters.is_empty() {
            return Ok(());
        }
        let ids: Vec<EntryId> = letters.iter().map(|letter| letter.id).collect();
        let count = ids.len() as u64;
        let mut effects = Vec::new();
        if fate == Fate::Retry {
            // Where the key holds something else the events would be refused, but their letters removed.
            let (jobs, entries) = letters.iter().fold((false, false), |(jobs, entries), letter| {
                (jobs || letter.payload.is_some(), entries || letter.payload.is_none())
            });
            let refused = |error| DeskError::store("send letters back", error);
            if entries {
                self.store.length(&self.stream).await.map_err(refused)?;
            }
            if jobs {
                self.store.lengths(&self.queue).await.map_err(refused)?;
            }
            effects.extend(letters.iter().map(|letter| self.send_back(letter)));
        }
        effects.push(Effect::Remove { stream: self.dead.clone(), ids });
        let stopped = |error, report: &Report| DeskError::Stopped { letters: report.letters, error };
        let refused = self.commit(&effects).await.map_err(|error| stopped(error, report))?;
        let Some(refusal) = refused.first() else {
            report.letters += count;
            return Ok(());
        };
        // The key has become something else since it was looked at: the events were refused, but the removal stands.
        let lost = refused.iter().filter_map(|refusal| letters.get(refusal.effect));
        let back: Vec<Effect> = lost.map(|letter| append(&self.dead, letter.fields())).collect();
        self.commit(&back).await.map_err(|error| stopped(error, report))?;
        Err(DeskError::Refused { key: self.stream.clone(), events: back.len(), reason: refusal.error.clone() })
    }

    fn send_back(&self, letter: &Letter) -> Effect {
        match &letter.payload {
            None => append(&self.stream, letter.original.clone()),
            Some(payload) => Effect::Push {
                queue: self.queue.clone(),
                payloads: vec![payload.clone()],
                options: PushOptions::default(),
            },
        }
    }

    async fn commit(&self, effects: &[Effect]) -> Result<Vec<Refusal>, CommitError> {
        let commit = Commit::plain(effects, &[]);
        Ok(self.store.commit(commit).await?.refused)
    }

    async fn range(&self, start: EntryId, end: EntryId, count: u32, reverse: bool) -> Result<Vec<Letter>, DeskError> {
        let entries = self.store.range(&self.dead, start, end, count, reverse).await;
        let entries =
            entries.map_err(|error| DeskError::store(format!("read the dead letters in `{}`", self.dead), error))?;
        Ok(entries.into_iter().map(Letter::from).collect())
    }
}

fn append(stream: &str, fields: Vec<Field>) -> Effect {
    Effect::Append { stream: stream.to_owned(), fields, retention: Retention::Unlimited }
}
