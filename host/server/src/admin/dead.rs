//! The dead letters of a stream or a queue.
//!
//! Works on the stream `<name>:dead`, in commits of at most [`BATCH_MAX`] dead letters.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::AdminError;
use super::dead_letter::ListedDeadLetter;
use sandbar_core::grants::check_foreign;
use sandbar_store::{
    Commit, CommitError, Effect, EntryId, Field, JobQueue, PushOptions, Refusal, Retention, Source, Store,
};

/// The most dead letters that are read or moved at once.
pub const BATCH_MAX: u32 = 100;

/// Where events came from before they were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterSource<'a> {
    /// A stream, without the tenant's prefix.
    Stream(&'a str),
    /// A queue, without the tenant's prefix.
    Queue(&'a str),
}

/// Which dead letters are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterSelection {
    /// Those with these ids. All of them must be there.
    Ids(Vec<EntryId>),
    /// Up to so many that are there now, the oldest first.
    Oldest(u64),
}

/// What becomes of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeadLetterAction {
    /// Its event is added again to its stream or queue.
    Retry,
    /// It is removed for good.
    Drop,
}

/// What became of dead letters.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SettleReport {
    /// Dead letters that were sent back or removed.
    #[serde(rename = "letters")]
    pub dead_letters: u64,
    /// Dead letters that were left because they have no event in them.
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
    pub fn of(store: Arc<dyn Store>, prefix: &str, place: DeadLetterSource<'_>) -> Result<Self, AdminError> {
        let (DeadLetterSource::Stream(name) | DeadLetterSource::Queue(name)) = place;
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

    /// The dead letters before an id, the newest first, up to [`BATCH_MAX`] of them and up to `count`.
    pub async fn before(&self, id: EntryId, count: u32) -> Result<Vec<ListedDeadLetter>, AdminError> {
        self.range(EntryId::ZERO, id, count.min(BATCH_MAX), true).await
    }

    /// The dead letters with these ids. All of them must be there.
    pub async fn find(&self, ids: &[EntryId]) -> Result<Vec<ListedDeadLetter>, AdminError> {
        let mut dead_letters = Vec::new();
        for id in ids {
            let found = self.range(*id, *id, 1, false).await?.into_iter().next();
            dead_letters.push(found.ok_or_else(|| AdminError::NoDeadLetter { id: *id, dead: self.dead.clone() })?);
        }
        Ok(dead_letters)
    }

    /// Retries dead letters or drops them.
    pub async fn settle(&self, which: DeadLetterSelection, fate: DeadLetterAction) -> Result<SettleReport, AdminError> {
        let mut report = SettleReport::default();
        match which {
            DeadLetterSelection::Oldest(max) => {
                // Those that die again meanwhile come behind this one, so this ends.
                let newest = self.range(EntryId::ZERO, EntryId::MAX, 1, true).await?;
                let last = newest.first().map_or(EntryId::ZERO, |dead_letter| dead_letter.id);
                let (mut start, mut looked_at) = (Some(EntryId::ZERO), 0u64);
                while let Some(from) = start.filter(|from| *from <= last && looked_at < max) {
                    let count = u32::try_from(max - looked_at).unwrap_or(u32::MAX).min(BATCH_MAX);
                    let dead_letters = self.range(from, last, count, false).await?;
                    start = dead_letters.last().and_then(|dead_letter| dead_letter.id.next());
                    looked_at += dead_letters.len() as u64;
                    self.settle_batch(dead_letters, fate, &mut report).await?;
                }
            }
            DeadLetterSelection::Ids(mut ids) => {
                ids.sort_unstable();
                ids.dedup();
                let mut dead_letters = self.find(&ids).await?;
                while !dead_letters.is_empty() {
                    let rest = dead_letters.split_off(dead_letters.len().min(BATCH_MAX as usize));
                    self.settle_batch(dead_letters, fate, &mut report).await?;
                    dead_letters = rest;
                }
            }
        }
        Ok(report)
    }

    /// Settles dead letters in one commit.
    async fn settle_batch(
        &self,
        dead_letters: Vec<ListedDeadLetter>,
        fate: DeadLetterAction,
        report: &mut SettleReport,
    ) -> Result<(), AdminError> {
        let (dead_letters, empty): (Vec<_>, Vec<_>) =
            dead_letters.into_iter().partition(|dead_letter| fate == DeadLetterAction::Drop || dead_letter.has_event());
        report.left.extend(empty.iter().map(|dead_letter| dead_letter.id.to_string()));
        if dead_letters.is_empty() {
            return Ok(());
        }
        let ids: Vec<EntryId> = dead_letters.iter().map(|dead_letter| dead_letter.id).collect();
        let count = ids.len() as u64;
        let mut effects = Vec::new();
        if fate == DeadLetterAction::Retry {
            // Where the key holds something else the events would be refused, but their dead letters removed.
            let (jobs, entries) = dead_letters.iter().fold((false, false), |(jobs, entries), dead_letter| {
                (jobs || dead_letter.payload.is_some(), entries || dead_letter.payload.is_none())
            });
            let refused = |error| AdminError::store("send dead letters back", error);
            if entries {
                self.store.length(&self.stream).await.map_err(refused)?;
            }
            if jobs {
                self.store.lengths(&self.queue).await.map_err(refused)?;
            }
            effects.extend(dead_letters.iter().map(|dead_letter| self.send_back(dead_letter)));
        }
        effects.push(Effect::Remove { stream: self.dead.clone(), ids });
        let stopped = |error, report: &SettleReport| AdminError::Stopped { dead_letters: report.dead_letters, error };
        let refused = self.commit(&effects).await.map_err(|error| stopped(error, report))?;
        let Some(refusal) = refused.first() else {
            report.dead_letters += count;
            return Ok(());
        };
        // The key has become something else since it was looked at: the events were refused, but the removal stands.
        let lost = refused.iter().filter_map(|refusal| dead_letters.get(refusal.effect));
        let back: Vec<Effect> = lost.map(|dead_letter| append(&self.dead, dead_letter.fields())).collect();
        self.commit(&back).await.map_err(|error| stopped(error, report))?;
        Err(AdminError::Refused { key: self.stream.clone(), events: back.len(), reason: refusal.error.clone() })
    }

    fn send_back(&self, dead_letter: &ListedDeadLetter) -> Effect {
        match &dead_letter.payload {
            None => append(&self.stream, dead_letter.original.clone()),
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

    async fn range(
        &self,
        start: EntryId,
        end: EntryId,
        count: u32,
        reverse: bool,
    ) -> Result<Vec<ListedDeadLetter>, AdminError> {
        let entries = self.store.range(&self.dead, start, end, count, reverse).await;
        let entries =
            entries.map_err(|error| AdminError::store(format!("read the dead letters in `{}`", self.dead), error))?;
        Ok(entries.into_iter().map(ListedDeadLetter::from).collect())
    }
}

fn append(stream: &str, fields: Vec<Field>) -> Effect {
    Effect::Append { stream: stream.to_owned(), fields, retention: Retention::Unlimited }
}
